"""read_only.py: rounds of heartbeats, numbered, and the reads that wait for them."""

from __future__ import annotations

from raft import ReadOnlyOption
from raft.read_only import ReadOnly, ReadRequest, context_of


def a_queue() -> ReadOnly:
    """No reads yet."""
    return ReadOnly(ReadOnlyOption.Safe)


def ask(reads: ReadOnly, context: bytes = b"r", index: int = 1, tick: int = 0) -> tuple[int, bool]:
    """One read of node 1."""
    return reads.join_round(ReadRequest(1, context, index), tick)


def test_reads_share_the_open_round() -> None:
    reads = a_queue()
    assert ask(reads) == (1, True)
    assert ask(reads) == (1, False)
    reads.close_round()
    assert ask(reads) == (2, True)
    assert reads.pending_read_count() == 3


def test_the_context_names_the_newest_round() -> None:
    reads = a_queue()
    assert reads.last_pending_context() == b""
    ask(reads)
    assert reads.last_pending_context() == context_of(1) == (1).to_bytes(8, "little")
    reads.close_round()
    ask(reads)
    assert reads.last_pending_context() == context_of(2)


def test_an_answer_counts_for_its_round_and_all_before_it() -> None:
    reads = a_queue()
    for _ in range(3):
        ask(reads)
        reads.close_round()
    assert reads.receive_ack(2, context_of(2)) == {2}
    assert [one.acks for one in reads.rounds()] == [{2}, {2}, set()]
    assert reads.receive_ack(3, context_of(1)) == {2, 3}
    assert reads.receive_ack(2, context_of(9)) is None
    assert reads.receive_ack(2, b"short") is None
    assert reads.receive_ack(2, b"") is None


def test_confirming_takes_out_all_up_to_the_round() -> None:
    reads = a_queue()
    for context in (b"a", b"b", b"c"):
        ask(reads, context)
        reads.close_round()
    confirmed = reads.confirm_up_to(2)
    assert [r.context for one in confirmed for r in one.reads] == [b"a", b"b"]
    assert reads.pending_read_count() == 1
    assert reads.confirm_up_to(2) == []


def test_an_open_round_that_was_confirmed_is_not_joined_any_more() -> None:
    reads = a_queue()
    number, _ = ask(reads)
    reads.confirm_up_to(number)
    assert ask(reads) == (number + 1, True)


def test_forgetting_keeps_the_counter() -> None:
    reads = a_queue()
    ask(reads)
    reads.lease_until, reads.lease_usable = 9, False
    reads.reset()
    assert reads.pending_read_count() == 0
    assert (reads.lease_until, reads.lease_usable) == (0, True)
    assert ask(reads) == (2, True)


def test_rounds_that_only_renew_a_lease_are_bounded() -> None:
    reads = ReadOnly(ReadOnlyOption.LeaseBased)
    waiting, _ = ask(reads)
    for tick in range(1000):
        reads.close_round()
        reads.join_round(None, tick)
    rounds = reads.rounds()
    assert len(rounds) <= 65
    assert rounds[0].number == waiting
    numbers = [one.number for one in rounds]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1001
