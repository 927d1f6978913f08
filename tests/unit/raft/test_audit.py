"""The audit: what the library is to have and to hold, and by which tests it is held.

The lists are complete; the tests here say so when one of them, or what it names, goes missing.
"""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from raft import Config, RawNode

ROOMS = ("unit/raft", "conformance", "paper", "datadriven")


def _functions() -> set[str]:
    """The names of all tests of the library."""
    tests = Path(__file__).parents[2]
    return {
        node.name
        for room in ROOMS
        for path in (tests / room).glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


TESTS = _functions()

# Known bugs of Raft libraries, numbered as in the files test_rules_*.py.
NOT_OF_THE_CORE = {
    37: "a leader with a stalled disk steps down: the daemon sees its disk, the core none",
}
RULES = sorted(set(range(1, 62)) - NOT_OF_THE_CORE.keys())
DEFECTS = "abcdefghi"
FIGURE_2 = {
    "state": 8,
    "append": 7,
    "vote": 4,
    "all": 2,
    "followers": 3,
    "candidates": 4,
    "leaders": 6,
    "every": 1,
}
"""The boxes of figure 2, and how many of its sentences have a test of their own, at least."""
SECTIONS = {"sec51": 8, "sec52": 15, "sec53": 12, "sec54": 8, "sec55": 2, "sec56": 2, "sec6": 9}
SECTIONS |= {"sec7": 6, "sec8": 6}

# What came after 0.6.0-alpha: settings of `Config`, methods, and tests that hold the meaning.
CAPABILITIES: dict[str, tuple[str, str, str]] = {
    "changes of the new form": (
        "",
        "propose_conf_change apply_conf_change",
        """one_change_of_the_new_form_is_simple several_changes_are_joint_and_left_by_the_leader
        transitions an_explicit_joint_state_is_left_by_an_empty_change
        more_than_one_voter_differs_only_by_joint_changes what_may_not_be_proposed_while_joint""",
    ),
    "demotion": ("", "", "a_voter_is_demoted_by_a_joint_change a_voter_is_demoted_by_the_new_form"),
    "step down on removal": (
        "step_down_on_removal",
        "",
        "the_leader_steps_down_when_it_is_removed stepping_down_on_removal_may_be_switched_off",
    ),
    "messages that wait for the write": (
        "",
        "",
        """a_leader_sends_nothing_before_its_term_and_vote_are_stored
        both_lists_of_messages_together_are_all""",
    ),
    "light readys": (
        "",
        "advance_append",
        """advance_append_gives_a_light_ready a_light_ready_acknowledges_nothing_that_is_not_on_disk
        a_light_ready_without_news_is_empty""",
    ),
    "asynchronous readys": (
        "",
        "advance_append_async on_persist_ready advance_apply_to",
        """readys_are_numbered an_asynchronous_write_is_acknowledged_when_it_is_on_disk
        an_acknowledgement_without_a_write_waits_for_the_writes_before_it
        a_late_word_of_replaced_entries_persists_nothing""",
    ),
    "acknowledging oneself when persisted": (
        "",
        "",
        "a_leader_counts_itself_only_for_what_its_disk_has",
    ),
    "applying what is not persisted": (
        "max_apply_unpersisted_log_limit",
        "",
        """entries_are_applied_unpersisted_only_as_far_as_allowed
        a_deposed_leader_applies_only_what_it_has_persisted""",
    ),
    "a bound on uncommitted bytes": (
        "max_uncommitted_size",
        "",
        """proposals_are_bounded_until_they_are_committed one_large_proposal_is_always_let_through
        empty_proposals_are_always_let_through the_account_is_empty_for_a_new_leader""",
    ),
    "pages of committed entries": (
        "max_committed_size_per_ready",
        "",
        "committed_entries_come_in_pages a_page_holds_one_entry_at_least",
    ),
    "a window by messages": (
        "max_inflight_msgs",
        "",
        "the_window_fills_and_stays_full window_settings_may_be_changed",
    ),
    "a window by bytes": (
        "max_inflight_bytes",
        "",
        """bytes_bound_the_window_too one_message_beyond_the_bound_by_bytes_may_go
        freeing_the_first_one_frees_its_bytes bounds_that_contradict_each_other_are_refused""",
    ),
    "fast backtracking": (
        "",
        "",
        """a_rejection_hints_where_the_logs_may_agree the_leader_skips_whole_terms_too
        long_differing_logs_need_few_messages find_conflict_by_term_against_a_walk""",
    ),
    "sending while there is room": ("", "", "after_an_answer_the_window_is_filled"),
    "commits reach a full window": (
        "",
        "",
        "the_commit_index_reaches_a_follower_whose_window_was_full",
    ),
    "commit indexes in votes": (
        "",
        "",
        """votes_and_refusals_tell_what_is_committed a_refusal_moves_the_commit_index
        a_follower_that_learns_of_a_commit_by_a_vote_gives_up_its_candidacy""",
    ),
    "priority": (
        "priority",
        "set_priority",
        """a_voter_prefers_its_own_priority_among_equal_logs
        a_log_that_is_ahead_wins_whatever_its_priority""",
    ),
    "group commit": (
        "",
        "",
        """assigning_groups_may_commit_at_once with_someone_ungrouped_everyone_must_have_it
        group_commit_is_consistent_only_at_a_leader_with_a_commit_of_its_own
        commit_groups_agree_with_the_twin""",
    ),
    "forgetting the leader": (
        "",
        "forget_leader",
        """a_follower_that_forgot_its_leader_lets_another_win a_leader_cannot_forget_itself
        forget_leader_is_ignored_with_leases""",
    ),
    "forwarding switched off": (
        "disable_proposal_forwarding",
        "",
        "forwarding_may_be_disabled reads_and_transfers_are_forwarded_even_then",
    ),
    "commits by answered reads": ("", "", "an_answered_read_may_commit_at_the_follower"),
    "reads when the quorum shrinks": ("", "", "a_smaller_quorum_confirms_what_waited"),
    "reads before the first own commit": (
        "max_pending_reads",
        "",
        """a_read_before_the_first_own_commit_waits_for_it too_many_reads_are_refused
        forwarded_reads_wait_too""",
    ),
    "reads told apart by a counter": (
        "",
        "read_index",
        "the_readers_context_never_decides the_context_on_the_wire_is_a_counter",
    ),
    "lease reads": (
        "read_only_option check_quorum",
        "expire_lease set_check_quorum",
        """a_lease_is_over_before_another_is_elected a_lease_needs_a_quorum
        a_lease_ends_when_a_transfer_starts_and_for_the_whole_term
        answers_from_before_time_was_lost_give_no_lease""",
    ),
    "fetching the log asynchronously": (
        "",
        "on_entries_fetched",
        "entries_that_must_be_fetched_are_sent_when_they_are_there",
    ),
    "snapshots for a peer": ("", "", "the_storage_learns_the_peer_and_the_least_index"),
    "any adequate snapshot": ("", "", "any_snapshot_that_reaches_the_log_will_do"),
    "probes go on with heartbeats": ("", "", "heartbeat_answers_wake_a_paused_probe"),
    "no campaign with a snapshot in hand": (
        "",
        "",
        "no_campaign_before_a_snapshot_is_handed_out",
    ),
    "reading at followers": ("", "", "a_read_anywhere_is_confirmed_where_it_was_asked"),
    "changes tied to a configuration": (
        "",
        "propose_membership_change",
        "a_change_may_be_tied_to_the_configuration_it_was_made_for",
    ),
    "ids never return": (
        "allow_removed_ids",
        "",
        "ids_that_left_may_not_return ids_that_left_may_return_where_that_is_allowed",
    ),
    "a successor": (
        "transfer_ticks",
        "",
        """a_leader_that_is_to_leave_hands_over_to_the_successor
        an_old_leader_finalizes_itself_when_nobody_takes_over
        the_time_for_a_successor_may_be_set""",
    ),
    "rollback": (
        "",
        "propose_finalize propose_rollback campaign_for_rollback",
        """a_change_whose_new_majority_is_dead_can_be_rolled_back
        a_campaign_for_rollback_needs_the_old_majority_alone""",
    ),
    "promotion when caught up": (
        "catch_up_rounds catch_up_round_ticks",
        "",
        "a_marked_learner_is_promoted_when_it_has_caught_up a_slow_learner_is_not_promoted",
    ),
    "settings changed at run time": (
        "batch_append skip_bcast_commit",
        "set_batch_append skip_bcast_commit",
        "settings_reach_the_core batching_may_be_switched_off_without_losing_anything",
    ),
}
OF_THE_CRATE = {
    "id", "election_tick", "heartbeat_tick", "applied", "max_size_per_msg", "max_inflight_msgs",
    "check_quorum", "pre_vote", "min_election_tick", "max_election_tick", "read_only_option",
    "skip_bcast_commit", "batch_append", "tag",
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_test_of_its_name(rule: int) -> None:
    assert any(name.startswith(f"test_rule_{rule:02}_") for name in TESTS)


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_inherited_defect_has_a_test_of_its_name(defect: str) -> None:
    assert any(name.startswith(f"test_defect_{defect}_") for name in TESTS)


@pytest.mark.parametrize(("box", "sentences"), FIGURE_2.items())
def test_figure_2_has_a_test_a_sentence(box: str, sentences: int) -> None:
    assert sum(name.startswith(f"test_fig2_{box}_") for name in TESTS) >= sentences


@pytest.mark.parametrize(("section", "sentences"), SECTIONS.items())
def test_the_sections_have_a_test_a_sentence(section: str, sentences: int) -> None:
    assert sum(name.startswith(f"test_{section}") for name in TESTS) >= sentences


@pytest.mark.parametrize("name", CAPABILITIES)
def test_what_came_later_is_there_and_held_by_tests(name: str) -> None:
    fields, methods, tests = CAPABILITIES[name]
    known = {field.name for field in dataclasses.fields(Config)}
    assert set(fields.split()) <= known
    for method in methods.split():
        assert callable(getattr(RawNode, method)), method
    assert tests.split()
    missing = [test for test in tests.split() if f"test_{test}" not in TESTS]
    assert not missing


def test_every_parameter_is_the_crates_or_belongs_to_a_capability() -> None:
    later = {field for fields, _, _ in CAPABILITIES.values() for field in fields.split()}
    assert {field.name for field in dataclasses.fields(Config)} == OF_THE_CRATE | later
