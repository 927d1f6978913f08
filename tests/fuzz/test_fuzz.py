"""A slice of the fuzzing in the normal suite: the corpus, a second of damage, and hypothesis."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.campaign import run
from tests.fuzz.targets import CORPUS, TARGETS, Target, inputs

SECONDS = 1.0


@pytest.fixture(params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    made: Target = request.param()
    yield made
    made.close()


def test_corpus_and_damage(target: Target, seed: int) -> None:
    outcome = run(target, SECONDS, seed)
    for data, error in outcome.findings:
        raise AssertionError(f"{target.name} with {data[:300]!r}") from error
    assert outcome.executions >= len(target.seeds() + target.kept())
    # Damage that is refused at the door alone would show nothing of what is behind it.
    assert target.taken > 0
    assert target.refused > 0


def test_hypothesis(target: Target) -> None:
    seeds = target.seeds() + target.kept()
    drawn = st.one_of(
        st.binary(max_size=300),
        st.tuples(st.sampled_from(seeds), st.binary(max_size=8), st.integers(0, 300)).map(
            lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] + len(parts[1]) :]
        ),
        st.integers(0, 2**32).map(lambda n: inputs(target, random.Random(n), seeds)),
    )

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def feed(data: bytes) -> None:
        target.run(data)

    feed()


def test_the_corpus_has_no_strangers() -> None:
    names = {target.name for target in TARGETS}
    for folder in CORPUS.iterdir():
        assert folder.name in names, f"no target is called {folder.name}"
