"""harness/datadriven.py: files of cases are read, compared and written anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.datadriven import Directive, FileError, files, parse_command, run_file, run_text

STORY = """\
# Two commands, the second with input.
add left=1 right=2
----
3

shout twice
hello
world
----
----
HELLO

WORLD
----
----

# Nothing is printed here.
silent
----
"""


def handler(directive: Directive) -> str:
    """Run the commands of the story above."""
    if directive.command == "add":
        return str(directive.number("left") + directive.number("right", 0))
    if directive.command == "shout":
        directive.has("twice")
        return directive.input.upper().replace("\n", "\n\n", 1)
    return ""


def test_a_story_that_holds() -> None:
    written, differences = run_text(STORY, "story", handler)
    assert differences == []
    assert written == STORY


def test_a_difference_says_where_and_what() -> None:
    _, differences = run_text(STORY.replace("\n3\n", "\n4\n"), "story", handler)
    assert len(differences) == 1
    assert differences[0].startswith("story:2: add\n")
    assert "-4" in differences[0]
    assert "+3" in differences[0]


def test_a_file_fails_or_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    wrong = STORY.replace("\n3\n", "\n4\n").replace("WORLD\n", "")
    path.write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match="--rewrite"):
        run_file(path, handler)
    assert path.read_text(encoding="utf-8") == wrong
    run_file(path, handler, rewrite=True)
    assert path.read_text(encoding="utf-8") == STORY
    run_file(path, handler)
    assert files(tmp_path) == [path]
    with pytest.raises(FileError, match="no file"):
        files(tmp_path / "elsewhere")


def test_output_that_was_missing_or_is_gone_is_written() -> None:
    assert run_text("a\n----\n", "f", lambda _: "new")[0] == "a\n----\nnew\n"
    assert run_text("a\n----\nold\n\nb\n----\n", "f", lambda _: "")[0] == "a\n----\n\nb\n----\n"
    assert run_text("a\n----\n", "f", lambda _: "x\n----")[0] == (
        "a\n----\n----\nx\n----\n----\n----\n"
    )


@pytest.mark.parametrize(
    ("line", "command", "arguments"),
    [
        ("a", "a", {}),
        ("a flag", "a", {"flag": []}),
        ("a k=v", "a", {"k": ["v"]}),
        ("a k=", "a", {"k": [""]}),
        ("a k=()", "a", {"k": []}),
        ("a k=(1 2 3)", "a", {"k": ["1", "2", "3"]}),
        ("a k=(1,4, 5)", "a", {"k": ["1", "4", "5"]}),
        ("a k=(1:7 2:3) l=-1", "a", {"k": ["1:7", "2:3"], "l": ["-1"]}),
        ('a k="two words"  l="" ', "a", {"k": ["two words"], "l": [""]}),
        ("begin-change voters=(1)", "begin-change", {"voters": ["1"]}),
    ],
)
def test_parse_command(line: str, command: str, arguments: dict[str, list[str]]) -> None:
    assert parse_command(line, "f:1") == (command, arguments)


@pytest.mark.parametrize(
    "line", ["k=v", "a k=(1", "a k=1)", 'a k="x', "a k=v k=w", "a (1)", "a k=(1)x"]
)
def test_a_line_that_cannot_be_read_says_where(line: str) -> None:
    with pytest.raises(FileError, match="f:7"):
        parse_command(line, "f:7")


@pytest.mark.parametrize("text", ["a\n", "a\ninput\n", "a\n----\n----\nx\n----\n"])
def test_a_case_that_does_not_end_says_where(text: str) -> None:
    with pytest.raises(FileError, match="f:1"):
        run_text(text, "f", lambda _: "")


def directive(line: str) -> Directive:
    """Make a directive of a line."""
    command, arguments = parse_command(line, "f:1")
    return Directive(command, arguments, "", "", "f:1")


def test_reading_arguments() -> None:
    made = directive("a n=3 ns=(1 2) t=x ps=(1:7 2:-3) flag")
    assert made.number("n") == 3
    assert made.numbers("ns") == [1, 2]
    assert made.text("t") == "x"
    assert made.pairs("ps") == {1: 7, 2: -3}
    assert made.unread() == ["flag"]
    assert made.has("flag")
    assert made.unread() == []
    assert made.number("no", 4) == 4
    assert made.numbers("no", [5]) == [5]
    assert made.text("no", "y") == "y"
    assert made.pairs("no", {1: 2}) == {1: 2}
    assert not made.has("no")


def test_arguments_that_are_wrong_say_where() -> None:
    made = directive("a n=x ns=(1 2) ps=(1)")
    for read in (
        lambda: made.number("n"),
        lambda: made.number("ns"),
        lambda: made.number("missing"),
        lambda: made.texts("missing"),
        lambda: made.pairs("ps"),
        lambda: made.pairs("missing"),
    ):
        with pytest.raises(FileError, match="f:1"):
            read()


def test_an_argument_that_nobody_reads_is_a_mistake() -> None:
    with pytest.raises(FileError, match="lfet"):
        run_text("silent lfet=1\n----\n", "f", handler)


def test_rewrite_is_off_unless_asked_for(rewrite: bool, request: pytest.FixtureRequest) -> None:
    assert rewrite is bool(request.config.getoption("--rewrite"))
