"""The time limit of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_engine.cancel import CancelToken
from tasks_engine.cli.running import _time_limit, _time_limit_of
from tasks_engine.errors import TimedOut


@pytest.mark.parametrize(
    ("asked_s", "allowed_s", "limit_s", "warns"),
    [
        (None, 0, None, False),
        (60, 0, 60, False),
        (None, 600, 600, False),
        (60, 600, 60, False),
        (600, 600, 600, False),
        (601, 600, 600, True),
    ],
)
def test_a_run_ends_within_what_was_asked_and_what_is_allowed(
    asked_s: int | None, allowed_s: int, limit_s: int | None, warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = _time_limit_of(asked_s, allowed_s)

    assert (limit.seconds if limit is not None else None) == limit_s
    assert ("policy.max_run_s" in capsys.readouterr().err) == warns


@pytest.mark.parametrize(
    ("asked_s", "allowed_s", "hint"), [(60, 0, "raise --timeout"), (None, 60, "policy.max_run_s")]
)
def test_a_late_run_is_told_who_set_its_limit(asked_s: int | None, allowed_s: int, hint: str) -> None:
    limit = _time_limit_of(asked_s, allowed_s)
    assert limit is not None
    cancel = CancelToken()
    with _time_limit(cancel, replace(limit, seconds=0)), pytest.raises(TimedOut) as caught:
        cancel.wait(20)
    assert caught.value.message == "the run did not finish within 0 s"
    assert hint in caught.value.hint
