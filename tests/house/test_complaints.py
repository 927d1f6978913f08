"""What operators complain of in systems like this one, and what shows that it is not so here.

Each complaint has at least one proof: a test that exists, or a sentence that stands in the manual.
The tests are run with all the others; here it is checked that none of them has been lost.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final, NamedTuple

import pytest

from tests.house import shipped


class Said(NamedTuple):
    """A sentence of a manual page."""

    page: str
    words: str


CLI: Final = "tests/cli/"
DAEMON: Final = "tests/daemon/"
UNIT: Final = "tests/unit/"

COMPLAINTS: Final[dict[int, tuple[str, tuple[str | Said, ...]]]] = {
    1: (
        "a timeout is reported as a failure, and the write is applied all the same",
        (
            f"{CLI}test_real_nodes.py::test_a_proposal_that_may_yet_be_applied_is_exit_6",
            f"{CLI}test_failing.py::test_no_answer_in_time_is_unknown",
            f"{CLI}test_failing.py::test_a_lost_answer_to_a_proposal_is_unknown_and_is_not_sent_again",
            f"{DAEMON}test_processes.py::test_no_quorum_is_said_and_names_who_is_missing",
        ),
    ),
    2: (
        "a retry applies the write twice",
        (
            f"{CLI}test_real_nodes.py::test_a_retry_with_a_key_is_applied_once",
            f"{CLI}test_failing.py::test_with_a_key_it_is_sent_again",
            f"{DAEMON}test_processes.py::test_a_key_is_applied_once_through_any_node",
        ),
    ),
    3: (
        "adding a member kills the quorum",
        (
            f"{DAEMON}test_membership_shapes.py::test_what_would_stop_the_group_is_refused",
            f"{DAEMON}test_membership.py::test_a_learner_is_promoted_when_it_has_caught_up",
            Said("raftctl-member.1", "It joins as a learner, which costs the group nothing"),
        ),
    ),
    4: (
        "a dead node is replaced in the wrong order",
        (
            f"{CLI}test_membership.py::test_replace_catches_up_first_and_can_be_run_again",
            f"{CLI}test_readme.py::test_three_machines_one_replaced_backed_up_and_restored",
        ),
    ),
    5: (
        "promotion is a loop that everybody writes anew",
        (
            f"{DAEMON}test_membership.py::test_a_learner_is_promoted_when_it_has_caught_up",
            f"{CLI}test_membership.py::test_members_that_never_catch_up_are_named",
        ),
    ),
    6: (
        "there may be one learner only",
        (
            f"{CLI}test_real_membership.py::test_begin_hold_finalize_as_the_manual_writes_it",
            Said("raftd.8", "A group has any number of learners within the number of members."),
        ),
    ),
    7: (
        "a joint state is stuck, and nothing leads back",
        (
            f"{DAEMON}test_membership_abort.py::test_abort_when_the_new_majority_is_dead",
            f"{DAEMON}test_membership.py::test_abort_goes_back",
            f"{UNIT}raftd/test_vitals.py::test_a_slow_apply_and_a_long_joint_state_are_told",
        ),
    ),
    8: (
        "a change of membership that was refused looks accepted",
        (
            f"{DAEMON}test_membership.py::test_what_is_refused",
            f"{CLI}test_membership.py::test_change_refuses_while_another_goes_on",
        ),
    ),
    9: (
        "adding answers before it is committed; a removed node is still written to",
        (
            f"{DAEMON}test_membership.py::test_begin_and_finalize_with_joining_nodes",
            f"{DAEMON}test_membership.py::test_a_removed_node_knows_that_it_is",
        ),
    ),
    10: (
        "the loss of the quorum is not explained",
        (f"{DAEMON}test_processes.py::test_no_quorum_is_said_and_names_who_is_missing",),
    ),
    11: (
        "what one needs to find out what is wrong does not work when something is wrong",
        (
            f"{CLI}test_real_nodes.py"
            "::test_without_a_quorum_nothing_is_applied_and_status_still_answers",
            f"{CLI}test_operators.py::test_doctor_of_a_node_that_is_down",
            f"{CLI}test_operators.py::test_a_bundle_of_a_node_in_trouble",
            Said(
                "raftctl.1", "is answered from what that node knows, with a leader or without one."
            ),
        ),
    ),
    12: (
        "healthy, with a node down, and no word of lag",
        (
            f"{CLI}test_seeing.py::test_health_is_an_exit_code",
            f"{CLI}test_operators.py::test_doctor_of_a_group_in_trouble",
            f"{DAEMON}test_web.py::test_the_page_of_a_group_in_trouble",
        ),
    ),
    13: (
        "exit codes say nothing",
        (
            f"{CLI}test_failing.py::test_every_exit_code_has_its_meaning_written_down",
            f"{CLI}test_failing.py::test_each_code_ends_in_its_exit_code",
            "tests/house/test_shipped.py"
            "::test_global_options_exit_codes_and_environment_are_in_the_manual",
        ),
    ),
    14: (
        "JSON leaves out what is down, and rounds numbers",
        (
            f"{CLI}test_seeing.py::test_status_of_the_cluster_names_members_that_do_not_answer",
            f"{UNIT}raftctl/test_options.py::test_what_is_no_id",
            f"{UNIT}raftctl/test_output.py::test_one_object_in_json_also_for_errors",
            Said("raftctl.1", "Ids, indexes and terms are numbers below 2^53"),
        ),
    ),
    15: (
        "it is unclear which setting wins, or two of them are an error",
        (
            f"{UNIT}raftd/test_config.py"
            "::test_a_flag_wins_over_the_environment_and_that_over_the_file",
            f"{UNIT}raftd/test_config.py::test_print_config_as_json_with_origins",
            f"{UNIT}raftd/test_config.py::test_an_unknown_variable_is_refused_with_the_one_meant",
            Said("raftd.8", "a value is taken from the first of these; that is never an error."),
        ),
    ),
    16: (
        "flags that hold at the first start only make a second cluster of a lost disk",
        (
            f"{DAEMON}test_identity.py::test_a_disk_that_was_lost_does_not_come_back_under_its_id",
            f"{DAEMON}test_operating.py::test_a_directory_is_not_made_when_it_never_may_be",
        ),
    ),
    17: (
        "the same id with lost data panics, or votes twice",
        (
            f"{DAEMON}test_identity.py::test_a_disk_that_was_lost_does_not_come_back_under_its_id",
            f"{DAEMON}test_membership_gone.py::test_a_wiped_member_is_refused_and_does_not_vote",
        ),
    ),
    18: (
        "two clusters that are crossed fill the log, and nothing says what to do",
        (f"{DAEMON}test_identity.py::test_groups_that_are_crossed_say_so_and_do_no_harm",),
    ),
    19: (
        "the list of peers is full of traps",
        (
            f"{DAEMON}test_identity.py::test_the_group_wins_over_flags_and_the_difference_is_told",
            f"{DAEMON}test_identity.py::test_a_port_in_use_is_one_sentence",
            f"{DAEMON}test_membership.py::test_an_address_can_be_changed",
            Said("raftd.8", "Where a node listens and what others dial need not be the same"),
        ),
    ),
    20: (
        "leadership can be handed over only by the leader, and scripts read its log for the result",
        (
            f"{CLI}test_real_nodes.py::test_leadership_moves_on_request",
            f"{DAEMON}test_processes.py::test_leadership_moves_where_it_is_asked_to",
            f"{CLI}test_data.py::test_transfer_leader",
        ),
    ),
    21: (
        "a stop stalls the group, or takes the node out of it",
        (
            f"{DAEMON}test_processes.py::test_sigterm_hands_leadership_over",
            f"{DAEMON}test_identity.py::test_no_signal_ends_a_membership",
            Said("raftd.8", "no signal changes the membership."),
        ),
    ),
    22: (
        "probes restart nodes for want of a quorum",
        (
            f"{DAEMON}test_web.py::test_live_is_local_and_ready_is_not",
            f"{DAEMON}test_systemd.py::test_a_node_without_a_quorum_is_ready_all_the_same",
        ),
    ),
    23: (
        "overload and slow disks are not explained",
        (
            f"{DAEMON}test_overload.py::test_refusals_name_the_limit_the_value_and_the_cap",
            f"{UNIT}raftd/test_vitals.py"
            "::test_a_slow_disk_is_told_once_in_a_while_with_the_figures",
            f"{UNIT}raftd/test_vitals.py::test_a_flush_that_does_not_end_is_not_alive",
        ),
    ),
    24: (
        "a full disk stays an alarm, the lock waits, a backup was never read",
        (
            f"{UNIT}raftd/test_vitals.py"
            "::test_a_full_disk_refuses_and_lets_go_again_with_some_room",
            f"{DAEMON}test_rocks.py::test_the_lock_names_its_holder",
            f"{DAEMON}test_processes.py::test_two_daemons_on_one_directory",
            f"{DAEMON}test_snapshot_commands.py::test_a_saved_snapshot_makes_a_new_group",
            f"{DAEMON}test_snapshot_commands.py::test_a_damaged_file_is_not_restored",
        ),
    ),
    25: (
        "certificates need a restart, corruption goes unseen, the benchmark fills the store",
        (
            f"{DAEMON}test_tls.py::test_certificates_are_renewed_on_a_running_group",
            f"{DAEMON}test_rocks.py::test_a_flip_in_a_table_never_shortens_the_log",
            f"{DAEMON}test_snapshot_commands.py::test_members_agree_and_the_silent_are_named",
            f"{CLI}test_operators.py::test_bench_measures_and_leaves_nothing_in_the_state",
        ),
    ),
}


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((shipped.ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@cache
def text_of(page: str) -> str:
    """Return what a page says, without its macros and line breaks."""
    lines = []
    for line in (shipped.ROOT / "man" / page).read_text().splitlines():
        shown = re.sub(r"\\[&-]", lambda m: "-" if m[0] == "\\-" else "", line)
        lines.append(re.sub(r"^\.(?:Cm|Fl|Li|Ic|Pa|Xr|Ev) ?", "", shown))
    return " ".join(" ".join(lines).replace("\\(ha", "^").split())


def test_all_complaints_are_answered() -> None:
    assert sorted(COMPLAINTS) == list(range(1, 26))


@pytest.mark.parametrize("number", sorted(COMPLAINTS))
def test_a_complaint_is_none_of_ours(number: int) -> None:
    complaint, proofs = COMPLAINTS[number]
    assert proofs, complaint
    for proof in proofs:
        if isinstance(proof, Said):
            assert proof.words in text_of(proof.page), f"{proof.page} no longer says it"
        else:
            path, _, name = proof.partition("::")
            assert name in functions(path), f"{proof} is gone: what shows now that it is not so?"
