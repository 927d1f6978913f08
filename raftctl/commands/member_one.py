"""``raftctl member add``, ``promote``, ``remove`` and the like: changes of one member."""

from __future__ import annotations

import click

from raftctl import changing
from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import ADDRESS, ADDRESSES, ID_MAX, NODE_ID
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Call, MemberKind
from raftwire.errors import Code
from raftwire.proto.admin_pb2 import MemberChangeReply, ProgressReply

_id = click.argument("id_", metavar="ID", type=NODE_ID)
_address = click.argument("address", metavar="[HOST:PORT]", type=ADDRESS, required=False)
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


@command("add")
@_id
@_address
@click.option("--voter", is_flag=True, help="Make it a voter at once, before it has caught up.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is a voter.")
@_expect
@_dry_run
@_unsafe
@pass_session
def add(
    session: Session,
    *,
    id_: int,
    address: str | None,
    voter: bool,
    no_wait: bool,
    expect_config: int | None,
    dry_run: bool,
    unsafe: bool,
) -> None:
    """Add a node to the group.

    It joins as a learner, which costs the group nothing, and becomes a voter by itself when it
    has caught up. HOST:PORT is not needed for a node that runs with --join and has announced
    itself. Prints the command that starts the new node.
    """
    if voter and not dry_run:
        session.confirm(f"Count node {id_} in the majority at once, before it has caught up?")
    request = admin.member_change(
        "add_voter" if voter else "add",
        member=id_,
        addr=address or "",
        expect_config=expect_config or 0,
        dry_run=dry_run,
        unsafe=unsafe,
    )
    how = f"Run the same command again to go on waiting; node {id_} is promoted in any case."
    try:
        reply = changing.ask(session, request)
    except CtlError as error:
        if error.code != Code.MEMBER_EXISTS or dry_run or not _go_on(session, id_, no_wait, how):
            raise
        return
    line = changing.start_line(id_, address or reply.addrs.get(id_, ""), dict(reply.addrs))
    out = session.out
    if not dry_run:
        out.note(f"if it does not run yet, start it with: {line}")
    if voter or no_wait or dry_run:
        what = f"ADDED {id_} as a {'voter' if voter else 'learner to be promoted'}"
        changing.show(session, reply, changing.headline(what, reply), extra={"start": line})
        return
    _wait_promoted(session, id_, how)
    headline = f"ADDED {id_} as a voter"
    changing.show(session, reply, headline, extra={"start": line, "promoted": True})


def _go_on(session: Session, id_: int, no_wait: bool, how: str) -> bool:
    """Go on with an addition that was begun before; False if there is none of this node."""
    config = changing.progress(session).config
    waits = id_ in config.promotable
    if not waits and (config.joint or id_ not in config.voters):
        return False
    words = f"nothing to do: node {id_} is a voter already"
    if waits and no_wait:
        words = f"nothing to do: node {id_} is a learner to be promoted already"
    elif waits:
        session.out.note(f"node {id_} was added before and catches up: going on from there")
        _wait_promoted(session, id_, how)
        words = f"ADDED {id_} as a voter"
    data = {"unchanged": True, "config": to_dict(config)}
    session.out.result(session.meta, data, lambda: session.out.line(words))
    return True


def _wait_promoted(session: Session, id_: int, how: str) -> None:
    with changing.resumable(session, how):
        changing.wait_for(
            session, "catching up", (id_,), lambda view: id_ in view.config.voters, hint=how
        )


@command("add-learner")
@_id
@_address
@_expect
@_dry_run
@pass_session
def add_learner(
    session: Session, *, id_: int, address: str | None, expect_config: int | None, dry_run: bool
) -> None:
    """Add a node that follows the log but is no part of any majority."""
    request = admin.member_change(
        "add_learner",
        member=id_,
        addr=address or "",
        expect_config=expect_config or 0,
        dry_run=dry_run,
    )
    reply = changing.ask(session, request)
    line = changing.start_line(id_, address or reply.addrs.get(id_, ""), dict(reply.addrs))
    if not dry_run:
        session.out.note(f"if it does not run yet, start it with: {line}")
    what = changing.headline(f"ADDED {id_} as a learner", reply)
    changing.show(session, reply, what, extra={"start": line})


@command("promote")
@_id
@click.option("--wait", is_flag=True, help="First wait until it has caught up.")
@_expect
@_dry_run
@pass_session
def promote(
    session: Session, *, id_: int, wait: bool, expect_config: int | None, dry_run: bool
) -> None:
    """Make a learner a voter; refused while it is too far behind."""
    if wait and not dry_run:

        def done(view: ProgressReply) -> bool:
            return any(row.id == id_ and changing.caught_up(row) for row in view.rows)

        hint = f"see: raftctl progress; run it again: raftctl member promote {id_} --wait"
        with changing.resumable(session, "Nothing was changed; run it again to go on."):
            changing.wait_for(session, "catching up", (id_,), done, hint=hint)
    _simple(session, "promote", "PROMOTED", id_, expect_config=expect_config, dry_run=dry_run)


@command("demote")
@_id
@_expect
@_dry_run
@_unsafe
@pass_session
def demote(
    session: Session, *, id_: int, expect_config: int | None, dry_run: bool, unsafe: bool
) -> None:
    """Make a voter a learner."""
    _simple(
        session,
        "demote",
        "DEMOTED",
        id_,
        expect_config=expect_config,
        dry_run=dry_run,
        unsafe=unsafe,
    )


@command("remove")
@_id
@_expect
@_dry_run
@_unsafe
@pass_session
def remove(
    session: Session, *, id_: int, expect_config: int | None, dry_run: bool, unsafe: bool
) -> None:
    """Take a member out of the group; its id may not come back.

    To put another node in its place, use `raftctl member replace`: that never lets the group
    be smaller in between.
    """
    if not dry_run:
        session.confirm(f"Take node {id_} out of the group? Its id can never be used again.")
    _simple(
        session,
        "remove",
        "REMOVED",
        id_,
        expect_config=expect_config,
        dry_run=dry_run,
        unsafe=unsafe,
    )


@command("replace")
@click.argument("old", metavar="OLD", type=NODE_ID)
@click.argument("new", metavar="NEW[=HOST:PORT]")
@_dry_run
@_unsafe
@pass_session
def replace(session: Session, *, old: int, new: str, dry_run: bool, unsafe: bool) -> None:
    """Put a new node in the place of a member.

    The new node joins as a learner and catches up, then one joint change puts it in the place
    of the old one, which may be dead. Running the same command again goes on where an
    interrupted one was.
    """
    new_id, address = _new_node(new)

    def replacement(dry_run: bool) -> Call[MemberChangeReply]:
        return admin.member_change(
            "replace",
            member=old,
            new_member=new_id,
            addr=address,
            dry_run=dry_run,
            unsafe=unsafe,
            wait=True,
        )

    if not dry_run:
        session.confirm(f"Put node {new_id} in the place of node {old}, for good?")
        config = changing.progress(session).config
        if old not in {*config.voters, *config.learners} and new_id in config.voters:
            data = {"unchanged": True, "config": to_dict(config)}
            done = f"nothing to do: node {new_id} is in the place of node {old} already"
            session.out.result(session.meta, data, lambda: session.out.line(done))
            return
        # What cannot end well does not begin: nobody is added for it.
        changing.ask(session, replacement(dry_run=True))
        how = "What was done stays done; run the same command again to go on."
        with changing.resumable(session, how):
            if new_id not in {*config.voters, *config.learners}:
                learner = admin.member_change("add_learner", member=new_id, addr=address)
                added = changing.ask(session, learner)
                line = changing.start_line(
                    new_id, address or added.addrs.get(new_id, ""), dict(added.addrs)
                )
                session.out.note(f"added {new_id} as a learner at index {added.index}")
                session.out.note(f"if it does not run yet, start it with: {line}")
            _wait_caught_up(session, new_id, how)
    reply = changing.ask(session, replacement(dry_run))
    changing.show(session, reply, changing.headline(f"REPLACED {old} by {new_id}", reply))


@command("set-addr")
@_id
@click.argument("address", metavar="HOST:PORT", type=ADDRESS)
@pass_session
def set_addr(session: Session, *, id_: int, address: str) -> None:
    """Tell the group where a member listens now; the address is replicated."""
    request = admin.member_change("set_addr", member=id_, addr=address)
    reply = changing.ask(session, request)
    session.out.result(
        session.meta,
        to_dict(reply),
        lambda: session.out.line(f"node {id_} is at {address} as of index {reply.index}"),
    )


def _simple(
    session: Session,
    kind: MemberKind,
    done: str,
    id_: int,
    *,
    expect_config: int | None,
    dry_run: bool,
    unsafe: bool = False,
) -> None:
    request = admin.member_change(
        kind,
        member=id_,
        expect_config=expect_config or 0,
        dry_run=dry_run,
        unsafe=unsafe,
        wait=True,
    )
    reply = changing.ask(session, request)
    changing.show(session, reply, changing.headline(f"{done} {id_}", reply))


def _wait_caught_up(session: Session, id_: int, hint: str) -> None:
    def done(view: ProgressReply) -> bool:
        return any(row.id == id_ and changing.caught_up(row) for row in view.rows)

    changing.wait_for(session, "catching up", (id_,), done, hint=hint)


def _new_node(text: str) -> tuple[int, str]:
    if "=" in text:
        found: dict[int, str] = ADDRESSES.convert(text, None, click.get_current_context())
        if len(found) != 1:
            raise CtlError("USAGE", f"{text!r} names more than one node.", hint="NEW=HOST:PORT")
        return next(iter(found.items()))
    return NODE_ID.convert(text, None, click.get_current_context()), ""
