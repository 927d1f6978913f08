"""The judges of a history find what was planted in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftwire import kv
from raftwire.proto.admin_pb2 import LogEntry
from tests.harness.checkers import Violation
from tests.harness.cluster import Op
from tests.torture.judge import check_by_search, check_with_log

History = tuple[list[Op], list[Op], dict[int, LogEntry]]


def write(name: bytes, index: int, invoked: int, returned: int, value: bytes = b"") -> Op:
    data = kv.put(b"k", value or name)
    return Op(name, "put", b"k", name, b"", 1, data, invoked, 0, returned, b"yes", index)


def read(value: bytes, index: int, invoked: int, returned: int) -> Op:
    return Op(b"", "get", b"k", b"", b"", 2, b"", invoked, 0, returned, value, index)


def entry(index: int, name: bytes, key: str = "") -> LogEntry:
    return LogEntry(index=index, type="normal", data=kv.put(b"k", name), key=key)


def good() -> History:
    """Two writes one after the other, a read of each, a write that nobody answered."""
    lost = write(b"c", 0, 20, 0)
    history = [write(b"a", 2, 1, 2), read(b"a", 2, 3, 4), write(b"b", 3, 5, 6), read(b"b", 3, 7, 8)]
    return [*history, lost], [], {2: entry(2, b"a"), 3: entry(3, b"b")}


def judge(found: History) -> None:
    history, refused, log = found
    state = check_with_log(history, refused, log)
    assert check_by_search(history, state.first) == (1, 0)


def test_what_is_right_is_found_right() -> None:
    judge(good())


def lose(found: History) -> None:
    found[2][3] = entry(3, b"z")


def double(found: History) -> None:
    found[2][4] = entry(4, b"a")


def forget_a_key(found: History) -> None:
    found[2][4] = entry(4, b"z")
    found[0].append(read(b"b", 4, 30, 31))


def stale(found: History) -> None:
    found[0].append(read(b"a", 2, 9, 10))


def swap(found: History) -> None:
    found[0][0].index, found[0][2].index = 3, 2
    found[2][2], found[2][3] = entry(2, b"b"), entry(3, b"a")


def apply_refused(found: History) -> None:
    found[1].append(write(b"b", 0, 5, 0))


def tear(found: History) -> None:
    found[2][5] = entry(5, b"y")


def lie_about_the_result(found: History) -> None:
    found[0][2].result = b"no"


@pytest.mark.parametrize(
    "plant",
    [lose, double, forget_a_key, stale, swap, apply_refused, tear, lie_about_the_result],
    ids=lambda plant: plant.__name__,
)
def test_what_is_planted_is_found(plant: Callable[[History], None]) -> None:
    found = good()
    plant(found)
    with pytest.raises(Violation):
        judge(found)


def test_the_search_finds_a_stale_read_without_the_log() -> None:
    history, _, _ = good()
    history.append(read(b"a", 2, 9, 10))
    with pytest.raises(Violation):
        check_by_search(history, {b"a", b"b"})


def test_a_key_repeated_counts_once() -> None:
    history, refused, log = good()
    log[2], log[4] = entry(2, b"a", "a"), entry(4, b"a", "a")
    history.append(read(b"b", 4, 30, 31))
    judge((history, refused, log))
