"""``raftctl schema``: what the answers to programs look like, as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.session import Session, pass_session

_PREFIX = "#/$defs/"


@command("schema")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@pass_session
def schema(session: Session, names: tuple[str, ...]) -> None:
    """Print the JSON Schema of a command's --json answer, or of all of them.

    With -o ndjson it is that of each line of -o ndjson. Fields are only ever added within
    raftctl/v1; a reader should take those that it does not know.
    """
    import json

    found = whole()
    if names:
        form = "ndjson" if session.out.format == "ndjson" else "json"
        found = of_command(found, " ".join(names), form)
    session.out.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def whole() -> dict[str, Any]:
    """Return everything: ``$defs`` and ``commands``, as the file that is shipped has it."""
    import json
    from pathlib import Path

    file = Path(__file__).parents[1] / "schemas.json"
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def of_command(everything: dict[str, Any], name: str, form: str) -> dict[str, Any]:
    """Return a schema that stands alone.

    Args:
        everything: From ``whole``.
        name: The command, ``log show``.
        form: ``json`` or ``ndjson``.

    Raises:
        CtlError: It is no command, or one that gives no JSON.
    """
    own = everything["commands"].get(name, {}).get(form)
    if own is None:
        known = ", ".join(n for n, forms in everything["commands"].items() if forms)
        raise CtlError("USAGE", f"{name!r} is no command that answers in JSON.", hint=known)
    parts: dict[str, Any] = {}
    wanted = [*references(own)]
    while wanted:
        part = wanted.pop()
        if part not in parts:
            parts[part] = everything["$defs"][part]
            wanted += references(parts[part])
    head = {"$schema": everything["$schema"], "title": f"raftctl {name}: {form}"}
    return {**head, **own, "$defs": dict(sorted(parts.items()))}


def references(schema: object) -> Iterator[str]:
    """Yield the definitions that a schema refers to."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.removeprefix(_PREFIX)
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)
