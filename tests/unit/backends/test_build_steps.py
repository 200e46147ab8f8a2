"""Builds of one run, with a builder that only remembers what it was asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_access import BuildAccess
from tasks_engine.backends.build_steps import BuildSite, BuildSteps
from tasks_engine.backends.buildkit import BuildOptions, BuildResult, BuildSources, ImageSource
from tasks_engine.backends.builds import Built
from tasks_engine.backends.workspace.user_folder import UserFolder
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_attributes import Attestation, BuildOutput, BuildSecret
from tasks_engine.definition.template.secret_text import secret
from tasks_engine.errors import DockerError, StepFailed
from tasks_engine.events import ImageBuilt, ImageDependencies, RunEvent, RunWarning
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput
from tasks_engine.settings import RegistrySettings
from tests.unit.backends.build_scene import build_step, build_work
from tests.unit.backends.test_build_request import CAN

TOKEN = secret("s").token
DIGEST = "sha256:" + "1" * 64


@dataclass
class RememberingBuilder:
    can: buildkit.Capabilities = CAN
    sources: Callable[[], BuildSources] = BuildSources
    identity: str = "sha256:one"
    asked: list[BuildOptions] = field(default_factory=list)
    access: list[BuildAccess] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def build(self, options, output, cancel, access=None, dockerfile_text="") -> Built:
        self.asked.append(options)
        self.access.append(access)
        assert options.local_dockerfile is not None
        self.texts.append(options.local_dockerfile.read_text())
        return Built(options, access, BuildResult("ref", DIGEST, self.identity, {}), self.sources)

    def info(self):
        raise AssertionError("nothing of this needs the daemon")

    @property
    def exporters(self) -> list[list[str]]:
        return [[each.type for each in options.exporters] for options in self.asked]


@dataclass
class Scene:
    folder: Path
    builder: RememberingBuilder = field(default_factory=RememberingBuilder)
    events: list[RunEvent] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    site: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "Dockerfile").write_text("FROM base\n")
        self.output = StepOutput("b", lambda *_: None, self.events.append)

    def steps(self, **site: Any) -> contextlib.closing[BuildSteps]:
        made = BuildSite(
            self.folder, site.pop("endpoint", None), reveal=lambda text: text.replace(TOKEN, "hidden"),
            on_secret=self.heard.append, **{"alone": False, **site},
        )  # fmt: skip
        return contextlib.closing(BuildSteps(self.builder, UserFolder(self.folder), made))  # type: ignore[arg-type]

    def build(self, steps: BuildSteps, step_id: str = "b", env: dict[str, str] | None = None, **work: Any):
        made = build_work(**work)
        return steps.build(build_step(made, id=step_id, env=env or {}), made, self.output, CancelToken())

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_image_goes_into_the_engine_and_is_told_with_its_dependencies(scene):
    scene.builder.sources = lambda: BuildSources((ImageSource("docker.io/library/base:latest", "", DIGEST),))

    with scene.steps() as steps:
        outputs = scene.build(steps, tags=("a:1",))

    assert scene.builder.exporters == [["moby"]]
    assert outputs == {"digest": DIGEST, "image": "a:1"}
    assert [each.digest for each in scene.of(ImageBuilt)] == [DIGEST]
    (event,) = scene.of(ImageDependencies)
    assert event.dependencies["runtime-dependency"]["digest"] == DIGEST


def test_digests_that_the_builder_does_not_tell_come_from_the_engine(scene):
    scene.builder.sources = lambda: BuildSources((ImageSource("docker.io/library/base:latest", "", ""),))

    with scene.steps(digest_in_engine=lambda image: f"of {image}") as steps:
        scene.build(steps)

    (event,) = scene.of(ImageDependencies)
    assert event.dependencies["runtime-dependency"]["digest"] == "of docker.io/library/base:latest"


@pytest.mark.parametrize("error", [buildkit.BuildKitError("gone"), DockerError("gone")])
def test_dependencies_that_cannot_be_told_are_a_warning(scene, error):
    def fail() -> BuildSources:
        raise error

    scene.builder.sources = fail

    with scene.steps() as steps:
        scene.build(steps)

    assert [each.message for each in scene.of(RunWarning)] == [
        "step 'b': what the build depends on cannot be told: gone"
    ]


def test_secrets_are_told_to_whoever_hides_them(scene):
    with scene.steps() as steps:
        scene.build(steps, env={"T": "value"}, secrets=(BuildSecret("t", env="T"),))

    assert scene.heard == [b"value"]
    assert scene.builder.access[0].secrets["t"].data == b"value"


def test_addresses_get_their_logins_last(scene, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "Dockerfile").write_text("FROM base\n")

    with scene.steps() as steps:
        scene.build(steps, context=TOKEN)

    assert scene.builder.asked[0].context == tmp_path / "hidden"


def test_files_beside_an_image_are_written_by_the_same_build_where_that_can_be(scene):
    outputs = (BuildOutput("local", "out"),)

    with scene.steps() as steps:
        scene.build(steps, tags=("a",), outputs=outputs)
        scene.builder.can = replace(CAN, several_exporters=False)
        scene.build(steps, tags=("a",), outputs=outputs, no_cache=True)
        scene.build(steps, outputs=outputs)

    assert scene.builder.exporters == [["moby", "local"], ["moby"], ["local"], ["local"]]
    assert [bool(options.no_cache) for options in scene.builder.asked[1:3]] == [True, False]


def test_files_cannot_be_written_where_nobody_would_see_them(scene):
    with scene.steps(no_outputs="it is far away") as steps, pytest.raises(StepFailed, match="it is far away"):
        scene.build(steps, outputs=(BuildOutput("local", "out"),))


def test_mirrors_are_asked_and_the_authors_dockerfile_stays(scene):
    registries = RegistrySettings(mirrors={"docker.io": "m.io/hub"})

    with scene.steps(registries=registries) as steps:
        scene.build(steps, build_contexts={"x": "docker-image://other"})

    assert scene.builder.texts == ["FROM m.io/hub/library/base:latest\n"]
    assert scene.builder.asked[0].contexts == {"x": "docker-image://m.io/hub/library/other:latest"}
    assert (scene.folder / "Dockerfile").read_text() == "FROM base\n"


def test_a_daemon_that_stands_alone_keeps_nothing_for_later_builds(scene):
    (scene.folder / "Next").write_text("FROM r.io/a:1\n")

    with scene.steps(alone=True) as steps:
        scene.build(steps, "one", tags=("r.io/a:1",))
        with pytest.raises(StepFailed, match="which step 'one' has built"):
            scene.build(steps, "two", dockerfile="Next")
        with pytest.raises(StepFailed, match="which step 'one' has built"):
            scene.build(steps, "two", build_contexts={"x": "docker-image://r.io/a:1"})
        steps.push("r.io/a:1", "one", scene.output, CancelToken())
        scene.build(steps, "two", dockerfile="Next")


def test_a_push_of_a_daemon_that_stands_alone_builds_again_from_the_cache(scene):
    registries = RegistrySettings(insecure=frozenset(["r.io"]))

    with scene.steps(alone=True, registries=registries) as steps:
        scene.build(
            steps, tags=("r.io/a:1",), no_cache=True, env={"T": "v"}, secrets=(BuildSecret("t", env="T"),),
            outputs=(BuildOutput("image", "", {"compression": "zstd"}),),
        )  # fmt: skip
        digest = steps.push("r.io/a:1", "b", scene.output, CancelToken(), by_digest=True)

    assert digest == DIGEST
    again, pushing = scene.builder.asked[1:]
    assert not again.no_cache
    assert [each.secrets["t"].data for each in scene.builder.access] == [b"v"] * 3
    (exporter,) = pushing.exporters
    assert exporter.attrs == {
        "name": "r.io/a", "compression": "zstd", "push": "true", "push-by-digest": "true", "registry.insecure": "true",
    }  # fmt: skip


def test_what_was_not_tested_is_not_pushed(scene):
    with scene.steps(alone=True) as steps:
        scene.build(steps, tags=("r.io/a:1",))
        scene.builder.identity = "sha256:another"
        with pytest.raises(StepFailed, match="cannot be built again"):
            steps.push("r.io/a:1", "b", scene.output, CancelToken())


def test_an_image_with_attestations_is_known_by_what_it_is_without_them(scene):
    with scene.steps(alone=True) as steps:
        scene.build(steps, tags=("r.io/a:1",), attestations=(Attestation("provenance"),))
        steps.push("r.io/a:1", "b", scene.output, CancelToken())

    assert [options.provenance for options in scene.builder.asked] == ["min", "", "", "min"]


def test_several_platforms_cannot_be_loaded_from_a_daemon_that_stands_alone(scene):
    from tasks_engine.backends.docker.endpoint import Endpoint

    scene.builder.info = lambda: buildkit.DaemonInfo("buildkitd", "", (), CAN)  # type: ignore[method-assign]
    with (
        scene.steps(alone=True, endpoint=Endpoint("unix:///x", "test")) as steps,
        pytest.raises(StepFailed, match="for 2 platforms"),
    ):
        scene.build(steps, tags=("a",), runs_later=True, platforms=("linux/amd64", "linux/arm64"))


def test_base_images_of_registries_that_the_policy_does_not_allow_are_refused(scene):
    policy = Policy(allowed_registries=("r.io",))
    with scene.steps(policy=policy) as steps:
        (scene.folder / "Dockerfile").write_text(
            "FROM r.io/base AS a\nFROM r.io/other\nCOPY --from=evil.io/x /a /b\n"
        )
        with pytest.raises(StepFailed, match=r"the Dockerfile uses image 'evil\.io/x:latest'") as caught:
            scene.build(steps)
        assert caught.value.hint == "its settings can allow it: policy.allowed_registries"
        (scene.folder / "Dockerfile").write_text("# syntax=evil.io/frontend\nFROM r.io/base\n")
        with pytest.raises(StepFailed, match=r"evil\.io/frontend"):
            scene.build(steps)
        (scene.folder / "Dockerfile").write_text("ARG WHAT\nFROM $WHAT\n")
        with pytest.raises(StepFailed, match="does not tell what it builds on"):
            scene.build(steps)
        scene.build(steps, build_args={"WHAT": "r.io/base"})


def test_images_of_the_run_itself_may_be_built_upon_whatever_their_names(scene):
    policy = Policy(allowed_registries=("r.io",))
    with scene.steps(policy=policy) as steps:
        (scene.folder / "Dockerfile").write_text("FROM r.io/base\n")
        scene.build(steps, tags=("mine:1",))
        (scene.folder / "Dockerfile").write_text("FROM mine:1\n")
        scene.build(steps)
