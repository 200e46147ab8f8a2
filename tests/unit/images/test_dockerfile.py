from __future__ import annotations

import json

import pytest

from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError, DockerfileImages, ImageUse, Stage
from tasks_engine.images.dockerfile_variables import parse_build_args

SHA = "sha256:" + "a" * 64


def scan(*lines: str, target: str = "", platform: str = "linux/amd64", **build_args: str) -> DockerfileImages:
    return scan_dockerfile("\n".join(lines), build_args=build_args, target=target, platform=platform)


def images(*lines: str, target: str = "", **build_args: str) -> tuple[str, list[str]]:
    found = scan(*lines, target=target, **build_args)
    return found.runtime, list(found.buildtime)


def remarks(*lines: str, target: str = "", **build_args: str) -> list[tuple[int, str]]:
    return [(each.line, each.message) for each in scan(*lines, target=target, **build_args).remarks]


@pytest.mark.parametrize(
    ("line", "runtime"),
    [
        ("FROM alpine", "alpine:latest"),
        ("from alpine:3 as x", "alpine:3"),
        ("FROM library/alpine", "library/alpine:latest"),
        ("FROM docker.io/library/alpine:3", "docker.io/library/alpine:3"),
        ("FROM host:5000/a", "host:5000/a:latest"),
        ("FROM localhost/a/b:t", "localhost/a/b:t"),
        (f"FROM a@{SHA}", f"a@{SHA}"),
        (f"FROM a:1@{SHA}", f"a:1@{SHA}"),
        ("FROM scratch", "scratch:latest"),
        ("FROM --platform=linux/arm64 alpine", "alpine:latest"),
        ("FROM --platform=$BUILDPLATFORM --other alpine AS x", "alpine:latest"),
        ("FROM 'alpine'", "alpine:latest"),
        ('FROM "alpine:3" AS x', "alpine:3"),
        ("FROM al\\\npine", "alpine:latest"),
        ("\ufeffFROM alpine", "alpine:latest"),
    ],
)
def test_the_image_of_one_stage(line: str, runtime: str) -> None:
    assert images(line) == (runtime, [])


def test_the_runtime_image_is_where_the_last_stage_comes_from() -> None:
    assert images("FROM a AS one", "FROM b AS two", "FROM one AS three", "FROM three") == (
        "a:latest",
        ["b:latest"],
    )


def test_build_time_images_are_listed_once_and_without_library() -> None:
    assert images("FROM library/go", "FROM go", "FROM go:latest", "FROM a") == ("a:latest", ["go:latest"])


def test_the_runtime_image_is_a_build_time_image_only_in_another_spelling() -> None:
    assert images("FROM go", "FROM go") == ("go:latest", [])
    assert images("FROM go", "FROM go:latest") == ("go:latest", ["go:latest"])


def test_stage_names_are_compared_without_case() -> None:
    assert images("FROM a AS App", "FROM APP") == ("a:latest", [])


def test_a_stage_hides_an_image_of_its_name_only_below_itself() -> None:
    assert images("FROM node AS node", "FROM node AS node", "FROM node") == ("node:latest", [])


def test_of_stages_with_one_name_the_nearest_above_counts() -> None:
    assert images("FROM a AS x", "FROM b AS x", "FROM x") == ("b:latest", ["a:latest"])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("one", ("a:latest", [])),
        ("TWO", ("a:latest", ["b:latest"])),
        ("three", ("c:latest", ["a:latest", "b:latest"])),
        ("", ("c:latest", ["a:latest", "b:latest"])),
        ("unknown", ("c:latest", ["a:latest", "b:latest"])),
    ],
)
def test_the_scan_ends_at_the_target(target: str, expected: tuple[str, list[str]]) -> None:
    lines = ("FROM a AS one", "FROM b", "FROM one AS two", "FROM c AS three")
    assert images(*lines, target=target) == expected


def test_an_unknown_target_is_remarked() -> None:
    assert remarks("FROM a", "FROM b", target="x") == [(2, "no stage is named 'x'; the last one is taken")]


def test_faults_behind_the_target_do_no_harm() -> None:
    assert images("FROM a AS x", "FROM", "ARG", "FROM B", target="x") == ("a:latest", [])


@pytest.mark.parametrize(
    ("lines", "build_args", "runtime"),
    [
        (["ARG V=1", "FROM a:$V"], {}, "a:1"),
        (["ARG V=1", "FROM a:$V"], {"V": "2"}, "a:2"),
        (["ARG V", "FROM a:$V"], {"V": "2"}, "a:2"),
        (["ARG V=1", "ARG V=2", "FROM a:$V"], {}, "a:2"),
        (["ARG V=1", "ARG V", "FROM a:$V"], {}, "a:1"),
        (["ARG V=1 W=2", "FROM a:$V$W"], {}, "a:12"),
        (["ARG V=1", "ARG W=x$V", "FROM a:$W"], {}, "a:x1"),
        (["ARG V=1", "ARG V=$V.0", "FROM a:$V"], {}, "a:1.0"),
        (["ARG V=\"1\" W='$V'", "FROM a:$V"], {}, "a:1"),
        (["ARG I='a:1'", "FROM $I"], {}, "a:1"),
        (["FROM a:${V:-3}"], {}, "a:3"),
        (["FROM a:${V:-3}"], {"V": "4"}, "a:3"),
        (["ARG V", "FROM a${V:+:$V}"], {"V": "4"}, "a:4"),
        (["ARG V", "FROM a${V:+:$V}"], {}, "a:latest"),
        (["ARG V=v1.2", "FROM a:${V#v}"], {}, "a:1.2"),
        (["ARG V", "FROM a$V"], {}, "a:latest"),
        (["FROM a$V"], {"V": "4"}, "a:latest"),
        (["ARG S=x", "FROM a AS x", "FROM $S"], {}, "a:latest"),
        (["FROM a-$TARGETARCH"], {}, "a-amd64:latest"),
        (["FROM a-$TARGETARCH"], {"TARGETARCH": "arm64"}, "a-arm64:latest"),
        (["ARG I=a-$TARGETOS-$BUILDARCH", "FROM $I"], {}, "a-linux-amd64:latest"),
        (["FROM a:$TARGETSTAGE AS end"], {}, "a:end"),
        (["# escape=`", "ARG V=1", "FROM a:`1$V"], {}, "a:11"),
    ],
)
def test_variables_are_those_of_the_lines_before_the_first_from(
    lines: list[str], build_args: dict[str, str], runtime: str
) -> None:
    found = scan(*lines, **build_args)
    assert (found.runtime, found.remarks) == (runtime, ())


@pytest.mark.parametrize(
    ("platform", "tag"),
    [
        ("linux/amd64", "linux-amd64-"),
        ("linux/arm64", "linux-arm64-"),
        ("linux/arm64/v8", "linux-arm64-"),
        ("linux/aarch64", "linux-arm64-"),
        ("linux/arm", "linux-arm-v7"),
        ("linux/arm/v6", "linux-arm-v6"),
        ("Windows/AMD64", "windows-amd64-"),
    ],
)
def test_platforms_are_named_as_builders_do(platform: str, tag: str) -> None:
    assert scan("FROM a:$TARGETOS-$TARGETARCH-$TARGETVARIANT", platform=platform).runtime == f"a:{tag}"


def test_the_platform_of_a_stage_is_told() -> None:
    found = scan(
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=${TARGETPLATFORM} b",
        "FROM c",
        platform="linux/arm",
    )
    assert [stage.platform for stage in found.stages] == ["linux/amd64", "linux/arm/v7", ""]


@pytest.mark.parametrize(
    ("lines", "build_args", "runtime", "remark"),
    [
        (
            ["FROM a:$V"],
            {"V": '"3"'},
            "a:3",
            (1, "FROM 'a:$V', read as 'a:', names no image: '' is not a tag; 'a:3' is taken"),
        ),
        (
            ["FROM a AS x", "ARG V=9", "FROM b:$V"],
            {},
            "b:9",
            (3, "FROM 'b:$V', read as 'b:', names no image: '' is not a tag; 'b:9' is taken"),
        ),
        (
            ["ARG V=1", "FROM 'a:$V'"],
            {},
            "a:1",
            (2, "FROM ''a:$V'', read as 'a:$V', names no image: '$V' is not a tag; 'a:1' is taken"),
        ),
        (
            ["ARG V=1", "ARG V=", "FROM a:$V"],
            {},
            "a:1",
            (3, "FROM 'a:$V', read as 'a:', names no image: '' is not a tag; 'a:1' is taken"),
        ),
        (["FROM a AS b c d"], {}, "a:latest", (1, "a build refuses words behind the name of a stage")),
    ],
)
def test_what_only_the_original_read_is_read_with_a_remark(
    lines: list[str], build_args: dict[str, str], runtime: str, remark: tuple[int, str]
) -> None:
    assert images(*lines, **build_args)[0] == runtime
    assert remarks(*lines, **build_args) == [remark]


@pytest.mark.parametrize(
    ("lines", "reason", "line", "message", "hint"),
    [
        (["RUN x"], "no-from", 1, "the Dockerfile has no FROM", "the form is FROM"),
        ([""], "no-from", 1, "the Dockerfile has no FROM", "the form is FROM"),
        (["", "FROM"], "from-syntax", 2, "FROM names no image", "the form is FROM"),
        (["FROM --platform=x"], "from-syntax", 1, "FROM names no image", "the form is FROM"),
        (["FROM a b"], "from-syntax", 1, "'b' stands behind the image of FROM", "the form is FROM"),
        (["FROM a b c"], "from-syntax", 1, "'b' stands behind the image of FROM", "the form is FROM"),
        (["FROM a AS"], "from-syntax", 1, "FROM … AS gives no name", "the form is FROM"),
        (
            ["FROM a # b"],
            "from-syntax",
            1,
            "a comment stands behind FROM; it needs a line of its own",
            "the form is FROM",
        ),
        (["ARG", "FROM a"], "arg-empty", 1, "ARG names no variable", "the form is ARG NAME"),
        (["FROM a", "ARG"], "arg-empty", 2, "ARG names no variable", "the form is ARG NAME"),
        (
            ["FROM Alpine"],
            "bad-reference",
            1,
            "FROM 'Alpine' names no image: image name 'Alpine' must be lower case",
            "",
        ),
        (
            ["ARG V", "FROM a:$V"],
            "bad-reference",
            2,
            "FROM 'a:$V', read as 'a:', names no image: '' is not a tag",
            "'V' is empty: write 'ARG V=VALUE' before the first FROM, or give --build-arg V=VALUE",
        ),
        (
            ["FROM $V"],
            "bad-reference",
            1,
            "FROM '$V' names no image: the image has no name",
            "'V' is empty: write 'ARG V=VALUE' before the first FROM, or give --build-arg V=VALUE",
        ),
        (
            ["FROM a:${V:?which version}"],
            "from-syntax",
            1,
            "'version}' stands behind the image of FROM",
            "the form is FROM",
        ),
        (
            ["FROM a:${V:?required}"],
            "bad-reference",
            1,
            "FROM 'a:${V:?required}' names no image: V: required",
            "",
        ),
        (
            ["ARG V=${W:?required}", "FROM a:$V"],
            "bad-reference",
            2,
            "FROM 'a:$V', read as 'a:', names no image: '' is not a tag",
            "'V' has no value: W: required",
        ),
        (["FROM ${V"], "bad-reference", 1, "FROM '${V' names no image: '}' is missing", ""),
    ],
)
def test_what_cannot_be_scanned(lines: list[str], reason: str, line: int, message: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        scan(*lines)
    error = caught.value
    assert (error.reason, error.line, error.message) == (reason, line, message)
    assert error.hint.startswith(hint)


def test_a_default_that_cannot_be_expanded_harms_only_those_who_use_it() -> None:
    assert images("ARG V=${W:?required}", "FROM a") == ("a:latest", [])
    assert images("ARG V=${W:?required}", "FROM a:$V", V="1") == ("a:1", [])


@pytest.mark.parametrize(
    "source", ["nginx", "library/nginx", "'nginx'", "NGINX.example/x", "nginx:1", f"nginx@{SHA}"]
)
def test_images_copied_from_and_mounted_are_build_time_images(source: str) -> None:
    copied = scan("FROM a", f"COPY --link --from={source} /x /x")
    mounted = scan("FROM a", f"RUN --mount=type=bind,from={source},target=/x true")
    reference = source.strip("'").removeprefix("library/")
    reference += "" if ":" in reference else ":latest"
    assert copied.buildtime == copied.copied_from == mounted.buildtime == mounted.mounted == (reference,)
    assert copied.mounted == mounted.copied_from == ()


def test_one_run_may_mount_several_images() -> None:
    line = (
        "RUN --mount=from=x,target=/x --mount=type=cache,target=/c --mount=type=cache,FROM=y,target=/y true"
    )
    assert scan("FROM a", line).mounted == ("x:latest", "y:latest")


def test_stages_copied_from_and_mounted_are_no_images() -> None:
    lines = (
        "FROM a AS one",
        "FROM b",
        "COPY --from=ONE /x /x",
        "COPY --from=0 /x /x",
        "RUN --mount=from=One,target=/x true",
    )
    found = scan(*lines)
    assert (found.buildtime, found.copied_from, found.mounted, found.remarks) == (("a:latest",), (), (), ())


def test_a_number_is_a_stage_to_copy_and_an_image_to_mount() -> None:
    assert scan("FROM a", "FROM b", "RUN --mount=from=0,target=/x true").mounted == ("0:latest",)


def test_scratch_is_no_image_to_copy_from() -> None:
    assert (
        scan("FROM a", "COPY --from=scratch / /", "RUN --mount=from=scratch,target=/x true").buildtime == ()
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("later", "there is no stage 'later' above this line"),
        ("this", "there is no stage 'this' above this line"),
        ("1", "there is no stage '1' above this line"),
        ("7", "there is no stage '7' above this line"),
        ("9" * 50, f"there is no stage '{'9' * 50}' above this line"),
        ("$V", "'$V': a build fills in no variables here"),
        ("UPPER", "'UPPER' is no image: image name 'UPPER' must be lower case"),
    ],
)
def test_sources_that_a_build_refuses_are_remarked(source: str, message: str) -> None:
    lines = ("FROM a", "FROM b AS this", f"COPY --from={source} / /", "FROM c AS later")
    assert remarks(*lines, target="this", V="x") == [(3, message)]
    assert images(*lines, target="this", V="x") == ("b:latest", ["a:latest"])


@pytest.mark.parametrize(
    "line",
    [
        "ONBUILD COPY --from=x / /",
        "ONBUILD RUN --mount=from=x,target=/x true",
        "RUN echo --mount=from=x COPY --from=x",
        "RUN --mount=type=bind,source=from=x,target=/x true",
        "ADD --from=x / /",
        "# COPY --from=x / /",
        "COPY x --from=x",
        "RUN <<E\nCOPY --from=x / /\nFROM x\nE",
        "RUN true \\\n  COPY --from=x / /",
        "ENV a=<<E",
    ],
)
def test_what_names_no_image(line: str) -> None:
    assert images("FROM a", line) == ("a:latest", [])


def test_a_heredoc_that_is_never_closed_is_remarked() -> None:
    lines = ("FROM a", "RUN x=$(( 1 << 2 ))", "FROM b")
    assert images(*lines) == ("b:latest", ["a:latest"])
    assert remarks(*lines) == [(2, "heredoc '2' is never closed")]


def test_the_frontend_stands_apart() -> None:
    found = scan("# syntax=docker/dockerfile:1", "FROM a")
    assert (found.frontend, found.buildtime) == ("docker/dockerfile:1", ())
    assert scan("FROM a").frontend is None
    assert remarks("# syntax=A", "FROM a") == [(1, "'A' is no image: image name 'A' must be lower case")]


def test_stages_tell_whether_the_target_needs_them() -> None:
    found = scan(
        "FROM a AS one",
        "FROM b AS two",
        "FROM one AS three",
        "FROM c AS four",
        "FROM d AS five",
        "FROM e",
        "COPY --from=three / /",
        "RUN --mount=from=four,target=/x true",
    )
    assert [stage.name for stage in found.stages if not stage.needed] == ["two", "five"]
    assert found.stages[2:4] == (
        Stage("three", 3, 0, "", needed=True),
        Stage("four", 4, ImageUse("c", "from", 4, 3), "", needed=True),
    )


def test_a_scan_as_json() -> None:
    found = scan(
        "# syntax=docker/dockerfile:1",
        "FROM --platform=$BUILDPLATFORM library/go AS build",
        "COPY --from=tools /x /x",
        "FROM build",
        "RUN --mount=from=$x,target=/x true",
    )
    data = found.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data == {
        "runtime": "library/go:latest",
        "buildtime": ["tools:latest"],
        "copied_from": ["tools:latest"],
        "mounted": [],
        "frontend": "docker/dockerfile:1",
        "images": [
            {"reference": "docker/dockerfile:1", "use": "syntax", "line": 1},
            {"reference": "library/go:latest", "use": "from", "line": 2, "stage": 0},
            {"reference": "tools:latest", "use": "copy", "line": 3, "stage": 0},
        ],
        "stages": [
            {
                "name": "build",
                "line": 2,
                "image": "library/go:latest",
                "platform": "linux/amd64",
                "needed": True,
            },
            {"name": "", "line": 4, "from_stage": 0, "platform": "", "needed": True},
        ],
        "remarks": [
            {
                "message": "'$x': a build fills in no variables here",
                "line": 5,
                "hint": "name a stage instead: ARG …, FROM image:$… AS NAME, and NAME here",
            }
        ],
    }


def test_messages_show_only_the_beginning_of_long_texts() -> None:
    with pytest.raises(DockerfileError) as caught:
        scan(f"FROM {'A' * 100_000}")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    "lines",
    [
        ["FROM a" + " " * 100_000 + "AS b"],
        ["FROM a", "RUN " + "x" * 100_000, "COPY --from=b / /"],
        ["FROM a", "RUN \\", *["  x \\", "# y", ""] * 30_000],
        ["FROM a AS s0", *(f"FROM s{number} AS s{number + 1}" for number in range(10_000))],
        ["ARG a=x", *["ARG a=$a$a"] * 1000, "FROM a"],
    ],
)
def test_long_files_are_fine(lines: list[str]) -> None:
    assert scan(*lines).runtime == "a:latest"


def test_build_arguments_are_read_from_a_command_line() -> None:
    arguments = ["A=1", "B=x=y", "C", "D", "A=2", "E="]
    assert parse_build_args(arguments, {"C": "from outside"}) == {
        "A": "2",
        "B": "x=y",
        "C": "from outside",
        "E": "",
    }


@pytest.mark.parametrize("argument", ["", "=", "=x"])
def test_a_build_argument_needs_a_name(argument: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_build_args([argument], {})
    assert (caught.value.reason, caught.value.line) == ("build-arg-malformed", 0)
