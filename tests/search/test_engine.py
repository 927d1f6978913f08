"""The search itself: that what it computes once and looks up is what the core does every time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from raft import StateRole
from tests.search.copying import copy_of, state_of
from tests.search.explore import explore
from tests.search.group import Group, Network, State
from tests.search.judge import Violation
from tests.search.model import Model
from tests.search.scenarios import SCENARIOS, elected, joint
from tests.search.server import Event, Server, Settings

TRIO = Settings(voters=(1, 2), learners=(3,), targets=(((2, 3), ()),), max_log=7, max_normal=1)
SETTINGS = {
    "plain": TRIO,
    "late flush": replace(TRIO, persist_late=True),
    "light": replace(TRIO, light=True),
    "snapshots": replace(TRIO, learners=(), compact=True),
    "PreVote": replace(TRIO, pre_vote=True),
    "transfers": replace(TRIO, transfers=(2, 3), beats=True, auto_finalize=True),
}


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> Settings:
    return SETTINGS[request.param]


def walk(group: Group, rng: random.Random, length: int) -> list[tuple[int, State]]:
    """A random way from the group's start: events, and the states after them."""
    state, way = group.start, []
    for _ in range(length):
        found = [
            (event, after)
            for event, after in group.successors(state)
            if isinstance(after, State) and after != state
        ]
        if not found:
            break
        event, state = rng.choice(found)
        way.append((event, state))
    return way


def test_a_way_through_the_search_is_what_plain_nodes_do(
    settings: Settings, rng: random.Random
) -> None:
    """Nodes that are never copied nor looked up come to the same states by the same events."""
    for _ in range(10):
        group = Group(settings)
        model = group.model
        servers = {node_id: Server(node_id, settings) for node_id in model.ids}
        for event, state in walk(group, rng, 60):
            if event >= 0:
                node_id, own = model.own_event(event)
                assert servers[node_id].happen(own)
            else:
                message = model.messages[(-1 - event) // 2]
                servers[message.to].receive(message)
            for server in servers.values():
                server.out = []
            for node_id, node in zip(model.ids, state.nodes, strict=True):
                assert state_of(servers[node_id]) == state_of(model.servers[node])


class Doubting(Model):
    """A model that keeps a second node of the same state, made another way, for each state."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.others: dict[int, Server] = {}

    def state_number(self, server: Server) -> int:
        before = len(self.servers)
        number = super().state_number(server)
        if number < before and server is not self.servers[number]:
            self.others[number] = copy_of(server)
        return number


def test_what_the_comparison_leaves_out_makes_no_difference(settings: Settings) -> None:
    """Two nodes that count as the same do the same, whatever happens to them."""
    model = Doubting(settings)
    group = Group(settings, model=model)
    elected(group)
    explore(group, max_states=2_000)
    compared = 0
    for state, other in list(model.others.items())[:60]:
        for step in model.own_steps(state):
            twin = copy_of(other)
            twin.happen(model.own_event(step.event)[1])
            compared += 1
            assert_same(model, twin, step.state, step.sent)
        for message, received in list(model._received[state].items()):
            twin = copy_of(other)
            twin.receive(model.messages[message])
            compared += 1
            if received is not None:
                assert_same(model, twin, received.state, received.sent)
            else:
                twin.out = []
                beyond = twin.raw.raft.term > settings.max_term
                assert beyond or state_of(twin) == state_of(model.servers[state])
    assert compared > 200


def assert_same(model: Model, twin: Server, state: int, sent: tuple[int, ...]) -> None:
    numbers = {model.message_number(message) for message in twin.out} - {-1}
    assert numbers == set(sent)
    twin.out = []
    assert state_of(twin) == state_of(model.servers[state])


def test_dead_messages_do_nothing(settings: Settings, rng: random.Random) -> None:
    """A message that the search drops would neither change its receiver nor be answered."""
    group = Group(settings)
    elected(group)
    explore(group, max_states=2_000)
    model = group.model
    tried = 0
    for state, server in rng.sample(list(enumerate(model.servers)), min(150, len(model.servers))):
        for message, receiver in enumerate(model.receivers):
            if receiver == model.positions[state] and model.is_dead(state, message):
                twin = copy_of(server)
                twin.receive(model.messages[message])
                assert not twin.out, model.describe_message(message)
                assert state_of(twin) == state_of(server), model.describe_message(message)
                tried += 1
    assert tried > 20


def test_a_copy_is_the_same_and_apart(settings: Settings) -> None:
    group = Group(settings)
    joint(group)
    for node in group.start.nodes:
        server = group.model.servers[node]
        before = state_of(server)
        copy = copy_of(server)
        assert state_of(copy) == before
        leads = copy.raw.raft.state is StateRole.Leader
        if not leads and not copy.raw.raft.promotable():
            continue  # Where leadership is handed over at once, the first leader is gone by now.
        assert copy.happen(Event("propose" if leads else "campaign"))
        copy.out = []
        assert state_of(copy) != before
        assert state_of(server) == before


def test_every_network_is_searched_to_the_same_end() -> None:
    """Of a group small enough to finish, no kind of network hides or adds what can be committed."""
    settings = Settings(
        voters=(1,), learners=(2,), targets=(((2,), (1,)),), max_term=3, max_log=4, crashing=()
    )
    committed = []
    for network in (Network.NEWEST, Network.PROMPT):
        group = Group(settings, network)
        elected(group)
        assert explore(group).complete
        entries = group.model.entries
        committed.append(
            {
                tuple(entries.entries[number].SerializeToString() for number, _ in one.committed)
                for one in group.model.histories
            }
        )
    assert committed[0] == committed[1]


def test_a_violation_is_told_as_the_way_to_it() -> None:
    """The shortest way, each event with the state of the node after it."""
    group = Group(Settings(voters=(1,), learners=(2,), targets=(((2,), (1,)),)))
    elected(group)
    judged: list[int] = []

    def judge(state: int, history: int) -> Violation | None:
        judged.append(state)
        applied = group.model.servers[state].raw.raft.prs.is_in_membership_change()
        return Violation("never joint", "it is") if applied else None

    group.model.judge = judge  # type: ignore[method-assign]  # a promise for this test alone
    report = explore(group)
    assert report.found is not None
    lines = str(report.found).splitlines()
    assert lines[0] == "VIOLATION of: never joint: it is"
    assert "     all messages under way are lost" in lines
    assert lines[lines.index("From there:") + 1 :][0] == "   1 node 1: begin"
    assert lines[-1] == "   2 node 1: apply"


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
