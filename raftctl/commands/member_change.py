"""``raftctl member change``, ``begin``, ``finalize`` and ``abort``: the joint change."""

from __future__ import annotations

import click

from raftctl import changing
from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import ADDRESSES, ID_MAX, NODE_ID, NODE_IDS
from raftctl.session import Session, pass_session
from raftctl.views import config_text
from raftwire import admin
from raftwire.admin import Call, Configuration
from raftwire.errors import Code
from raftwire.proto.admin_pb2 import MemberChangeReply, ProgressReply, ProgressRow

_voters = click.option(
    "--voters", type=NODE_IDS, required=True, metavar="IDS", help="All voters of the new group."
)
_learners = click.option(
    "--learners",
    type=NODE_IDS,
    default="",
    metavar="IDS",
    help="All learners of the new group; who is in neither list leaves.",
)
_addr = click.option(
    "--addr",
    "addrs",
    type=ADDRESSES,
    default={},
    metavar="ID=HOST:PORT,...",
    help="Where new nodes listen; not needed for those that have announced themselves.",
)
_successor = click.option(
    "--successor",
    type=NODE_ID,
    metavar="ID",
    help="Who is to lead if the leader leaves; else the voter whose log is furthest.",
)
_expect = click.option(
    "--expect-config",
    type=click.IntRange(1, ID_MAX),
    metavar="INDEX",
    help="Refuse unless the configuration is the one that was made at this index.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Check and show, but change nothing.")
_unsafe = click.option(
    "--unsafe", is_flag=True, help="Even if the new majority cannot be reached now."
)


@command("begin")
@_voters
@_learners
@_addr
@_successor
@click.option("--auto-finalize", is_flag=True, help="Leave the joint state as soon as possible.")
@_expect
@_dry_run
@_unsafe
@pass_session
def begin(
    session: Session,
    *,
    voters: tuple[int, ...],
    learners: tuple[int, ...],
    addrs: dict[int, str],
    successor: int | None,
    auto_finalize: bool,
    expect_config: int | None,
    dry_run: bool,
    unsafe: bool,
) -> None:
    """Enter the joint state towards a new group, and stay in it.

    The two lists are the complete new group. While joint, the old and the new majority must
    both agree to everything; new members catch up meanwhile. End it with `raftctl member
    finalize`, or go back with `raftctl member abort`.
    """
    request = admin.member_change(
        "begin",
        voters=voters,
        learners=learners,
        addrs=addrs,
        successor=successor or 0,
        auto_finalize=auto_finalize,
        expect_config=expect_config or 0,
        dry_run=dry_run,
        unsafe=unsafe,
    )
    reply = changing.ask(session, request)
    advice = "" if auto_finalize else "run: raftctl member finalize (or: raftctl member abort)"
    changing.show(session, reply, changing.headline("JOINT", reply), advice=advice)


@command("finalize")
@click.option("--wait", is_flag=True, help="First wait until the new members have caught up.")
@_dry_run
@_unsafe
@pass_session
def finalize(session: Session, *, wait: bool, dry_run: bool, unsafe: bool) -> None:
    """Leave the joint state: from now on the new group decides alone.

    There is no way back from here, so it is refused while the new majority cannot be reached.
    """
    if wait and not dry_run:
        config = _config(session)
        if config.joint:
            ids = tuple(sorted({*config.voters, *config.learners} - {*config.voters_outgoing}))
            with changing.resumable(session, "The group is still joint; run it again to go on."):
                _catch_up(session, ids)
    request = admin.member_change("finalize", dry_run=dry_run, unsafe=unsafe, wait=True)
    reply = changing.ask(session, request)
    changing.show(session, reply, changing.headline("FINALIZED", reply))


@command("abort")
@click.option(
    "--campaign",
    is_flag=True,
    help="Do not wait for a leader: have this node campaign under the old majority alone.",
)
@_dry_run
@pass_session
def abort(session: Session, *, campaign: bool, dry_run: bool) -> None:
    """Leave the joint state for the old group.

    The old majority is enough, even if the new one is dead. Works as long as the change is not
    finalized. If there is no leader and none is elected, the old voters campaign for it, one after
    the other; --campaign has this node do so at once.
    """
    if not dry_run:
        session.confirm("Go back to the group as it was before the change?")
    request = admin.member_change("abort", campaign=campaign, dry_run=dry_run, wait=True)
    reply = changing.ask(session, request)
    changing.show(session, reply, changing.headline("ABORTED", reply))


@command("change")
@_voters
@_learners
@_addr
@_successor
@_expect
@_dry_run
@_unsafe
@pass_session
def change(
    session: Session,
    *,
    voters: tuple[int, ...],
    learners: tuple[int, ...],
    addrs: dict[int, str],
    successor: int | None,
    expect_config: int | None,
    dry_run: bool,
    unsafe: bool,
) -> None:
    """Reshape the group, from start to end.

    New voters first join as learners and catch up, then one joint change puts the new group in
    place of the old. An interrupted change is taken up where it was by running the same command
    again.
    """
    out = session.out

    def whole(expected: int, dry_run: bool = False) -> Call[MemberChangeReply]:
        return admin.member_change(
            "change",
            voters=voters,
            learners=learners,
            addrs=addrs,
            successor=successor or 0,
            expect_config=expected,
            dry_run=dry_run,
            unsafe=unsafe,
            wait=True,
        )

    if dry_run:
        changing.show(session, changing.ask(session, whole(expect_config or 0, dry_run=True)), "")
        return
    config = _config(session)
    _check_expected(config, expect_config)
    steps: list[str] = []
    if config.joint:
        if not _is_target(config, voters, learners):
            raise CtlError(
                Code.ALREADY_JOINT,
                f"another change is going on: {config_text(config)}.",
                details={"config_index": str(config.index)},
            )
        out.note("the group is joint towards this target already: going on from there")
        finish = admin.member_change("finalize", unsafe=unsafe, wait=True)
        reply = changing.ask(session, finish)
        changing.show(session, reply, changing.headline("DONE", reply), extra={"steps": steps})
        return
    if {*config.voters} == {*voters} and {*config.learners} == {*learners}:
        data = {"unchanged": True, "config": to_dict(config), "steps": steps}
        out.result(session.meta, data, lambda: out.line(f"nothing to do: {config_text(config)}"))
        return
    # What cannot end well does not begin: nobody is added for it.
    expected = expect_config or 0
    changing.ask(session, whole(expected, dry_run=True))
    newcomers = sorted({*voters} - {*config.voters} - {*config.learners})
    how = "What was done stays done; run the same command again to go on."
    with changing.resumable(session, how):
        for id_ in newcomers:
            learner = admin.member_change(
                "add_learner", member=id_, addr=addrs.get(id_, ""), expect_config=expected
            )
            added = changing.ask(session, learner)
            # From here on the configuration to start from is the one just made.
            expected = added.index if expect_config else 0
            steps.append(f"added {id_} as a learner at index {added.index}")
            out.note(steps[-1])
        joining = tuple(sorted({*voters} - {*config.voters}))
        if joining:
            _catch_up(session, joining, or_silent=unsafe)
            steps.append(f"{', '.join(str(i) for i in joining)} caught up")
            out.note(steps[-1])
        reply = changing.ask(session, whole(expected))
    changing.show(session, reply, changing.headline("DONE", reply), extra={"steps": steps})


def _catch_up(session: Session, ids: tuple[int, ...], *, or_silent: bool = False) -> None:
    def ready(row: ProgressRow) -> bool:
        return changing.caught_up(row) or (or_silent and not row.recent_active)

    def done(reply: ProgressReply) -> bool:
        rows = {row.id: row for row in reply.rows}
        return all(id_ in rows and ready(rows[id_]) for id_ in ids)

    hint = "are the new nodes running (raftd --join)? run the same command again to go on"
    changing.wait_for(session, "catching up", ids, done, hint=hint)


def _config(session: Session) -> Configuration:
    # The leader's view: a node that lags would compare with a configuration of the past.
    return changing.progress(session).config


def _check_expected(config: Configuration, expected: int | None) -> None:
    if expected and config.index != expected:
        raise CtlError(
            Code.PRECONDITION,
            f"the configuration was made at index {config.index}, not at {expected}: somebody "
            f"else changed it. Now: {config_text(config)}.",
            details={"config_index": str(config.index)},
        )


def _is_target(config: Configuration, voters: tuple[int, ...], learners: tuple[int, ...]) -> bool:
    return {*config.voters} == {*voters} and {*config.learners, *config.learners_next} == {
        *learners
    }
