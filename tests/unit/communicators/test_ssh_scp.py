"""The other end of scp: whatever it says, a download is whole or an error."""

import asyncio

import asyncssh
import pytest

from goldsmith.communicators.ssh import scp
from goldsmith.communicators.ssh.remote_paths import quoted
from goldsmith.core.communicator import ConnectionFailed
from goldsmith.errors import GoldsmithError

KEY = asyncssh.generate_private_key("ssh-ed25519")
NO_STATUS = None


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username):
        return False


def downloaded(work, said, status):
    """Let `work` download from a machine whose scp says this, whatever it is answered."""

    async def scp_there(process):
        process.stdout.write(said)
        process.stdout.write_eof()
        await process.stdin.read()
        if status is NO_STATUS:
            process.close()
        else:
            process.exit(status)

    async def main():
        server = await asyncssh.create_server(
            Open, "127.0.0.1", 0, server_host_keys=[KEY], process_factory=scp_there, encoding=None
        )
        try:
            async with asyncssh.connect(
                "127.0.0.1", server.get_port(), known_hosts=None, client_keys=None, config=None
            ) as connection:
                await work(connection)
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(main())


WHOLE = b"D0755 0 d\nC0644 2 f\nhi\0D0700 0 e\nE\nE\n"


def test_a_directory_arrives(tmp_path):
    downloaded(lambda c: scp.download_directory(c, "/d", tmp_path / "d"), WHOLE, 0)
    assert (tmp_path / "d/f").read_bytes() == b"hi"
    assert (tmp_path / "d/e").is_dir()


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [(WHOLE, NO_STATUS, "has gone away"), (WHOLE, 1, "ended with 1"),
     (WHOLE[:-2], 0, "has gone away"), (b"", NO_STATUS, "has gone away"),
     (b"", 127, "no program scp"), (b"D0755 0 d\n\nE\n", 0, "the machine's scp sent"),
     (b"C0644 2 f\nhi\0", 0, "f is no part of a directory"), (b"E\n", 0, "scp sent b'E'"),
     (b"\1scp: /d*: No such file\n", 1, "No such file")],
)  # fmt: skip
def test_a_directory_that_does_not_arrive_whole_is_an_error(tmp_path, said, status, error):
    with pytest.raises(GoldsmithError, match=error) as caught:
        downloaded(lambda c: scp.download_directory(c, "/d*", tmp_path / "d"), said, status)
    assert ("stand for themselves" in (caught.value.hint or "")) == (error == "No such file")


@pytest.mark.parametrize(
    ("said", "status"), [(b"", NO_STATUS), (b"C0644 2 f\nh", 0), (b"C0644 2 f\nhi\0", NO_STATUS)]
)
def test_a_file_that_does_not_arrive_whole_is_an_error(tmp_path, said, status):
    with pytest.raises(ConnectionFailed, match="has gone away"):
        downloaded(lambda c: scp.download(c, "/f", tmp_path / "f"), said, status)


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(GoldsmithError, match="it is a directory"):
        downloaded(lambda c: scp.download(c, "/d", tmp_path / "f"), b"D0755 0 d\n", 0)


@pytest.mark.parametrize(
    ("path", "word"),
    [("/a b", "'/a b'"), ("~", "~"), ("~/a b", "~/'a b'"), ("~ops/$x", "~ops/'$x'"),
     ("~/plain", "~/plain"), ("~$(x)/a", "'~$(x)/a'"), ("a~/b", "'a~/b'"), ("/a*", "'/a*'")],
)  # fmt: skip
def test_paths_are_words_and_a_home_is_one(path, word):
    assert quoted(path) == word
