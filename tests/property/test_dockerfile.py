"""Dockerfiles: arbitrary ones, and ones made of known stages and then disguised."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.images.dependencies import list_dependencies
from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError, DockerfileImages
from tasks_engine.images.dockerfile_patterns import parse_pattern, trim_prefix, trim_suffix
from tasks_engine.images.dockerfile_patterns import replace as replace_match
from tasks_engine.images.dockerfile_words import Expander, ExpansionError

dockerfile_like = st.lists(
    st.sampled_from(
        [
            *(
                "FROM ",
                "FROM a\n",
                " AS b",
                "ARG ",
                "ARG x=1\n",
                "RUN ",
                "COPY --from=",
                "RUN --mount=from=",
                "ONBUILD ",
            ),
            *(
                "# syntax=a\n",
                "# escape=`\n",
                "#",
                "\n",
                "\r\n",
                "\\\n",
                "`\n",
                "\\",
                "`",
                " ",
                "\t",
                "\ufeff",
            ),
            *(
                "a",
                "b",
                "x",
                "0",
                "1",
                ":",
                "@",
                "/",
                "=",
                ",",
                "<<E",
                "<<-E ",
                "E\n",
                '["',
                "'",
                '"',
                "--",
                "--platform=",
            ),
            *(
                "$x",
                "${x",
                "}",
                ":-",
                "-",
                "+",
                "?",
                "#",
                "##",
                "%",
                "%%",
                "//",
                "*",
                "${x:-",
                "${x#",
                "${x/",
                "$",
            ),
        ]
    ),
    max_size=40,
).map("".join)
variables = st.dictionaries(st.sampled_from(["x", "y", "TARGETARCH"]), st.text("ab*?/'\"$:", max_size=6))


@given(dockerfile_like | st.text(), variables, st.sampled_from(["", "a", "b", "B"]))
def test_any_text_is_scanned_or_refused_at_a_line(text: str, build_args: dict[str, str], target: str) -> None:
    try:
        found = scan_dockerfile(text, build_args=build_args, target=target)
    except DockerfileError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.message
        return
    lines = [stage.line for stage in found.stages] + [use.line for use in found.uses]
    lines += [remark.line for remark in found.remarks]
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)
    assert found.stages[-1].needed
    json.dumps(found.to_json())
    assert len(list_dependencies(found, ["a", "b"])) == 2


@given(st.text("ab$x{}:-+?#%/*'\"\\`1", max_size=30), variables)
def test_any_word_is_expanded_or_refused(word: str, values: dict[str, str]) -> None:
    for escape in "\\`":
        try:
            Expander(escape).expand(word, values)
        except ExpansionError as error:
            assert str(error)


patterns = st.text("ab*?", max_size=8)


def as_regex(pattern: str, *, greedy: bool) -> str:
    star = ".*" if greedy else ".*?"
    return "".join({"*": star, "?": "."}.get(each, each) for each in pattern)


@given(st.text("ab", max_size=12), patterns, st.booleans())
def test_patterns_match_what_the_same_regular_expression_matches(
    value: str, pattern: str, longest: bool
) -> None:
    parsed = parse_pattern(pattern)
    found = re.match(as_regex(pattern, greedy=longest), value)
    assert trim_prefix(value, parsed, longest=longest) == (value[found.end() :] if found else value)
    ends = [
        start
        for start in range(len(value) + 1)
        if re.fullmatch(as_regex(pattern, greedy=True), value[start:])
    ]
    start = (min if longest else max)(ends, default=len(value))
    assert trim_suffix(value, parsed, longest=longest) == value[:start]
    once = re.sub(as_regex(pattern, greedy=True), "x", value, count=1)
    assert replace_match(value, parsed, "x", every=False) == once


@dataclass(frozen=True)
class MadeStage:
    name: str
    #: an image, or the index of an earlier stage
    base: str | int
    #: images and stages
    copied: tuple[str | int, ...]
    mounted: tuple[str, ...]


image_names = st.sampled_from(
    ["a:1", "team/b:2", "host:5000/c:x", "r.example.com/d/e:1.0", "f@sha256:" + "0" * 64, "go:latest"]
)


@st.composite
def made_stages(draw: st.DrawFn) -> tuple[MadeStage, ...]:
    stages: list[MadeStage] = []
    for index in range(draw(st.integers(1, 5))):
        earlier = st.integers(0, index - 1) if index else st.nothing()
        stages.append(
            MadeStage(
                f"stage{index}",
                draw(image_names | earlier),
                tuple(draw(st.lists(image_names | earlier, max_size=2))),
                tuple(draw(st.lists(image_names, max_size=2))),
            )
        )
    return tuple(stages)


def write(stages: tuple[MadeStage, ...]) -> list[str]:
    """The lines of their Dockerfile, some with a heredoc that looks like an instruction."""
    lines: list[str] = []
    for stage in stages:
        base = stages[stage.base].name.upper() if isinstance(stage.base, int) else stage.base
        lines.append(f"FROM {base} AS {stage.name}")
        lines += [f"COPY --from={source} /x /y" for source in stage.copied]
        lines += [f"RUN --mount=type=bind,from={source},target=/x make" for source in stage.mounted]
        lines.append("RUN <<END\nFROM nothing\n\tEND\nEND")
    return lines


@given(made_stages())
def test_a_file_gives_the_images_it_was_made_of(stages: tuple[MadeStage, ...]) -> None:
    found = scan_dockerfile("\n".join(write(stages)), build_args={})
    origin = stages[-1].base
    while isinstance(origin, int):
        origin = stages[origin].base
    written = [source for stage in stages for source in (stage.base, *stage.copied, *stage.mounted)]
    assert found.runtime == origin
    assert set(found.buildtime) == {each for each in written if isinstance(each, str)} - {origin}
    assert set(found.mounted) == {source for stage in stages for source in stage.mounted}
    assert [stage.name for stage in found.stages] == [stage.name for stage in stages]
    assert found.remarks == ()


@given(made_stages(), st.data())
def test_a_target_gives_what_the_file_up_to_it_gives(
    stages: tuple[MadeStage, ...], data: st.DataObject
) -> None:
    end = data.draw(st.integers(1, len(stages)))
    found = scan_dockerfile("\n".join(write(stages)), build_args={}, target=stages[end - 1].name)
    assert found == scan_dockerfile("\n".join(write(stages[:end])), build_args={})


def without_lines(found: DockerfileImages) -> DockerfileImages:
    uses = tuple(replace(use, line=0) for use in found.uses)
    bases = (
        stage.base if isinstance(stage.base, int) else replace(stage.base, line=0) for stage in found.stages
    )
    stages = tuple(replace(stage, line=0, base=base) for stage, base in zip(found.stages, bases, strict=True))
    return replace(found, uses=uses, stages=stages)


@given(made_stages())
def test_line_ends_of_windows_change_nothing(stages: tuple[MadeStage, ...]) -> None:
    text = "\n".join(write(stages))
    assert scan_dockerfile(text.replace("\n", "\r\n"), build_args={}) == scan_dockerfile(text, build_args={})


@given(made_stages(), st.data())
def test_comments_empty_and_continued_lines_change_nothing(
    stages: tuple[MadeStage, ...], data: st.DataObject
) -> None:
    disguised: list[str] = []
    for line in write(stages):
        disguised += data.draw(st.lists(st.sampled_from(["", "  ", "# FROM x", "\t#\\", "#"]), max_size=2))
        head, blank, rest = line.partition(" ")
        break_ = data.draw(st.sampled_from(["", "\\\n", "\\  \n# FROM x \\\n\n\t", "\\\n\\\n"]))
        disguised.append(f"{data.draw(st.sampled_from(['', ' ', chr(9)]))}{head}{blank}{break_}{rest}")
    found = scan_dockerfile("\n".join(disguised), build_args={})
    assert without_lines(found) == without_lines(scan_dockerfile("\n".join(write(stages)), build_args={}))


@given(made_stages(), st.data())
def test_names_taken_from_variables_change_nothing(
    stages: tuple[MadeStage, ...], data: st.DataObject
) -> None:
    """Every image of a FROM line comes from an ARG, a build argument or a default."""
    head: list[str] = []
    build_args: dict[str, str] = {}
    lines = write(stages)
    for index, line in enumerate(lines):
        keyword, *words = line.split(" ")
        if keyword != "FROM":
            continue
        image, *rest = words
        match data.draw(st.sampled_from(["plain", "default", "given", "fallback"])):
            case "default":
                head.append(f'ARG I{index}="{image}"')
                image = f"$I{index}"
            case "given":
                head.append(f"ARG I{index}=wrong")
                build_args[f"I{index}"] = image
                image = f"${{I{index}}}"
            case "fallback":
                image = f"${{UNSET:-{image}}}"
        lines[index] = " ".join((keyword, image, *rest))
    found = scan_dockerfile("\n".join([*head, *lines]), build_args=build_args)
    assert without_lines(found) == without_lines(scan_dockerfile("\n".join(write(stages)), build_args={}))
