"""APT's messages, as they were recorded from mmdebstrap 1.3.5 with apt 2.6."""

from __future__ import annotations

import pytest

from goldsmith.packages.apt_errors import package_error, relevant_lines

END = """\
E: setup failed: E: apt-get -o Dir::Bin::dpkg=env --yes install -oAPT::Status-Fd=<$fd> x failed
I: main() received signal PIPE: waiting for setup...
E: mmdebstrap failed to run
"""
UPDATE_END = """\
E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
I: main() received signal PIPE: waiting for setup...
E: mmdebstrap failed to run
"""
UNKNOWN_PACKAGE = f"""\
I: installing remaining packages inside the chroot...
Reading package lists...
Building dependency tree...
E: Unable to locate package nosuch
E: Unable to locate package alsonot
{END}"""
UNKNOWN_SUITE = f"""\
Ign:1 http://deb.example.invalid/debian nosuch InRelease
Err:3 http://deb.example.invalid/debian nosuch Release
  404  Not Found
Reading package lists...
E: The repository 'http://deb.example.invalid/debian nosuch Release' does not have a Release file.
{UPDATE_END}"""
REFUSED = "Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)"
CLOSED_PORT = f"""\
Err:1 http://127.0.0.1:9/debian bookworm InRelease
  {REFUSED}
Reading package lists...
E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  {REFUSED}
E: Some index files failed to download. They have been ignored, or old ones used instead.
{UPDATE_END}"""
UNSIGNED = f"""\
Get:2 copy:/srv/repo bookworm Release [212 B]
Reading package lists...
E: The repository 'copy:/srv/repo bookworm Release' is not signed.
{UPDATE_END}"""
NO_KEY = (
    "The following signatures couldn't be verified because the public key is not available: "
    "NO_PUBKEY 6ED0E7B82643E131"
)
WRONG_KEY = f"""\
Reading package lists...
W: GPG error: http://deb.example.invalid bookworm InRelease: {NO_KEY}
E: The repository 'http://deb.example.invalid bookworm InRelease' is not signed.
{UPDATE_END}"""
CONFLICT = f"""\
Some packages could not be installed. This may mean that you have
requested an impossible situation or if you are using the unstable
distribution that some required packages have not yet been created
or been moved out of Incoming.
The following information may help to resolve the situation:

The following packages have unmet dependencies:
 exim4-config : Conflicts: postfix but 3.7.11-0+deb12u1 is to be installed
 postfix : Conflicts: mail-transport-agent
E: Unable to correct problems, you have held broken packages.
{END}"""
SCRIPT_FAILED = f"""\
Setting up broken (1.0) ...
dpkg: error processing package broken (--configure):
 installed broken package post-installation script subprocess returned error exit status 3
Errors were encountered while processing:
 broken
E: Sub-process env returned an error code (1)
{END}"""
NO_SPACE = f"""\
Get:1 http://deb.example.invalid bookworm InRelease
E: Failed to fetch http://a.invalid/x  Error writing to file - write (28: No space left on device)
{UPDATE_END}"""


@pytest.mark.parametrize(
    ("output", "summary", "line", "hint"),
    [
        (UNKNOWN_PACKAGE, "packages cannot be found", "E: Unable to locate package nosuch",
         "spelling"),
        (UNKNOWN_SUITE, "the mirror has no such suite", "does not have a Release file", "suite"),
        (CLOSED_PORT, "a mirror cannot be reached", "Connection refused", "proxy"),
        (UNSIGNED, "signature cannot be verified", "is not signed", "trusted"),
        (WRONG_KEY, "signature cannot be verified", "NO_PUBKEY 6ED0E7B82643E131", "Signed-By"),
        (CONFLICT, "cannot be installed together", " exim4-config : Conflicts: postfix", "leave"),
        (SCRIPT_FAILED, "a package failed to install", "post-installation script", "messages"),
        (NO_SPACE, "no space left", "No space left", "GOLDSMITH_CACHE_DIR"),
    ],
)  # fmt: skip
def test_causes(output: str, summary: str, line: str, hint: str) -> None:
    error = package_error(output.splitlines())
    assert summary in error.message.splitlines()[0]
    assert line in error.message
    assert hint in str(error.hint)
    for noise in ("mmdebstrap failed to run", "setup failed", "APT::Status-Fd", "Reading package"):
        assert noise not in error.message


def test_every_missing_package_is_named_once() -> None:
    lines = [*UNKNOWN_PACKAGE.splitlines(), *UNKNOWN_PACKAGE.splitlines()]
    assert relevant_lines(lines) == [
        "E: Unable to locate package nosuch",
        "E: Unable to locate package alsonot",
    ]


def test_what_is_not_known_is_shown_as_it_is() -> None:
    error = package_error(["first", "something happened", ""])
    assert error.message == "the packages cannot be installed\nfirst\nsomething happened"
    assert error.hint is None


def test_chatter_of_scripts_is_no_cause() -> None:
    lines = ["Could not connect to the session bus", *UNKNOWN_PACKAGE.splitlines()]
    assert package_error(lines).message.startswith("packages cannot be found")


@pytest.mark.parametrize(
    "line",
    ["E: You don't have enough free space in /x/apt/cache/archives/.",
     "dpkg: error processing archive /x.deb: No space left on device"],
)  # fmt: skip
def test_a_full_disk_is_called_so(line: str) -> None:
    error = package_error([line])
    assert error.message.splitlines() == ["there is no space left for the tree", line]
    assert "GOLDSMITH_CACHE_DIR" in str(error.hint)
