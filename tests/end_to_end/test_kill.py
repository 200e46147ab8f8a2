"""A run killed with -9, at a few moments of its life; `make soak` does it a hundred times."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator

import pytest

from tests.soak.killing import Killer

pytestmark = pytest.mark.docker

#: most of a run happens in its first three seconds
_UNTIL_S = 3.5


@pytest.fixture
def killer(engine: str, registry: str) -> Iterator[Killer]:
    killer = Killer(engine, registry)
    yield killer
    killer.close()


def test_gc_leaves_nothing_of_killed_runs_and_their_log_has_all_that_was_shown(killer: Killer) -> None:
    seed = secrets.randbelow(1_000_000)
    chance = random.Random(seed)
    name = f"soak-{secrets.token_hex(4)}"

    # one in every fifth of the time, in any order
    moments = [(part + chance.random()) * _UNTIL_S / 5 for part in range(5)]
    rounds = [
        killer.round(f"{name}-{number}.", moment_s, from_git=number % 2 == 0)
        for number, moment_s in enumerate(moments)
    ]

    problems = [(each.killed_after_s, each.last_line, each.problems) for each in rounds if each.problems]
    assert not problems, f"seed {seed}"
    assert any(each.removed for each in rounds), "no run came far enough to leave anything"
