"""Membership: what changes may be proposed, what applying them does, who is asked meanwhile (§6).

A change takes effect when its entry is applied, after it was committed. Two rules make that safe
together: no campaign while committed membership entries are unapplied, and a follower makes the
leader's commit index durable in the same write as the entries that came with it. One kind is
adopted earlier, when it is appended: a Rollback drops C_new's half of the joint quorum. The
argument for both stands in DESIGN.md beside this file.

`Raft.membership_log` lists the membership entries of the node's log after the applied index; all
these rules are questions to that short list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from raft import _replication, _transfer
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    Auto,
    BeginMembershipChange,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    Explicit,
    FinalizeMembershipChange,
    RemoveNode,
    RollbackMembershipChange,
    SnapshotMetadata,
)
from raft.errors import (
    CodecError,
    ConfChangeError,
    ConfChangeReason,
    Error,
    Exists,
    NoPendingMembershipChange,
    NotExists,
    ViolatesContract,
)
from raft.progress import Configuration, Progress

if TYPE_CHECKING:
    from raft.core import Raft

AnyConfChange = ConfChange | ConfChangeV2

_KNOWN_TYPES = frozenset(
    {
        AddNode,
        RemoveNode,
        AddLearnerNode,
        BeginMembershipChange,
        FinalizeMembershipChange,
        RollbackMembershipChange,
    }
)
_SINGLE_TYPES = frozenset({AddNode, RemoveNode, AddLearnerNode})


class ChangeKind(Enum):
    """What a membership entry does to the quorums."""

    SIMPLE = auto()
    """At most one voter more or less: old and new majorities overlap by themselves."""
    BEGIN = auto()
    """Into the joint state."""
    FINALIZE = auto()
    """Out of it, into C_new."""
    ROLLBACK = auto()
    """Out of it, back into C_old."""


@dataclass(slots=True, frozen=True)
class LoggedChange:
    """A membership entry in the log that is not applied yet."""

    index: int
    kind: ChangeKind


# -- Reading entries ---------------------------------------------------------------------------


def parse_conf_change(entry: Entry) -> AnyConfChange:
    """The change that a membership entry carries.

    Raises:
        CodecError: it is no membership entry, its bytes are no change, or its type is unknown.
    """
    change: AnyConfChange
    try:
        if entry.entry_type == EntryConfChange:
            change = ConfChange.FromString(entry.data)
            types: Iterable[int] = (change.change_type,)
            known = _KNOWN_TYPES
        elif entry.entry_type == EntryConfChangeV2:
            change = ConfChangeV2.FromString(entry.data)
            types = (single.change_type for single in change.changes)
            known = _SINGLE_TYPES
            if change.transition not in (0, 1, 2):
                raise CodecError(f"unknown transition {change.transition} at {entry.index}")
        else:
            raise CodecError(f"entry {entry.index} is no change of membership")
    except DecodeError as error:
        raise CodecError(f"entry {entry.index} does not parse as a change: {error}") from error
    for change_type in types:
        if change_type not in known:
            raise CodecError(f"entry {entry.index} has the unknown change type {change_type}")
    return change


def kind_of(change: AnyConfChange) -> ChangeKind:
    """What applying `change` would do to the quorums."""
    if isinstance(change, ConfChangeV2):
        if not change.changes:
            return ChangeKind.FINALIZE
        if change.transition == Auto and len(change.changes) == 1:
            return ChangeKind.SIMPLE
        return ChangeKind.BEGIN
    if change.change_type == BeginMembershipChange:
        return ChangeKind.BEGIN
    if change.change_type == FinalizeMembershipChange:
        return ChangeKind.FINALIZE
    if change.change_type == RollbackMembershipChange:
        return ChangeKind.ROLLBACK
    return ChangeKind.SIMPLE


def joint_conf_state(old: ConfState, pending: ConfState, begin_index: int) -> ConfState:
    """The joint configuration that 0.6.0-alpha stored as two: C_old and the pending C_new."""
    old_voters, new_learners = set(old.voters), set(pending.learners)
    return ConfState(
        voters=sorted(pending.voters),
        voters_outgoing=sorted(old_voters),
        learners=sorted(new_learners - old_voters),
        learners_next=sorted(new_learners & old_voters),
        learners_outgoing=sorted(old.learners),
        auto_leave=True,
        begin_index=begin_index,
        config_index=begin_index,
    )


def conf_state_of_metadata(metadata: SnapshotMetadata) -> ConfState:
    """The configuration that a snapshot carries, in either form."""
    if not metadata.HasField("pending_membership_change"):
        return metadata.conf_state
    return joint_conf_state(
        metadata.conf_state,
        metadata.pending_membership_change,
        metadata.pending_membership_change_index,
    )


# -- The list of membership entries in the log -------------------------------------------------


def note_appended(raft: Raft[Any], entries: Sequence[Entry]) -> None:
    """Remember the membership entries among `entries`, which were just appended."""
    found = False
    for entry in entries:
        if entry.entry_type:
            raft.membership_log.append(LoggedChange(entry.index, kind_of(parse_conf_change(entry))))
            found = True
    if found:
        refresh_quorums(raft)


def note_truncated(raft: Raft[Any], index: int) -> None:
    """Forget what was cut from the log: all entries from `index` on."""
    log = raft.membership_log
    if log and log[-1].index >= index:
        raft.membership_log = [change for change in log if change.index < index]
        refresh_quorums(raft)


def note_applied(raft: Raft[Any], applied: int) -> None:
    """Forget what has been applied: its effect is in the configuration now."""
    log = raft.membership_log
    if log and log[0].index <= applied:
        raft.membership_log = [change for change in log if change.index > applied]
        refresh_quorums(raft)


def rescan(raft: Raft[Any]) -> None:
    """Build the list anew from the log, page by page (a restart, or an installed snapshot)."""
    raft.membership_log = []
    log = raft.raft_log
    index = max(log.applied + 1, log.first_index())
    while index <= log.last_index():
        page = log.entries(index, _SCAN_PAGE_BYTES)
        note_appended(raft, page)
        index = page[-1].index + 1
    refresh_quorums(raft)


_SCAN_PAGE_BYTES = 1 << 20


def in_log_after_begin(raft: Raft[Any], kind: ChangeKind) -> bool:
    """Whether an unapplied entry of `kind` follows the Begin that is applied."""
    begin = raft.prs.begin_index
    return any(change.kind is kind and change.index > begin for change in raft.membership_log)


def has_unapplied_committed(raft: Raft[Any]) -> bool:
    """Whether a committed membership entry waits to be applied: then nobody may campaign."""
    log = raft.membership_log
    return bool(log) and log[0].index <= raft.raft_log.committed


def refresh_quorums(raft: Raft[Any]) -> None:
    """Let C_old alone decide exactly while a rollback is in the log or campaigned for.

    A Rollback counts only after the Begin that is applied: one that belongs to an earlier change
    must not disarm a later change's joint quorum.
    """
    if raft.prs.is_in_membership_change():
        raft.prs.decide_by_old_alone(
            raft.campaigns_for_rollback or in_log_after_begin(raft, ChangeKind.ROLLBACK)
        )


# -- What may be proposed ----------------------------------------------------------------------


def check_proposal(raft: Raft[Any], change: AnyConfChange) -> None:
    """Refuse `change` if this leader may not append it now. Nothing is changed here.

    Raises:
        ConfChangeError: with the reason.
        Exists, ConfigInvalid: the target is no possible configuration.
    """
    kind = kind_of(change)
    if kind in (ChangeKind.FINALIZE, ChangeKind.ROLLBACK):
        _check_leaving(raft, kind)
    else:
        _check_entering(raft, change, kind)


def _check_leaving(raft: Raft[Any], kind: ChangeKind) -> None:
    # Leaving is exempt from pending_conf_index: with C_new dead a Rollback would wait for ever.
    if not raft.prs.is_in_membership_change():
        raise ConfChangeError(ConfChangeReason.NOT_JOINT)
    if in_log_after_begin(raft, ChangeKind.FINALIZE):
        raise ConfChangeError(ConfChangeReason.FINALIZE_IN_LOG)
    if in_log_after_begin(raft, ChangeKind.ROLLBACK):
        raise ConfChangeError(ConfChangeReason.ROLLBACK_IN_LOG)


def _check_entering(raft: Raft[Any], change: AnyConfChange, kind: ChangeKind) -> None:
    prs = raft.prs
    if prs.is_in_membership_change():
        raise ConfChangeError(ConfChangeReason.ALREADY_JOINT)
    if raft.has_pending_conf():
        raise ConfChangeError(ConfChangeReason.CONF_PENDING)
    if raft.membership_log:
        raise ConfChangeError(ConfChangeReason.UNAPPLIED)
    if isinstance(change, ConfChange):
        expected = change.expected_config_index
        if expected and expected != prs.config_index:
            raise ConfChangeError(
                ConfChangeReason.CONFIG_CHANGED,
                f"the configuration was made by entry {prs.config_index}, not {expected}: "
                "somebody changed it meanwhile; look at it and decide again",
            )
        _check_single(raft, change)
    target = target_of(raft, change)
    target.valid()
    _check_target(raft, change, kind, target)


def _check_single(raft: Raft[Any], change: ConfChange) -> None:
    now = raft.prs.configuration
    node_id = change.node_id
    if change.change_type == AddNode and node_id in now.voters:
        raise Exists(node_id, "voters")
    if change.change_type == AddLearnerNode and now.contains(node_id):
        raise Exists(node_id, "voters" if node_id in now.voters else "learners")


def _check_target(
    raft: Raft[Any], change: AnyConfChange, kind: ChangeKind, target: Configuration
) -> None:
    now = raft.prs.configuration
    returning = (target.ids() - now.ids()) & raft.prs.removed
    if returning and not raft.allow_removed_ids:
        raise ConfChangeError(
            ConfChangeReason.REMOVED_ID,
            f"id {min(returning)} has left the group and may not return: its log or vote may be "
            "gone; add the node under a new id",
        )
    if kind is ChangeKind.SIMPLE and len(target.voters ^ now.voters) > 1:
        raise ConfChangeError(
            ConfChangeReason.INVALID,
            "more than one voter differs: that needs a joint change",
        )
    if isinstance(change, ConfChange) and kind is ChangeKind.BEGIN:
        if not change.HasField("configuration"):
            raise ConfChangeError(ConfChangeReason.INVALID, "a Begin must carry its target")
        if change.successor and change.successor not in target.voters:
            raise ConfChangeError(
                ConfChangeReason.UNKNOWN_MEMBER,
                f"the successor {change.successor} is no voter of the target",
            )
        strangers = set(change.configuration.promotable) - target.learners
        if strangers:
            raise ConfChangeError(
                ConfChangeReason.INVALID,
                f"node {min(strangers)} is to be promoted but is no learner of the target",
            )


def check_rollback_campaign(raft: Raft[Any]) -> None:
    """Refuse a campaign by C_old alone where it could do harm, or help nobody.

    Raises:
        ConfChangeError: as `Raft.campaign_for_rollback`.
    """
    if raft.is_leader():
        raise ConfChangeError(
            ConfChangeReason.INVALID, "this node leads already: propose the rollback"
        )
    if raft.ticks < raft.quiet_until:
        raise ConfChangeError(
            ConfChangeReason.INVALID,
            "a leader was heard of less than an election timeout ago and may read by its "
            "lease: propose the rollback there, or try again later",
        )
    if not raft.prs.is_in_membership_change():
        raise ConfChangeError(ConfChangeReason.NOT_JOINT)
    if in_log_after_begin(raft, ChangeKind.FINALIZE):
        raise ConfChangeError(ConfChangeReason.FINALIZE_IN_LOG)
    if in_log_after_begin(raft, ChangeKind.ROLLBACK):
        raise ConfChangeError(ConfChangeReason.ROLLBACK_IN_LOG)
    if raft.id not in raft.prs.configuration.voters:
        raise ConfChangeError(
            ConfChangeReason.UNKNOWN_MEMBER,
            "this node is no voter of the outgoing configuration: campaign at one that is",
        )


def target_of(raft: Raft[Any], change: AnyConfChange) -> Configuration:
    """The configuration that `change` leads to from the one in force (C_old's, if joint)."""
    now = raft.prs.configuration
    if isinstance(change, ConfChange):
        if change.change_type == BeginMembershipChange:
            return Configuration(change.configuration.voters, change.configuration.learners)
        singles = [(int(change.change_type), change.node_id)]
    else:
        singles = [(int(single.change_type), single.node_id) for single in change.changes]
    voters, learners = set(now.voters), set(now.learners)
    for change_type, node_id in singles:
        if not node_id:
            continue  # The crate's way to say: this entry was refused by the application.
        voters.discard(node_id)
        learners.discard(node_id)
        if change_type == AddNode:
            voters.add(node_id)
        elif change_type == AddLearnerNode:
            learners.add(node_id)
    return Configuration(voters, learners)


# -- Applying a committed change ---------------------------------------------------------------


def apply_change(raft: Raft[Any], change: AnyConfChange, index: int) -> ConfState:
    """Bring a committed membership entry into force; return the configuration after it.

    An `index` of 0 stands for that of the log's next membership entry of this kind.

    It is total: every node gets the same entries, so what one cannot take none can, and it changes
    nothing anywhere. Applying an entry again (a restart replays it, a leader proposed Finalize
    twice) changes nothing either.
    """
    prs = raft.prs
    index = index or _index_of_next(raft, change)
    if index <= prs.config_index:
        return prs.to_conf_state()
    kind = kind_of(change)
    try:
        if kind is ChangeKind.BEGIN:
            _begin(raft, change, index)
        elif kind is ChangeKind.FINALIZE:
            leave_joint(raft, index, rollback=False)
        elif kind is ChangeKind.ROLLBACK:
            leave_joint(raft, index, rollback=True)
        else:
            _apply_simple(raft, change, index)
    except Error as error:
        raft.logger.warning("membership change has no effect", index=index, reason=str(error))
    return prs.to_conf_state()


def _index_of_next(raft: Raft[Any], change: AnyConfChange) -> int:
    kind = kind_of(change)
    for logged in raft.membership_log:
        if logged.kind is kind and logged.index > raft.prs.config_index:
            return logged.index
    return max(raft.raft_log.applied, raft.prs.config_index) + 1


def apply_begin(raft: Raft[Any], change: ConfChange, index: int) -> None:
    """`Raft.begin_membership_change`, which raises where `apply_change` has no effect."""
    if change.change_type != BeginMembershipChange:
        raise ViolatesContract("the change must be of type BeginMembershipChange")
    if not change.HasField("configuration"):
        raise ViolatesContract("a Begin must carry the configuration to change to")
    index = index or change.start_index
    if not index:
        raise ViolatesContract("a Begin must name the index of its entry (start_index)")
    _begin(raft, change, index)


def apply_finalize(raft: Raft[Any], change: ConfChange, index: int) -> None:
    """`Raft.finalize_membership_change`, which raises where `apply_change` has no effect."""
    if change.change_type != FinalizeMembershipChange:
        raise ViolatesContract("the change must be of type FinalizeMembershipChange")
    if change.HasField("configuration"):
        raise ViolatesContract("a Finalize carries no configuration: the Begin did")
    leave_joint(raft, index or _index_of_next(raft, change), rollback=False)


def _begin(raft: Raft[Any], change: AnyConfChange, index: int) -> None:
    """Enter the joint state; raises before anything is changed (as `ProgressSet`'s)."""
    if isinstance(change, ConfChange):
        auto_leave, successor = not change.hold, change.successor
        marked = frozenset(change.configuration.promotable)
    else:
        auto_leave, successor = change.transition != Explicit, 0
        marked = frozenset()
    prs, target = raft.prs, target_of(raft, change)
    prs.begin_membership_change(target, _fresh_progress(raft))
    prs.auto_leave = auto_leave
    prs.begin_index = prs.config_index = index
    prs.successor = successor if successor in target.voters else 0
    prs.promotable = (prs.promotable | marked) & target.learners
    raft.leave_requested = raft.handover_tried = False
    refresh_quorums(raft)
    raft.logger.info("joint", index=index, configuration=prs.configuration, next=target)
    _after_change(raft)


def leave_joint(raft: Raft[Any], index: int, *, rollback: bool) -> None:
    """Leave the joint state for C_new, or for C_old on a rollback.

    Raises:
        NoPendingMembershipChange: not joint.
    """
    prs = raft.prs
    if not prs.is_in_membership_change():
        raise NoPendingMembershipChange
    if raft.is_leader():
        # Who leaves hears of it now or never: the leader forgets their progress below.
        assert prs.next_configuration is not None
        remaining = prs.configuration if rollback else prs.next_configuration
        if raft.id not in remaining.voters and raft.step_down_on_removal:
            _transfer.name_heir(raft, remaining.voters)
        _replication.send_last_words(raft, frozenset(prs.ids()) - remaining.ids())
    if rollback:
        prs.rollback_membership_change()
    else:
        prs.removed |= prs.finalize_membership_change()
    prs.removed -= prs.configuration.ids()
    prs.config_index = index
    raft.leave_requested = raft.handover_tried = False
    raft.campaigns_for_rollback = False
    raft.logger.info("left joint", index=index, rollback=rollback, configuration=prs.configuration)
    _after_change(raft)


def _apply_simple(raft: Raft[Any], change: AnyConfChange, index: int) -> None:
    prs = raft.prs
    before = prs.configuration
    if isinstance(change, ConfChange) and not change.node_id:
        return
    target = target_of(raft, change)
    if raft.is_leader() and (leaving := before.ids() - target.ids()):
        if raft.id in leaving and raft.step_down_on_removal:
            _transfer.name_heir(raft, target.voters)
        _replication.send_last_words(raft, leaving)
    prs.replace_configuration(target, _fresh_progress(raft))
    prs.config_index = index
    prs.removed = (prs.removed | (before.ids() - target.ids())) - target.ids()
    prs.promotable &= target.learners
    if isinstance(change, ConfChange) and change.promote_when_caught_up:
        prs.promotable |= frozenset((change.node_id,)) & target.learners
    raft.logger.info("membership", index=index, configuration=target)
    _after_change(raft)


def change_one(raft: Raft[Any], change_type: int, node_id: int) -> None:
    """Add or remove one node at once, as if a committed entry had said so (the crate's methods).

    Raises:
        Exists, NotExists, ConfigInvalid, ViolatesContract: nothing was changed.
    """
    change = ConfChange(change_type=change_type, node_id=node_id)  # type: ignore[arg-type]  # an int is an enum value here
    _check_single(raft, change)
    target = target_of(raft, change)
    target.valid()
    if change_type == RemoveNode and not raft.prs.configuration.contains(node_id):
        raise NotExists(node_id, "voters")
    before = raft.prs.configuration
    raft.prs.replace_configuration(target, _fresh_progress(raft))
    raft.prs.removed = (raft.prs.removed | (before.ids() - target.ids())) - target.ids()
    _after_change(raft)


def restore(raft: Raft[Any], conf_state: ConfState) -> None:
    """Take over the configuration of a snapshot or of the storage, joint or not."""
    raft.prs.restore_conf_state(conf_state, _fresh_progress(raft))
    raft.leave_requested = raft.handover_tried = False
    rescan(raft)


def _fresh_progress(raft: Raft[Any]) -> Callable[[], Progress]:
    next_idx = raft.raft_log.last_index() + 1

    def fresh() -> Progress:
        progress = Progress(next_idx, raft.max_inflight, raft.max_inflight_bytes)
        # Active, or CheckQuorum would depose the leader for a newcomer's first silence.
        progress.recent_active = True
        return progress

    return fresh


def _after_change(raft: Raft[Any]) -> None:
    """Draw the consequences of a new configuration for whatever role this node has."""
    prs = raft.prs
    if not raft.is_leader():
        # Not on a removal alone: a leader that has left may still serve until it steps down.
        if raft.leader_id and raft.leader_id not in prs.progress:
            # Its last word, on who is to lead, may still be on its way.
            raft.departed_leader, raft.leader_id = raft.leader_id, 0
        return
    raft.catch_up = {k: v for k, v in raft.catch_up.items() if k in prs.promotable}
    if raft.id not in prs.voter_ids() and raft.step_down_on_removal:
        raft.logger.info("stepping down: no voter any more", term=raft.term)
        raft.become_follower(raft.term, 0)
        return
    if raft.lead_transferee and raft.lead_transferee not in prs.voter_ids():
        raft.abort_leader_transfer()
    # Another quorum may commit at once, or confirm reads that the former one left waiting; and
    # whoever is new is probed now rather than at the next proposal.
    raft.maybe_commit()
    raft.bcast_append()
    raft.recheck_reads()
