"""Images from S3, over TLS and by proxies: real libraries against a server on the loopback."""

import datetime
import gzip
import hashlib
import ipaddress

import pytest

from fault_server import Fault, fault_server
from goldsmith.deploy.copying.copy import copy_image
from goldsmith.deploy.copying.images import CopyLimits, ImageToCopy
from goldsmith.deploy.copying.resuming import NoSource
from goldsmith.deploy.copying.sources import SourceError
from goldsmith.events import Emitter, Said
from goldsmith.units import MIB

IMAGE = hashlib.shake_128(b"image").digest(3 * MIB)
DIGESTS = {"sha256": hashlib.sha256(IMAGE).hexdigest()}
LIMITS = CopyLimits(stall_s=100, rounds=1, pause_s=0.01)


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target"
    path.write_bytes(b"\xa5" * (4 * MIB))
    return path


def copy(uri, target, **known):
    events = []
    image = ImageToCopy(uris=(uri,), **{"digests": DIGESTS, **known})
    copied = copy_image(image, target, emit=Emitter("copy", events.append), limits=LIMITS)
    assert target.read_bytes()[: len(IMAGE)] == IMAGE
    return copied, events


@pytest.fixture
def s3(monkeypatch):
    """A server that is S3 as far as reading goes: it does not look at signatures."""
    with fault_server() as server:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cretkey-of-nobody",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield server


def test_an_object_of_s3_is_copied_across_a_break(target, s3):
    s3.add("/bucket/a%20dir/image", IMAGE, Fault(cut_after=MIB))
    copied, events = copy("s3://bucket/a dir/image", target)
    assert copied.sources == ("s3://bucket/a dir/image",)
    asked = s3.files["/bucket/a%20dir/image"].asked
    start = int(asked[1]["Range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= MIB
    assert asked[1]["If-Match"] == '"v1"'
    assert "s3cretkey" not in repr(events)


def test_an_object_that_is_not_there_is_named(target, s3):
    with pytest.raises(NoSource, match=r"s3://bucket/nothing: .*404"):
        copy("s3://bucket/nothing", target)
    assert set(target.read_bytes()) == {0xA5}


@pytest.fixture
def certificate(tmp_path):
    """A certificate that 127.0.0.1 has given to itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )  # fmt: skip
    path.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_certificates_are_checked(target, certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with fault_server(certificate) as server:
        uri = server.add("/image", IMAGE, Fault(cut_after=MIB))
        assert uri.startswith("https:")
        with pytest.raises(NoSource, match="certificate is not trusted"):
            copy(uri, target)
        assert set(target.read_bytes()) == {0xA5}
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        copy(uri, target)


def test_https_never_leads_to_http(target, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with fault_server(certificate) as server, fault_server() as plain:
        place = plain.add("/image", IMAGE)
        uri = server.add("/image", b"", Fault(status=302, location=place))
        with pytest.raises(NoSource, match="leads to http:"):
            copy(uri, target)


def test_proxies_of_the_environment_are_asked(target, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with fault_server() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        proxy.add("http://mirror.example/image", IMAGE)
        copy("http://mirror.example/image", target)


def test_a_netrc_that_cannot_be_read_is_an_error(target, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 nonsense x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(SourceError, match="netrc cannot be read"):
        copy("http://127.0.0.1/image", target)


def test_only_the_mirror_that_was_read_is_called_damaged(target):
    packed = gzip.compress(IMAGE)
    middle = len(packed) // 2
    damaged = packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]
    events = []
    with fault_server() as server:
        wrong, right = server.add("/wrong", damaged), server.add("/right", packed)
        image = ImageToCopy(
            uris=(wrong, right), container="gzip", digests=DIGESTS, size_bytes=len(IMAGE)
        )
        copy_image(image, target, emit=Emitter("copy", events.append), limits=LIMITS)
    assert target.read_bytes()[: len(IMAGE)] == IMAGE
    (warning,) = (e.text for e in events if isinstance(e, Said) and e.level == "warning")
    told, _, then = warning.partition("; beginning again with ")
    assert wrong in told and right not in told
    assert then == right
