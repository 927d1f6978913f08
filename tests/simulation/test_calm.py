"""That a group to which nothing happens stays as it is (I15): its term, and its logs' length."""

from __future__ import annotations

from functools import partial

import pytest

from tests.harness.sim_run import Run
from tests.harness.sim_swarm import Settings

KEPT = 5
CLIENTS = 5
COMPACTED_EVERY = 500


@pytest.mark.parametrize("mode", ["core", "daemon", "engine"])
@pytest.mark.parametrize("seed", range(2))
def test_without_faults_neither_terms_nor_logs_grow(mode: str, seed: int) -> None:
    run = Run(seed, Settings(mode=mode, steps=1000, clients=CLIENTS, think_ms=2.0))
    run.storm()  # In which nothing is switched on.
    world = run.world

    def reached(step: int) -> bool:
        return world.step >= step

    leader = world.leader()
    assert leader is not None
    term, committed = leader.raft.term, world.checker.committed
    for end in range(1000 + COMPACTED_EVERY, 8000, COMPACTED_EVERY):
        run.loop(partial(reached, end))
        for node in world.nodes.values():
            assert node.raft.term == term
            assert node.raft.leader_id == leader.id
            world.operate(node.id, "compact", KEPT)
            # What is kept, and what is not applied yet: at most one proposal of each client.
            assert len(node.disk.view.entries) <= KEPT + CLIENTS
        assert world.checker.committed >= committed + 10
        committed = world.checker.committed
