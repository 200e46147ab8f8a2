"""What a run was asked for, kept."""

from __future__ import annotations

import json

import pytest

from tasks_engine.backends.run_request import KeptRequest


def test_a_request_survives_json():
    request = KeptRequest(("--set=a=1",), ("task.yaml", "."), "/f", secrets=("T",), withheld=("x",))

    assert KeptRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


@pytest.mark.parametrize("data", [{}, {"version": 2}])
def test_a_request_of_another_version_is_refused(data):
    with pytest.raises(ValueError, match="version"):
        KeptRequest.from_json(data)


@pytest.mark.parametrize("damage", [{"options": "x"}, {"paths": [1]}, {"folder": None}, {"has_task_text": 1}])
def test_a_damaged_request_is_refused(damage):
    with pytest.raises(ValueError, match="damaged"):
        KeptRequest.from_json({**KeptRequest().to_json(), **damage})


def test_arguments_that_hold_a_secret_are_left_out_and_told():
    request = KeptRequest(("--set=a=hunter22", "--env=b=2"), ("task.yaml", "hunter22/x"))

    masked = request.masked(lambda text: text.replace("hunter22", "***"))
    assert masked.options == ("--env=b=2",)
    assert masked.withheld == ("--set, which held a secret", "CONTEXT, which held a secret")
    assert "hunter22" not in json.dumps(masked.to_json())
