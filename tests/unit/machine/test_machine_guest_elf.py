"""ELF files read without readelf."""

import struct

import pytest
from machine_elf import elf, module, program

from goldsmith.machine.guest_elf import Elf, is_elf
from goldsmith.machine.guest_protocol import GuestError


def test_needed_libraries_and_loader():
    parsed = Elf.parse(program("libc.so.6", "libm.so.6", interpreter="/lib64/ld.so.2"), "p")
    assert parsed.needed() == ("libc.so.6", "libm.so.6")
    assert parsed.interpreter() == "/lib64/ld.so.2"


def test_a_static_program_needs_nothing():
    parsed = Elf.parse(elf(__text=b"code"), "p")
    assert parsed.needed() == ()
    assert parsed.interpreter() is None
    assert parsed.module_facts() == ()
    assert parsed.sections[".text"] == b"code"


def test_module_facts_keep_their_order_and_repetitions():
    parsed = Elf.parse(module("depends=a,b", "alias=fs-x", "alias=char-1=2"), "m")
    assert parsed.module_facts() == (("depends", "a,b"), ("alias", "fs-x"), ("alias", "char-1=2"))


def test_notes_are_found_by_owner_and_kind():
    notes = struct.pack("<III", 6, 6, 1) + b"Linux\0\0\0" + b"abcdef\0\0"
    notes += struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(8)
    parsed = Elf.parse(elf(__notes=notes), "k")
    assert parsed.has_note(b"Xen", 18)
    assert parsed.has_note(b"Linux", 1)
    assert not parsed.has_note(b"Linux", 18)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_other_files_are_refused(data):
    assert not is_elf(data)
    with pytest.raises(GuestError, match="x is not an ELF file"):
        Elf.parse(data, "x")


def test_files_that_are_cut_off_are_refused():
    whole = program("libc.so.6")
    for length in (8, 60, 70, len(whole) - 1):
        with pytest.raises(GuestError, match="x is damaged"):
            Elf.parse(whole[:length], "x")
