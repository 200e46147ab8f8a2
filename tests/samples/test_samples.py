"""Tasks as people write them, after the kinds of files in Azure-Samples/acr-tasks: each is valid and means what it
should. `NAME.values.yaml` beside a task is its values file, `*.aliases.yaml` are sources of aliases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.definition.load import load_task, load_values
from tasks_engine.definition.model import IMAGE_ALIASES, Inputs, VolumeMount
from tasks_engine.definition.template.secret_text import has_token, tokens_in
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PushWork
from tasks_engine.plan.request import RunRequest

FOLDER = Path(__file__).parent
REGISTRY = "home.azurecr.io"
TASKS = sorted(path.stem for path in FOLDER.glob("*.yaml") if "." not in path.stem)


def plan_of(name: str) -> Plan:
    values = FOLDER / f"{name}.values.yaml"
    inputs = Inputs(
        run={"ID": "r1", "Registry": REGISTRY, "Commit": "c0ffee"},
        values=load_values(values.read_text(), values.name) if values.exists() else {"user": "me"},
    )
    text = (FOLDER / f"{name}.yaml").read_text()
    task = load_task(text, f"{name}.yaml", inputs, lambda source: (FOLDER / source).read_text(), strict=True)
    return make_plan(task, RunRequest("r1", f"{name}.yaml", REGISTRY))


def parents(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.depends_on for step in plan.steps}


def build(plan: Plan, step_id: str = "acb_step_0") -> BuildWork:
    work = plan.step_by_id[step_id].work
    assert isinstance(work, BuildWork)
    return work


def cmd(plan: Plan, step_id: str = "acb_step_0") -> CmdWork:
    work = plan.step_by_id[step_id].work
    assert isinstance(work, CmdWork)
    return work


def push(plan: Plan, step_id: str = "acb_step_1") -> PushWork:
    work = plan.step_by_id[step_id].work
    assert isinstance(work, PushWork)
    return work


@pytest.mark.parametrize("name", TASKS)
def test_every_sample_is_valid_without_a_warning_and_has_a_plan(name: str) -> None:
    plan = plan_of(name)
    assert Plan.from_json(plan.to_json()) == plan
    assert not plan.warnings


def test_a_public_image_runs_as_it_is_named() -> None:
    assert cmd(plan_of("public-image")) == CmdWork("docker.io/library/busybox", ("echo", "good morning"))


def test_an_image_alias_stands_for_its_image() -> None:
    assert cmd(plan_of("image-alias")) == CmdWork(IMAGE_ALIASES["bash"], ("-c", 'echo "running $0"'))


def test_an_image_with_a_tag_is_no_alias() -> None:
    assert cmd(plan_of("image-with-a-tag")).image == "bash:5.2"


@pytest.mark.parametrize("name", ["build", "build-and-push", "build-and-run"])
def test_an_image_is_built_below_the_registry_of_the_run(name: str) -> None:
    plan = plan_of(name)
    assert (build(plan).tags, build(plan).context) == ((f"{REGISTRY}/greeter:r1",), ".")
    assert build(plan).runs_later is (name == "build-and-run")


def test_what_was_built_is_pushed() -> None:
    plan = plan_of("build-and-push")
    assert push(plan) == PushWork(
        (f"{REGISTRY}/greeter:r1",), {f"{REGISTRY}/greeter:r1": "acb_step_0"}, at_end=True
    )
    assert parents(plan)["acb_step_1"] == ("acb_step_0",)


def test_several_tags_are_built_and_pushed() -> None:
    plan = plan_of("several-tags")
    images = (f"{REGISTRY}/greeter:r1", f"{REGISTRY}/greeter:latest")
    assert build(plan).tags == push(plan).images == images
    assert build(plan).build_args == {"REVISION": "c0ffee"}


def test_flags_may_stand_behind_the_context() -> None:
    work = build(plan_of("file-after-the-context"))
    assert (work.context, work.dockerfile, work.tags) == (".", "tool.Dockerfile", (f"{REGISTRY}/tool:r1",))


def test_an_image_of_the_run_is_run() -> None:
    plan = plan_of("build-and-run")
    assert cmd(plan, "acb_step_1").image == build(plan).tags[0]


def test_images_are_built_in_parallel_and_tested_against_each_other() -> None:
    plan = plan_of("build-test-in-parallel")
    assert parents(plan) == {
        "build-server": (),
        "build-checks": (),
        "server": ("build-server",),
        "checks": ("server", "build-checks"),
        "push": ("checks",),
    }
    server = plan.step_by_id["server"]
    assert (server.detach, server.ports) == (True, ("8080:80",))
    assert cmd(plan, "checks").args == ("http://server/health",)
    assert {step.network for step in plan.steps} == {plan.networks[0].name}


@pytest.mark.parametrize(
    ("name", "dependencies"),
    [
        ("parallel", {"one": (), "two": (), "three": ()}),
        ("diamond", {"first": (), "left": ("first",), "right": ("first",), "last": ("left", "right")}),
        ("sequence", {"acb_step_0": (), "acb_step_1": ("acb_step_0",), "acb_step_2": ("acb_step_1",)}),
        ("sequence-by-id", {"one": (), "two": ("one",), "three": ("two",)}),
        (
            "mixed-order",
            {
                "image": (),
                "checks-image": (),
                "checks": ("image", "checks-image"),
                "push": ("checks",),
                "update": ("push",),
                "tell": ("push",),
            },
        ),
        ("two-registries", {"acb_step_0": (), "home": ("acb_step_0",), "abroad": ("acb_step_0",)}),
    ],
)
def test_steps_wait_for(name: str, dependencies: dict[str, tuple[str, ...]]) -> None:
    assert parents(plan_of(name)) == dependencies


def test_a_folded_text_is_one_command() -> None:
    plan = plan_of("mixed-order")
    assert cmd(plan, "update").image == IMAGE_ALIASES["az"]
    assert cmd(plan, "update").args[-2:] == ("--container-image-name", f"{REGISTRY}/site:r1")
    assert cmd(plan, "tell").args == ("-c", "echo updated")


def test_steps_share_files_and_choose_their_folders() -> None:
    plan = plan_of("shared-files")
    assert [step.working_directory for step in plan.steps] == ["/workspace", "/workspace/notes", ""]
    assert cmd(plan).args == ("-c", "mkdir -p notes && date > notes/today.txt")
    assert cmd(plan, "acb_step_1").args == ("-c", "cat today.txt; echo 'seen' >> today.txt")


def test_a_client_reaches_a_detached_server_by_its_id() -> None:
    plan = plan_of("server-and-client")
    client = plan.step_by_id["acb_step_1"]
    assert plan.step_by_id["web"].detach
    assert cmd(plan, "acb_step_1").image == IMAGE_ALIASES["curl"]
    assert cmd(plan, "acb_step_1").args[-1] == "http://web:80/"
    assert (client.start_delay_s, client.retries, client.retry_delay_s) == (2, 3, 1)
    assert client.retry_on_errors == ("Could not resolve host",)
    assert client.network == plan.step_by_id["web"].network == "acb_default_network"


def test_volumes_are_mounted_by_several_steps() -> None:
    plan = plan_of("volumes")
    assert {volume.name: dict(volume.secret) for volume in plan.volumes} == {
        "settings": {"app.conf": "bGV2ZWw9ZGVidWcK", "greeting": "Z29vZCBtb3JuaW5n"},
        "keys": {"id": "a2V5"},
    }
    assert [step.volume_mounts for step in plan.steps] == [
        (VolumeMount("settings", "/etc/app"),),
        (VolumeMount("settings", "/etc/app"), VolumeMount("keys", "/keys")),
    ]
    assert cmd(plan).image == "bash"  # without a version nothing is an alias


def test_values_and_secrets_become_files_of_a_volume() -> None:
    plan = plan_of("secret-volumes")
    [volume] = plan.volumes
    assert volume.secret["user"] == "bWU="
    [token] = tokens_in(volume.secret["apikey"])
    assert token.expression == {"call": "b64enc", "args": [{"secret": "apikey"}]}
    assert plan.secrets == ("apikey",)


def test_an_identity_values_and_an_alias_of_the_file() -> None:
    plan = plan_of("identity-and-values")
    assert cmd(plan, "login").args[:2] == ("login", "--identity")
    assert cmd(plan, "build").args[:3] == ("build", "-t", "registry.example.com/tools/app:r1")
    assert push(plan, "push").images == ("registry.example.com/tools/app:r1",)
    assert (cmd(plan, "build").image, cmd(plan, "build").entrypoint) == ("docker", "docker")
    assert has_token(plan.step_by_id["build"].env["TOKEN"])
    assert plan.secrets == ("token",)


def test_a_cache_has_a_name_of_its_own() -> None:
    assert build(plan_of("build-cache"), "image").cache == f"{REGISTRY}/app:cache_quickrun_image"


def test_images_go_to_two_registries() -> None:
    plan = plan_of("two-registries")
    assert push(plan, "home").images == (f"{REGISTRY}/app:r1",)
    assert push(plan, "abroad").images == ("mirror.example.com:5000/team/app:r1",)
    assert plan.registries == {REGISTRY, "mirror.example.com:5000"}
