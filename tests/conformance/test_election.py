"""Elections: who campaigns when, who votes for whom, and what ends a candidacy."""

from __future__ import annotations

import itertools
import random

import pytest

from raft import NO_LIMIT, ConfigInvalid, InvariantViolation, Raft, StateRole
from raft.eraftpb import (
    AddNode,
    Entry,
    Message,
    MsgAppend,
    MsgHeartbeat,
    MsgHup,
    MsgRequestPreVote,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgTimeoutNow,
)
from tests.harness.builders import (
    a_config,
    a_leader,
    a_member,
    a_raft,
    a_storage,
    change_entry,
    of_type,
    only,
    to,
    v1,
)
from tests.harness.network import Loop, Network


def test_a_node_starts_as_follower_of_nobody() -> None:
    member = a_member()
    assert member.role == "Follower"
    assert (member.term, member.raft.vote, member.raft.leader_id) == (1, 0, 0)
    assert not member.node.has_ready()


def test_a_node_starts_with_what_it_had_stored() -> None:
    member = a_member(terms=[2, 2, 4], term=5, vote=3, commit=3)
    assert (member.term, member.raft.vote, member.committed, member.last_index) == (5, 3, 3, 4)


def test_a_follower_campaigns_when_its_timeout_has_passed() -> None:
    member = a_member()
    limit = member.raft.randomized_election_timeout
    assert member.tick(limit - 1) == []
    asked = of_type(member.tick(), MsgRequestVote)
    assert member.role == "Candidate"
    assert {m.to for m in asked} == {2, 3}
    assert all((m.term, m.index, m.log_term) == (2, 1, 1) for m in asked)


def test_the_timeout_lies_between_its_bounds_and_takes_every_value() -> None:
    member = a_member()
    seen = set()
    for _ in range(500):
        member.raft.reset_randomized_election_timeout()
        seen.add(member.raft.randomized_election_timeout)
    assert seen == set(range(10, 20))


def test_the_bounds_of_the_timeout_may_be_set() -> None:
    raft = a_raft(min_election_tick=15, max_election_tick=17)
    seen = set()
    for _ in range(100):
        raft.reset_randomized_election_timeout()
        seen.add(raft.randomized_election_timeout)
    assert seen == {15, 16}


def test_the_same_seed_gives_the_same_timeouts() -> None:
    def draws(seed: int) -> list[int]:
        raft = Raft(a_config(), a_storage(), rng=random.Random(seed))
        found = []
        for _ in range(20):
            raft.reset_randomized_election_timeout()
            found.append(raft.randomized_election_timeout)
        return found

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_timeouts_of_several_nodes_seldom_tie() -> None:
    ties = 0
    for seed in range(100):
        network = Network(1, 2, 3, 4, 5, seed=seed)
        timeouts = [m.raft.randomized_election_timeout for m in network.members.values()]
        ties += timeouts.count(min(timeouts)) > 1
    assert ties < 60


def test_a_single_voter_elects_itself_at_once() -> None:
    member = a_member(voters=[1])
    member.campaign()
    assert member.leads
    assert member.term == 2
    assert member.committed == 2


def test_a_single_voter_elects_itself_with_pre_vote_too() -> None:
    member = a_member(voters=[1], pre_vote=True)
    member.campaign()
    assert member.leads
    assert member.term == 2


@pytest.mark.parametrize(
    ("voters", "granted", "refused", "state"),
    [
        (3, 0, 0, StateRole.Candidate),
        (3, 1, 0, StateRole.Leader),
        (3, 1, 1, StateRole.Leader),
        (3, 0, 1, StateRole.Candidate),
        (3, 0, 2, StateRole.Follower),
        (4, 1, 0, StateRole.Candidate),
        (4, 2, 0, StateRole.Leader),
        (4, 1, 1, StateRole.Candidate),
        (4, 0, 2, StateRole.Follower),
        (4, 1, 2, StateRole.Follower),
        (5, 2, 0, StateRole.Leader),
        (5, 1, 2, StateRole.Candidate),
        (5, 2, 2, StateRole.Leader),
        (5, 1, 3, StateRole.Follower),
        (5, 0, 3, StateRole.Follower),
        (7, 3, 3, StateRole.Leader),
        (7, 2, 4, StateRole.Follower),
    ],
)
def test_votes_decide(voters: int, granted: int, refused: int, state: StateRole) -> None:
    member = a_member(voters=range(1, voters + 1))
    member.campaign()
    term = member.term
    peers = iter(range(2, voters + 1))
    for reject, count in ((True, refused), (False, granted)):
        for node_id in itertools.islice(peers, count):
            member.receive(MsgRequestVoteResponse, node_id, reject=reject, term=term)
    assert member.state is state
    assert member.term == term


def test_the_first_answer_of_a_node_counts() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5])
    member.campaign()
    for _ in range(3):
        member.receive(MsgRequestVoteResponse, 2)
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3, reject=True)
    member.receive(MsgRequestVoteResponse, 3)
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 4)
    assert member.leads


def test_votes_of_an_earlier_term_do_not_count() -> None:
    member = a_member()
    member.campaign()
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2, term=member.term - 1)
    assert member.role == "Candidate"


def test_votes_of_learners_do_not_count() -> None:
    member = a_member(voters=[1, 2, 3], learners=[4])
    assert {m.to for m in member.campaign()} == {2, 3}
    member.receive(MsgRequestVoteResponse, 4)
    assert member.role == "Candidate"


def test_one_of_three_can_be_elected_whatever_the_role_of_the_others() -> None:
    for loop in Loop:
        network = Network(1, 2, 3, loop=loop)
        for node_id in (1, 2, 3, 1, 2):
            network.elect(node_id)
        assert sum(m.leads for m in network.members.values()) == 1


def test_nobody_is_elected_without_a_majority() -> None:
    network = Network(1, 2, 3, 4, 5)
    network.stop(3, 4, 5)
    network.campaign(1)
    assert network[1].role == "Candidate"


def test_a_group_elects_a_leader_by_ticks_alone() -> None:
    for seed in range(5):
        network = Network(1, 2, 3, 4, 5, seed=seed)
        network.tick_until(lambda network=network: network.leader() is not None)  # type: ignore[misc]


def test_a_split_vote_ends_with_one_leader() -> None:
    network = Network(1, 2, 3, 4)
    network.cut((1, 2))
    for node_id in (1, 2):
        network[node_id].node.campaign()
    network.collect()
    network.run()
    network.heal()
    network.tick_until(lambda: network.leader() is not None)


def test_two_candidates_of_one_term_and_the_loser_follows() -> None:
    network = Network(1, 2, 3)
    network.cut((1, 3))
    network.campaign(1)
    network.campaign(3)
    assert network[1].leads
    assert network[3].role == "Candidate"
    network.heal()
    # Its next term deposes the leader, but its log is behind: nobody votes for it.
    network.campaign(3)
    assert network[1].role == "Follower"
    assert network[3].role == "Follower"
    assert network[1].term == network[3].term == 3
    assert network[2].term == 3


def test_a_candidate_gives_way_to_the_leader_of_its_term() -> None:
    for msg_type in (MsgAppend, MsgHeartbeat):
        member = a_member()
        member.campaign()
        member.receive(msg_type, 2, log_term=1, index=1, term=member.term) if (
            msg_type == MsgAppend
        ) else member.receive(msg_type, 2)
        assert member.role == "Follower"
        assert member.raft.leader_id == 2
        assert member.term == 2
        assert member.raft.vote == 1


def test_a_later_term_makes_a_follower_of_anyone() -> None:
    for start in ("follower", "candidate", "leader"):
        member = a_member()
        if start == "candidate":
            member.campaign()
        if start == "leader":
            member.lead()
        member.receive(MsgAppend, 2, term=7, index=1, log_term=1)
        assert (member.role, member.term, member.raft.leader_id) == ("Follower", 7, 2)
        member.receive(MsgRequestVoteResponse, 3, term=9)
        assert (member.role, member.term, member.raft.leader_id) == ("Follower", 9, 0)


@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize(
    ("index", "log_term", "granted"),
    [
        (3, 2, False),
        (4, 2, False),
        (9, 2, False),
        (2, 3, False),
        (3, 3, False),
        (4, 3, True),
        (5, 3, True),
        (1, 4, True),
        (4, 4, True),
    ],
)
def test_a_vote_goes_to_a_log_that_is_up_to_date(
    index: int, log_term: int, granted: bool, pre: bool
) -> None:
    member = a_member(terms=[2, 2, 3])
    msg_type = MsgRequestPreVote if pre else MsgRequestVote
    answer = only(member.receive(msg_type, 2, term=9, index=index, log_term=log_term))
    assert answer.reject is not granted
    assert member.raft.vote == (2 if granted and not pre else 0)


def test_a_vote_is_given_once_a_term() -> None:
    member = a_member()
    assert not only(member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1)).reject
    assert only(member.receive(MsgRequestVote, 3, term=2, index=9, log_term=1)).reject
    # Asked again by whom it voted for: the answer may have been lost.
    assert not only(member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1)).reject
    assert not only(member.receive(MsgRequestVote, 3, term=3, index=1, log_term=1)).reject


def test_no_vote_in_the_term_of_a_known_leader() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=3)
    assert only(member.receive(MsgRequestVote, 3, term=3, index=9, log_term=1)).reject
    assert member.raft.vote == 0


def test_a_vote_outlives_a_restart() -> None:
    for loop in Loop:
        member = a_member(loop=loop)
        member.receive(MsgRequestVote, 2, term=4, index=1, log_term=1)
        member.restart()
        assert (member.term, member.raft.vote) == (4, 2)
        assert only(member.receive(MsgRequestVote, 3, term=4, index=9, log_term=3)).reject


def test_a_vote_leaves_only_after_it_was_stored() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    assert member.receive(MsgRequestVote, 2, term=4, index=1, log_term=1) == []
    assert not only(member.sync()).reject


def test_voting_postpones_the_own_candidacy() -> None:
    member = a_member()
    member.tick(9)
    member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1)
    assert member.raft.election_elapsed == 0


def test_refusing_does_not_postpone_the_own_candidacy() -> None:
    member = a_member(terms=[2], term=2)
    member.tick(9)
    member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1)
    assert member.raft.election_elapsed == 9


def test_any_entry_of_an_earlier_leader_is_overwritten_or_wins() -> None:
    # Whoever wins next holds what a majority held; what only the lost leader had is replaced.
    network = Network(1, 2, 3, 4, 5)
    network.elect(1)
    network.isolate(1)
    network.propose(1, b"lost")
    network.elect(2)
    network.propose(2, b"kept")
    network.heal()
    network.tick(times=3)
    assert {tuple(m.data) for m in network.members.values()} == {(b"kept",)}
    assert network[1].log() == network[2].log()


def test_a_node_with_a_short_log_cannot_win_but_moves_the_term() -> None:
    network = Network(1, 2, 3)
    network.isolate(3)
    network.elect(1)
    network.propose(1)
    network.heal()
    network.campaign(3)
    network.campaign(3)
    assert network[3].role == "Follower"
    assert network[1].term == network[3].term == 3
    network.elect(1)
    assert network[3].log() == network[1].log()


def test_learners_do_not_campaign() -> None:
    member = a_member(id=4, voters=[1, 2, 3], learners=[4])
    assert member.tick(100) == []
    assert member.campaign() == []
    assert member.role == "Follower"


def test_learners_vote() -> None:
    member = a_member(id=4, voters=[1, 2, 3], learners=[4])
    assert not only(member.receive(MsgRequestVote, 1, term=2, index=1, log_term=1)).reject


def test_a_stranger_may_be_voted_for() -> None:
    member = a_member()
    answer = only(member.receive(MsgRequestVote, 9, term=2, index=1, log_term=1))
    assert answer.to == 9
    assert not answer.reject


def test_an_empty_node_takes_no_part() -> None:
    network = Network(1, 2, 3)
    newcomer = network.add(4)
    assert newcomer.tick(100) == []
    assert newcomer.campaign() == []
    assert newcomer.term == 0
    assert not only(newcomer.receive(MsgRequestVote, 1, term=2, index=1, log_term=1)).reject


def test_a_hup_is_nothing_to_a_leader() -> None:
    leader = a_leader()
    assert leader.campaign() == []
    assert leader.leads
    assert leader.term == 2


def test_a_candidate_that_hears_nothing_campaigns_again() -> None:
    member = a_member()
    member.campaign()
    limit = member.raft.randomized_election_timeout
    asked = of_type(member.tick(limit), MsgRequestVote)
    assert len(asked) == 2
    assert member.term == 3


def test_a_new_leader_appends_an_empty_entry_and_sends_it() -> None:
    member = a_member()
    member.campaign()
    sent = of_type(member.receive(MsgRequestVoteResponse, 2), MsgAppend)
    assert {m.to for m in sent} == {2, 3}
    entry = only(to(sent, 2)).entries[0]
    assert (entry.term, entry.index, entry.data) == (2, 2, b"")


def test_role_changes_that_cannot_be_are_invariant_violations() -> None:
    raft = a_raft()
    with pytest.raises(InvariantViolation):
        raft.become_leader()
    raft.become_candidate()
    raft.become_leader()
    with pytest.raises(InvariantViolation):
        raft.become_candidate()
    with pytest.raises(InvariantViolation):
        raft.become_pre_candidate()


def test_an_invalid_config_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigInvalid):
        Raft(a_config(id=0), a_storage())


@pytest.mark.parametrize("msg_type", [MsgTimeoutNow, MsgHup])
def test_no_campaign_while_a_committed_membership_change_is_unapplied(msg_type: int) -> None:
    member = a_member(max_size_per_msg=NO_LIMIT)
    member.applies = False
    entry = change_entry(v1(AddNode, 4), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    if msg_type == MsgHup:
        member.campaign()
    else:
        member.receive(MsgTimeoutNow, 2)
    assert member.role == "Follower"


def test_campaigning_is_possible_when_only_an_uncommitted_change_is_in_the_log() -> None:
    member = a_member()
    entry = change_entry(v1(AddNode, 4), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=1)
    member.campaign()
    assert member.role == "Candidate"


def test_a_removed_node_does_not_campaign() -> None:
    member = a_member(id=3, voters=[1, 2])
    assert member.tick(100) == []
    assert member.campaign() == []


def test_a_vote_request_is_answered_in_the_term_it_asks_for() -> None:
    member = a_member()
    answer = only(member.receive(MsgRequestVote, 2, term=6, index=1, log_term=1))
    assert (answer.term, answer.to, answer.from_) == (6, 2, 1)


def test_a_candidate_of_an_earlier_term_is_told_unless_there_is_a_leader() -> None:
    """Found by the simulator, seeds 300002816 and 300004659.

    Two campaign at the same pace, one of them ten terms behind; only that one can be elected, by
    votes of the other.
    """
    member = a_member(term=5)
    answer = only(member.receive(MsgRequestVote, 2, term=4, index=9, log_term=3))
    assert (answer.msg_type, answer.to, answer.term) == (MsgRequestVoteResponse, 2, 5)
    assert answer.reject
    assert (answer.commit, answer.commit_term) == (1, 1)
    assert (member.term, member.raft.vote) == (5, 0)
    # Who was removed is not told: it would campaign in the leader's next term.
    member.receive(MsgHeartbeat, 3, term=5)
    assert member.receive(MsgRequestVote, 2, term=4, index=9, log_term=3) == []
    assert member.raft.leader_id == 3


def test_an_election_with_messages_lost_ends() -> None:
    network = Network(1, 2, 3, 4, 5, pre_vote=True, check_quorum=True)
    network.lose(0.3)
    network.tick_until(lambda: network.leader() is not None)
    network.heal()
    network.tick(times=25)
    leader = network.leader()
    assert leader is not None
    network.propose(leader.id, b"x")
    network.tick(times=2)
    assert all(m.data == [b"x"] for m in network.members.values())


def test_the_soft_state_tells_of_leaders_and_roles() -> None:
    member = a_member()
    member.lead()
    states = [rd.ss for rd in member.readies if rd.ss is not None]
    assert [s.raft_state for s in states] == [StateRole.Candidate, StateRole.Leader]
    member.receive(MsgHeartbeat, 3, term=5)
    assert member.readies[-1].ss is not None
    assert member.readies[-1].ss.leader_id == 3
    member.receive(MsgHeartbeat, 3, term=5)
    assert member.readies[-1].ss is None


def test_entries_of_the_empty_kind_have_a_place_in_the_log_of_each() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.elect(2)
    assert network[3].log() == [(2, 2), (3, 3)]
    assert network[3].data == []
    assert Entry() == Entry()
    assert isinstance(network[3].applied[2], Entry)
    assert Message() != Message(to=1)
