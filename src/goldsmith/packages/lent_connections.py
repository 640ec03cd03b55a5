"""APT in a tree fetches over several connections: of its own accord it asks a mirror in one.

Where every answer takes a moment, that is most of the time of a hundred small packages. So while a
hook runs, a program lies in front of APT's method for `http`: it starts the method itself several
times and hands out what APT asks for. What is fetched, how it is checked and what is said of it is
the method's and APT's. Nothing of it stays in the tree. Source: APT's method interface
(doc/method.dbk), acquire-worker.cc of apt 2.6.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.confined import ConfinedPathError, confined
from goldsmith.host.process import write_program

_METHODS: Final = "/usr/lib/apt/methods"
_SETTINGS: Final = "/etc/apt/apt.conf.d"
_KINDS: Final = ("http", "https")
_OWN: Final = "goldsmith-"
_FILE: Final = f"{_SETTINGS}/00goldsmith-connections"
_INTERPRETER: Final = "/usr/bin/perl"
"""It is in every Debian tree: perl-base is Essential."""
_PROGRAM: Final = rb"""#!/bin/sh
# goldsmith: hands out what APT asks for to several of its own methods; lent while a hook runs
perl -e 1 2>/dev/null || exec "/usr/lib/apt/methods/${0##*/goldsmith-}"
exec perl -x "$0"
#!perl
use strict;
use warnings;

my $most = 6;
my ($method) = $0 =~ m{goldsmith-(\w+)$} or exit 100;
my (@children, $settings, $told);

sub put {
    my ($to, $text) = @_;
    while (length $text) {
        my $count = syswrite($to, $text) // leave(100);
        substr($text, 0, $count, '');
    }
}

sub leave {
    kill 'TERM', map { $_->{pid} } @children;
    exit shift;
}

sub start {
    pipe(my $asked, my $ask) && pipe(my $told, my $tell) or exit 100;
    my $pid = fork // exit 100;
    if (!$pid) {
        open(STDIN, '<&', $asked) && open(STDOUT, '>&', $tell) or exit 100;
        exec "/usr/lib/apt/methods/$method" or exit 100;
    }
    my $child = { pid => $pid, ask => $ask, told => $told, text => '', open => 0 };
    push @children, $child;
    put($ask, $settings) if defined $settings;
    return $child;
}

sub asked {
    my ($message) = @_;
    if ($message !~ /^600 /) {
        $settings = ($settings // '') . $message;
        put($_->{ask}, $message) for @children;
        return;
    }
    my ($child) = sort { $a->{open} <=> $b->{open} } @children;
    $child = start() if $child->{open} && @children < $most;
    $child->{open}++;
    put($child->{ask}, $message);
}

sub answered {
    my ($child, $message) = @_;
    # What a method can do each of them says; APT wants to hear it once.
    return if $message =~ /^100 / && $told++;
    $child->{open}-- if $message =~ /^(?:103|201|400) /;
    put(\*STDOUT, $message);
}

$SIG{$_} = sub { leave(100) } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';
start();
my $text = '';
while (1) {
    my $ready = '';
    vec($ready, fileno($_), 1) = 1 for \*STDIN, map { $_->{told} } @children;
    next if select($ready, undef, undef, undef) < 0;
    for my $child (grep { vec($ready, fileno($_->{told}), 1) } @children) {
        sysread($child->{told}, $child->{text}, 65536, length $child->{text}) or leave(100);
        answered($child, $1) while $child->{text} =~ s/^(.*?\n\n)//s;
    }
    if (vec($ready, fileno(STDIN), 1)) {
        sysread(STDIN, $text, 65536, length $text) or leave(0);
        $text =~ s/^\n+//;
        asked($1) while $text =~ s/^(.*?\n\n)\n*//s;
    }
}
"""


@contextmanager
def lent(tree: Path) -> Iterator[None]:
    """Let APT in the tree fetch over several connections for the length of a block.

    A tree without APT, Perl or a plain directory for either file is left alone.
    """
    kinds = _kinds(tree)
    places = [f"{_METHODS}/{_OWN}{kind}" for kind in kinds]
    if not kinds or any(os.path.lexists(confined(tree, path)) for path in (*places, _FILE)):
        yield
        return
    folders = {confined(tree, path): confined(tree, path).stat() for path in (_METHODS, _SETTINGS)}
    written: dict[Path, int] = {}
    try:
        for path in places:
            write_program(confined(tree, path), _PROGRAM, 0o755)
        settings = "".join(f'Dir::Bin::Methods::{kind} "{_METHODS}/{_OWN}{kind}";\n'
                           for kind in kinds)  # fmt: skip
        write_program(confined(tree, _FILE), settings.encode(), 0o644)
        written = {folder: folder.stat().st_mtime_ns for folder in folders}
        yield
    finally:
        unchanged = {folder for folder, then_ns in written.items() if _time_of(folder) == then_ns}
        for path in (*places, _FILE):
            _remove(tree, path)
        for folder in unchanged:
            before = folders[folder]
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def _time_of(folder: Path) -> int:
    """When a directory was changed last; 0 for what is none any more."""
    with contextlib.suppress(OSError):
        status = folder.lstat()
        return status.st_mtime_ns if stat.S_ISDIR(status.st_mode) else 0
    return 0


def _kinds(tree: Path) -> list[str]:
    """The methods of the tree that a program can lie in front of."""
    try:
        if not all(_is_plain_directory(tree, folder) for folder in (_METHODS, _SETTINGS)):
            return []
        if not confined(tree, _INTERPRETER, follow_last=True).is_file():
            return []
        return [kind for kind in _KINDS
                if confined(tree, f"{_METHODS}/{kind}", follow_last=True).is_file()]  # fmt: skip
    except (ConfinedPathError, OSError):
        return []


def _is_plain_directory(tree: Path, folder: str) -> bool:
    place = confined(tree, folder)
    return os.path.lexists(place) and stat.S_ISDIR(place.lstat().st_mode)


def _remove(tree: Path, path: str) -> None:
    with contextlib.suppress(ConfinedPathError, FileNotFoundError, NotADirectoryError):
        confined(tree, path).unlink()
