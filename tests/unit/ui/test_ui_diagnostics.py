"""How errors look: the place, the line, a caret below exactly what is at fault."""

import pytest

from goldsmith.errors import (
    Diagnostic,
    GoldsmithError,
    MissingToolError,
    Position,
    Severity,
    SourceRange,
    TemplateError,
)
from goldsmith.ui.diagnostics import WIDTH, render_diagnostics, render_error


def at(start, end, filename="t.hcl"):
    return SourceRange(filename, Position(*start, 0), Position(*end, 0))


def shown(text, start, end):
    """The line with carets that a finding at this stretch of the text shows."""
    found = Diagnostic("Wrong", range=at(start, end))
    lines = render_diagnostics([found], {"t.hcl": text}).split("\n")
    assert lines[:3] == ["Error: Wrong", "", f"  on t.hcl:{start[0]}:{start[1]}:"]
    return lines[3:]


def test_a_finding_has_head_place_line_caret_and_detail():
    found = Diagnostic("Unsupported argument", 'An argument "x" is not expected.',
                       at((2, 3), (2, 4)), subject='source "image" "a"')  # fmt: skip
    assert render_diagnostics([found], {"t.hcl": "a {\n  x = 1\n}\n"}) == (
        "Error: Unsupported argument\n"
        "\n"
        '  on t.hcl:2:3, in source "image" "a":\n'
        "   2:   x = 1\n"
        "        ^\n"
        "\n"
        'An argument "x" is not expected.'
    )


@pytest.mark.parametrize(
    ("text", "start", "end", "lines"),
    [
        ("abc = 12", (1, 7), (1, 9), ["   1: abc = 12", "            ^^"]),
        ("\tx\t= 1", (1, 2), (1, 3), ["   1:     x    = 1", "          ^"]),
        ("a\tb", (1, 1), (1, 4), ["   1: a    b", "      ^^^^^^"]),
        ("a = [\n1,\n]", (1, 5), (3, 2), ["   1: a = [", "          ^"]),
        ("name = 名前", (1, 8), (1, 10), ["   1: name = 名前", "             ^^^^"]),
        ('"名" = x', (1, 7), (1, 8), ['   1: "名" = x', "             ^"]),
        ('"e\u0301" = x', (1, 8), (1, 9), ['   1: "e\u0301" = x', "            ^"]),
        ("ab", (1, 3), (1, 3), ["   1: ab", "        ^"]),
        ("ab", (1, 3), (2, 1), ["   1: ab", "        ^"]),
        ("a\r\nbcd\r\n", (2, 2), (2, 4), ["   2: bcd", "       ^^"]),
        ("\n", (1, 1), (1, 1), ["   1: ", "      ^"]),
        ("a\n" * 99_999 + "z", (100_000, 1), (100_000, 2), ["100000: z", "        ^"]),
    ],
)
def test_carets_are_below_what_is_at_fault(text, start, end, lines):
    assert shown(text, start, end) == lines


def test_a_line_that_is_not_at_hand_is_left_out():
    assert shown("one line", (7, 1), (7, 2)) == []
    found = Diagnostic("Wrong", range=at((1, 1), (1, 2), "other.hcl"))
    assert render_diagnostics([found], {}) == "Error: Wrong\n\n  on other.hcl:1:1:"


def test_findings_stand_apart_and_warnings_say_so():
    found = [Diagnostic("One"), Diagnostic("Two", "why", severity=Severity.WARNING)]
    assert render_diagnostics(found, {}) == "Error: One\n\nWarning: Two\n\nwhy"


def test_long_details_are_wrapped_between_words_and_keep_their_lines():
    word = "x" * (WIDTH + 5)
    detail = "many words " * 20 + f"\n{word}\n\nlast"
    lines = render_diagnostics([Diagnostic("S", detail)], {}).split("\n")
    assert lines[-3:] == [word, "", "last"]
    assert all(len(line) <= WIDTH for line in lines if line != word)
    assert " ".join(lines[2:-3]).split() == ["many", "words"] * 20


@pytest.mark.parametrize("column", [1, 50, 5_000, 100_000])
def test_of_a_very_long_line_only_the_place_is_shown(column):
    line = "x" * (column - 1) + "!" * 300 + "y" * 50_000
    start = Position(1, column, column - 1)
    where = SourceRange("t", start, Position(1, column + 300, column + 299))
    text = render_diagnostics([Diagnostic("Bad", "z" * 100_000, where)], {"t": line})
    shown, carets = (one[6:] for one in text.split("\n")[3:5])
    assert shown[carets.index("^")] == "!" and carets.count("^") > 100
    assert len(text) < 3_000 and len(shown) <= 206


def test_colour_paints_the_head_only():
    text = render_diagnostics([Diagnostic("Bad", "why")], {}, color=True)
    assert text == "\033[1;31mError:\033[0m \033[1mBad\033[0m\n\nwhy"


def test_a_template_error_shows_all_its_findings():
    error = TemplateError([Diagnostic("One", range=at((1, 1), (1, 2))), Diagnostic("Two")],
                          {"t.hcl": "x"})  # fmt: skip
    assert render_error(error) == ("Error: One\n\n  on t.hcl:1:1:\n   1: x\n      ^\n\nError: Two")


def test_an_error_has_its_notes_and_its_remedy():
    error = MissingToolError("mkfs.xfs", "xfsprogs")
    error.add_note("cleanup failed: unmount /x: busy")
    assert render_error(error) == (
        "Error: mkfs.xfs is not installed on this host\n"
        "  cleanup failed: unmount /x: busy\n"
        "  -> apt-get install xfsprogs"
    )
    assert render_error(GoldsmithError("plain")) == "Error: plain"
    painted = render_error(error, color=True).split("\n")
    assert painted[0].startswith("\033[1;31mError:\033[0m ")
    assert painted[2] == "  \033[1m->\033[0m apt-get install xfsprogs"


@pytest.mark.parametrize("sources", [{"folder": ""}, {}])
def test_what_is_wrong_with_a_whole_file_has_no_line(sources):
    found = Diagnostic("Cannot read", "No such file.", at((1, 1), (1, 1), "folder"))
    assert render_diagnostics([found], sources) == (
        "Error: Cannot read\n\n  on folder:\n\nNo such file."
    )


def test_nothing_reaches_the_terminal_raw():
    raw = "\x1b[2J\x07\x9b\u202e"
    escaped = r"\x1b[2J\x07\x9b\u202e"
    place = at((1, 9), (1, 10), f"{raw}.hcl")
    found = Diagnostic(f"S{raw}", f"D{raw}", place, subject=raw)
    assert render_diagnostics([found], {f"{raw}.hcl": f"{raw}\tb"}) == (
        f"Error: S{escaped}\n\n  on {escaped}.hcl:1:9, in {escaped}:\n"
        f"   1: {escaped}    b\n      {' ' * (len(escaped) + 4)}^\n\nD{escaped}"
    )
    error = GoldsmithError(f"M{raw}\nsecond", hint=f"H{raw}")
    error.add_note(f"N{raw}")
    assert render_error(error) == (f"Error: M{escaped}\nsecond\n  N{escaped}\n  -> H{escaped}")


def test_letters_of_all_languages_stay():
    found = Diagnostic("\u00c4rger \u540d", "e\u0301 \u2026")
    assert render_diagnostics([found], {}) == "Error: \u00c4rger \u540d\n\ne\u0301 \u2026"
