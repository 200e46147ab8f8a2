from __future__ import annotations

import dataclasses
import shlex

import pytest

from tasks_engine.definition.build_flags import FLAGS, BuildFlag, Takes, Use, guess_flag
from tasks_engine.definition.build_string import BuildArguments, BuildStringError, parse_build_string

#: a value for flags that do not take any text
EXAMPLES = {
    "--build-arg": "A=1",
    "--label": "a=b",
    "--annotation": "a=b",
    "--platform": "linux/arm64",
    "--secret": "id=s",
    "--build-context": "base=dir",
    "--cache-to": "type=inline",
    "--attest": "type=sbom",
    "--sbom": "generator=g",
    "--provenance": "mode=max",
    "--add-host": "db:10.0.0.1",
    "--network": "none",
    "--ulimit": "nofile=1",
    "--shm-size": "1g",
    "--allow": "network.host",
}
DOCUMENTED = """
    --add-host --allow --annotation --attest --build-arg --build-context --builder --cache-from --cache-to --call
    --cgroup-parent --check --compress --cpu-period --cpu-quota --cpu-shares --cpuset-cpus --cpuset-mems
    --disable-content-trust --file --force-rm --iidfile --isolation --label --load --memory --memory-swap
    --metadata-file --network --no-cache --no-cache-filter --output --platform --progress --provenance --pull
    --push --quiet --rm --sbom --secret --security-opt --shm-size --squash --ssh --tag --target --ulimit
    -c -f -m -o -q -t
"""
UNIQUE = sorted({flag.name: flag for flag in FLAGS.values()}.values(), key=lambda flag: flag.name)


def named(flag: BuildFlag) -> str:
    return flag.name


def with_value(flag: BuildFlag) -> str:
    if flag.takes is Takes.SWITCH:
        return flag.name
    return f"{flag.name}={shlex.quote(EXAMPLES.get(flag.name, 'value'))}"


@pytest.mark.parametrize("flag", [each for each in UNIQUE if each.use is Use.HONORED], ids=named)
def test_a_flag_that_is_honored_changes_the_arguments_and_is_not_warned_about(flag: BuildFlag) -> None:
    arguments = parse_build_string(f"{with_value(flag)} .")
    assert arguments != BuildArguments(context=".")
    assert arguments.warnings == ()


@pytest.mark.parametrize("flag", [each for each in UNIQUE if each.use is Use.SILENT], ids=named)
def test_a_silent_flag_changes_nothing(flag: BuildFlag) -> None:
    arguments = parse_build_string(f"{with_value(flag)} .")
    assert dataclasses.asdict(arguments) == dataclasses.asdict(BuildArguments(context="."))


@pytest.mark.parametrize(
    "flag", [each for each in UNIQUE if each.use in (Use.WARNED, Use.CLASSIC)], ids=named
)
def test_a_flag_without_effect_is_warned_about_with_a_hint(flag: BuildFlag) -> None:
    arguments = parse_build_string(f"{with_value(flag)} .")
    assert arguments == BuildArguments(context=".")
    (warning,) = arguments.warnings
    assert flag.name in warning.message
    assert warning.hint == flag.note != ""


@pytest.mark.parametrize("flag", [each for each in UNIQUE if each.use is Use.REFUSED], ids=named)
def test_a_flag_that_would_do_something_else_is_refused_with_a_hint(flag: BuildFlag) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(f"{with_value(flag)} .")
    assert caught.value.hint == flag.note != ""


@pytest.mark.parametrize(
    "spelling",
    [each for each, flag in FLAGS.items() if flag.takes is Takes.VALUE and flag.use is not Use.REFUSED],
)
def test_a_flag_with_a_value_takes_the_next_word_and_never_the_context(spelling: str) -> None:
    value = shlex.quote(EXAMPLES.get(FLAGS[spelling].name, "value"))
    assert parse_build_string(f"{spelling} {value} dir").context == "dir"


@pytest.mark.parametrize(
    "spelling",
    [each for each, flag in FLAGS.items() if flag.takes is not Takes.VALUE and flag.use is not Use.REFUSED],
)
def test_a_switch_leaves_the_next_word_alone(spelling: str) -> None:
    assert parse_build_string(f"{spelling} dir").context == "dir"


def test_the_flags_of_the_documentation_are_known() -> None:
    assert set(DOCUMENTED.split()) <= FLAGS.keys()


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ("--biuld-arg", "--build-arg"),
        ("--NO-cache", "--no-cache"),
        ("-target", "--target"),
        ("--zzz", ""),
        ("-z", ""),
    ],
)
def test_guesses(written: str, guess: str) -> None:
    assert guess_flag(written) == guess


def test_a_huge_name_is_not_compared() -> None:
    assert guess_flag("--" + "tag" * 100_000) == ""
