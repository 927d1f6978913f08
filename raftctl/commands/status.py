"""``raftctl status``: a node, and its view of the group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import DURATION
from raftctl.output import Styled, format_bytes, format_ms
from raftctl.session import Session, pass_session, repeat
from raftctl.views import config_label, config_text, health_text, member_role, yes
from raftwire import admin
from raftwire.proto.admin_pb2 import PeerStatus

if TYPE_CHECKING:
    from raftctl.output import Output
    from raftwire.proto.admin_pb2 import StatusReply


@command("status")
@click.option(
    "--cluster",
    is_flag=True,
    help="Have the node ask all members, and show their answers side by side.",
)
@click.option("--all", "all_", is_flag=True, help="Show every node that runs on this host.")
@click.option(
    "-w",
    "--watch",
    type=DURATION,
    is_flag=False,
    flag_value=2.0,
    metavar="[TIME]",
    help="Show it again every TIME (2s when not given) until Ctrl-C.",
)
@pass_session
def status(session: Session, cluster: bool, all_: bool, watch: float | None) -> None:
    """Show a node and its view of the group.

    The node answers from what it knows itself, with a leader or without one, so this works
    when nothing else does.
    """
    if all_:
        repeat(session, watch, lambda: _show_all(session))
    else:
        repeat(session, watch, lambda: _show(session, cluster))


def _show(session: Session, cluster: bool) -> None:
    reply = session.call(admin.status(cluster=cluster))
    # In one order, whoever is asked: the node puts itself first.
    reply.members.sort(key=lambda member: member.id)
    drop = frozenset() if cluster else frozenset({"members"})
    data = to_dict(reply, drop=drop)
    if cluster:
        session.out.result(
            session.meta,
            data,
            lambda: _print_members(session.out, reply),
            rows=[to_dict(member) for member in reply.members],
        )
    else:
        session.out.result(session.meta, data, lambda: _print_one(session, reply))


def _show_all(session: Session) -> None:
    from raftctl.errors import CtlError
    from raftwire import paths

    items: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for path in paths.find_sockets() or session.sockets():
        one = Session(session.settings)
        one.settings.sockets, one.settings.id = (path,), None
        try:
            reply = one.call(admin.status())
            session.meta = one.meta
            items.append({"socket": path, "status": to_dict(reply, drop=frozenset({"members"}))})
            rows.append([*_member_cells(reply), path])
        except CtlError as error:
            items.append({"socket": path, "error": error.as_dict()})
            rows.append(["-", Styled(error.code, "red"), *["-"] * 6, path])
        finally:
            one.close()
    headers = [*MEMBER_HEADERS, "SOCKET"]
    session.out.result(
        session.meta, {"nodes": items}, lambda: session.out.table(headers, rows), rows=items
    )


MEMBER_HEADERS = ("ID", "ROLE", "LEADER", "TERM", "COMMIT", "APPLIED", "LAST", "HEALTH")


def _member_cells(reply: StatusReply) -> list[str]:
    return [
        str(reply.id),
        _role(reply),
        str(reply.leader) if reply.leader else "none",
        str(reply.term),
        str(reply.commit),
        str(reply.applied),
        str(reply.last_index),
        health_text(reply.health),
    ]


def _print_members(out: Output, reply: StatusReply) -> None:
    rows = []
    for member in reply.members:
        if member.HasField("error"):
            rows.append([str(member.id), Styled(member.error.code, "red"), *["-"] * 6, member.addr])
        else:
            rows.append([*_member_cells(member.status), member.addr])
    out.table([*MEMBER_HEADERS, "ADDR"], rows)


def _print_one(session: Session, reply: StatusReply) -> None:
    out = session.out
    config = reply.config
    if reply.role == "leader":
        role = "LEADER"
    elif reply.leader:
        role = f"{reply.role.upper()} of {reply.leader}"
    else:
        role = f"{reply.role.upper()}, no leader"
    health = health_text(reply.health)
    parts = [
        out.style(f"node {reply.id}", "bold"),
        out.style(role, "green" if reply.role == "leader" else "" if reply.leader else "red"),
        f"term {reply.term}",
        f"cluster {reply.cluster_id[:8] or '-'}",
        out.style(health, health.style),
    ]
    out.line(" · ".join(parts))
    for reason in reply.health.reasons:
        out.line(f"  {reason}", "yellow")
    out.line(f"config {config_label(config)} · {config_text(config)}")
    behind = reply.commit - reply.applied
    out.line(
        f"log {reply.first_index}..{reply.last_index} · commit {reply.commit} · "
        f"applied {reply.applied}{f' ({behind} behind)' if behind else ''} · "
        f"{format_bytes(reply.storage.bytes)} on disk · up {format_ms(reply.uptime_ms)}"
    )
    if reply.HasField("tls"):
        _print_tls(out, reply)
    if session.settings.verbose:
        _print_more(out, reply)
    out.line()
    rows = []
    peers = list(reply.peers)
    if all(peer.id != reply.id for peer in peers):
        peers.append(PeerStatus(id=reply.id, addr=reply.addr))
    for peer in sorted(peers, key=lambda peer: peer.id):
        own = peer.id == reply.id
        since = format_ms(peer.since_ms) if peer.since_ms and not own else "-"
        rows.append(
            [
                Styled(peer.id, "bold" if peer.id == reply.leader else ""),
                peer.addr or "-",
                member_role(config, peer.id) + (", leads" if peer.id == reply.leader else ""),
                yes(peer.reachable or own, good=True),
                since,
                format_ms(peer.rtt_us / 1000) if peer.rtt_us and not own else "-",
                peer.version or (reply.version if own else "-"),
                Styled(peer.error, "red"),
            ]
        )
    out.table(["ID", "ADDR", "ROLE", "REACHABLE", "SINCE", "RTT", "VERSION", "ERROR"], rows)


def _print_tls(out: Output, reply: StatusReply) -> None:
    """Write how long the certificates are good for; loud only when it is not long."""
    tls = reply.tls
    end_ms = min(tls.not_after_ms, tls.ca_not_after_ms or tls.not_after_ms)
    days = int((end_ms / 1000 - time.time()) // 86400)
    style = "red" if days < 7 else "yellow" if days < 30 else ""
    out.line(f"TLS {tls.name} · good for {days} days", style)
    if tls.error:
        out.line(f"  newer files are not used: {tls.error}", "red")


def _print_more(out: Output, reply: StatusReply) -> None:
    storage, limits, snapshot = reply.storage, reply.limits, reply.snapshot
    out.line(
        f"fsync p50 {storage.fsync_p50_ms:.2f}ms p99 {storage.fsync_p99_ms:.2f}ms · "
        f"free {format_bytes(storage.free_bytes)} · {storage.path}"
    )
    out.line(
        f"pending {limits.pending}/{limits.pending_max} · connections "
        f"{limits.connections}/{limits.connections_max} · keys {limits.sessions}/"
        f"{limits.sessions_max}"
    )
    if reply.HasField("snapshot") and snapshot.index:
        out.line(
            f"snapshot at {snapshot.index} term {snapshot.term} · "
            f"{format_bytes(snapshot.bytes)} · {format_ms(snapshot.age_ms)} old"
        )
    out.line(
        f"raftd {reply.version} · {reply.state_machine} · pid {reply.pid} · "
        f"{format_bytes(reply.rss_bytes)} resident · {reply.loop}"
    )
    for name, value in sorted(reply.counters.items()):
        out.line(f"  {name} {value}", "dim")


def _role(reply: StatusReply) -> Styled:
    return Styled(reply.role, "green" if reply.role == "leader" else "")
