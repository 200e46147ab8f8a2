from __future__ import annotations

import base64
import json
import time
from dataclasses import MISSING, fields
from urllib.parse import quote

import pytest

from tasks_engine.engine.masking import MASK, MaskedStream, Masker
from tasks_engine.engine.secret_forms import MAX_LENGTH
from tasks_engine.events import (
    EVENT_TYPES,
    ImagePushed,
    RunEvent,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunWarning,
    Status,
    StepFinished,
    StepOutputs,
    StepProgress,
    StepRetrying,
)

SECRET = b'p@ss "word"/1'


def masker(*values: bytes) -> Masker:
    made = Masker()
    for value in values:
        made.add(value)
    return made


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET),
        base64.urlsafe_b64encode(SECRET).rstrip(b"="),
        quote(SECRET, safe="").encode(),
        json.dumps(SECRET.decode())[1:-1].encode(),
    ],
)
def test_a_value_is_masked_in_every_form(form: bytes) -> None:
    masked = masker(SECRET).mask(b"a " + form + b" z")
    assert masked.startswith(b"a " + MASK) and masked.endswith(b" z")
    assert form.rstrip(b"=") not in masked


def test_lines_of_a_value_are_masked_one_by_one() -> None:
    assert masker(b"first line\n}\nsecond line\n").mask(b"} second line first line") == b"} *** ***"


def test_short_values_are_not_masked() -> None:
    assert masker(b"abc", b"").mask(b"abc") == b"abc"


def test_of_two_values_the_longer_one_goes_first() -> None:
    assert masker(b"pass", b"password").mask(b"password pass") == b"*** ***"


def test_without_values_output_passes_as_it_is() -> None:
    stream = MaskedStream(Masker())
    assert stream.feed(b"any") == b"any"
    assert stream.flush() == b""


def test_only_what_may_become_a_value_is_held_back() -> None:
    stream = MaskedStream(masker(b"secret"))
    assert stream.feed(b"a line\nsec") == b"a line\n"
    assert stream.feed(b"tor\n") == b"sector\n"
    assert stream.feed(b"se") == b""
    assert stream.flush() == b"se"


def test_a_value_added_later_is_masked_from_then_on() -> None:
    values = Masker()
    stream = MaskedStream(values)
    assert stream.feed(b"secret ") == b"secret "
    values.add(b"secret")
    assert stream.feed(b"secret ") == b"*** "


def test_a_long_value_is_masked_although_little_is_held_back() -> None:
    value = bytes(range(33, 127)) * 500
    stream = MaskedStream(masker(value))
    out, held = b"", []
    for at in range(0, len(value), 1000):
        out += stream.feed(value[at : at + 1000])
        held.append(len(stream._held))
    out += stream.feed(b" end") + stream.flush()
    assert out.replace(MASK, b"") == b" end"
    assert max(held) < MAX_LENGTH


@pytest.mark.parametrize("output", [b"a" * 400_000, b"a" * 2000 + b"b", (b"a" * 3000 + b"c") * 20])
def test_values_that_repeat_themselves_cost_little(output: bytes) -> None:
    stream = MaskedStream(masker(b"a" * 3999 + b"b", b"a" * 500_000))
    started = time.monotonic()
    for at in range(0, len(output), 4096):
        stream.feed(output[at : at + 4096])
    stream.flush()
    assert time.monotonic() - started < 20


def test_a_secret_of_thousands_of_lines_is_masked() -> None:
    lines = [b"line %d of the secret" % (number * 7919) for number in range(3000)]
    values = masker(b"\n".join(lines))
    assert values.mask(b"see: " + lines[2000] + b"!") == b"see: ***!"


@pytest.mark.parametrize(
    "event",
    [
        RunWarning(message="not secret-1", hint="secret-1"),
        StepRetrying(step_id="s", attempt=1, attempts=2, delay_s=1, reason="secret-1"),
        StepFinished(step_id="s", status=Status.FAILED, attempts=1, error={"message": "said secret-1"}),
        RunFinished(status=Status.FAILED, error={"message": "said secret-1", "more": [{"a": "secret-1"}]}),
        RunStarted(task="secret-1", context="/secret-1", engine="1"),
        RunPlanned(plan={"steps": [{"id": "a", "cmd": {"args": ["secret-1"]}}]}),
        StepProgress(step_id="s", item="secret-1", parent="secret-1", name="secret-1", state="done"),
        ImagePushed(step_id="s", image="r/secret-1", digest="d", size_bytes=1),
    ],
)
def test_texts_of_events_are_masked(event: object) -> None:
    assert "secret-1" in repr(event)
    assert "secret-1" not in repr(masker(b"secret-1").mask_event(event))  # type: ignore[arg-type]


def test_names_that_others_refer_to_stay() -> None:
    event = StepFinished(
        step_id="failed", status=Status.FAILED, attempts=1, error={"code": "failed", "x": "failed"}
    )
    masked = masker(b"failed").mask_event(event)
    assert masked == StepFinished(
        step_id="failed", status=Status.FAILED, attempts=1, error={"code": "failed", "x": "***"}
    )


@pytest.mark.parametrize("text", ["\ud800 secret", "\udcff secret", "\udcff \ud800 secret"])
def test_text_that_cannot_be_encoded_is_masked_all_the_same(text: str) -> None:
    assert masker(b"secret").mask_text(text).endswith(" ***")
    assert masker(b"other").mask_text(text) == text


def _filled(kind: type[RunEvent]) -> RunEvent:
    """An event with the secret in every text there is, deep down too."""
    by_type = {
        "str": "a secret-1",
        "tuple[str, ...]": ("secret-1",),
        "Mapping[str, Any]": {"a": [{"b": "secret-1"}]},
        "Mapping[str, str]": {"a": "secret-1"},
        "Mapping[str, Any] | None": {"a": "secret-1"},
    }
    values = {
        each.name: by_type.get(str(each.type), each.default if each.default is not MISSING else 1)
        for each in fields(kind)
        if each.name not in ("run_id", "step_id", "stream", "state")
    }
    names = {name: "name" for name in ("step_id", "stream", "state") if name in kind.__dataclass_fields__}
    if "status" in values:
        values["status"] = Status.FAILED
    return kind(**values, **names)


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_whatever_texts_a_kind_of_event_has_are_masked(kind: type[RunEvent]) -> None:
    event = _filled(kind)
    masked = masker(b"secret-1").mask_event(event)
    assert "secret-1" not in repr(masked)
    assert repr(masked) == repr(event).replace("secret-1", "***")


def test_a_stored_plan_holds_no_value_and_can_still_be_read(plan_of) -> None:
    plan = plan_of("steps:\n- {id: build, cmd: a success build}\n- {id: success, push: [build]}")
    masked = masker(b"build", b"success", b"stdout", b"always").mask_plan(plan)
    assert [step.id for step in masked.steps] == ["build", "success"]
    assert masked.steps[0].work.args == ("***", "***")
    assert masker().mask_plan(plan) is plan


def test_an_output_is_masked_whatever_its_name_is() -> None:
    event = StepOutputs(step_id="a", outputs={"target": "x secret-1", "id": "secret-1", "other": "kept"})
    masked = masker(b"secret-1").mask_event(event)
    assert masked == StepOutputs(step_id="a", outputs={"target": "x ***", "id": "***", "other": "kept"})
