"""Pieces of text that several commands show: configurations, roles, majorities, progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from raftctl.output import Styled, format_bytes, format_ids, format_ms

if TYPE_CHECKING:
    from raftwire.proto import admin_pb2

HEALTH_STYLES: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}
STATE_STYLES: Final = {"self": "bold", "replicate": "green", "probe": "yellow", "snapshot": "cyan"}

PROGRESS_HEADERS: Final = (
    "ID",
    "STATE",
    "MATCH",
    "NEXT",
    "LAG",
    "INFLIGHT",
    "PAUSED",
    "ACTIVE",
    "PENDING-SNAP",
    "SNAP%",
    "COMMITTED",
    "RATE",
    "ETA",
)


def config_text(config: admin_pb2.Configuration) -> str:
    """Return a configuration on one line.

    ``voters 1,2,3``; ``voters 1,2,3 learners 4``; or, joint,
    ``joint voters 1,3 with 1,2,3 learners 4,5,6``.
    """
    parts = []
    if config.joint:
        parts.append(
            f"joint voters {format_ids(config.voters)} with {format_ids(config.voters_outgoing)}"
        )
    else:
        parts.append(f"voters {format_ids(config.voters)}")
    if config.learners:
        parts.append(f"learners {format_ids(config.learners)}")
    if config.learners_next:
        parts.append(f"to become learners {format_ids(config.learners_next)}")
    if config.promotable:
        parts.append(f"to be promoted {format_ids(config.promotable)}")
    return " ".join(parts)


def config_label(config: admin_pb2.Configuration) -> str:
    """Return whether a configuration is stable or joint, and the entry that made it."""
    return f"{'joint' if config.joint else 'stable'}@{config.index}"


def member_role(config: admin_pb2.Configuration, id_: int) -> str:
    """Return what a node is in a configuration.

    ``voter``, ``learner``, and while joint ``incoming`` (voter to be), ``outgoing`` (voter that
    leaves), ``demoting`` (voter that becomes a learner), ``leaving`` (learner that leaves); ``-``
    when it is not in it.
    """
    voter, old = id_ in config.voters, id_ in config.voters_outgoing
    if not config.joint or (voter and old):
        return "voter" if voter else "learner" if id_ in config.learners else "-"
    if voter:
        return "incoming"
    if old:
        return "demoting" if id_ in config.learners_next else "outgoing"
    if id_ in config.learners:
        return "learner"
    return "leaving" if id_ in config.learners_outgoing else "-"


def health_text(health: admin_pb2.Health) -> Styled:
    """Return ``HEALTHY, tolerates 1 failure``, coloured."""
    text = health.state.upper() or "UNKNOWN"
    if health.state != "unhealthy":
        count = health.tolerance
        text += f", tolerates {count} failure{'' if count == 1 else 's'}"
    return Styled(text, HEALTH_STYLES.get(health.state, ""))


def yes(value: bool, *, good: bool | None = None) -> Styled:
    """Return ``yes`` or ``no``; green when it is the good one, red when it is not."""
    style = "" if good is None else "green" if value == good else "red"
    return Styled("yes" if value else "no", style)


def quorum_text(quorum: admin_pb2.Quorum) -> str:
    """Return ``2 of 3, 3 reachable, tolerates 1 failure``."""
    count = quorum.tolerance
    return (
        f"{quorum.needed} of {quorum.voters}, {quorum.reachable} reachable, "
        f"tolerates {count} failure{'' if count == 1 else 's'}{'' if count else '!'}"
    )


def change_text(before: Iterable[int], after: Iterable[int]) -> str:
    """Return ``1,2,3 -> 1,3``, or the one list when nothing changes."""
    old, new = format_ids(before), format_ids(after)
    return f"{old} -> {new}" if old != new else f"{old} (unchanged)"


def progress_cells(row: admin_pb2.ProgressRow) -> list[str]:
    """Return the cells of one member's progress, in the order of ``PROGRESS_HEADERS``."""
    own = row.state == "self"
    total = row.snapshot_bytes_total
    return [
        str(row.id),
        Styled(row.state, STATE_STYLES.get(row.state, "")),
        str(row.matched),
        str(row.next_idx),
        Styled(row.lag, "yellow" if row.lag else ""),
        "-" if own else f"{row.inflight}/{row.inflight_max}",
        "-" if own else yes(row.paused),
        yes(row.recent_active or own, good=True),
        str(row.pending_snapshot) if row.pending_snapshot else "-",
        f"{100 * row.snapshot_bytes // total}%" if total else "-",
        str(row.committed_index),
        f"{format_bytes(int(row.rate_bytes_per_s))}/s" if row.rate_bytes_per_s else "-",
        format_ms(row.eta_ms) if row.eta_ms else "-",
    ]
