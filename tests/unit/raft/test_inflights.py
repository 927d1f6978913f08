"""progress/inflights.py: the window by count and by bytes."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft.invariant import InvariantViolation
from raft.progress import Inflights


def filled(*indexes: int, cap: int = 10, max_bytes: int = 0, size: int = 0) -> Inflights:
    """Make a window with these messages in it."""
    window = Inflights(cap, max_bytes)
    for index in indexes:
        window.add(index, size)
    window.check()
    return window


def indexes(window: Inflights) -> list[int]:
    """Return the indexes in the window, oldest first."""
    return [index for index, _ in window._messages]


def test_add_until_full() -> None:
    window = filled(*range(10))
    assert window.full()
    assert (window.count, window.cap) == (10, 10)
    with pytest.raises(InvariantViolation, match="full window"):
        window.add(11)


def test_full_by_bytes() -> None:
    window = Inflights(10, max_bytes=100)
    window.add(1, 99)
    assert not window.full()
    # The message that reaches the bound may go beyond it.
    window.add(2, 500)
    assert (window.bytes, window.full()) == (599, True)
    with pytest.raises(InvariantViolation):
        window.add(3, 0)
    window.free_to(2)
    assert (window.bytes, window.full()) == (0, False)


def test_without_a_bound_on_bytes_they_do_not_fill_it() -> None:
    window = filled(1, 2, size=2**40)
    assert not window.full()


@pytest.mark.parametrize(
    ("to", "left"),
    [
        (0, [1, 3, 5]),
        (1, [3, 5]),
        (2, [3, 5]),
        (4, [5]),
        (5, []),
        (9, []),
    ],
)
def test_free_to(to: int, left: list[int]) -> None:
    window = filled(1, 3, 5, size=10)
    window.free_to(to)
    window.check()
    assert indexes(window) == left
    assert window.bytes == 10 * len(left)


def test_free_first_one_frees_count_and_bytes() -> None:
    window = filled(1, 2, 3, size=10)
    window.free_first_one()
    assert (indexes(window), window.bytes) == ([2, 3], 20)
    window.free_first_one()
    window.free_first_one()
    window.free_first_one()
    assert (window.count, window.bytes) == (0, 0)


def test_reset() -> None:
    window = filled(1, 2, size=10)
    window.reset()
    window.check()
    assert (window.count, window.bytes, window.full()) == (0, 0, False)
    window.add(1)


def test_a_message_behind_a_later_one_is_refused() -> None:
    window = filled(5)
    with pytest.raises(InvariantViolation, match="behind"):
        window.add(4)
    window.add(5)


def test_the_bounds_change_at_run_time() -> None:
    window = filled(1, 2, 3, cap=3, size=10)
    assert window.full()
    window.set_cap(5)
    assert not window.full()
    window.set_cap(2)
    # What is under way stays: the window is full until an answer frees enough.
    assert (window.count, window.full()) == (3, True)
    window.free_to(1)
    assert window.full()
    window.free_to(2)
    assert not window.full()
    window.set_cap(5, max_bytes=10)
    assert window.full()
    window.set_cap(5)
    assert window.max_bytes == 10
    window.set_cap(5, max_bytes=0)
    assert not window.full()


def test_check_finds_a_wrong_account() -> None:
    window = filled(1, 2, size=10)
    window.bytes = 19
    with pytest.raises(InvariantViolation, match="out of order"):
        window.check()
    window = filled(1, 2)
    window._messages = deque([(2, 0), (1, 0)])
    with pytest.raises(InvariantViolation, match="out of order"):
        window.check()


@given(data=st.data())
def test_it_behaves_as_a_naive_model(data: st.DataObject) -> None:
    cap, max_bytes = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 50))
    window = Inflights(cap, max_bytes)
    model: list[tuple[int, int]] = []
    last = 0
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["add", "add", "add", "free", "first", "cap", "reset"]))
        full = len(model) >= cap or 0 < max_bytes <= sum(size for _, size in model)
        assert window.full() == full
        if action == "add" and not full:
            last += data.draw(st.integers(0, 3))
            size = data.draw(st.integers(0, 30))
            window.add(last, size)
            model.append((last, size))
        elif action == "free":
            to = data.draw(st.integers(0, last + 1))
            window.free_to(to)
            model = [(index, size) for index, size in model if index > to]
        elif action == "first":
            window.free_first_one()
            model = model[1:]
        elif action == "cap":
            cap, max_bytes = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 50))
            window.set_cap(cap, max_bytes)
        elif action == "reset":
            window.reset()
            model = []
        window.check()
        assert list(window._messages) == model
        assert window.count == len(model)
