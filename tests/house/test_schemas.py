"""The JSON Schemas of raftctl's answers: fresh, one for each command, strict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from raftctl.commands.schema import of_command, whole
from raftctl.errors import CtlError
from raftctl.jsonable import to_dict
from raftwire.proto.admin_pb2 import MemberAnswer, StatusReply
from tests.cli.conftest import run_ctl
from tests.harness import answers
from tests.house import schemas
from tests.house.test_shipped import COMMANDS

NAMES = [" ".join(path) for path in COMMANDS]
WITHOUT = {"completion", "schema"}


def test_the_file_is_fresh() -> None:
    assert schemas.TARGET.read_text() == schemas.text(), "run: make manual"


def test_every_command_has_one() -> None:
    found = whole()["commands"]
    assert sorted(found) == sorted(NAMES)
    assert {name for name, forms in found.items() if not forms} == WITHOUT


@pytest.mark.parametrize("form", ["json", "ndjson"])
@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT))
def test_each_is_a_schema_and_stands_alone(name: str, form: str) -> None:
    schema = of_command(whole(), name, form)
    validator: Any = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    envelope = {"schema": "raftctl/v1", "ok": False, "error": {}}
    # Following a reference that leads nowhere would raise something else.
    assert not validator(schema).is_valid(envelope)


def objects(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for n, item in enumerate(schema):
            yield from objects(item, f"{path}/{n}")


def test_no_object_takes_what_it_does_not_name() -> None:
    for path, schema in objects(whole()):
        assert schema.get("additionalProperties", True) is not True, path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path


def test_a_message_within_itself() -> None:
    inner = MemberAnswer(id=2, status=StatusReply(id=2))
    status = to_dict(StatusReply(id=1, members=[inner, MemberAnswer(id=3)]))
    answers.check(("status", "--json"), json.dumps(envelope(status)))
    status["members"][0]["status"]["colour"] = "red"
    with pytest.raises(AssertionError, match="colour"):
        answers.check(("status", "--json"), json.dumps(envelope(status)))


def envelope(data: object) -> dict[str, Any]:
    return {
        "schema": "raftctl/v1", "ok": True, "node": 1, "leader": 1, "term": 1,
        "as_of": "2026-01-01T00:00:00.000Z", "data": data,
    }  # fmt: skip


@pytest.mark.parametrize("place", ["", "data"])
@pytest.mark.parametrize("wrong", ["more", "less"])
def test_the_check_fails_for_what_is_too_much_and_what_is_missing(place: str, wrong: str) -> None:
    answer = envelope({"text": "x"})
    answers.check(("metrics", "--json"), json.dumps(answer))
    target = answer["data"] if place else answer
    if wrong == "more":
        target["unknown"] = 1
    else:
        target.pop("text" if place else "as_of")
    with pytest.raises(AssertionError):
        answers.check(("metrics", "--json"), json.dumps(answer))


@pytest.mark.parametrize(
    ("line", "name", "form"),
    [
        ("-s log --json kv get status", "kv get", "json"),
        ("log show 3..4 -o ndjson", "log show", "ndjson"),
        ("--output ndjson member begin --voters 1,2", "member begin", "ndjson"),
        ("status", "status", "table"),
        ("kv nonsense --json", "kv", "json"),
    ],
)
def test_which_command_was_run(line: str, name: str, form: str) -> None:
    assert answers.what(line.split()) == (name, form)


def test_it_can_be_printed() -> None:
    assert json.loads(run_ctl("schema").out) == whole()
    assert json.loads(run_ctl("schema", "kv", "get").out) == of_command(whole(), "kv get", "json")
    lines = json.loads(run_ctl("schema", "log", "show", "-o", "ndjson").out)
    assert lines == of_command(whole(), "log show", "ndjson")
    ran = run_ctl("schema", "completion")
    assert ran.code == 2
    assert "kv get" in ran.err


def test_no_command_of_that_name() -> None:
    with pytest.raises(CtlError, match="no command"):
        of_command(whole(), "kv", "json")
