"""What is searched: which groups and changes, with which faults, over which network, from where.

Every group begins with an election in term 2 that is done and known to all; two terms more may
follow. Where the whole way from there to what matters is too long for a search of every order, a
scenario starts further along it: with the group joint, or with its end in one log only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from raft._membership import ChangeKind
from raft.eraftpb import MsgAppend, MsgAppendResponse
from tests.search.explore import Milestones, Report, explore
from tests.search.group import Group, Network
from tests.search.judge import History
from tests.search.model import Model
from tests.search.server import Settings

Start = Callable[[Group], None]


# -- Starts ------------------------------------------------------------------------------------


def elected(group: Group) -> None:
    """The first voter leads, and everyone that it knows has all that it has."""
    group.does(group.model.settings.voters[0], "campaign")
    group.settle()
    group.lose_messages()


def begun(group: Group) -> None:
    """Begin is in the log of everyone that the leader knows; nobody knows it to be committed."""
    elected(group)
    leader = group.model.settings.voters[0]
    group.does(leader, "begin")
    _everyone_appends(group, leader)
    group.lose_messages()


def _everyone_appends(group: Group, leader: int) -> list[int]:
    found = [one for one in group.model.ids if group.has_message(one, leader, MsgAppend)]
    for node_id in found:
        group.receives(node_id, leader, MsgAppend)
    return found


def joint(group: Group) -> None:
    """Begin is applied everywhere."""
    elected(group)
    group.does(group.model.settings.voters[0], "begin")
    group.settle()
    group.lose_messages()


def finalized_at_leader(group: Group) -> None:
    """Finalize is applied by the leader; the others hold it and do not know it to be committed."""
    joint(group)
    leader = group.model.settings.voters[0]
    group.does(leader, "finalize")
    for node_id in _everyone_appends(group, leader):
        group.receives(leader, node_id, MsgAppendResponse)
    group.does(leader, "apply")
    group.lose_messages()


def rolled_back_at_leader(group: Group) -> None:
    """Rollback stands in the leader's log and nowhere else."""
    joint(group)
    group.does(group.model.settings.voters[0], "rollback")
    group.lose_messages()


def rolled_back(group: Group) -> None:
    """A first change was begun and rolled back, and everyone has applied that."""
    joint(group)
    group.does(group.model.settings.voters[0], "rollback")
    group.settle()
    group.lose_messages()


def joint_without(*node_ids: int) -> Start:
    """Begin is applied everywhere, and then nodes stop for good."""

    def start(group: Group) -> None:
        joint(group)
        group.stop(*node_ids)

    return start


# -- What a search should come by ----------------------------------------------------------------

BEGUN = "Begin is committed"
FINALIZED = "Finalize is committed"
ROLLED_BACK = "Rollback is committed"
FORCED = "a campaign for rollback is won"
TWICE = "two more leaders are elected"
GOES_ON = "an entry is committed after Rollback"
ADVANCED = "anything is committed after Begin"
AGAIN = "a second Begin is committed"


def _kinds(history: History, model: Model) -> list[ChangeKind | None]:
    return [model.entries.kinds[number] for number, _ in history.committed]


def _won_for_rollback(history: History, model: Model) -> bool:
    entries, kinds = model.entries.entries, model.entries.kinds
    return any(
        election.log
        and kinds[election.log[-1]] is ChangeKind.ROLLBACK
        and entries[election.log[-1]].term == election.term
        for election in history.elections
    )


def _after(history: History, model: Model, kind: ChangeKind) -> bool:
    kinds = _kinds(history, model)
    return kind in kinds and kinds.index(kind) < len(kinds) - 1


MILESTONES: Milestones = {
    BEGUN: lambda history, model: ChangeKind.BEGIN in _kinds(history, model),
    FINALIZED: lambda history, model: ChangeKind.FINALIZE in _kinds(history, model),
    ROLLED_BACK: lambda history, model: ChangeKind.ROLLBACK in _kinds(history, model),
    FORCED: _won_for_rollback,
    TWICE: lambda history, model: len(history.elections) > 2,
    GOES_ON: lambda history, model: _after(history, model, ChangeKind.ROLLBACK),
    ADVANCED: lambda history, model: _after(history, model, ChangeKind.BEGIN),
    AGAIN: lambda history, model: _kinds(history, model).count(ChangeKind.BEGIN) > 1,
}


# -- Scenarios -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """One search.

    Attributes:
        name, what: For the report.
        settings, network, start: What is searched, and from where.
        states: How many states of the group it may reach.
        sees: Milestones it has to come by within that bound.
        never: Milestones it must not come by.
        recovers: For how many groups of node states it is judged whether they come right again.
    """

    name: str
    what: str
    settings: Settings
    start: Start
    network: Network = Network.EVERY
    states: int = 500_000
    sees: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    recovers: int = 20_000

    def group(self) -> Group:
        """The group at its start."""
        group = Group(self.settings, self.network)
        self.start(group)
        return group

    def run(
        self,
        states: int | None = None,
        progress: Callable[[Report], None] | None = None,
        recovers: int | None = None,
    ) -> Report:
        """Search; `states` and `recovers` override the bounds."""
        group = self.group()
        # Who has lost a majority for good does not come right by itself.
        judged = 0 if group.dead else self.recovers if recovers is None else recovers
        return explore(
            group,
            max_states=states or self.states,
            milestones=MILESTONES,
            recovers=judged,
            progress=progress,
        )

    def judge(self, report: Report) -> list[str]:
        """What is wrong with a search within the full bound; nothing: an empty list."""
        wrong = [] if report.found is None else [str(report.found)]
        if report.found is None:
            wrong += [f"never came by: {name}" for name in sorted(self.sees - report.seen.keys())]
        wrong += [f"came by: {name}" for name in sorted(self.never & report.seen.keys())]
        return wrong


_SWAP = Settings(voters=(1, 2, 3), learners=(4,), targets=(((1, 4), ()),), max_log=6)
_SHIFT = Settings(voters=(1, 2), learners=(3,), targets=(((2, 3), ()),), max_log=6)
_PAIR = Settings(voters=(1,), learners=(2,), targets=(((2,), (1,)),), max_log=6)
_HANDED = Settings(voters=(1, 2), learners=(3, 4), targets=(((3, 4), (1, 2)),), max_log=6)
_DEAD = Settings(
    voters=(1, 2), learners=(3, 4), targets=(((2, 3, 4), ()),), max_log=7, max_normal=1
)
HANDED_ON = replace(_PAIR, pre_vote=True, max_normal=1, max_term=3, crashing=())


def _sees(*names: str) -> frozenset[str]:
    return frozenset(names)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "elected",
        "{1,2,3} to {1,4}, from the first election on, every message for ever",
        _SWAP,
        elected,
        states=800_000,
        sees=_sees(BEGUN),
    ),
    Scenario(
        "begun",
        "{1,2,3} to {1,4}, Begin in every log and nobody knowing it committed",
        _SWAP,
        begun,
        Network.PROMPT,
        states=800_000,
        sees=_sees(BEGUN, TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "joint",
        "{1,2,3} to {1,4}, joint everywhere, every message for ever",
        _SWAP,
        joint,
        states=800_000,
        sees=_sees(FINALIZED, ROLLED_BACK),
    ),
    Scenario(
        "joint-newest",
        "the same, each channel with its newest message",
        _SWAP,
        joint,
        Network.NEWEST,
        states=600_000,
        sees=_sees(FINALIZED, ROLLED_BACK),
    ),
    Scenario(
        "joint-prompt",
        "the same, answers at once or never",
        _SWAP,
        joint,
        Network.PROMPT,
        states=1_500_000,
        sees=_sees(TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "finalized-at-leader",
        "{1,2,3} to {1,4}, Finalize applied by the leader alone",
        _SWAP,
        finalized_at_leader,
        Network.PROMPT,
        states=600_000,
        sees=_sees(TWICE),
    ),
    Scenario(
        "rolled-back-at-leader",
        "{1,2,3} to {1,4}, Rollback in the leader's log alone",
        _SWAP,
        rolled_back_at_leader,
        Network.PROMPT,
        states=600_000,
        sees=_sees(TWICE, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "leader-leaves",
        "{1,2,3} to {3,4}: the leader hands over before Finalize",
        replace(_SWAP, targets=(((3, 4), (1, 2)),)),
        joint,
        Network.PROMPT,
        states=800_000,
        sees=_sees(TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "demotion",
        "{1,2,3} and learner 4 to {1,4} and learner 3: promoted and demoted in one change",
        replace(_SWAP, targets=(((1, 4), (3,)),)),
        joint,
        Network.NEWEST,
        states=400_000,
        sees=_sees(FINALIZED, ROLLED_BACK),
    ),
    Scenario(
        "disjoint",
        "{1,2} to {3,4}: all members replaced",
        _HANDED,
        begun,
        Network.PROMPT,
        states=800_000,
        sees=_sees(TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "transfers",
        "the same with Finalize by the leader itself and leadership handed to anyone",
        replace(_HANDED, transfers=(2, 3), auto_finalize=True),
        elected,
        Network.NEWEST,
        states=400_000,
        sees=_sees(BEGUN),
    ),
    Scenario(
        "new-majority-dead",
        "{1,2} to {2,3,4}, joint, 3 and 4 dead: rolled back, and it goes on",
        _DEAD,
        joint_without(3, 4),
        Network.NEWEST,
        states=2_000_000,
        sees=_sees(ROLLED_BACK, FORCED, GOES_ON),
        never=_sees(FINALIZED),
    ),
    Scenario(
        "new-majority-dead-no-rollback",
        "the same where nobody rolls back: nothing is ever committed",
        # A loss of power at both would make them forget that Begin is committed.
        replace(_DEAD, rollback=False, crashing=()),
        joint_without(3, 4),
        states=2_000_000,
        never=_sees(ADVANCED),
    ),
    Scenario(
        "leader-dead-too",
        "{1,2,3} to {3,4,5}, joint, 1, 4 and 5 dead: only a campaign for rollback helps",
        Settings(voters=(1, 2, 3), learners=(4, 5), targets=(((3, 4, 5), ()),), max_log=6),
        joint_without(1, 4, 5),
        Network.NEWEST,
        states=2_000_000,
        sees=_sees(FORCED, ROLLED_BACK, GOES_ON),
        never=_sees(FINALIZED),
    ),
    Scenario(
        "pair",
        "{1} to {2}: everything that can happen, each channel with its newest message",
        _PAIR,
        elected,
        Network.NEWEST,
        states=2_000_000,
        sees=_sees(BEGUN, TWICE, FINALIZED, ROLLED_BACK, FORCED, GOES_ON),
    ),
    Scenario(
        "pair-every",
        "{1} to {2}, every message for ever",
        _PAIR,
        elected,
        states=600_000,
        sees=_sees(BEGUN, TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "two-changes",
        "{1,2} to {3}, and then to {1,3}",
        replace(_SHIFT, targets=(((3,), (1, 2)), ((1, 3), ())), max_log=8),
        begun,
        Network.PROMPT,
        states=800_000,
        sees=_sees(TWICE, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "change-after-rollback",
        "{1,2} to {2,3}, rolled back, and begun again",
        replace(_SHIFT, targets=(((2, 3), ()), ((2, 3), ())), max_log=9),
        rolled_back,
        Network.PROMPT,
        states=600_000,
        sees=_sees(AGAIN, FINALIZED),
    ),
    Scenario(
        "ordinary",
        "{1,2} to {2,3} with ordinary entries and heartbeats",
        replace(_SHIFT, max_normal=1, beats=True, max_log=7),
        joint,
        Network.NEWEST,
        states=400_000,
        sees=_sees(FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "snapshots",
        "{1,2} to {1,3} where 3 is new and logs are compacted: joined by a snapshot",
        Settings(voters=(1, 2), targets=(((1, 3), ()),), max_log=6, compact=True),
        joint,
        states=600_000,
        sees=_sees(FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "joins-again",
        "{1,2} to {1,3} where 3 is new, rolled back, logs compacted, and begun again",
        Settings(voters=(1, 2), targets=(((1, 3), ()), ((1, 3), ())), max_log=9, compact=True),
        rolled_back,
        Network.NEWEST,
        states=500_000,
        sees=_sees(AGAIN, FORCED),
    ),
    Scenario(
        "late-flush",
        "{1,2} to {2,3} where a flush may come late, and a crash before it",
        replace(_SHIFT, persist_late=True),
        joint,
        states=1_500_000,
        sees=_sees(FINALIZED, ROLLED_BACK),
    ),
    Scenario(
        "light",
        "{1} to {2}, driven by LightReady",
        replace(_PAIR, light=True),
        elected,
        Network.NEWEST,
        states=600_000,
        sees=_sees(BEGUN, FINALIZED, ROLLED_BACK, FORCED),
    ),
    Scenario(
        "replays",
        "{1} to {2}, a LightReady's commit index unwritten, and all applied again after a restart",
        replace(_PAIR, light=True, light_commit_waits=True, replays=True),
        elected,
        Network.PROMPT,
        states=600_000,
        sees=_sees(BEGUN, TWICE, FINALIZED, ROLLED_BACK, FORCED, GOES_ON),
    ),
    Scenario(
        "pre-vote",
        "{1,2} to {2,3} with PreVote",
        replace(_SHIFT, pre_vote=True),
        joint,
        states=500_000,
        sees=_sees(FINALIZED, ROLLED_BACK),
    ),
    Scenario(
        "hands-itself-on",
        "{1} to {2} with PreVote and an ordinary entry: what only the one who leaves knows of",
        HANDED_ON,
        elected,
        Network.NEWEST,
        sees=_sees(BEGUN, FINALIZED, ROLLED_BACK, GOES_ON),
        recovers=1_000_000,
    ),
)
