"""Several nodes step by step, with all their messages printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raft import Error, Ready, is_empty_snap
from raft.eraftpb import AddLearnerNode, AddNode, Entry, Message, MessageType, RemoveNode
from tests.harness.builders import v1
from tests.harness.datadriven import Directive, FileError, files, run_file
from tests.harness.network import Loop, Network

FOLDER = Path(__file__).parent / "testdata" / "interaction"
KINDS = {"v": AddNode, "l": AddLearnerNode, "r": RemoveNode}


def entry_text(entry: Entry) -> str:
    """An entry in short: term/index, and what it holds."""
    what = repr(entry.data.decode()) if entry.data and not entry.entry_type else ""
    if entry.entry_type:
        what = "membership"
    return f"{entry.term}/{entry.index}{' ' + what if what else ''}"


def message_text(m: Message) -> str:
    """A message in one line: what it is, between whom, and the fields that are set."""
    parts = [f"{m.from_}->{m.to} {MessageType.Name(m.msg_type)[3:]}"]
    if m.term:
        parts.append(f"term={m.term}")
    if m.index or m.log_term:
        parts.append(f"at={m.log_term}/{m.index}" if m.log_term else f"index={m.index}")
    if m.commit:
        parts.append(f"commit={m.commit}")
    if m.commit_term:
        parts.append(f"commit-term={m.commit_term}")
    if m.reject:
        parts.append(f"rejected hint={m.reject_hint}")
    if m.HasField("snapshot"):
        metadata = m.snapshot.metadata
        parts.append(f"snapshot={metadata.term}/{metadata.index}")
    if m.request_snapshot:
        parts.append(f"request-snapshot={m.request_snapshot}")
    if m.context:
        text = m.context.decode("latin-1")
        parts.append(f"context={text if text.isprintable() else m.context.hex()}")
    if m.entries:
        parts.append("entries=[" + ", ".join(map(entry_text, m.entries)) + "]")
    return " ".join(parts)


def ready_text(rd: Ready) -> list[str]:
    """What a Ready holds, a line each."""
    lines = []
    if rd.ss is not None:
        lines.append(f"soft: {rd.ss.raft_state.name} leader={rd.ss.leader_id}")
    if rd.hs is not None:
        lines.append(f"hard: term={rd.hs.term} vote={rd.hs.vote} commit={rd.hs.commit}")
    if not is_empty_snap(rd.snapshot):
        metadata = rd.snapshot.metadata
        lines.append(f"snapshot: {metadata.term}/{metadata.index}")
    if rd.entries:
        lines.append("entries: " + ", ".join(map(entry_text, rd.entries)))
    if rd.committed_entries:
        lines.append("committed: " + ", ".join(map(entry_text, rd.committed_entries)))
    lines += [f"read: {r.request_ctx.decode()} at {r.index}" for r in rd.read_states]
    lines += [f"now: {message_text(m)}" for m in rd.immediate_messages]
    lines += [f"after the write: {message_text(m)}" for m in rd.persisted_messages]
    lines.append("must sync" if rd.must_sync else "need not sync")
    return lines


class Story:
    """A network and the commands to it."""

    def __init__(self) -> None:
        self.network = Network()
        self._commands: dict[str, Callable[[Directive], list[str]]] = {
            "nodes": self._nodes,
            "join": self._join,
            "campaign": self._campaign,
            "propose": self._propose,
            "change": self._change,
            "begin": self._begin,
            "finalize": self._finalize,
            "rollback": self._rollback,
            "read": self._read,
            "transfer": self._transfer,
            "tick": self._tick,
            "deliver": self._deliver,
            "run": self._run,
            "cut": self._cut,
            "isolate": self._isolate,
            "heal": self._heal,
            "stop": self._stop,
            "start": self._start,
            "compact": self._compact,
            "ready": self._ready,
            "status": self._status,
            "log": self._log,
            "progress": self._progress,
        }

    def handle(self, directive: Directive) -> str:
        """Run one command."""
        try:
            command = self._commands[directive.command]
        except KeyError:
            raise FileError(f"{directive.where}: no such command: {directive.command}") from None
        try:
            return "\n".join(command(directive))
        except Error as error:
            return f"{type(error).__name__}: {error}"

    def _nodes(self, directive: Directive) -> list[str]:
        voters = directive.numbers("voters")
        self.network = Network(
            *voters,
            learners=directive.numbers("learners", []),
            loop=Loop(directive.text("loop", "simple")),
            pre_vote=directive.has("pre-vote"),
            check_quorum=directive.has("check-quorum"),
            max_size_per_msg=directive.number("message-bytes", 1 << 20),
            max_inflight_msgs=directive.number("window", 256),
        )
        return []

    def _join(self, directive: Directive) -> list[str]:
        self.network.add(directive.number("node"))
        return []

    def _node(self, directive: Directive) -> int:
        return directive.number("node")

    def _collected(self) -> list[str]:
        """Let all nodes do what is ready, and show what they send."""
        before = len(self.network.queue)
        self.network.collect()
        return [message_text(m) for m in list(self.network.queue)[before:]]

    def _campaign(self, directive: Directive) -> list[str]:
        node = self.network[self._node(directive)].node
        if directive.has("for-rollback"):
            node.campaign_for_rollback()
        else:
            node.campaign()
        return self._collected() if not directive.has("hold") else []

    def _propose(self, directive: Directive) -> list[str]:
        node = self.network[self._node(directive)].node
        for text in directive.texts("data"):
            node.propose(b"", text.encode())
        return self._collected() if not directive.has("hold") else []

    def _change(self, directive: Directive) -> list[str]:
        text = directive.text("one")
        change = v1(KINDS[text[0]], int(text[1:]), promote_when_caught_up=directive.has("mark"))
        self.network[self._node(directive)].node.propose_conf_change(b"", change)
        return self._collected()

    def _begin(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].node.propose_membership_change(
            (directive.numbers("voters"), directive.numbers("learners", [])),
            auto_finalize=not directive.has("hold"),
            successor=directive.number("successor", 0) or None,
        )
        return self._collected()

    def _finalize(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].node.propose_finalize()
        return self._collected()

    def _rollback(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].node.propose_rollback()
        return self._collected()

    def _read(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].node.read_index(directive.text("context").encode())
        return self._collected()

    def _transfer(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].node.transfer_leader(directive.number("target"))
        return self._collected()

    def _tick(self, directive: Directive) -> list[str]:
        lines: list[str] = []
        for _ in range(directive.number("times", 1)):
            for node_id in directive.numbers("node"):
                self.network[node_id].node.tick()
            lines += self._collected()
        return lines

    def _deliver(self, directive: Directive) -> list[str]:
        lines: list[str] = []
        for _ in range(directive.number("count", 1)):
            before = len(self.network.queue)
            m = self.network.deliver_one()
            if m is None:
                return [*lines, "nothing is under way"]
            lines.append(message_text(m))
            new = list(self.network.queue)[before - 1 :]
            lines += [f"  {message_text(answer)}" for answer in new]
        return lines

    def _run(self, directive: Directive) -> list[str]:
        self.network.log.clear()
        self.network.keep_log = True
        self.network.run()
        self.network.keep_log = False
        lines = [message_text(m) for m in self.network.log]
        lines += [f"refused: {error}" for _, error in self.network.refused]
        self.network.refused.clear()
        return [] if directive.has("quiet") else lines

    def _cut(self, directive: Directive) -> list[str]:
        one, other = directive.numbers("between")
        self.network.cut((one, other), both=not directive.has("one-way"))
        return []

    def _isolate(self, directive: Directive) -> list[str]:
        self.network.isolate(*directive.numbers("node"))
        return []

    def _heal(self, directive: Directive) -> list[str]:
        self.network.heal()
        return []

    def _stop(self, directive: Directive) -> list[str]:
        self.network.stop(*directive.numbers("node"))
        return []

    def _start(self, directive: Directive) -> list[str]:
        self.network.start(*directive.numbers("node"))
        return []

    def _compact(self, directive: Directive) -> list[str]:
        self.network[self._node(directive)].compact(directive.number("before"))
        return []

    def _ready(self, directive: Directive) -> list[str]:
        member = self.network[self._node(directive)]
        start = len(member.readies)
        before = len(self.network.queue)
        self.network.send(member.pump())
        lines: list[str] = []
        for number, rd in enumerate(member.readies[start:], 1):
            lines.append(f"{number}.")
            lines += [f"  {line}" for line in ready_text(rd)]
        if not lines:
            return ["nothing is ready"]
        sent = list(self.network.queue)[before:]
        return [*lines, *(f"sent: {message_text(m)}" for m in sent)]

    def _status(self, directive: Directive) -> list[str]:
        lines = []
        for node_id, member in self.network.members.items():
            raft = member.raft
            prs = raft.prs
            voters = sorted(prs.configuration.voters)
            text = " ".join(map(str, voters))
            if prs.configuration.learners:
                text += " | " + " ".join(map(str, sorted(prs.configuration.learners)))
            if prs.next_configuration is not None:
                text += " -> " + " ".join(map(str, sorted(prs.next_configuration.voters)))
                if prs.next_configuration.learners:
                    text += " | " + " ".join(map(str, sorted(prs.next_configuration.learners)))
            down = " down" if node_id in self.network.down else ""
            lines.append(
                f"{node_id}: {member.role} term={member.term} leader={raft.leader_id} "
                f"commit={member.committed} last={raft.raft_log.last_term()}/{member.last_index} "
                f"members=({text}){down}"
            )
        return lines

    def _log(self, directive: Directive) -> list[str]:
        log = self.network[self._node(directive)].raft.raft_log
        return [", ".join(map(entry_text, log.all_entries())) or "empty"]

    def _progress(self, directive: Directive) -> list[str]:
        prs = self.network[self._node(directive)].raft.prs
        return [
            f"{i}: {p.state.name} match={p.matched} next={p.next_idx}"
            + (" paused" if p.is_paused() else "")
            + (f" inflight={p.ins.count}" if p.ins.count else "")
            + (f" snapshot={p.pending_snapshot}" if p.pending_snapshot else "")
            for i, p in prs.iter()
        ]


@pytest.mark.parametrize("path", files(FOLDER), ids=lambda path: path.stem)
def test_interaction(path: Path, rewrite: bool) -> None:
    run_file(path, Story().handle, rewrite=rewrite)
