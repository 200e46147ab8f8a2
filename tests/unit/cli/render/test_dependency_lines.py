"""What images were built on, at the end of a run."""

from __future__ import annotations

from typing import Any

from tasks_engine.cli.render.dependencies import dependency_lines
from tasks_engine.cli.render.summary import summary_lines
from tasks_engine.events import ImageDependencies, Status
from tasks_engine.plan.state import RunState
from tests.unit.cli.render.render_scene import DIGEST, plan_of, step


def event(image: str | None, runtime: str | None, *buildtime: str, commit: str = "") -> ImageDependencies:
    def entry(reference: str) -> dict[str, Any]:
        return {"reference": reference, "digest": "" if reference.startswith("scratch") else DIGEST}

    return ImageDependencies(
        step_id="b",
        dependencies={
            "image": entry(image) if image else None,
            "runtime-dependency": entry(runtime) if runtime else None,
            "buildtime-dependency": [entry(each) for each in buildtime] or None,
            "git": {"git-head-revision": commit},
        },
    )


def test_names_of_one_build_stand_together():
    events = [
        event("a:1", "base:1", "go:1"),
        event("r.io/a:1", "base:1", "go:1"),
        event("b:1", "scratch:latest"),
    ]

    assert dependency_lines(events) == [
        "built a:1, r.io/a:1",
        "  from base:1@sha256:abababababab",
        "  with go:1@sha256:abababababab",
        "built b:1",
        "  from scratch",
    ]


def test_a_build_without_a_name_is_told_by_its_step():
    assert dependency_lines([event(None, None, commit="c0ffee" * 6)]) == [
        "built without a name (step b)",
        "  at commit c0ffeec0ffe…",
    ]


def test_of_many_names_the_first_are_shown():
    (line, _) = dependency_lines([event(f"a:{number}", "base") for number in range(8)])

    assert line == "built a:0, a:1, a:2, a:3, a:4 and 3 more"


def test_names_cannot_drive_a_terminal():
    assert "\x1b" not in "".join(dependency_lines([event("a\x1b[2J:1", "b\x1b[2J")]))


def test_only_a_run_that_succeeded_shows_them():
    plan, events = plan_of(step("b", "build")), [event("a:1", "base")]

    assert "built a:1" in summary_lines(plan, RunState(Status.SUCCEEDED), None, {}, dependencies=events)
    assert "built a:1" not in summary_lines(plan, RunState(Status.FAILED), None, {}, dependencies=events)
