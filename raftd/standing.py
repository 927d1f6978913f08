"""Where a node stands in its group: its part, its links, and the refusals that tell of them."""

from collections.abc import Callable

from raft.eraftpb import ConfState
from raftd.belonging import Belonging
from raftd.engine import Engine
from raftwire.errors import AdminError, Code


class Standing:
    """What a node can say of its place among the members.

    Attributes:
        belonging: What others have said of it.
        outside: Whether it has no part in the group any more; as of the last `look_outside`.
        quorum_linked: Whether it has links to a majority; as of the last `look_at_links`.
        why_unreachable: Says in words why a peer cannot be reached.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.id = engine.id
        self.belonging = Belonging(engine.id, engine.log)
        self.outside = False
        self.quorum_linked = True
        self.why_unreachable: Callable[[int], str] = _not_connected

    @property
    def has_left(self) -> bool:
        """Whether this node has left the group for good, by its own log or by what others say."""
        prs = self._engine.raft.prs
        return self.belonging.expelled or (self.id in prs.removed and self.id not in prs.ids())

    def known_configuration(self) -> ConfState:
        """Return the newest configuration that this node has applied or been told of."""
        return self.belonging.told or self._engine.raft.prs.to_conf_state()

    def not_member_error(self) -> AdminError:
        """Return the refusal of what only a member can do."""
        state = self.known_configuration()
        voters = ", ".join(map(str, sorted(state.voters)))
        return AdminError(
            Code.NOT_MEMBER,
            f"node {self.id} is not in the group any more: since entry {state.config_index} its "
            f"voters are {voters}; nothing was passed on",
            hint=f"ask a member: {voters}",
            details={"voters": voters},
        )

    def look_outside(self) -> bool:
        """See whether this node still has a part in the group; return if it has just lost it."""
        was, self.outside = self.outside, self.has_left or self.belonging.told is not None
        return self.outside and not was

    def look_at_links(self) -> None:
        """See whether this node has links to a majority of each configuration in force."""
        state = self._engine.raft.prs.to_conf_state()
        reachable = self._engine.network.reachable
        self.quorum_linked = all(
            2 * sum(1 for member in voters if member == self.id or reachable(member)) > len(voters)
            for voters in (state.voters, state.voters_outgoing)
            if voters
        )

    def best_successor(self) -> int:
        """Return the best-matched active voter to hand leadership to; 0 if there is none."""
        prs = self._engine.raft.prs
        voters = (prs.next_configuration or prs.configuration).voters
        candidates = [
            (-progress.matched, peer_id)
            for peer_id, progress in prs.iter()
            if peer_id != self.id
            and peer_id in voters
            and progress.recent_active
            and self.reachable(peer_id)
        ]
        return min(candidates)[1] if candidates else 0

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up."""
        return self._engine.network.reachable(peer_id)

    def no_leader_error(self) -> AdminError:
        """Return the refusal of a request that no leader has been given."""
        missing = self.missing_voters()
        details = {f"unreachable_{member}": why for member, why in missing.items()}
        if self._engine.raft.leader_id == 0 or not self.quorum_linked:
            state = self._engine.raft.prs.to_conf_state()
            if not state.voters:
                return AdminError(
                    Code.NO_LEADER,
                    f"node {self.id} is not part of a group yet: it waits to be added",
                    hint=f"add it from a member, with raftctl member add {self.id}",
                )
            if not self.quorum_linked:
                words = ", ".join(f"{member} ({why})" for member, why in missing.items())
                total = len({*state.voters, *state.voters_outgoing})
                return AdminError(
                    Code.NO_QUORUM,
                    f"no quorum: {total - len(missing)} of {total} voters reachable from node "
                    f"{self.id}; unreachable: {words}",
                    details=details,
                )
        if self._engine.raft.leader_id == 0:
            return AdminError(
                Code.NO_LEADER,
                f"node {self.id} knows of no leader in term {self._engine.raft.term}",
            )
        return AdminError(
            Code.NO_LEADER,
            f"node {self.id} could not pass the request on to leader {self._engine.raft.leader_id}",
            details=details,
        )

    def unknown_error(self) -> AdminError:
        """Return the failure of a proposal that some leader was given."""
        missing = self.missing_voters()
        words = ", ".join(f"{member} ({why})" for member, why in missing.items())
        text = "the proposal was passed to a leader, but was not seen applied in time"
        if words:
            text += f"; unreachable from node {self.id}: {words}"
        return AdminError(
            Code.TIMEOUT_UNKNOWN,
            text,
            details={f"unreachable_{member}": why for member, why in missing.items()},
        )

    def missing_voters(self) -> dict[int, str]:
        """Return the voters this node has no link to, each with the reason."""
        state = self._engine.raft.prs.to_conf_state()
        return {
            member: self.why_unreachable(member)
            for member in sorted({*state.voters, *state.voters_outgoing})
            if member != self.id and not self._engine.network.reachable(member)
        }


def _not_connected(peer_id: int) -> str:
    return f"node {peer_id} is not connected"
