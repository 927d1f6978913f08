"""``raftctl verify``: compares what all members have made of the same log."""

from __future__ import annotations

from raftctl.errors import CtlError, ExitCode
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.output import Styled, format_ids
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.errors import Code
from raftwire.proto.admin_pb2 import VerifyReply


@command("verify")
@pass_session
def verify(session: Session) -> None:
    """Compare the members: each has a hash over all it applied, and what came of it.

    The hashes are taken at one entry, which is appended for that. Exits 9 when one differs, and
    says whose: that node must be replaced. Exits 7 when a member did not answer.
    """
    reply = session.call(admin.verify(), timeout=30.0)
    odd = [row.id for row in reply.rows if row.hash and not row.agrees]
    silent = [row for row in reply.rows if not row.hash]
    if odd:
        raise _failed(
            reply,
            Code.CORRUPT,
            f"node {format_ids(odd)} has applied the log to another effect than the others, up to"
            f" entry {reply.index}.",
            f"stop it and replace it: raftctl member replace {odd[0]} NEW=HOST:PORT; keep its data"
            " for a look",
        )
    if silent:
        whose = "; ".join(f"node {row.id}: {row.error.message}" for row in silent)
        raise _failed(
            reply,
            "CHECK_FAILED",
            f"not all members could be compared: {whose}.",
            "the others agree; compare again when it is back",
        )
    out = session.out

    def human() -> None:
        rows = [[str(row.id), row.hash, Styled("same", "green")] for row in reply.rows]
        out.table(["ID", "HASH", ""], rows)
        out.line(f"all members agree as of entry {reply.index}")

    out.result(session.meta, to_dict(reply), human, rows=[to_dict(row) for row in reply.rows])


def _failed(reply: VerifyReply, code: str, message: str, hint: str) -> CtlError:
    exit_code = ExitCode.CORRUPT if code == Code.CORRUPT else ExitCode.CHECK_FAILED
    error = CtlError(code, message, hint=hint, exit_code=exit_code)
    error.data = to_dict(reply)
    return error
