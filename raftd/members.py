"""Changing who is in the group: from an operator's wish to a safe, replicated change.

The core decides what may be appended; here is decided what is wise to ask for. Every new member
needs an address that all can use, so addresses travel inside the change itself. A change whose new
majority cannot be reached from the leader is refused: it would stop the group the moment it
commits. All kinds of changes come down to one: a complete target and whether to stay joint.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from raft import (
    ConfChangeError,
    ConfChangeReason,
    Error,
    InvalidState,
    ProgressState,
    ProposalDropped,
    majority,
)
from raft.eraftpb import BeginMembershipChange, ConfChange, ConfState
from raftd.applier import Applied
from raftd.failpoints import hit
from raftd.node import Node
from raftd.views import configuration_message, phase_of
from raftwire.envelope import CONTROL, Origin
from raftwire.errors import AdminError, Code, Outcome
from raftwire.limits import CAUGHT_UP_LAG_MAX, MEMBERS_MAX
from raftwire.peer import Announce, ControlCommand, pack_conf_context
from raftwire.proto.admin_pb2 import MemberChangeReply, MemberChangeRequest, Quorum

_ANNOUNCED_SECONDS: Final = 30.0
"""A node that has not announced itself for so long is forgotten."""

_CODES: Final = {
    ConfChangeReason.CONF_PENDING: Code.CONF_PENDING,
    ConfChangeReason.UNAPPLIED: Code.CONF_PENDING,
    ConfChangeReason.ALREADY_JOINT: Code.ALREADY_JOINT,
    ConfChangeReason.NOT_JOINT: Code.NOT_JOINT,
    ConfChangeReason.FINALIZE_IN_LOG: Code.CONF_PENDING,
    ConfChangeReason.ROLLBACK_IN_LOG: Code.CONF_PENDING,
    ConfChangeReason.REMOVED_ID: Code.REMOVED_MEMBER,
    ConfChangeReason.CONFIG_CHANGED: Code.PRECONDITION,
    ConfChangeReason.INVALID: Code.INVALID_CONFIG,
    ConfChangeReason.NOT_LEADER: Code.NOT_LEADER,
    ConfChangeReason.UNKNOWN_MEMBER: Code.UNKNOWN_MEMBER,
}

_SETTLE_ELECTIONS: Final = 3
"""Election timeouts that a new leader may take to apply what it found in its log."""

_LOOK_SECONDS: Final = 0.02
"""Between two looks at how far a learner is."""

_CAMPAIGN_ELECTIONS: Final = 6
"""Election timeouts for which a node campaigns to take a change back."""

Kind = MemberChangeRequest


def error_of(error: Error) -> AdminError:
    """Return a refusal of the core as clients hear it."""
    if isinstance(error, ConfChangeError):
        return AdminError(_CODES[error.reason], error.message)
    if isinstance(error, InvalidState):
        return AdminError(Code.NOT_LEADER, str(error))
    if isinstance(error, ProposalDropped):
        return AdminError(Code.NO_LEADER, error.message)
    return AdminError(Code.INVALID_CONFIG, str(error))


class AddressBook:
    """Where members listen. What the group has agreed on wins over whatever else was said."""

    def __init__(self, own_id: int, own_address: str) -> None:
        self.own_id = own_id
        self.own_address = own_address
        self.replicated: dict[int, str] = {}
        """As agreed on by the group."""
        self._hints: dict[int, str] = {}
        self._announced: dict[int, tuple[str, float]] = {}

    def hint(self, node_id: int, address: str) -> bool:
        """Note where a peer says that it listens; return whether that is new and of use."""
        if not address or self._hints.get(node_id) == address:
            return False
        if len(self._hints) >= MEMBERS_MAX and node_id not in self._hints:
            return False
        self._hints[node_id] = address
        return node_id not in self.replicated

    def announced(self, announce: Announce, now: float) -> bool:
        """Note a node that waits to be added; return whether it was not known."""
        fresh = self._announced.get(announce.id, ("", 0.0))[0] != announce.addr
        if fresh and len(self._announced) >= MEMBERS_MAX:
            self._announced = {
                node_id: found
                for node_id, found in self._announced.items()
                if now - found[1] < _ANNOUNCED_SECONDS
            }
            if len(self._announced) >= MEMBERS_MAX:
                return False
        self._announced[announce.id] = (announce.addr, now)
        return fresh

    def waiting(self, now: float) -> dict[int, str]:
        """Return the nodes that announced themselves lately and are not in the group."""
        return {
            node_id: address
            for node_id, (address, seen) in sorted(self._announced.items())
            if now - seen < _ANNOUNCED_SECONDS and node_id not in self.replicated
        }

    def find(self, node_id: int, now: float) -> str:
        """Return where a node listens; empty if nobody said."""
        if node_id == self.own_id:
            return self.replicated.get(node_id, self.own_address)
        if node_id in self.replicated:
            return self.replicated[node_id]
        address, seen = self._announced.get(node_id, ("", 0.0))
        if address and now - seen < _ANNOUNCED_SECONDS:
            return address
        return self._hints.get(node_id, "")

    def links(self, state: ConfState, now: float, callers: Iterable[int] = ()) -> dict[int, str]:
        """Return whom to hold a link to: every other member with a known address.

        And every one of ``callers``, who hold a connection to this node, unless it has left: it may
        lead by a configuration that this node has yet to hear of, and can only hear of by having
        its answers get there. A node without a configuration yet links to whoever was named to it
        or has spoken to it, for the same reason.
        """
        ids = member_ids(state)
        if ids:
            ids |= set(callers) - set(state.removed)
        else:
            ids = {*self.replicated, *self._hints}
        return {
            node_id: address
            for node_id in sorted(ids)
            if node_id != self.own_id and (address := self.find(node_id, now))
        }


def member_ids(state: ConfState) -> set[int]:
    """Return every member of a configuration, joint or not."""
    return {
        *state.voters,
        *state.learners,
        *state.voters_outgoing,
        *state.learners_next,
        *state.learners_outgoing,
    }


@dataclass(frozen=True, slots=True)
class Target:
    """The configuration that a change leads to."""

    voters: frozenset[int]
    learners: frozenset[int]
    promotable: frozenset[int] = frozenset()
    addresses: Mapping[int, str] = field(default_factory=dict)
    hold: bool = False
    """Stay joint until somebody finalizes."""

    @property
    def ids(self) -> frozenset[int]:
        """All members."""
        return self.voters | self.learners


def target_of(request: MemberChangeRequest, now: ConfState) -> Target:
    """Return what a request asks for, seen from the configuration ``now``.

    Raises:
        AdminError: it names a member that is not there, or adds one that is.
    """
    voters, learners = frozenset(now.voters), frozenset(now.learners)
    promotable = frozenset(now.promotable)
    addresses = dict(request.addrs)
    kind, node_id = request.kind, request.id
    if kind in (Kind.BEGIN, Kind.CHANGE):
        _refuse_doubles(request)
        target = Target(
            frozenset(request.voters),
            frozenset(request.learners),
            promotable & frozenset(request.learners),
            addresses,
            hold=kind == Kind.BEGIN and not request.auto_finalize,
        )
    elif kind in (Kind.ADD, Kind.ADD_LEARNER, Kind.ADD_VOTER):
        if node_id in voters | learners:
            raise AdminError(Code.MEMBER_EXISTS, f"node {node_id} is a member already")
        if request.addr:
            addresses[node_id] = request.addr
        new = frozenset((node_id,))
        if kind == Kind.ADD_VOTER:
            target = Target(voters | new, learners, promotable, addresses)
        else:
            marked = promotable | new if kind == Kind.ADD else promotable
            target = Target(voters, learners | new, marked, addresses)
    elif kind == Kind.PROMOTE:
        _require(node_id, learners, "a learner")
        new = frozenset((node_id,))
        target = Target(voters | new, learners - new, promotable - new)
    elif kind == Kind.DEMOTE:
        _require(node_id, voters, "a voter")
        new = frozenset((node_id,))
        target = Target(voters - new, learners | new, promotable)
    elif kind == Kind.REMOVE:
        _require(node_id, voters | learners, "a member")
        gone = frozenset((node_id,))
        target = Target(voters - gone, learners - gone, promotable - gone)
    elif kind == Kind.REPLACE:
        _require(node_id, voters | learners, "a member")
        if request.new_id in voters or request.new_id == node_id:
            raise AdminError(Code.MEMBER_EXISTS, f"node {request.new_id} is a member already")
        # It may be a learner already: that is how it catches up before it takes the place.
        gone, new = frozenset((node_id,)), frozenset((request.new_id,))
        if request.addr:
            addresses[request.new_id] = request.addr
        rest, promotable = learners - gone - new, promotable - gone - new
        if node_id in voters:
            target = Target(voters - gone | new, rest, promotable, addresses)
        else:
            target = Target(voters, rest | new, promotable, addresses)
    else:
        raise AdminError(Code.INVALID_REQUEST, "unknown kind of change")
    _refuse_impossible(target)
    return target


def _refuse_doubles(request: MemberChangeRequest) -> None:
    for name, ids in (("voters", request.voters), ("learners", request.learners)):
        if len(set(ids)) != len(ids):
            raise AdminError(Code.INVALID_CONFIG, f"an id is named twice among the {name}")


def _require(node_id: int, ids: Iterable[int], what: str) -> None:
    if node_id not in ids:
        raise AdminError(Code.UNKNOWN_MEMBER, f"node {node_id} is not {what} of the group")


def _refuse_impossible(target: Target) -> None:
    if not target.voters:
        raise AdminError(Code.INVALID_CONFIG, "nobody would vote: a group needs a voter")
    both = target.voters & target.learners
    if both:
        raise AdminError(Code.INVALID_CONFIG, f"node {min(both)} is named as voter and as learner")
    if len(target.ids) > MEMBERS_MAX:
        raise AdminError(Code.INVALID_CONFIG, f"a group has at most {MEMBERS_MAX} members")
    if not all(0 < node_id < 2**53 for node_id in target.ids):
        raise AdminError(Code.INVALID_CONFIG, "ids go from 1 to 2^53-1")


def _require_majority(
    voters: frozenset[int], unreachable: Mapping[int, str], hint: str | None = None
) -> None:
    """Refuse a change after which nothing could be decided.

    Raises:
        AdminError: UNSAFE_RECONFIG.
    """
    reachable, needed = len(voters) - len(unreachable), majority(len(voters))
    if reachable < needed:
        words = ", ".join(f"{node_id} ({why})" for node_id, why in unreachable.items())
        raise AdminError(
            Code.UNSAFE_RECONFIG,
            f"the new majority is not reachable: {reachable} of {len(voters)} new voters answer, "
            f"{needed} are needed; unreachable: {words}",
            hint=hint,
            details={f"unreachable_{node_id}": why for node_id, why in unreachable.items()},
        )


class _Outcome:
    """Hears what became of one proposal."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        if not self.future.done():
            self.future.set_result(applied)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Reads are not asked for here."""


class Membership:
    """Carries out changes of membership on the leader.

    Args:
        node: The engine.
        book: Where members listen.
        probe: Dials (id, address) and returns why that fails; empty if it is who it should be.
    """

    def __init__(
        self, node: Node, book: AddressBook, probe: Callable[[int, str], Awaitable[str]]
    ) -> None:
        self._node = node
        self._book = book
        self._probe = probe
        self._busy = False

    async def change(self, request: MemberChangeRequest, seconds: float) -> MemberChangeReply:
        """Carry out a change and return what came of it.

        Raises:
            AdminError: refused, with the reason, or its outcome is not known.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + seconds
        if request.kind == Kind.ABORT and request.campaign and not self._node.is_leader:
            reply = await self._abort_by_force(deadline)
        elif request.kind in (Kind.FINALIZE, Kind.ABORT):
            # Also while the change that it ends is still being carried out, and waits.
            self._require_leader()
            reply = await self._leave(request, deadline)
        else:
            self._require_leader()
            if self._busy:
                raise AdminError(
                    Code.CONF_PENDING, "another change of membership is being carried out"
                )
            self._busy = True
            try:
                if request.kind == Kind.SET_ADDR:
                    reply = await self._set_address(request, deadline)
                else:
                    reply = await self._enter(request, deadline)
            finally:
                self._busy = False
        reply.took_ms = int((loop.time() - started) * 1000)
        return reply

    def _require_leader(self, term: int = 0) -> None:
        """Refuse what only the leader does; ``term``: and only one that has led since then.

        Whoever passed a request on to a leader, and lost it, may conclude that it came to nothing.
        """
        node = self._node
        if not node.is_leader or (term and node.raft.term != term):
            raise AdminError(
                Code.NOT_LEADER,
                f"node {node.id} does not lead; the leader is {node.raft.leader_id or 'unknown'}",
            )

    # --- into the joint state -----------------------------------------------------------------

    async def _settled(self, deadline: float) -> None:
        """Wait until all that an earlier leader has left in this one's log is applied.

        There may be a change of membership among it, so until then none is taken, and which
        configuration is in force is not known either. It lasts a moment after an election, and is
        no reason to send an operator away. A joint state is seen at once: with the new majority
        dead nothing more is applied in it.

        Raises:
            AdminError: this node leads no longer.
        """
        node, raft = self._node, self._node.raft
        now = asyncio.get_running_loop().time()
        patience = min(deadline, now + _SETTLE_ELECTIONS * node.election_timeout)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(patience):
                while (
                    node.is_leader
                    and not raft.prs.is_in_membership_change()
                    and (raft.has_pending_conf() or raft.membership_log)
                ):
                    await node.changed()
        self._require_leader()

    async def _enter(self, request: MemberChangeRequest, deadline: float) -> MemberChangeReply:
        node = self._node
        term = node.raft.term
        await self._settled(deadline)
        before = node.raft.prs.to_conf_state()
        if before.voters_outgoing:
            raise AdminError(
                Code.ALREADY_JOINT,
                f"the group is between two configurations since entry {before.begin_index}",
            )
        if request.expect_config and request.expect_config != before.config_index:
            raise AdminError(
                Code.PRECONDITION,
                f"the configuration was made by entry {before.config_index}, "
                f"not {request.expect_config}",
            )
        target = target_of(request, before)
        back = sorted((target.ids - member_ids(before)) & set(before.removed))
        if back:
            raise AdminError(
                Code.REMOVED_MEMBER, f"id {back[0]} has left the group and may not return"
            )
        if request.kind == Kind.PROMOTE:
            await self._require_caught_up(request.id, deadline)
        addresses = self._addresses(target, member_ids(before))
        unreachable = await self._unreachable(target.voters, addresses)
        reply = MemberChangeReply(
            before=configuration_message(before),
            quorum_before=self._quorum(before.voters, {}),
            quorum_after=self._quorum(target.voters, unreachable),
            leader_leaves=node.id not in target.voters,
            dry_run=request.dry_run,
        )
        self._warn(reply, target, unreachable)
        if not request.unsafe:
            _require_majority(target.voters, unreachable)
        if request.dry_run:
            reply.phase = "stable"
            reply.after.CopyFrom(
                configuration_message(
                    ConfState(
                        voters=sorted(target.voters),
                        learners=sorted(target.learners),
                        promotable=sorted(target.promotable),
                    )
                )
            )
            _set_addresses(reply, {**self._book.replicated, **addresses}, target.ids)
            return reply
        self._require_leader(term)
        applied = await self._propose_begin(request, target, addresses, deadline)
        reply.index, reply.term = applied.index, applied.term
        if not target.hold:
            # Complete means: out of the joint state again, on this node too.
            await self._until_stable(applied.index, deadline)
            self._require_outcome(target.voters, applied.index)
            reply.index = node.raft.prs.config_index
        if request.wait and target.promotable - frozenset(before.promotable):
            await self._until_promoted(target.promotable - frozenset(before.promotable), deadline)
            reply.index = node.raft.prs.config_index
        return self._finished(reply)

    async def _require_caught_up(self, node_id: int, deadline: float) -> None:
        """Refuse to count a learner in the majority that would hold up what waits for it.

        It has an election timeout to show that it follows: a leader that was just elected knows of
        nobody yet how far he is.

        Raises:
            AdminError: LEARNER_LAGGING.
        """
        node, raft = self._node, self._node.raft
        patience = min(deadline, asyncio.get_running_loop().time() + node.election_timeout)

        def follows() -> bool:
            progress = raft.prs.progress.get(node_id)
            return (
                not node.is_leader
                or progress is None
                or (
                    progress.state is ProgressState.Replicate
                    and progress.recent_active
                    and raft.raft_log.last_index() - progress.matched <= CAUGHT_UP_LAG_MAX
                )
            )

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(patience):
                while not follows():  # noqa: ASYNC110  (nobody is woken when a follower answers)
                    await asyncio.sleep(_LOOK_SECONDS)
        self._require_leader()
        progress = raft.prs.progress.get(node_id)
        if progress is None or follows():
            return
        last = raft.raft_log.last_index()
        doing = {
            ProgressState.Probe: "it does not follow yet",
            ProgressState.Replicate: "it follows",
            ProgressState.Snapshot: "it takes a snapshot",
        }[progress.state]
        heard = "" if progress.recent_active else ", but has not been heard from lately"
        raise AdminError(
            Code.LEARNER_LAGGING,
            f"node {node_id} is {last - progress.matched} entries behind the leader (it has "
            f"{progress.matched} of {last}; at most {CAUGHT_UP_LAG_MAX} may be missing): "
            f"{doing}{heard}",
            hint=f"wait for it with `raftctl member promote {node_id} --wait`, and watch it with "
            "`raftctl progress`",
            details={
                "lag": last - progress.matched,
                "matched": progress.matched,
                "last_index": last,
                "lag_max": CAUGHT_UP_LAG_MAX,
                "state": progress.state.name.lower(),
            },
        )

    def _addresses(self, target: Target, known: set[int]) -> dict[int, str]:
        """Return the address of every new member, and every one that changes.

        Raises:
            AdminError: one is not known.
        """
        now = asyncio.get_running_loop().time()
        addresses = {k: v for k, v in target.addresses.items() if k in target.ids}
        missing: list[int] = []
        for node_id in sorted(target.ids - known - addresses.keys()):
            address = self._book.find(node_id, now)
            if address:
                addresses[node_id] = address
            else:
                missing.append(node_id)
        if missing:
            names = ", ".join(map(str, missing))
            example = missing[0]
            raise AdminError(
                Code.UNKNOWN_MEMBER,
                f"nobody knows where node {names} listens" if len(missing) == 1
                else f"nobody knows where nodes {names} listen",
                hint=(
                    f"start it with `raftd --id {example} --join ...`, which announces its "
                    f"address, or give --addr {example}=host:port"
                ),
            )  # fmt: skip
        return addresses

    async def _unreachable(
        self, voters: frozenset[int], addresses: Mapping[int, str]
    ) -> dict[int, str]:
        """Return the voters of the target that do not answer, each with the reason."""
        node = self._node
        unsure = [
            node_id
            for node_id in sorted(voters)
            if node_id != node.id and not node.standing.reachable(node_id)
        ]
        now = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            *(
                self._probe(node_id, addresses.get(node_id) or self._book.find(node_id, now))
                for node_id in unsure
            )
        )
        return {node_id: why for node_id, why in zip(unsure, answers, strict=True) if why}

    @staticmethod
    def _quorum(voters: Iterable[int], unreachable: Mapping[int, str]) -> Quorum:
        count = len(list(voters))
        needed = majority(count)
        reachable = count - len(unreachable)
        return Quorum(
            voters=count,
            needed=needed,
            reachable=reachable,
            tolerance=max(0, reachable - needed),
        )

    @staticmethod
    def _warn(reply: MemberChangeReply, target: Target, unreachable: Mapping[int, str]) -> None:
        voters = len(target.voters)
        if voters - majority(voters) == 0:
            reply.warnings.append(
                f"{voters} voter{'s' if voters > 1 else ''}: the new configuration tolerates no "
                "failure"
            )
        elif voters % 2 == 0:
            reply.warnings.append(
                f"{voters} voters tolerate no more failures than {voters - 1} would"
            )
        if reply.leader_leaves:
            reply.warnings.append("the leader leaves: leadership is handed over first")
        reply.warnings.extend(
            f"node {node_id} does not answer: {why}" for node_id, why in unreachable.items()
        )

    async def _propose_begin(
        self,
        request: MemberChangeRequest,
        target: Target,
        addresses: Mapping[int, str],
        deadline: float,
    ) -> Applied:
        node = self._node
        outcome = _Outcome()
        seconds = deadline - asyncio.get_running_loop().time()
        sequence, appended = node.proposing.expect_applied(outcome, 0, seconds)
        origin = Origin(CONTROL, node.id, node.incarnation, sequence)
        change = ConfChange(
            change_type=BeginMembershipChange,
            configuration=ConfState(
                voters=sorted(target.voters),
                learners=sorted(target.learners),
                promotable=sorted(target.promotable),
            ),
            hold=target.hold,
            successor=request.successor,
            expected_config_index=request.expect_config,
            context=pack_conf_context(origin, addresses),
        )
        hit("change.propose")
        try:
            node.call(lambda: node.raw.propose_conf_change(b"", change))
        except Error as error:
            raise error_of(error) from None
        appended(node.raft.term)
        applied = await outcome.future
        if node.raft.prs.config_index < applied.index:
            raise AdminError(
                Code.PRECONDITION, "the change was applied but found impossible by then"
            )
        return applied

    # --- out of it ----------------------------------------------------------------------------

    async def _leave(self, request: MemberChangeRequest, deadline: float) -> MemberChangeReply:
        node = self._node
        term = node.raft.term
        await self._settled(deadline)
        before = node.raft.prs.to_conf_state()
        if not before.voters_outgoing:
            raise AdminError(Code.NOT_JOINT, "the group is not between two configurations")
        if request.expect_config and request.expect_config != before.config_index:
            raise AdminError(
                Code.PRECONDITION,
                f"the configuration was made by entry {before.config_index}, "
                f"not {request.expect_config}",
            )
        abort = request.kind == Kind.ABORT
        lasting = frozenset(before.voters_outgoing if abort else before.voters)
        if not abort and not request.unsafe:
            # Once it is in the log, the end of the change cannot be taken back.
            _require_majority(
                lasting,
                await self._unreachable(lasting, {}),
                hint="bring them back, or go back with `raftctl member abort`; --unsafe skips this "
                "check, and then there is no way back",
            )
        reply = MemberChangeReply(
            before=configuration_message(before),
            leader_leaves=node.id not in lasting,
            dry_run=request.dry_run,
        )
        if request.dry_run:
            reply.phase = phase_of(node)
            return reply
        self._require_leader(term)
        propose = node.raw.propose_rollback if abort else node.raw.propose_finalize
        try:
            node.call(propose)
        except Error as error:
            raise error_of(error) from None
        # Not by the entry's origin: when the leader leaves, its successor proposes the entry.
        await self._until_stable(before.begin_index, deadline)
        self._require_outcome(lasting, before.begin_index)
        reply.index, reply.term = node.raft.prs.config_index, node.raft.term
        return self._finished(reply)

    async def _abort_by_force(self, deadline: float) -> MemberChangeReply:
        node = self._node
        before = node.raft.prs.to_conf_state()
        if not before.voters_outgoing:
            raise AdminError(Code.NOT_JOINT, "the group is not between two configurations")
        await self._win_for_rollback(frozenset(before.voters_outgoing), deadline)
        await self._until_stable(before.begin_index, deadline)
        self._require_outcome(frozenset(before.voters_outgoing), before.begin_index)
        reply = MemberChangeReply(
            before=configuration_message(before),
            index=node.raft.prs.config_index,
            term=node.raft.term,
        )
        return self._finished(reply)

    async def _win_for_rollback(self, old: frozenset[int], deadline: float) -> None:
        """Campaign by the old majority alone until a Rollback is in the log here.

        Raises:
            AdminError: this node may not, or nobody votes for it.
        """
        node, loop = self._node, asyncio.get_running_loop()
        give_up = min(deadline, loop.time() + _CAMPAIGN_ELECTIONS * node.election_timeout)
        prs = node.raft.prs

        def decided() -> bool:
            in_log = any(c.kind.name == "ROLLBACK" for c in node.raft.membership_log)
            return in_log or not prs.is_in_membership_change()

        while not decided():
            try:
                if node.is_leader:
                    node.call(node.raw.propose_rollback)
                else:
                    node.call(node.raw.campaign_for_rollback)
            except ConfChangeError as error:
                if error.reason is not ConfChangeReason.UNAPPLIED:
                    raise error_of(error) from None
            # Others may have voted already in this term, or still believe in a leader that died.
            patience = min(give_up, loop.time() + random.uniform(0.5, 1.0) * node.election_timeout)  # noqa: S311
            try:
                async with asyncio.timeout_at(patience):
                    while not decided():
                        await node.changed()
            except TimeoutError:
                if loop.time() >= give_up:
                    raise self._lost(old) from None

    def _lost(self, old: frozenset[int]) -> AdminError:
        node = self._node
        missing = {k: why for k, why in node.standing.missing_voters().items() if k in old}
        words = ", ".join(f"{k} ({why})" for k, why in missing.items()) or "nobody"
        others = ", ".join(str(k) for k in sorted(old - missing.keys() - {node.id}))
        return AdminError(
            Code.CAMPAIGN_LOST,
            f"node {node.id} campaigned to take the change back and was not elected: "
            f"{majority(len(old))} votes of {', '.join(map(str, sorted(old)))} are needed; "
            f"unreachable: {words}",
            hint=f"campaign at one whose log is longer: {others}" if others
            else "bring back a majority of the old group",
        )  # fmt: skip

    async def _set_address(
        self, request: MemberChangeRequest, deadline: float
    ) -> MemberChangeReply:
        node = self._node
        state = node.raft.prs.to_conf_state()
        _require(request.id, member_ids(state), "a member")
        if not request.unsafe:
            why = "" if request.id == node.id else await self._probe(request.id, request.addr)
            if why:
                raise AdminError(
                    Code.MEMBER_UNREACHABLE,
                    f"node {request.id} does not answer at {request.addr}: {why}",
                    hint="start it there first; --unsafe skips this check",
                )
        reply = MemberChangeReply(
            before=configuration_message(state), dry_run=request.dry_run, phase=phase_of(node)
        )
        if request.dry_run:
            return reply
        command = ControlCommand()
        command.set_addr.id, command.set_addr.addr = request.id, request.addr
        outcome = _Outcome()
        seconds = deadline - asyncio.get_running_loop().time()
        refused = node.proposing.propose_control(outcome, 0, command.SerializeToString(), seconds)
        if refused is not None:
            raise refused
        applied = await outcome.future
        reply.index, reply.term = applied.index, applied.term
        return self._finished(reply)

    # --- waiting ------------------------------------------------------------------------------

    async def _until_stable(self, since: int, deadline: float) -> None:
        """Wait until this node sees that the joint state begun by entry ``since`` is over.

        A node that leaves may not hear that the last entry is committed: that others turn it away
        as a former member tells it the same.
        """
        node = self._node
        prs = node.raft.prs
        await self._until(
            lambda: (
                node.standing.has_left
                or (prs.config_index > since and not prs.is_in_membership_change())
            ),
            deadline,
            "the change has not been seen to end in time; see `raftctl member status`",
        )

    def _require_outcome(self, voters: frozenset[int], since: int) -> None:
        """Refuse to call a change done that ended the other way.

        Raises:
            AdminError: somebody else has ended it.
        """
        node = self._node
        now = node.standing.known_configuration()
        if frozenset(now.voters) != voters and not node.standing.has_left:
            raise AdminError(
                Code.CANCELLED,
                f"the change begun by entry {since} was ended by somebody else: the voters are "
                f"{', '.join(map(str, sorted(now.voters)))} since entry {now.config_index}",
                hint="see `raftctl member status`",
            )

    async def _until_promoted(self, ids: frozenset[int], deadline: float) -> None:
        prs = self._node.raft.prs
        await self._until(
            lambda: ids <= prs.configuration.voters and not prs.is_in_membership_change(),
            deadline,
            "the learner was added, but has not caught up in time; it is promoted when it has",
        )

    async def _until(self, holds: Callable[[], bool], deadline: float, late: str) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                while not holds():
                    await self._node.changed()
        except TimeoutError:
            raise AdminError(
                Code.TIMEOUT_UNKNOWN,
                late,
                hint="see `raftctl member status`",
                outcome=Outcome.UNKNOWN,
            ) from None

    def _finished(self, reply: MemberChangeReply) -> MemberChangeReply:
        node = self._node
        state = node.raft.prs.to_conf_state()
        if node.standing.has_left and state.voters_outgoing:
            # This node left with the new configuration in force, and will not see its entry.
            state = node.standing.belonging.told or ConfState(
                voters=state.voters, learners=state.learners
            )
            reply.phase = "stable"
        else:
            reply.phase = phase_of(node)
        reply.after.CopyFrom(configuration_message(state))
        _set_addresses(reply, self._book.replicated, member_ids(state))
        return reply


def _set_addresses(
    reply: MemberChangeReply, addresses: Mapping[int, str], ids: Iterable[int]
) -> None:
    for node_id in ids:
        if node_id in addresses:
            reply.addrs[node_id] = addresses[node_id]
