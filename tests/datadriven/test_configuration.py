"""Configuration changes, told as stories: what each leads to, and everyone's progress after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft import Error, MemStorage, Raft, _membership
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    Auto,
    BeginMembershipChange,
    ConfChange,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Explicit,
    FinalizeMembershipChange,
    Implicit,
    RemoveNode,
    RollbackMembershipChange,
)
from tests.harness.builders import a_leader, v1, v2
from tests.harness.datadriven import Directive, FileError, files, run_file

FOLDER = Path(__file__).parent / "testdata" / "configuration"
KINDS: dict[str, ConfChangeType] = {
    "v": AddNode,
    "l": AddLearnerNode,
    "r": RemoveNode,
}
TRANSITIONS: dict[str, ConfChangeTransition] = {
    "Auto": Auto,
    "Implicit": Implicit,
    "Explicit": Explicit,
}
LEAVING: dict[str, ConfChangeType] = {
    "finalize": FinalizeMembershipChange,
    "rollback": RollbackMembershipChange,
}


class Story:
    """One leader, changed step by step."""

    def __init__(self) -> None:
        self.raft: Raft[MemStorage] = a_leader(voters=[1]).raft
        self.index = 2

    def handle(self, directive: Directive) -> str:
        """Run one command and show what it led to."""
        name = directive.command
        if name == "group":
            self._start(directive)
        elif name == "match":
            for node_id, index in directive.pairs("at").items():
                self.raft.prs.progress[node_id].matched = index
                self.raft.prs.progress[node_id].become_replicate()
        else:
            change = self._change(directive)
            try:
                return self._apply(change, proposed=not directive.has("unchecked"))
            except Error as error:
                return f"refused: {error}"
        return self._show()

    def _start(self, directive: Directive) -> None:
        voters, learners = directive.numbers("voters"), directive.numbers("learners", [])
        self.raft = a_leader(voters=voters, learners=learners).raft
        self.index = self.raft.raft_log.last_index()
        for node_id, progress in self.raft.prs.iter():
            if node_id != 1:
                progress.reset(self.index + 1)

    def _change(self, directive: Directive) -> ConfChange | ConfChangeV2:
        name = directive.command
        if name == "change":
            (text,) = directive.texts("one")
            return v1(KINDS[text[0]], int(text[1:]), promote_when_caught_up=directive.has("mark"))
        if name == "changes":
            transition = TRANSITIONS[directive.text("transition", "Auto")]
            return v2(
                *((KINDS[text[0]], int(text[1:])) for text in directive.texts("all", [])),
                transition=transition,
            )
        if name == "begin":
            target = ConfState(
                voters=directive.numbers("voters"),
                learners=directive.numbers("learners", []),
                promotable=directive.numbers("promotable", []),
            )
            return v1(
                BeginMembershipChange,
                configuration=target,
                hold=directive.has("hold"),
                successor=directive.number("successor", 0),
            )
        if name in LEAVING:
            return v1(LEAVING[name])
        raise FileError(f"{directive.where}: no such command: {name}")

    def _apply(self, change: ConfChange | ConfChangeV2, *, proposed: bool) -> str:
        if proposed:
            _membership.check_proposal(self.raft, change)
        self.index += 1
        self.raft.apply_conf_change(change, self.index)
        return self._show()

    def _show(self) -> str:
        prs = self.raft.prs
        lines = []
        parts = [f"voters={ids(prs.configuration.voters)}"]
        if prs.configuration.learners:
            parts.append(f"learners={ids(prs.configuration.learners)}")
        if prs.next_configuration is not None:
            parts.append(f"next={ids(prs.next_configuration.voters)}")
            if prs.next_configuration.learners:
                parts.append(f"next-learners={ids(prs.next_configuration.learners)}")
            parts.append("leaves-by-itself" if prs.auto_leave else "held")
        if prs.promotable:
            parts.append(f"promotable={ids(prs.promotable)}")
        if prs.removed:
            parts.append(f"removed={ids(prs.removed)}")
        if prs.successor:
            parts.append(f"successor={prs.successor}")
        lines.append(" ".join(parts))
        for node_id, progress in prs.iter():
            role = "voter" if node_id in prs.voter_ids() else "learner"
            lines.append(
                f"{node_id}: {role} {progress.state.name} match={progress.matched} "
                f"next={progress.next_idx}"
            )
        if not self.raft.is_leader():
            lines.append("stepped down")
        return "\n".join(lines)


def ids(numbers: frozenset[int]) -> str:
    """Ids in order."""
    return "(" + " ".join(map(str, sorted(numbers))) + ")"


@pytest.mark.parametrize("path", files(FOLDER), ids=lambda path: path.stem)
def test_configuration(path: Path, rewrite: bool) -> None:
    run_file(path, Story().handle, rewrite=rewrite)
