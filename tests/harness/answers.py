"""Holds every answer that raftctl gives to a program in a test against the schema of its command.

The schemas are those that are shipped. A key that they do not know fails the test, as does one that
is missing: what scripts read is a promise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import click
import jsonschema

from raftctl.cli import _format_of, cli
from raftctl.commands.schema import of_command, whole
from raftctl.errors import CtlError
from raftctl.group import Group
from raftctl.options import Settings


def check(args: Sequence[str], out: str) -> None:
    """Raise AssertionError if what a run of raftctl wrote is not what its command's schema says.

    Args:
        args: As they were given to raftctl.
        out: Its standard output; whatever is not JSON for programs is not looked at.
    """
    name, form = what(args)
    validator = _validator(name, form) if form in ("json", "ndjson") else None
    if validator is None:
        return
    for line in out.splitlines():
        error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(line)))
        assert error is None, f"raftctl {name} ({form}): {error.json_path}: {error.message}\n{line}"


def what(args: Sequence[str]) -> tuple[str, str]:
    """Return the command's path, ``log show``, and the output format, as click understands them."""
    settings = Settings()
    command: click.Command = cli
    context = cli.make_context("raftctl", list(args), obj=settings, resilient_parsing=True)
    names: list[str] = []
    while isinstance(command, Group):
        rest = [*context._protected_args, *context.args]
        if not rest or (found := command.get_command(context, rest[0])) is None:
            # Nothing that can be run: raftctl guesses the format as well.
            return " ".join(names), _format_of(args)
        names.append(rest[0])
        command = found
        context = found.make_context(rest[0], rest[1:], parent=context, resilient_parsing=True)
    return " ".join(names), settings.output


@cache
def _validator(name: str, form: str) -> Any:
    everything = _schemas()
    try:
        schema = of_command(everything, name, form)
    except CtlError:
        if name in everything["commands"]:
            return None
        schema = {**everything["$defs"]["Failure"], "$defs": everything["$defs"]}
    kind = jsonschema.validators.validator_for(schema)
    return kind(schema)


@cache
def _schemas() -> dict[str, Any]:
    return whole()
