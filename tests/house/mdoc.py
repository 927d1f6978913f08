"""Text as mdoc, the language of manual pages: escaped, one sentence a line."""

from __future__ import annotations

import re


def escape(text: str) -> str:
    """Return text so that troff shows it as it is."""
    text = text.replace("\\", "\\e")
    # An option's dashes are typed, not typeset; those inside words may be hyphens.
    text = re.sub(r"(?<![\w-])-{1,2}(?=[\w-]|$)", lambda m: "\\-" * len(m[0]), text)
    text = text.replace("Ctrl-C", "Ctrl\\-C")
    return text.replace("~", "\\(ti").replace("^", "\\(ha")


def sentences(text: str) -> list[str]:
    """Return a paragraph as lines of source: one a sentence, commands in bold."""
    joined = " ".join(text.split())
    lines: list[str] = []
    if not joined:
        return lines
    for sentence in re.split(r"(?<=[.!?]) +", joined):
        shown = escape(sentence)
        shown = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", shown)
        lines.append("\\&" + shown if shown.startswith((".", "'")) else shown)
    return lines


def example(text: str) -> list[str]:
    """Return code as a block that is shown as it is."""
    lines = [".Bd -literal"]
    for line in text.rstrip("\n").splitlines():
        shown = line.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
        shown = shown.replace("^", "\\(ha").replace("`", "\\(ga").replace("'", "\\(aq")
        lines.append("\\&" + shown if shown.startswith((".", "\\(aq")) else shown)
    return [*lines, ".Ed"]
