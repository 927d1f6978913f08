"""What holds for every set of members, whatever was done to it."""

from __future__ import annotations

from raft import Progress, ProgressSet


def fresh() -> Progress:
    """The progress of a new member."""
    return Progress(1, 8)


def check(prs: ProgressSet) -> None:
    """Check every law of a set."""
    old, new = prs.configuration, prs.next_configuration
    everyone = old.ids() | (new.ids() if new else frozenset())
    assert set(prs.progress) == everyone
    assert prs.ids() == tuple(sorted(everyone))
    assert prs.voter_ids() | prs.learner_ids() == everyone
    assert not prs.voter_ids() & prs.learner_ids()
    assert not old.voters & old.learners
    assert [i for i, _ in prs.voters()] == sorted(prs.voter_ids())
    assert [i for i, _ in prs.learners()] == sorted(prs.learner_ids())
    assert dict(prs.iter()) == prs.progress
    assert prs.is_in_membership_change() == (new is not None)
    assert prs.promotable <= (new or old).learners
    assert prs.promotable_outgoing <= (old.learners if new else frozenset())
    if new is None:
        assert prs.quorum_rule == (old.voters,)
        assert (prs.begin_index, prs.successor, prs.auto_leave) == (0, 0, False)
    else:
        assert not new.voters & new.learners
        assert prs.quorum_rule in ((old.voters, new.voters), (old.voters,))
    assert prs.deciding_voters() <= prs.voter_ids()
    copy = ProgressSet()
    copy.restore_conf_state(prs.to_conf_state(), fresh)
    assert copy.to_conf_state() == prs.to_conf_state()
    assert (copy.configuration, copy.next_configuration) == (old, new)
