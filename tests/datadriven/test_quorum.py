"""Quorums, told as stories: votes and commit indexes of one majority and of two."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft.progress.quorum import (
    QuorumRule,
    all_have_quorum,
    committed_by,
    committed_by_groups,
    votes_decide,
)
from tests.datadriven import twin
from tests.harness.datadriven import Directive, FileError, files, run_file

FOLDER = Path(__file__).parent / "testdata" / "quorum"


def handle(directive: Directive) -> str:
    """Run one command and say what it comes to; also where the slow twin disagrees."""
    rule: QuorumRule = (frozenset(directive.numbers("voters")),)
    if directive.has("outgoing"):
        rule = (*rule, frozenset(directive.numbers("outgoing")))
    if directive.command == "vote":
        votes = {**dict.fromkeys(directive.numbers("yes", []), True)}
        votes.update(dict.fromkeys(directive.numbers("no", []), False))
        fast, slow = votes_decide(rule, votes).name, twin.election(rule, votes)
    elif directive.command == "committed":
        matched = directive.pairs("match")
        fast = str(min(committed_by(voters, lambda i: matched.get(i, 0)) for voters in rule))
        slow = str(twin.committed(rule, matched))
    elif directive.command == "committed-by-groups":
        matched, groups = directive.pairs("match"), directive.pairs("groups")
        index, by_groups = committed_by_groups(
            rule[0], lambda i: matched.get(i, 0), lambda i: groups.get(i, 0)
        )
        slow = str(twin.committed_by_groups(rule[0], matched, groups))
        if str(index) != slow:
            return f"{index}, but the twin says {slow}"
        return f"{index} by {'groups' if by_groups else 'the majority alone'}"
    elif directive.command == "quorum":
        ids = directive.numbers("ids")
        fast, slow = str(all_have_quorum(rule, set(ids))), str(twin.has_quorum(rule, ids))
    else:
        raise FileError(f"{directive.where}: no such command: {directive.command}")
    return fast if fast == slow else f"{fast}, but the twin says {slow}"


@pytest.mark.parametrize("path", files(FOLDER), ids=lambda path: path.stem)
def test_quorum(path: Path, rewrite: bool) -> None:
    run_file(path, handle, rewrite=rewrite)
