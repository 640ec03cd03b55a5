"""Where image sets are published: directories, servers that take PUT, S3."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from published_files import putting

from goldsmith.deploy import publish as published
from goldsmith.deploy.publish import PublishError, place_of, publish
from goldsmith.redact import Redactor


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "made"
    folder.mkdir()
    contents = {"a.img.gz": b"image" * 1000, "a.img.gz.bmap": b"map", "a.json": b"{}",
                "a.yaml": b"images: []\n"}  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def put(files: list[Path], destination: str, directory: Path) -> tuple[bool, list[str]]:
    said: list[str] = []
    place = place_of(destination, directory, Redactor())
    done = publish(files, place, say=said.append, on_bytes=lambda name, done, total: None)
    return done, said


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "pause", lambda seconds: None)


@pytest.mark.parametrize("address", ["there/below", "file://{}/there/below"])
def test_a_directory(files: list[Path], tmp_path: Path, address: str) -> None:
    destination = address.format(tmp_path)
    assert put(files, destination, tmp_path)[0]
    there = tmp_path / "there/below"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in files
    }
    done, said = put(files, destination, tmp_path)
    assert not done
    assert "nothing is published" in said[0]
    (there / "a.img.gz").unlink()
    assert put(files, destination, tmp_path)[0]
    files[-1].write_bytes(b"images: [1]\n")
    assert put(files, destination, tmp_path)[0]


def test_a_directory_that_cannot_be(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file"):
        put(files, "file/below", tmp_path)


def test_put_in_order_the_metadata_last(files: list[Path], tmp_path: Path) -> None:
    with putting(tmp_path / "server") as server:
        assert put(files, f"{server.uri}/x%20y/", tmp_path)[0]
        names = [path.rpartition("/")[2] for method, path in server.asked if method == "PUT"]
        assert names == ["a.img.gz", "a.img.gz.bmap", "a.json", "a.yaml"]
        asked = len(server.asked)
        assert not put(files, f"{server.uri}/x%20y", tmp_path)[0]
        assert {method for method, _ in server.asked[asked:]} <= {"GET", "HEAD"}


def test_name_and_password_are_sent_and_not_told(files: list[Path], tmp_path: Path) -> None:
    with putting(tmp_path / "server") as server:
        address = server.uri.replace("://", "://me:pass-word@")
        _, said = put(files, address, tmp_path)
        assert set(server.authorized) == {"Basic bWU6cGFzcy13b3Jk"}
        assert "pass-word" not in "".join(said)
        server.faults += [403]
        files[-1].write_bytes(b"changed")
        with pytest.raises(PublishError, match="403") as caught:
            put(files, address, tmp_path)
        assert "pass-word" not in str(caught.value)


def test_a_passing_fault_is_tried_again_and_the_metadata_never_come_first(
    files: list[Path], tmp_path: Path
) -> None:
    with putting(tmp_path / "server") as server:
        server.faults += [500, 503]
        assert put(files, server.uri, tmp_path)[0]
        files[-1].write_bytes(b"another")
        server.faults += [503] * 10
        with pytest.raises(PublishError, match="503"):
            put(files, server.uri, tmp_path)
        assert (server.folder / "a.yaml").read_bytes() == b"images: []\n"


def test_a_server_that_keeps_a_part_is_found_out(files: list[Path], tmp_path: Path) -> None:
    with putting(tmp_path / "server") as server:
        server.cuts = True
        with pytest.raises(PublishError, match="4999 bytes there and 5000 here"):
            put(files, server.uri, tmp_path)


@pytest.mark.parametrize("destination", ["ftp://h/x", "s3://", "http://", "s3://b/x?y=z"])
def test_what_is_no_place(files: list[Path], tmp_path: Path, destination: str) -> None:
    with pytest.raises(Exception, match=r"ftp|bucket|address"):
        put(files, destination, tmp_path)


def test_nobody_listens(files: list[Path], tmp_path: Path) -> None:
    with putting(tmp_path / "server") as server:
        uri = server.uri
    with pytest.raises(PublishError, match="refused"):
        put(files, uri, tmp_path)


def test_s3(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
             "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": str(tmp_path / "no"),
             "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no")}  # fmt: skip
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    with mock_aws():
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket="images")
        check_s3(client, files, tmp_path, monkeypatch)


def check_s3(
    client: Any, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert put(files, "s3://images/sets/one", tmp_path)[0]
    for path in files:
        kept = client.get_object(Bucket="images", Key=f"sets/one/{path.name}")["Body"].read()
        assert kept == path.read_bytes()
    assert not put(files, "s3://images/sets/one/", tmp_path)[0]
    # The smallest part that S3 takes, so that there are two.
    monkeypatch.setattr(published, "_PART_BYTES", 5 << 20)
    pieces = itertools.chain.from_iterable(itertools.repeat(os.urandom(1 << 20), 6))
    files[0].write_bytes(bytes(pieces))
    assert put(files, "s3://images", tmp_path)[0]
    assert (
        client.get_object(Bucket="images", Key="a.img.gz")["Body"].read() == files[0].read_bytes()
    )
    assert client.list_multipart_uploads(Bucket="images").get("Uploads", []) == []
    with pytest.raises(PublishError, match="no-such-bucket"):
        put(files, "s3://no-such-bucket/x", tmp_path)
