"""Whole stories of a change of membership, with every loop an application may drive its node by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from raft import ConfChangeError, ConfChangeReason, Config, MemStorage, RawNode
from raft.eraftpb import Entry, Message, MsgAppend, MsgTimeoutNow
from tests.conformance.members import shape, shapes
from tests.harness.network import Loop, Member, Network


class Story:
    """A network whose group takes writes all along, and remembers which were acknowledged.

    A write counts as acknowledged when the leader that took it has applied it.
    """

    def __init__(
        self, loop: Loop, voters: Iterable[int], learners: Iterable[int] = (), **config: Any
    ) -> None:
        self.network = Network(*voters, learners=learners, loop=loop, **config)
        self.founders = set(self.network.members)
        self.acknowledged: list[bytes] = []
        self.written = 0

    def __getitem__(self, node_id: int) -> Member:
        return self.network[node_id]

    def leader(self) -> Member:
        """Whoever leads; if nobody does, time passes until someone is elected."""
        network = self.network
        network.tick_until(lambda: network.leader() is not None)
        found = network.leader()
        assert found is not None
        return found

    def write(self) -> bool:
        """Write once at the leader; whether it is applied there after a few ticks."""
        leader = self.leader()
        self.written += 1
        data = b"write %d" % self.written
        leader.node.propose(b"", data)
        self.network.run()
        for _ in range(3):
            if data in leader.data:
                self.acknowledged.append(data)
                return True
            self.network.tick()
        return False

    def writes(self) -> None:
        """The group takes writes again, within a few election timeouts."""
        for _ in range(60):
            leader = self.leader()
            if not leader.raft.lead_transferee and self.write():
                return
            self.network.tick()
        raise AssertionError("no write is acknowledged any more")

    def change(self, voters: Iterable[int], learners: Iterable[int] = (), **how: Any) -> None:
        """Begin a change at the leader; nodes that are not there yet are started, empty."""
        target = (list(voters), list(learners))
        for node_id in (*target[0], *target[1]):
            if node_id not in self.network.members:
                self.network.add(node_id)
        self.leader().node.propose_membership_change(target, **how)
        self.network.run()

    def settled(self, members: str, ids: Iterable[int]) -> None:
        """After a while these nodes are in this configuration, take writes, and have lost none."""
        ids = list(ids)
        self.network.tick_until(lambda: shapes(self.network, ids) == {members})
        self.writes()
        self.network.tick_until(lambda: all(self.has_all(i) for i in ids))

    def has_all(self, node_id: int) -> bool:
        """Whether a node applied all that was acknowledged, in order.

        Who joined by a snapshot, which brings no writes here, has those from there on.
        """
        known = set(self.acknowledged)
        has = [one for one in self[node_id].data if one in known]
        assert len(set(has)) == len(has)
        if node_id in self.founders:
            return has == self.acknowledged
        return bool(has) and has == self.acknowledged[-len(has) :]


ONE_TO_FIVE = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("old", "new", "then"),
    [
        ((1, 2, 3), (4, 5, 6), "(4 5 6)"),
        ((1,), ONE_TO_FIVE, "(1 2 3 4 5)"),
        (ONE_TO_FIVE, (1,), "(1)"),
        (ONE_TO_FIVE, (5,), "(5)"),
        ((1, 2), (2, 3), "(2 3)"),
    ],
    ids=["all replaced", "one to five", "five to one", "five to another", "one of two replaced"],
)
def test_a_group_is_changed_under_load(
    loop: Loop, old: tuple[int, ...], new: tuple[int, ...], then: str
) -> None:
    story = Story(loop, old)
    story.writes()
    story.change(new)
    story.writes()
    story.settled(then, new)
    # Whoever has left is needed no more, and its id may not return.
    gone = set(old) - set(new)
    story.network.stop(*gone)
    story.settled(then, new)
    assert story.leader().raft.prs.removed == gone
    for node_id in gone:
        with pytest.raises(ConfChangeError) as refused:
            story.change((*new, node_id))
        assert refused.value.reason is ConfChangeReason.REMOVED_ID


def test_who_has_left_does_not_disturb(loop: Loop) -> None:
    """Those that left and heard of it do not campaign; one that did not hear cannot win."""
    story = Story(loop, (1, 2, 3), check_quorum=True, pre_vote=True)
    story.change((4, 5, 6))
    story.settled("(4 5 6)", (4, 5, 6))
    leader = story.leader()
    term = leader.term
    story.network.tick(times=100)
    assert story.leader() is leader
    assert leader.term == term
    for node_id in (1, 2, 3):
        assert not story[node_id].raft.promotable()


def test_promotion_and_demotion_in_one_change(loop: Loop) -> None:
    """A learner becomes a voter with the progress it has, a voter a learner when it is all over."""
    story = Story(loop, (1, 2, 3), learners=(4,))
    story.writes()
    before = story[1].raft.prs.progress[4].matched if story[1].leads else 0
    story.change((1, 2, 4), (3,), auto_finalize=False)
    leader = story.leader()
    story.network.tick_until(lambda: shapes(story.network) == {"(1 2 3 | 4)&(1 2 4 | 3)"})
    assert leader.raft.prs.progress[4].matched >= max(before, 2)
    # Both vote meanwhile; neither is a learner.
    assert leader.raft.prs.voter_ids() == {1, 2, 3, 4}
    assert leader.raft.prs.learner_ids() == frozenset()
    story.writes()
    leader.node.propose_finalize()
    story.settled("(1 2 4 | 3)", (1, 2, 3, 4))
    assert story[3].raft.is_learner
    assert not story[3].raft.promotable()
    assert story[4].raft.promotable()
    # And back again, in one change.
    story.change((1, 2, 3), (4,))
    story.settled("(1 2 3 | 4)", (1, 2, 3, 4))


@pytest.mark.parametrize("successor", [4, 5])
def test_the_successor_leads_after_the_leader_has_left(loop: Loop, successor: int) -> None:
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.writes()
    story.change((3, 4, 5), (), successor=successor)
    assert story.leader().id == successor
    story.settled("(3 4 5)", (3, 4, 5))
    assert story.leader().id == successor


def test_without_a_successor_the_best_matched_new_voter_leads(loop: Loop) -> None:
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.change((3, 4, 5), auto_finalize=False)
    story.network.tick(times=3)
    story.network.isolate(3)
    story.writes()
    matched = {i: story[1].raft.prs.progress[i].matched for i in (3, 4, 5)}
    assert matched[3] < matched[4] == matched[5]
    story.leader().node.propose_finalize()
    story.network.run()
    assert story.leader().id == 4
    story.network.heal()
    story.settled("(3 4 5)", (3, 4, 5))


def test_a_successor_that_does_not_take_over_in_time_is_passed_over(loop: Loop) -> None:
    """The leader that leaves finalizes itself, steps down, and a new voter is elected."""
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.network.ignore(MsgTimeoutNow)
    story.change((3, 4, 5), successor=4)
    assert story[1].leads
    assert story[1].raft.lead_transferee == 4
    story.network.tick(1, times=story[1].raft.successor_ticks + 1)
    assert not story[1].leads
    story.settled("(3 4 5)", (3, 4, 5))


def test_a_successor_that_died_is_passed_over(loop: Loop) -> None:
    story = Story(loop, (1, 2, 3), learners=(4, 5), check_quorum=True)
    story.network.elect(1)
    story.change((3, 4, 5), auto_finalize=False, successor=4)
    story.network.tick(times=2)
    story.network.stop(4)
    story.network.tick(times=25)  # CheckQuorum notes who is silent.
    story.leader().node.propose_finalize()
    story.network.run()
    story.settled("(3 4 5)", (3, 5))
    assert story.leader().id in (3, 5)


def test_the_leader_dies_while_it_hands_over(loop: Loop) -> None:
    """Whoever is elected then goes on with the change."""
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.network.ignore(MsgTimeoutNow)
    story.change((3, 4, 5), successor=4)
    story.network.stop(1)
    story.network.heal()
    story.settled("(3 4 5)", (3, 4, 5))


def test_the_leader_is_removed_and_another_takes_over_at_once(loop: Loop) -> None:
    """Not after an election timeout: leadership is handed over before the leader leaves."""
    story = Story(loop, (1, 2, 3))
    story.network.elect(1)
    story.writes()
    story.change((2, 3))
    leader = story.network.leader()
    assert leader is not None
    assert leader.id in (2, 3)
    story.settled("(2 3)", (2, 3))
    assert not story[1].raft.promotable()


# -- Rolling back --------------------------------------------------------------------------------


def stuck(loop: Loop, **config: Any) -> Story:
    """{1,2,3} and learners 4, 5 on the way to {3,4,5}, where 4 and 5 have died."""
    story = Story(loop, (1, 2, 3), learners=(4, 5), **config)
    story.network.elect(1)
    story.writes()
    story.change((3, 4, 5), auto_finalize=False)
    story.network.tick(times=2)
    assert shapes(story.network) == {"(1 2 3 | 4 5)&(3 4 5)"}
    story.network.stop(4, 5)
    return story


def test_new_majority_dead(loop: Loop) -> None:
    """Nothing is committed until the change is rolled back; then everything that waited is."""
    story = stuck(loop)
    assert not story.write()
    story[1].node.propose_rollback()
    story.network.run()
    story.settled("(1 2 3 | 4 5)", (1, 2, 3))
    assert b"write 2" in story[1].data
    # They come back as what they were, learners, and catch up.
    story.network.start(4, 5)
    story.settled("(1 2 3 | 4 5)", (1, 2, 3, 4, 5))
    # The same change may be tried again.
    story.change((3, 4, 5))
    story.settled("(3 4 5)", (3, 4, 5))


@pytest.mark.parametrize("pre_vote", [False, True], ids=["", "pre-vote"])
def test_new_majority_dead_and_the_leader_too(loop: Loop, pre_vote: bool) -> None:
    """Nobody can be elected; one node of C_old is told to campaign by C_old alone."""
    story = stuck(loop, pre_vote=pre_vote, check_quorum=True)
    assert not story.write()
    story.network.stop(1)
    story.network.tick(times=60)
    assert story.network.leader() is None
    story[2].node.campaign_for_rollback()
    story.network.run()
    assert story[2].leads
    story.settled("(1 2 3 | 4 5)", (2, 3))
    story.network.start(1)
    story.settled("(1 2 3 | 4 5)", (1, 2, 3))


def test_a_campaign_for_rollback_that_is_lost_may_be_repeated(loop: Loop) -> None:
    story = stuck(loop)
    story.network.stop(1)
    story.network.isolate(2)
    story[2].node.campaign_for_rollback()
    story.network.run()
    assert not story[2].leads
    story.network.heal()
    # The first time both may have voted for themselves in the same term.
    for _ in range(2):
        if not story[3].leads:
            story[3].node.campaign_for_rollback()
            story.network.run()
    assert story[3].leads
    story.settled("(1 2 3 | 4 5)", (2, 3))


def test_the_new_members_live_on_while_the_group_rolls_back(loop: Loop) -> None:
    """Cut off from C_old, C_new's majority can neither elect nor commit; healed, it follows."""
    story = stuck(loop)
    story.network.start(4, 5)
    story.network.partition((1, 2, 3), (4, 5))
    story.network.tick(4, 5, times=60)
    assert not story[4].leads
    assert not story[5].leads
    story[1].node.propose_rollback()
    story.network.run()
    story.settled("(1 2 3 | 4 5)", (1, 2, 3))
    story.network.heal()
    story.settled("(1 2 3 | 4 5)", (1, 2, 3, 4, 5))


def test_a_rollback_that_only_its_leader_had_is_lost_with_it(loop: Loop) -> None:
    """Whoever is elected without it is joint as before, and may finalize."""
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.change((3, 4, 5), auto_finalize=False)
    story.network.tick(times=2)
    story.network.isolate(1)
    story[1].node.propose_rollback()
    story.network.run()
    assert story[1].raft.prs.deciding_voters() == {1, 2, 3}
    story.network.stop(1)
    story.network.heal()
    leader = story.leader()
    assert leader.id != 1
    story.writes()
    leader.node.propose_finalize()
    story.network.run()
    story.settled("(3 4 5)", (3, 4, 5))
    # The old leader's Rollback is cut off and it learns that it has left.
    story.network.start(1)
    story.network.tick(times=30)
    assert shape(story[1]) in ("(3 4 5)", "(1 2 3 | 4 5)&(3 4 5)")
    assert not story[1].leads
    assert story.leader().id in (3, 4, 5)


# -- Crashes while joint -------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["finalize", "rollback"])
@pytest.mark.parametrize("crashing", [1, 3, 4], ids=["leader", "member of both", "new member"])
def test_a_node_restarts_at_every_step(loop: Loop, crashing: int, end: str) -> None:
    """It loses what it has not synced, after each delivery of a whole change in turn."""
    step = 1
    while restarted_after(step, Story(loop, (1, 2, 3), learners=(4, 5)), crashing, end):
        step += 1
    assert step > 10


def restarted_after(step: int, story: Story, crashing: int, end: str) -> bool:
    """A change in which a node restarts after `step` deliveries; False if there are fewer."""
    network = story.network
    network.elect(1)
    story.writes()
    steps = Steps(story, crashing, step)
    network[1].node.propose_membership_change(([3, 4, 5], []), auto_finalize=False)
    steps.run()
    target = "(3 4 5)" if end == "finalize" else "(1 2 3 | 4 5)"
    staying = (3, 4, 5) if end == "finalize" else (1, 2, 3, 4, 5)
    for _ in range(200):
        leader = story.leader()
        if leader.raft.is_in_membership_change():
            propose_end(leader, end)
            steps.run()
        if shapes(network, staying) == {target}:
            break
        if shapes(network) == {"(1 2 3 | 4 5)"} and not steps.left:
            # The crash took the Begin with it: the leader had told nobody.
            assert crashing == 1
            target, staying = "(1 2 3 | 4 5)", (1, 2, 3, 4, 5)
            break
        network.tick()
    story.settled(target, staying)
    return not steps.left


def propose_end(leader: Member, end: str) -> None:
    try:
        if end == "finalize":
            leader.node.propose_finalize()
        else:
            leader.node.propose_rollback()
    except ConfChangeError as error:
        if error.reason not in (
            ConfChangeReason.FINALIZE_IN_LOG,
            ConfChangeReason.ROLLBACK_IN_LOG,
        ):
            raise
        # It has been proposed already, here or by a leader before.


class Steps:
    """Delivers messages and restarts a node after so many of them."""

    def __init__(self, story: Story, crashing: int, step: int) -> None:
        self.story = story
        self.crashing = crashing
        self.left = step

    def run(self) -> None:
        """Deliver until nothing is under way."""
        network = self.story.network
        network.collect()
        while network.deliver_one() is not None:
            self.left = max(0, self.left - 1)
            if self.left == 0 and self.crashing:
                network.stop(self.crashing)
                network.start(self.crashing)
                network.collect()
                self.crashing = 0


def test_everyone_restarts_while_joint(loop: Loop) -> None:
    """The joint state, and where it began, are on every disk."""
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.writes()
    story.change((3, 4, 5), auto_finalize=False)
    story.writes()
    story.network.tick(times=2)
    begun = {member.raft.prs.begin_index for member in story.network.members.values()}
    assert len(begun) == 1
    story.network.stop(1, 2, 3, 4, 5)
    story.network.start(1, 2, 3, 4, 5)
    assert shapes(story.network) == {"(1 2 3 | 4 5)&(3 4 5)"}
    assert {member.raft.prs.begin_index for member in story.network.members.values()} == begun
    story.writes()
    story.leader().node.propose_finalize()
    story.network.run()
    story.settled("(3 4 5)", (3, 4, 5))


# -- Snapshots while joint -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["finalize", "rollback"])
def test_a_snapshot_of_the_joint_state(loop: Loop, end: str) -> None:
    """A member that missed Begin and whose entries are gone learns of both sides by a snapshot."""
    story = Story(loop, (1, 2, 3), learners=(4, 5))
    story.network.elect(1)
    story.writes()
    story.network.stop(3)
    story.change((3, 4, 5), auto_finalize=False)
    story.network.tick(times=2)
    leader = story.leader()
    leader.compact(leader.raft.raft_log.applied + 1)
    story.network.start(3)
    story.network.tick(times=5)
    assert shape(story[3]) == "(1 2 3 | 4 5)&(3 4 5)"
    assert story[3].raft.prs.begin_index == leader.raft.prs.begin_index
    propose_end(leader, end)
    story.network.run()
    ids, members = [1, 2, 3, 4, 5], "(1 2 3 | 4 5)"
    if end == "finalize":
        assert story.leader().id in (3, 4, 5)
        ids, members = [3, 4, 5], "(3 4 5)"
    story.network.tick_until(lambda: shapes(story.network, ids) == {members})


def test_a_new_member_joins_a_rolled_back_group_after_a_second_begin(loop: Loop) -> None:
    """The first change's Rollback is behind the snapshot and disarms nothing."""
    story = Story(loop, (1, 2, 3))
    story.network.elect(1)
    story.change((2, 3, 4), auto_finalize=False)
    story.network.tick(times=2)
    story[1].node.propose_rollback()
    story.network.run()
    story.settled("(1 2 3)", (1, 2, 3))
    story.change((2, 3, 5), auto_finalize=False)
    story.network.tick(times=4)
    assert shapes(story.network, (1, 2, 3, 5)) == {"(1 2 3)&(2 3 5)"}
    for node_id in (1, 2, 3, 5):
        assert story[node_id].raft.prs.deciding_voters() == {1, 2, 3, 5}
    story.leader().node.propose_finalize()
    story.network.run()
    story.network.tick_until(lambda: shapes(story.network, (2, 3, 5)) == {"(2 3 5)"})
    story.writes()


# -- What is on the disk -------------------------------------------------------------------------


def test_a_follower_stores_entries_with_the_commit_index_they_came_with(loop: Loop) -> None:
    """One write, or a crash between two would let it campaign by a configuration of the past."""
    story = Story(loop, (1, 2, 3))
    story.network.elect(1)
    story.writes()
    follower = story[2]
    log = follower.raft.raft_log
    follower.readies.clear()
    follower.node.step(
        append(story, index=log.last_index(), commit=log.last_index() + 1, data=b"late")
    )
    rd = follower.node.ready()
    assert [entry.data for entry in rd.entries] == [b"late"]
    assert rd.hs is not None
    assert rd.hs.commit == rd.entries[-1].index
    assert rd.must_sync


def append(story: Story, *, index: int, commit: int, data: bytes) -> Message:
    """An append of one entry, as from the leader of the story."""
    leader = story.leader()
    entry = Entry(index=index + 1, term=leader.term, data=data)
    return Message(
        msg_type=MsgAppend,
        to=2,
        from_=leader.id,
        term=leader.term,
        index=index,
        log_term=leader.raft.raft_log.term(index),
        entries=[entry],
        commit=commit,
    )


def test_entries_are_never_stored_without_the_commit_index_that_was_known() -> None:
    """An application may leave the commit index of a LightReady unwritten until it writes anyway.

    Whoever holds a Finalize on its disk must know there that Begin is committed. A leader that
    learned so from a LightReady alone, stored the Finalize and lost its power would campaign by the
    configuration from before Begin, beside a leader of C_new (found by the search, "replays").
    """
    storage = MemStorage.new_with_conf_state(([1], []))
    node = RawNode(Config(id=1, applied=1), storage)
    node.campaign()
    while node.has_ready():
        rd = node.ready()
        storage.wl().append(rd.entries)
        node.advance_append(rd)
    node.propose(b"", b"first")
    rd = node.ready()
    storage.wl().append(rd.entries)
    light = node.advance_append(rd)
    assert light.commit_index == 3
    assert not node.has_ready()  # It is not worth a write of its own.
    node.propose(b"", b"second")
    rd = node.ready()
    assert [entry.index for entry in rd.entries] == [4]
    assert rd.hs is not None
    assert rd.hs.commit == 3
    storage.wl().append(rd.entries)
    node.advance_append(rd)
    node.propose(b"", b"third")
    rd = node.ready()
    assert rd.hs is not None
    assert rd.hs.commit == 4
