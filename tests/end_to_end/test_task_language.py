"""The task language at work: what a file says is what containers, workspace and registry see."""

from __future__ import annotations

import base64
import json
import time

import pytest

pytestmark = pytest.mark.docker


def test_run_variables_are_what_the_run_is(tasks, project):
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "- id: s\n"
        "  cmd: busybox echo $ID|$Registry|$RegistryName|$OS|$Commit|$Branch|{{.Run.Repository}}|{{.Run.GitTag}}"
        "|{{.Run.TriggeredBy}}|{{.Run.TaskName}}\n".replace("|", "+")
    )
    flags = ["--id", "my-run", "--registry", "r.example.com", "--commit", "1f2e", "--branch", "main"]
    flags += ["--repository", "repo", "--git-tag", "v1"]

    outcome = tasks("run", str(folder), "--json", *flags, "--triggered-by", "Test", "--task-name", "nightly")

    assert outcome.folder.name == "my-run"
    assert outcome.step_log("s") == b"my-run+r.example.com+r+linux+1f2e+main+repo+v1+Test+nightly\n"


def test_a_quick_run_has_a_task_name_too(tasks, project):
    folder = project("steps: [{id: s, cmd: 'busybox echo {{.Run.TaskName}} {{.Run.TriggeredBy}}'}]")

    assert tasks("run", str(folder), "--json").step_log("s") == b"quickrun Manual\n"


def test_an_id_is_used_once(tasks, project):
    folder = project("steps: [{cmd: busybox true}]")
    assert tasks("run", str(folder), "--id", "one").exit_code == 0

    again = tasks("run", str(folder), "--id", "one")

    assert again.exit_code == 3
    assert "there is already a run one" in again.stderr


def test_a_template_makes_steps(tasks, project, tmp_path):
    folder = project(
        "steps:\n{{range .Values.words}}- id: {{.}}\n  cmd: busybox echo {{. | upper | quote}}\n{{end}}"
    )
    (tmp_path / "values.yaml").write_text("words: [one, two]\n")

    outcome = tasks("run", str(folder), "--json", "--values", str(tmp_path / "values.yaml"))

    assert (outcome.step_log("one"), outcome.step_log("two")) == (b"ONE\n", b"TWO\n")


def test_a_broken_template_stops_before_anything_starts(tasks, project):
    outcome = tasks("run", str(project("steps: [{cmd: 'busybox echo {{ .Run.ID | nope }}'}]")))

    assert outcome.exit_code == 2
    assert "there is no function 'nope'" in outcome.stderr
    assert not (tasks.state_dir / "runs").exists()


def test_image_aliases_come_from_the_settings_file(tasks, project, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('[image_aliases]\nbash = "busybox"\n')
    folder = project("version: v1.1.0\nsteps: [{id: s, cmd: bash echo mapped}]")

    outcome = tasks("run", str(folder), "--json", env={"TASKS_CONFIG": str(settings)})

    assert outcome.step_log("s") == b"mapped\n"


def test_alias_sources_are_read_from_the_context(tasks, project):
    folder = project(
        "version: v1.1.0\nalias: {src: [names.yaml], values: {a: inline}}\n"
        "steps: [{id: s, cmd: busybox echo $a $b $c}]",
        names__yaml="a: source\nb: two\n",
    )

    assert tasks("run", str(folder), "--json").step_log("s") == b"inline two\n"


def test_the_environment_is_merged_by_name_and_the_step_wins(tasks, project):
    folder = project(
        "env: ['A=1,B=1', C=1]\nsteps:\n- id: s\n  env: [B=2, \"D='x y'\"]\n"
        "  cmd: busybox sh -c 'echo $A $B $C $D $E'\n"
    )

    assert (
        tasks("run", str(folder), "--json", "--env", "E=5", "--env", "A=9").step_log("s") == b"1 2 1 x y 5\n"
    )


def test_variables_outside_single_quotes_come_from_the_environment_of_the_step(tasks, project):
    folder = project("steps: [{id: s, env: [A=b c], cmd: 'busybox echo $A \"$A\" ~ $NONE'}]")

    outcome = tasks("run", str(folder), "--json")

    assert outcome.step_log("s") == b"b c b c /acb/home\n"
    assert [event["message"] for event in outcome.of_type("run_warning")] == [
        "$NONE is not set in the environment of the step and becomes nothing"
    ]


def test_docker_run_options_before_the_image_are_honoured(tasks, project):
    folder = project(
        "steps:\n"
        "- {id: env, cmd: -e A=1 --rm -it busybox sh -c 'echo $A'}\n"
        "- {id: entry, cmd: --entrypoint echo busybox hi}\n"
        "- {id: user, cmd: '-u 1234 -w /tmp busybox sh -c \"id -u; pwd\"'}\n"
        "- {id: host, cmd: --hostname named --tmpfs /x busybox sh -c 'hostname; touch /x/y'}\n"
        "- {id: caps, cmd: --cap-drop ALL busybox sh -c 'grep CapEff /proc/self/status'}\n"
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stderr
    logs = {each: outcome.step_log(each) for each in ("env", "entry", "user", "host")}
    assert logs == {"env": b"1\n", "entry": b"hi\n", "user": b"1234\n/tmp\n", "host": b"named\n"}
    assert outcome.step_log("caps").split()[-1] == b"0000000000000000"


def test_properties_of_a_container_are_honoured(tasks, project):
    folder = project(
        "steps:\n"
        "- {id: entry, entryPoint: /bin/echo, cmd: busybox hi}\n"
        "- {id: user, user: '1234', cmd: busybox id -u}\n"
        "- {id: net, network: host, cmd: busybox true}\n"
        "- {id: caps, privileged: true, cmd: 'busybox sh -c \"grep CapBnd /proc/self/status\"'}\n"
        "- {id: cpus, cpus: '0.5', expose: [80], ports: ['127.0.0.1::81/udp'], cmd: busybox true}\n"
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stderr
    assert (outcome.step_log("entry"), outcome.step_log("user")) == (b"hi\n", b"1234\n")
    assert int(outcome.step_log("caps").split()[-1], 16) > 0x3FFFFFFFF


def test_the_working_directory_of_the_image_stands_when_it_is_asked_for(tasks, project):
    folder = project(
        "steps:\n"
        "- {build: -t inplace:x .}\n"
        "- {id: ours, cmd: inplace:x pwd}\n"
        "- {id: its, cmd: inplace:x pwd, disableWorkingDirectoryOverride: true}\n"
        "- {id: given, cmd: inplace:x pwd, workingDirectory: sub/../deep}\n",
        Dockerfile="FROM busybox\nWORKDIR /x\n",
    )

    outcome = tasks("run", str(folder), "--json")

    logs = [outcome.step_log(each) for each in ("ours", "its", "given")]
    assert logs == [b"/workspace\n", b"/x\n", b"/workspace/deep\n"]


def test_steps_share_the_workspace_and_a_home_with_logins(tasks, project):
    folder = project(
        "steps:\n"
        "- {cmd: busybox sh -c 'echo shared > file; echo home > $HOME/file'}\n"
        "- {id: s, cmd: busybox sh -c 'cat file $HOME/file; echo $HOME; ls -d $HOME/.docker'}\n"
    )

    assert (
        tasks("run", str(folder), "--json").step_log("s") == b"shared\nhome\n/acb/home\n/acb/home/.docker\n"
    )


def test_a_start_delay_does_not_count_against_the_time_limit(tasks, project):
    folder = project("steps: [{id: s, startDelay: 2, timeout: 1, cmd: busybox true}]")

    started = time.monotonic()
    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0
    assert time.monotonic() - started >= 2


def test_a_step_is_repeated(tasks, project):
    folder = project(
        "steps: [{cmd: busybox sh -c 'echo x >> count', repeat: 2}, {id: s, cmd: busybox wc -l count}]"
    )

    assert tasks("run", str(folder), "--json").step_log("s") == b"3 count\n"


@pytest.mark.parametrize(("text", "attempts"), [("try again", 2), ("other", 1)])
def test_a_retry_may_need_a_text(tasks, project, text, attempts):
    folder = project(
        f"steps: [{{id: s, retries: 1, retryDelay: 1, retryOnErrors: ['{text}'], "
        "cmd: busybox sh -c 'echo please try again >&2; exit 1'}]"
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 1
    assert outcome.of_type("step_finished")[0]["attempts"] == attempts


def test_the_time_limit_of_the_run_beats_those_of_steps(tasks, project):
    folder = project("steps: [{cmd: busybox sleep 60, timeout: 600}]")

    started = time.monotonic()
    outcome = tasks("run", str(folder), "--json", "--timeout", "2")

    assert outcome.exit_code == 124
    assert outcome.of_type("run_finished")[0]["status"] == "timed_out"
    assert time.monotonic() - started < 30


def test_a_secret_reaches_the_step_and_no_plan_or_event(tasks, project, tmp_path):
    (tmp_path / "token").write_bytes(b"from-a-file")
    folder = project(
        "secrets:\n"
        "- {id: one, keyvault: 'env:ONE'}\n"
        f"- {{id: two, keyvault: 'file:{tmp_path}/token'}}\n"
        "steps:\n"
        "- id: s\n"
        "  env: ['ONE={{.Secrets.one}}', 'GIVEN={{.Values.given | b64enc}}']\n"
        "  cmd: busybox sh -c 'echo $ONE $GIVEN \"$0\" | md5sum > sums' {{.Secrets.two | upper}}\n"
        "- {id: sums, cmd: busybox cat sums}\n"
    )
    flags = ("--set-secret", "given", "--json")
    values = {"ONE": "first-value", "given": "given-value"}

    outcome = tasks("run", str(folder), *flags, env=values)
    plan = tasks("plan", str(folder), *flags, env=values)
    rendered = tasks("render", str(folder), *flags[:2], env=values)

    import hashlib

    line = f"first-value {base64.b64encode(b'given-value').decode()} FROM-A-FILE\n".encode()
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.step_log("sums").split()[0] == hashlib.md5(line).hexdigest().encode()
    kept = (outcome.folder / "plan.json").read_text() + (outcome.folder / "events.jsonl").read_text()
    for shown in (kept, outcome.stdout, outcome.stderr, plan.stdout, rendered.stdout):
        for value in ("first-value", "from-a-file", "given-value", "FROM-A-FILE", "Z2l2ZW4tdmFsdWU="):
            assert value not in shown
    assert json.loads(plan.stdout)["secrets"] == ["one", "two"]
    assert "ONE=***" in rendered.stdout


def test_a_secret_that_a_step_prints_is_masked(tasks, project):
    folder = project(
        "secrets: [{id: one, keyvault: 'env:ONE'}]\n"
        "steps:\n"
        "- id: s\n"
        "  env: ['ONE={{.Secrets.one}}']\n"
        '  cmd: busybox sh -c \'echo one=$ONE.; printf %s "$ONE" | base64; printf sec; sleep 1; echo ret-value; '
        "echo $0; exit 3' {{.Secrets.one | upper}}\n"
    )

    outcome = tasks("run", str(folder), "--json", env={"ONE": "secret-value"})

    assert outcome.step_log("s") == b"one=***.\n***\n***\n***\n"
    assert "secret-value" not in outcome.stdout + outcome.stderr


def test_a_secret_that_cannot_be_had_fails_the_run_before_any_step(tasks, project):
    folder = project(
        "secrets: [{id: one, keyvault: 'env:NOT_THERE'}]\nsteps: [{cmd: 'busybox echo {{.Secrets.one}}'}]"
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 3
    assert "secret 'one': variable 'NOT_THERE' is not set" in outcome.stderr
    assert not (tasks.state_dir / "runs").exists()


def test_a_login_given_with_the_run_is_used(tasks, project, login_registry):
    folder = project(
        "version: v1.1.0\nsteps: [{build: -t $Registry/given:$ID .}, {push: [$Registry/given:$ID]}]",
        Dockerfile="FROM busybox\n",
    )
    login = {
        "registry": login_registry,
        "username": "tester",
        "userNameProviderType": "opaque",
        "password": "correct horse",
        "passwordProviderType": "opaque",
    }

    outcome = tasks("run", str(folder), "--registry", login_registry, "--credential", json.dumps(login))

    assert outcome.exit_code == 0, outcome.stderr


def test_builds_use_buildkit_whatever_the_environment_says(tasks, project):
    folder = project(
        "steps: [{id: s, build: ., env: [DOCKER_BUILDKIT=0]}]",
        Dockerfile="FROM busybox\nRUN --mount=type=tmpfs,target=/t touch /t/x\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stderr
    assert [event["message"] for event in outcome.of_type("run_warning")] == [
        "DOCKER_BUILDKIT=0 has no effect: builds always use BuildKit"
    ]


def test_a_second_build_of_the_same_context_is_cached(tasks, project):
    folder = project("steps: [{id: s, build: .}]", Dockerfile="FROM busybox\nRUN echo once > /once\n")
    tasks("run", str(folder))

    assert b"CACHED" in tasks("run", str(folder), "--json").step_log("s")


@pytest.mark.parametrize(
    ("task", "named"),
    [
        (
            "steps: [{id: s, isolation: hyperv, cmd: busybox true}]",
            "isolation 'hyperv' (for Windows containers) of step 's'",
        ),
        (
            "secrets: [{id: k, keyvault: 'env:K'}]\nsteps: [{id: s, build: '--label a={{.Secrets.k}} .'}]",
            "a secret in the labels of step 's'",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_by_name_before_anything_starts(tasks, project, task, named):
    outcome = tasks("run", str(project(task)))

    assert outcome.exit_code == 2
    assert named in outcome.stderr
    assert not (tasks.state_dir / "runs").exists()
