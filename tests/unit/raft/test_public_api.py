"""Every public item of the crate is there, under its name and where the crate exports it."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import raft

# Modules and what the crate exports there.
ROOT = """
    CandidacyStatus Config Configuration Error INVALID_ID INVALID_INDEX Inflights MemStorage
    MemStorageCore NO_LIMIT Peer Progress ProgressSet ProgressState Raft RaftLog RaftState RawNode
    ReadOnlyOption ReadState Ready SnapshotStatus SoftState StateRole Status StatusRef Storage
    StorageError Unstable is_empty_snap majority vote_resp_msg_type
"""
LATER = """
    LightReady GetEntriesContext ConfChangeError ConfChangeReason DropReason InvariantViolation
    LogTemporarilyUnavailable Logger MessageRefused NullLogger parse_conf_change
"""
ERRORS = """
    Io Store StepLocalMsg StepPeerNotFound ProposalDropped ConfigInvalid CodecError Exists NotExists
    InvalidState NoPendingMembershipChange ViolatesContract RequestSnapshotDropped
"""
STORAGE_ERRORS = """
    Compacted Unavailable SnapshotOutOfDate SnapshotTemporarilyUnavailable
    LogTemporarilyUnavailable Other
"""
ELSEWHERE = {
    "raft.prelude": """
        ConfChange ConfChangeType ConfState Entry EntryType HardState Message MessageType Snapshot
        SnapshotMetadata Config Raft RaftState Storage Peer RawNode Ready SnapshotStatus Progress
        Status StatusRef ReadOnlyOption ReadState
    """,
    "raft.util": "NO_LIMIT limit_size is_continuous_ents majority",
    "raft.storage": "Storage RaftState MemStorage MemStorageCore GetEntriesContext",
    "raft.raw_node": "RawNode Ready LightReady Peer SnapshotStatus",
    "raft.eraftpb": """
        ConfChange ConfChangeSingle ConfChangeTransition ConfChangeType ConfChangeV2 ConfState Entry
        EntryType HardState Message MessageType Snapshot SnapshotMetadata
    """,
}

# Methods, properties and attributes of each type, those of later versions included.
MEMBERS = {
    "RawNode": """
        with_logger tick campaign propose propose_batch propose_conf_change
        propose_membership_change propose_finalize propose_rollback campaign_for_rollback
        apply_conf_change apply_conf_entry step has_ready has_ready_since ready ready_since advance
        advance_append advance_append_async advance_apply advance_apply_to on_persist_ready
        on_entries_fetched ping read_index transfer_leader report_unreachable report_snapshot
        request_snapshot status status_ref get_snap get_store mut_store store skip_bcast_commit
        set_batch_append set_priority set_check_quorum forget_leader
    """,
    "Raft": """
        store is_learner is_leader promotable soft_state hard_state in_lease
        committed_in_own_term has_pending_conf should_bcast_commit is_in_membership_change
        pending_membership_change snap reset become_follower become_candidate become_pre_candidate
        become_leader reset_randomized_election_timeout tick pass_election_timeout step
        propose_membership_change begin_membership_change finalize_membership_change
        apply_conf_change add_node add_learner remove_node commit_apply on_persist_entries
        on_persist_snap on_entries_fetched request_snapshot set_priority set_batch_append
        set_check_quorum adjust_max_inflight_msgs enable_group_commit group_commit
        assign_commit_groups clear_commit_group check_group_commit_consistent forget_leader
        ping bcast_append bcast_heartbeat send_append maybe_commit abort_leader_transfer
        propose_finalize propose_rollback campaign_for_rollback
    """,
    "RaftLog": """
        term first_index last_index last_term find_conflict find_conflict_by_term match_term
        maybe_append commit_to applied_to stable_to stable_snap_to append unstable_entries entries
        all_entries is_up_to_date next_entries next_entries_since has_next_entries
        has_next_entries_since snapshot maybe_commit slice restore maybe_persist maybe_persist_snap
        commit_info scan store unstable committed applied persisted
    """,
    "Unstable": """
        maybe_first_index maybe_last_index maybe_term stable_to stable_snap_to restore
        truncate_and_append slice snapshot entries offset
    """,
    "Progress": """
        become_probe become_replicate become_snapshot snapshot_failure maybe_snapshot_abort
        maybe_update optimistic_update update_state is_paused pause resume maybe_decr_to matched
        next_idx state paused pending_snapshot pending_request_snapshot recent_active ins
        commit_group_id committed_index
    """,
    "ProgressSet": """
        with_capacity with_logger voters voters_mut learners learners_mut voter_ids learner_ids get
        get_mut iter iter_mut insert_voter insert_learner remove promote_learner configuration
        next_configuration maximal_committed_index candidacy_status quorum_recently_active
        has_quorum is_in_membership_change begin_membership_change finalize_membership_change
        to_conf_state
    """,
    "Inflights": "full cap add free_to free_first_one reset count bytes set_cap",
    "Configuration": "voters learners valid contains has_quorum from_conf_state to_conf_state",
    "Ready": """
        number ss hs read_states entries snapshot committed_entries messages immediate_messages
        persisted_messages must_sync
    """,
    "LightReady": "commit_index committed_entries messages",
    "Status": "id hs ss applied progress",
    "StatusRef": "id hs ss applied progress",
    "SoftState": "leader_id raft_state",
    "ReadState": "index request_ctx",
    "RaftState": "hard_state conf_state initialized",
    "Peer": "id context",
    "Storage": "initial_state entries term first_index last_index snapshot",
    "MemStorage": """
        new new_with_conf_state initialize_with_conf_state rl wl initial_state entries term
        first_index last_index snapshot
    """,
    "MemStorageCore": """
        set_hardstate hard_state mut_hard_state commit_to set_conf_state apply_snapshot compact
        append commit_to_and_set_conf_states trigger_snap_unavailable trigger_log_unavailable
        take_get_entries_context
    """,
    "Config": """
        new validate id election_tick heartbeat_tick applied max_size_per_msg max_inflight_msgs
        check_quorum pre_vote skip_bcast_commit batch_append min_election_tick max_election_tick
        read_only_option tag priority max_uncommitted_size max_committed_size_per_ready
        max_apply_unpersisted_log_limit disable_proposal_forwarding max_inflight_bytes
        step_down_on_removal
    """,
}

ATTRIBUTES_OF_A_RAFT = """
    term vote id read_states raft_log max_inflight max_msg_size pending_request_snapshot state
    is_learner votes msgs leader_id lead_transferee pending_conf_index read_only election_elapsed
    check_quorum pre_vote prs priority uncommitted_size
"""

VARIANTS = {
    "StateRole": "Follower Candidate Leader PreCandidate",
    "ProgressState": "Probe Replicate Snapshot",
    "ReadOnlyOption": "Safe LeaseBased",
    "SnapshotStatus": "Finish Failure",
    "CandidacyStatus": "Elected Eligible Ineligible",
    "DropReason": """
        NO_LEADER TRANSFERRING NOT_MEMBER TOO_LARGE UNCOMMITTED_LIMIT TOO_MANY_READS CONF_PENDING
        FORWARDING_DISABLED
    """,
}


def rows(table: dict[str, str]) -> list[tuple[str, str]]:
    """Every (owner, name) of a table."""
    return [(owner, name) for owner, names in table.items() for name in names.split()]


@pytest.mark.parametrize("name", (ROOT + LATER + ERRORS + STORAGE_ERRORS).split())
def test_the_root_exports_it(name: str) -> None:
    assert hasattr(raft, name)
    assert name in raft.__all__


@pytest.mark.parametrize(("module", "name"), rows(ELSEWHERE))
def test_the_module_exports_it(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_what_is_exported_twice_is_the_same() -> None:
    for module, name in rows(ELSEWHERE):
        if hasattr(raft, name):
            assert getattr(importlib.import_module(module), name) is getattr(raft, name)


@pytest.mark.parametrize(("owner", "name"), rows(MEMBERS))
def test_the_type_has_it(owner: str, name: str) -> None:
    kind = getattr(raft, owner)
    names = {n for base in kind.__mro__ for n in (*vars(base), *getattr(base, "__slots__", ()))}
    names |= set(getattr(kind, "__annotations__", ()))
    if name not in names:
        source = inspect.getsource(kind)
        assert f"self.{name}" in source, f"{owner}.{name}"


@pytest.mark.parametrize("name", ATTRIBUTES_OF_A_RAFT.split())
def test_a_raft_shows_it(name: str) -> None:
    storage = raft.MemStorage.new_with_conf_state(([1], []))
    assert hasattr(raft.RawNode(raft.Config(id=1), storage).raft, name)


@pytest.mark.parametrize(("owner", "name"), rows(VARIANTS))
def test_the_enum_has_the_variant(owner: str, name: str) -> None:
    assert name in getattr(raft, owner).__members__


def test_variants_and_no_others() -> None:
    for owner, names in VARIANTS.items():
        assert list(getattr(raft, owner).__members__) == names.split()


@pytest.mark.parametrize("name", ERRORS.split())
def test_errors_are_one_tree(name: str) -> None:
    assert issubclass(getattr(raft, name), raft.Error)
    assert not issubclass(getattr(raft, name), raft.StorageError)


@pytest.mark.parametrize("name", STORAGE_ERRORS.split())
def test_storage_errors_are_a_branch_of_it(name: str) -> None:
    assert issubclass(getattr(raft, name), raft.StorageError)
    assert issubclass(raft.StorageError, raft.Error)


def test_a_broken_invariant_is_no_error_to_be_handled() -> None:
    assert not issubclass(raft.InvariantViolation, raft.Error)


def test_constants() -> None:
    assert (raft.INVALID_ID, raft.INVALID_INDEX, raft.NO_LIMIT) == (0, 0, 2**64 - 1)
    assert [raft.majority(n) for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_defaults_are_the_crates() -> None:
    config = raft.Config(id=1)
    assert (config.election_tick, config.heartbeat_tick) == (20, 2)
    assert (config.max_inflight_msgs, config.max_size_per_msg, config.applied) == (256, 0, 0)
    flags = ("check_quorum", "pre_vote", "skip_bcast_commit", "batch_append")
    assert not any(getattr(config, name) for name in flags)
    assert config.read_only_option is raft.ReadOnlyOption.Safe
    assert config.max_uncommitted_size == config.max_committed_size_per_ready == raft.NO_LIMIT
    assert raft.Config.new(7).tag == "7"


def documented() -> list[tuple[str, Any]]:
    """Everything that ought to say what it is."""
    found: list[tuple[str, Any]] = []
    for name in raft.__all__:
        item = getattr(raft, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            found.append((name, item))
        if inspect.isclass(item):
            for member, value in vars(item).items():
                function = value.fget if isinstance(value, property) else value
                function = getattr(function, "__func__", function)
                if not member.startswith("_") and inspect.isfunction(function):
                    found.append((f"{name}.{member}", function))
    return found


@pytest.mark.parametrize(("name", "item"), [pytest.param(*row, id=row[0]) for row in documented()])
def test_it_says_what_it_is(name: str, item: Any) -> None:
    doc = inspect.getdoc(item) or ""
    assert len(doc.split()) >= 2, name


def test_all_names_only_what_is_there() -> None:
    for module in ("raft", "raft.prelude", "raft.eraftpb"):
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            assert hasattr(loaded, name)
        assert len(set(loaded.__all__)) == len(loaded.__all__)


def test_the_prelude_gives_what_most_programs_need() -> None:
    names: dict[str, Any] = {}
    exec("from raft.prelude import *", names)
    assert names["RawNode"] is raft.RawNode
    assert "MemStorage" not in names


def test_importing_it_needs_protobuf_and_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import raft; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    root = Path(raft.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    others = set(eval(done.stdout)) - {"raft", "google", "google_upb", "_distutils_hack", "_cython"}
    assert {name for name in others if not name.startswith("_")} == set()


def test_types_are_marked() -> None:
    assert (Path(raft.__file__).parent / "py.typed").exists()
