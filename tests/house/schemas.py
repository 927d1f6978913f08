"""Writes raftctl/schemas.json: the JSON Schema of every answer that raftctl gives to programs.

``python -m tests.house.schemas`` writes it; a test compares. What comes from the admin protocol is
made from its descriptors, with the comments of the .proto files as descriptions, by the same rules
as ``raftctl.jsonable``; what raftctl puts together itself is told in ``ANSWERS``. A message inside
a message is a reference, so that one may hold itself (StatusReply does, through MemberAnswer).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from raftctl.commands.schema import references
from raftctl.output import SCHEMA
from raftwire.proto import admin_pb2 as wire
from raftwire.proto import kv_pb2 as kv
from tests.house.protos import comments
from tests.house.tree import ROOT

Schema = dict[str, Any]

TARGET: Final = ROOT / "raftctl" / "schemas.json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


# ---- building blocks -----------------------------------------------------------------------------

UINT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
TEXT: Final[Schema] = {"type": "string"}
BOOL: Final[Schema] = {"type": "boolean"}
BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
HEX: Final[Schema] = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}


def array(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def mapping(value: Schema) -> Schema:
    """Return the schema of an object with any keys."""
    return {"type": "object", "additionalProperties": value}


def or_null(schema: Schema) -> Schema:
    """Return a schema that takes null as well."""
    return {"anyOf": [schema, {"type": "null"}]}


def words(*values: str) -> Schema:
    """Return the schema of a string out of a fixed set."""
    return {"enum": list(values)}


def record(
    base: Schema | None = None, /, optional: dict[str, Schema] | None = None, **required: Schema
) -> Schema:
    """Return the schema of an object with these fields and no others, on top of another one's."""
    properties = dict(base["properties"]) if base else {}
    needed = list(base["required"]) if base else []
    properties |= required | (optional or {})
    needed += [name for name in required if name not in needed]
    made: Schema = {"type": "object", "additionalProperties": False}
    if base and "description" in base:
        made["description"] = base["description"]
    return made | {"properties": properties, "required": needed}


def ref(name: str) -> Schema:
    """Return a reference to a shared definition."""
    return {"$ref": f"#/$defs/{name}"}


# ---- messages ------------------------------------------------------------------------------------


def message(kind: type[Message], *drop: str) -> Schema:
    """Return what ``to_dict`` makes of a message, without some of its fields."""
    return _message(kind.DESCRIPTOR, frozenset(drop))


def _message(descriptor: Any, drop: frozenset[str] = frozenset()) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for field in descriptor.fields:
        if field.name in drop:
            continue
        name = field.name
        if field.type == FieldDescriptor.TYPE_BYTES and not field.is_repeated:
            # Base64 always, the text beside it when it is UTF-8: see raftctl.jsonable.
            properties[f"{name}_b64"] = _described(field, BASE64)
            properties[name] = {
                "type": "string",
                "description": "The same as text, if it is UTF-8.",
            }
            required.append(f"{name}_b64")
            continue
        properties[name] = _described(field, _field(field))
        required.append(name)
    made = record() | {"properties": properties, "required": required}
    note = comments().get(descriptor.full_name)
    return {"description": note} | made if note else made


def _described(field: FieldDescriptor, schema: Schema) -> Schema:
    note = comments().get(field.full_name)
    return schema | {"description": note} if note else schema


def _field(field: FieldDescriptor) -> Schema:
    if not field.is_repeated:
        one = _scalar(field)
        return or_null(one) if field.message_type is not None else one
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return mapping(_scalar(field.message_type.fields_by_name["value"]))
    return array(_scalar(field))


def _scalar(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        return ref(field.message_type.name)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return {
        FieldDescriptor.CPPTYPE_UINT32: UINT,
        FieldDescriptor.CPPTYPE_UINT64: UINT,
        FieldDescriptor.CPPTYPE_DOUBLE: NUMBER,
        FieldDescriptor.CPPTYPE_BOOL: BOOL,
        FieldDescriptor.CPPTYPE_STRING: BASE64
        if field.type == FieldDescriptor.TYPE_BYTES
        else TEXT,
    }[field.cpp_type]


def _enum(descriptor: Any) -> Schema:
    return words(*(value.name.lower() for value in descriptor.values))


# ---- what raftctl itself puts together -----------------------------------------------------------

ERROR: Final = record(
    code=TEXT | {"description": "Stable name, upper case."},
    message=TEXT | {"description": "What happened, and what it means."},
    hint=TEXT | {"description": "What to do next; may be empty."},
    outcome=words("", *(value.name.lower() for value in wire.Outcome.DESCRIPTOR.values))
    | {"description": "What became of the write, if there was one."},
    retryable=BOOL | {"description": "Whether the same command may succeed later."},
    retry_after_ms=UINT,
    details=mapping(TEXT) | {"description": "Figures behind the message, by name."},
)

ENTRY: Final = record(message(wire.LogEntry), bytes=UINT)
PROPOSED: Final = record(message(wire.ProposeReply), latency_ms=NUMBER, key=TEXT)
MANY_ROW: Final[Schema] = {
    "anyOf": [
        record(PROPOSED, position=UINT),
        record(position=UINT, outcome=words("not_applied", "unknown"), error=ref("CtlError")),
    ]
}
LOG: Final = record(message(wire.LogReadReply), entries=array(ref("Entry")))
CHANGE: Final = message(wire.MemberChangeReply)
CHANGED: Final = ref("MemberChangeReply")
UNCHANGED: Final = record(unchanged={"const": True}, config=ref("Configuration"))
STATUS: Final = message(wire.StatusReply, "members")
NODE: Final[Schema] = {
    "anyOf": [
        record(socket=TEXT, status=ref("NodeStatus")),
        record(socket=TEXT, error=ref("CtlError")),
    ]
}
FINDING: Final = record(check=TEXT, state=words("ok", "warn", "fail"), text=TEXT, advice=TEXT)
TIMES: Final = record(
    count=UINT, rate=NUMBER, min_ms=NUMBER, mean_ms=NUMBER, max_ms=NUMBER,
    p50_ms=NUMBER, p90_ms=NUMBER, p95_ms=NUMBER, p99_ms=NUMBER, p999_ms=NUMBER,
)  # fmt: skip
CERTIFICATE: Final = record(
    path=TEXT, name=TEXT, cluster=TEXT, node_id=or_null(UINT), authority=BOOL, issuer=TEXT,
    serial=TEXT, sha256=TEXT, not_before=TIME, not_after=TIME, not_after_ms={"type": "integer"},
    hosts=array(TEXT),
)  # fmt: skip
CERTIFICATES: Final = record(certificates=array(ref("Certificate")))
STORED_CONFIG: Final = record(
    index=UINT, joint=BOOL, voters=array(UINT), learners=array(UINT), voters_outgoing=array(UINT),
    learners_next=array(UINT), removed=array(UINT),
)  # fmt: skip
REPLICATED: Final = record(
    sessions_max=UINT, session_ttl_ms=UINT, history_count=UINT, history_bytes=UINT,
    history_age_ms=UINT,
)  # fmt: skip
SNAPSHOT_FILE: Final = record(
    cluster_id=HEX, state_machine=TEXT, index=UINT, term=UINT, digest=HEX,
    config=ref("StoredConfiguration"), addresses=mapping(TEXT), settings=ref("Replicated"),
    created_ms=UINT, bytes=UINT, records=UINT, state_bytes=UINT,
)  # fmt: skip
CHECKED: Final = record(
    id=UINT, cluster_id=HEX, first_index=UINT, last_index=UINT, entries=UINT, bytes=UINT,
    commit=UINT, applied=UINT, state_records=UINT, state_bytes=UINT, keys_records=UINT,
    keys_bytes=UINT, snapshots=UINT,
)  # fmt: skip
RAW: Final = record(entry_type=UINT, context=HEX, data=HEX)
DUMPED: Final = record(ENTRY, optional={"raw": RAW})
INFO: Final = record(
    cluster_id=HEX, id=UINT, state_machine=TEXT, format=UINT, created_ms=UINT, opens=UINT,
    term=UINT, vote=UINT, commit=UINT, applied=UINT, applied_term=UINT, digest=HEX,
    log_time_ms=UINT, first_index=UINT, last_index=UINT, last_term=UINT,
    config=ref("StoredConfiguration"), addresses=mapping(TEXT), settings=ref("Replicated"),
    keys=UINT, bytes=UINT,
    snapshots=array(record(file=TEXT, bytes=UINT, index=UINT, term=UINT, created_ms=UINT)),
    recovered_from=or_null(HEX), recovered_ms=or_null(UINT),
)  # fmt: skip
REPORT: Final = record(
    cluster_id=HEX, node_id=UINT, state_machine=TEXT, address=TEXT, term=UINT, vote=UINT,
    commit=UINT, applied=UINT, digest=HEX, first_index=UINT, last_index=UINT, last_term=UINT,
    runs=array(array(UINT)), conf_unapplied=array(UINT), config_index=UINT, voters=array(UINT),
    voters_outgoing=array(UINT), learners=array(UINT), addresses=mapping(TEXT), collected_ms=UINT,
    kind=TEXT, format=UINT, file=or_null(TEXT), report=TEXT,
)  # fmt: skip
PLAN: Final = record(
    old_cluster_id=HEX, new_cluster_id=HEX, node_id=UINT, address=TEXT, last_index=UINT,
    last_term=UINT, applied=UINT, digest=HEX, commit=UINT, conf_unapplied=array(UINT),
    removed=array(UINT), lost=array(UINT), others=array(UINT), may_lose=BOOL, words=array(TEXT),
    planned_ms=UINT, kind=TEXT, format=UINT, file=or_null(TEXT), plan=TEXT,
)  # fmt: skip

PARTS: Final = {
    "Certificate": CERTIFICATE,
    "DumpedEntry": DUMPED,
    "Entry": ENTRY,
    "Entries": LOG,
    "Finding": FINDING,
    "LocalNode": NODE,
    "NodeStatus": STATUS,
    "ManyRow": MANY_ROW,
    "Proposed": PROPOSED,
    "Replicated": REPLICATED,
    "StoredConfiguration": STORED_CONFIG,
}
"""What raftctl puts together and more than one answer holds."""


def _merged(one: Schema, other: Schema) -> Schema:
    return record(one) | {
        "properties": one["properties"] | other["properties"],
        "required": [*one["required"], *other["required"]],
    }


@dataclass(frozen=True)
class Answer:
    """What a command says to programs.

    Attributes:
        data: What stands in ``data`` of its one object; None: it never gives one.
        item: A line of ``-o ndjson``; None: the whole object.
        lines: Whether ``--json`` may give such lines too, because there is no end to them.
        text: It prints no JSON of this form at all: a script, a schema.
    """

    data: Schema | None = None
    item: Schema | None = None
    lines: bool = False
    text: bool = False


def any_of(*schemas: Schema) -> Schema:
    """Return a schema that takes what one of these takes."""
    return {"anyOf": list(schemas)}


def _answers() -> dict[str, Answer]:
    written = _merged(message(wire.ProposeReply, "result"), message(kv.KvResult))
    added = record(CHANGE, start=TEXT)
    many = record(
        ok=UINT, not_applied=UINT, unknown=UINT, per_second=NUMBER, p50_ms=NUMBER, p99_ms=NUMBER,
        results=array(ref("ManyRow")),
    )  # fmt: skip
    bench = record(
        profile=TEXT, clients=UINT, size=UINT, reads_percent=UINT, rate_wanted=NUMBER,
        seconds=NUMBER, rate=NUMBER, writes=TIMES, reads=TIMES, errors=mapping(UINT),
        thresholds=array(record(name=TEXT, value=NUMBER, limit=NUMBER, ok=BOOL)),
        optional={"histogram": TEXT},
    )  # fmt: skip
    top = record(
        error=or_null(TEXT), node=UINT, leader=UINT, term=UINT, health=TEXT, commit=UINT,
        rate=NUMBER, pending=UINT, lag=mapping(UINT),
        times_ms=mapping(record(p50=NUMBER, p99=NUMBER)),
    )  # fmt: skip
    logged = ref("Entries"), ref("Entry")
    changed = Answer(CHANGED)
    moved = Answer(ref("TransferLeaderReply"))
    return {
        "propose": Answer(any_of(ref("Proposed"), many), ref("ManyRow")),
        "outcome": Answer(record(message(wire.OutcomeReply), key=TEXT)),
        "read-index": Answer(ref("ReadIndexReply")),
        "log show": Answer(*logged),
        "log tail": Answer(*logged, lines=True),
        "log digest": Answer(record(sha256=HEX, first=UINT, last=UINT, entries=UINT)),
        "log stat": Answer(ref("LogStatReply")),
        "kv put": Answer(written),
        "kv get": Answer(
            record(revision=UINT, index=UINT, kv=ref("KeyValue"), optional={"stale_ms": UINT})
        ),
        "kv del": Answer(written),
        "kv cas": Answer(written),
        "kv range": Answer(
            any_of(
                record(
                    revision=UINT,
                    index=UINT,
                    kvs=array(ref("KeyValue")),
                    optional={"stale_ms": UINT},
                ),
                record(revision=UINT, index=UINT, count=UINT, optional={"stale_ms": UINT}),
            ),
            ref("KeyValue"),
        ),
        "kv watch": Answer(item=record(message(kv.KvWatchEvent), revision=UINT), lines=True),
        "status": Answer(
            any_of(ref("NodeStatus"), ref("StatusReply"), record(nodes=array(ref("LocalNode")))),
            any_of(ref("MemberAnswer"), ref("LocalNode")),
        ),
        "progress": Answer(ref("ProgressReply"), ref("ProgressRow")),
        "health": Answer(ref("HealthReply")),
        "wait": Answer(ref("WaitReply")),
        "events": Answer(item=ref("Event"), lines=True),
        "metrics": Answer(record(text=TEXT)),
        "top": Answer(item=top, lines=True),
        "doctor": Answer(
            record(state=words("ok", "warn", "fail"), findings=array(ref("Finding"))),
            ref("Finding"),
        ),
        "bench": Answer(bench),
        "snapshot create": Answer(ref("SnapshotCreateReply")),
        "snapshot list": Answer(ref("SnapshotListReply"), ref("SnapshotInfo")),
        "snapshot save": Answer(record(message(wire.SnapshotInfo), file=TEXT)),
        "snapshot inspect": Answer(record(SNAPSHOT_FILE, sha256=HEX, ok=BOOL)),
        "snapshot restore": Answer(
            record(
                SNAPSHOT_FILE,
                old_cluster_id=HEX,
                id=UINT,
                data_dir=TEXT,
                peers=mapping(TEXT),
                next=TEXT,
            )
        ),
        "compact": Answer(ref("CompactReply")),
        "verify": Answer(ref("VerifyReply"), ref("VerifyRow")),
        "offline info": Answer(INFO),
        "offline log dump": Answer(
            record(
                first_index=UINT,
                last_index=UINT,
                commit=UINT,
                applied=UINT,
                entries=array(ref("DumpedEntry")),
            ),
            ref("DumpedEntry"),
        ),
        "offline check": Answer(CHECKED),
        "recover collect": Answer(REPORT),
        "recover plan": Answer(PLAN),
        "recover apply": Answer(
            record(id=UINT, cluster_id=HEX, backup=TEXT, emptied=array(UINT), resumed=BOOL)
        ),
        "recover verify": Answer(
            record(
                CHECKED,
                old_cluster_id=HEX,
                address=TEXT,
                removed=array(UINT),
                others=array(UINT),
                next=TEXT,
            )
        ),
        "campaign": Answer(ref("CampaignReply")),
        "transfer-leader": moved,
        "step-down": moved,
        "member list": Answer(ref("MemberListReply"), ref("Member")),
        "member status": Answer(ref("MemberStatusReply")),
        "member begin": changed,
        "member finalize": changed,
        "member abort": changed,
        "member change": Answer(
            any_of(CHANGED, record(CHANGE, steps=array(TEXT)), record(UNCHANGED, steps=array(TEXT)))
        ),
        "member add": Answer(record(added, optional={"promoted": {"const": True}})),
        "member add-learner": Answer(added),
        "member promote": changed,
        "member demote": changed,
        "member remove": changed,
        "member replace": Answer(any_of(CHANGED, UNCHANGED)),
        "member set-addr": changed,
        "config show": Answer(ref("ConfigReply"), ref("ConfigItem")),
        "loglevel get": Answer(ref("LogLevelReply")),
        "loglevel set": Answer(ref("LogLevelReply")),
        "reload": Answer(ref("ReloadReply")),
        "debug bundle": Answer(
            record(path=TEXT, bytes=UINT, files=array(TEXT), errors=mapping(TEXT))
        ),
        "tls init": Answer(CERTIFICATE),
        "tls issue": Answer(CERTIFICATES, ref("Certificate")),
        "tls revoke": Answer(record(path=TEXT, serials=array(TEXT), days=UINT)),
        "tls show": Answer(CERTIFICATES, ref("Certificate")),
        "demo": Answer(
            record(
                seconds=NUMBER, failover_ms=NUMBER, last_index=UINT, acknowledged=UINT, equal=BOOL
            )
        ),
        "version": Answer(
            record(
                raftctl=TEXT,
                raftd=or_null(TEXT),
                protocol=or_null(record(min=UINT, max=UINT)),
                optional={"error": TEXT},
            )
        ),
        "completion": Answer(text=True),
        "schema": Answer(text=True),
    }


# ---- the whole -----------------------------------------------------------------------------------


_WHO: Final = {
    "node": UINT | {"description": "Who answers; 0: nobody was asked."},
    "leader": UINT | {"description": "Whom that node takes for the leader; 0: it knows none."},
    "term": UINT,
}
_DATA: Final[Schema] = {"description": "The answer, as the command's own schema says."}


def whole() -> Schema:
    """Return everything: ``$defs`` for the shared parts, ``commands`` for what each one says."""
    shared = {
        "CtlError": ERROR,
        "Success": record(
            schema={"const": SCHEMA},
            ok={"const": True},
            **_WHO,
            as_of=TIME | {"description": "raftctl's clock."},
            data=_DATA,
            optional={"cluster_id": HEX},
        ),
        "Failure": record(
            schema={"const": SCHEMA},
            ok={"const": False},
            error=ref("CtlError"),
            # A check that fails says what it found all the same.
            optional=_WHO | {"data": _DATA},
        ),
        "Envelope": any_of(ref("Success"), ref("Failure")),
        **PARTS,
    }
    commands = {name: _command(answer) for name, answer in _answers().items()}
    known = {
        one.name: one
        for module in (wire, kv)
        for one in module.DESCRIPTOR.message_types_by_name.values()
    }
    wanted = [*references(commands), *references(shared)]
    while wanted:
        name = wanted.pop()
        if name not in shared:
            shared[name] = _message(known[name])
            wanted += references(shared[name])
    return {
        "$schema": DIALECT,
        "title": f"What raftctl answers with --json and -o ndjson: {SCHEMA}",
        "description": "commands.NAME.json is the schema of the object that --json prints, "
        "commands.NAME.ndjson that of each line of -o ndjson. raftctl schema NAME prints one that "
        "stands alone.",
        "$defs": dict(sorted(shared.items())),
        "commands": dict(sorted(commands.items())),
    }


def _command(answer: Answer) -> Schema:
    if answer.text:
        return {}
    if answer.data is None:
        whole: Schema = ref("Failure")
    else:
        whole = ref("Envelope") | {"properties": {"data": answer.data}}
    lines = whole if answer.item is None else any_of(answer.item, whole)
    return {"json": lines if answer.lines else whole, "ndjson": lines}


def text() -> str:
    """Return the content of the file: a line for each definition and command."""
    made = whole()
    parts = []
    for key, value in made.items():
        if isinstance(value, dict):
            lines = (f"  {json.dumps(k)}: {_compact(v)}" for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n }")
        else:
            parts.append(f" {json.dumps(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Write the file if it is not as it should be."""
    made = text()
    if not TARGET.exists() or TARGET.read_text() != made:
        TARGET.write_text(made)
        sys.stdout.write(f"wrote {TARGET.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
