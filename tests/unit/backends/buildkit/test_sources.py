from __future__ import annotations

import pytest

from tasks_engine.backends.buildkit.progress import Step
from tasks_engine.backends.buildkit.sources import (
    BuildSources,
    GitSource,
    ImageSource,
    UrlSource,
    full_name,
    sources_of_provenance,
    sources_of_steps,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("uri", "digests", "source"),
    [
        (
            "pkg:docker/busybox@latest?platform=linux%2Famd64",
            {"sha256": "a" * 64},
            ImageSource("docker.io/library/busybox:latest", "linux/amd64", DIGEST),
        ),
        (
            "pkg:docker/127.0.0.1%3A5000/lib/x@1?platform=linux%2Farm%2Fv7",
            {"sha256": "a" * 64},
            ImageSource("127.0.0.1:5000/lib/x:1", "linux/arm/v7", DIGEST),
        ),
        (
            f"pkg:docker/moby/buildkit@v1?digest={DIGEST}",
            {},
            ImageSource(f"docker.io/moby/buildkit:v1@{DIGEST}", "", DIGEST),
        ),
        ("pkg:docker/r.io/x", {}, ImageSource("r.io/x", "", "")),
        ("git://h/r#main", {"sha1": "b" * 40}, GitSource("git://h/r#main", "b" * 40)),
        ("https://h/r.git#main", {"sha1": "b" * 40}, GitSource("https://h/r.git#main", "b" * 40)),
        ("https://h/x.tgz", {"sha256": "a" * 64}, UrlSource("https://h/x.tgz", DIGEST)),
        ("git@h:r.git", {}, GitSource("git@h:r.git", "")),
    ],
)
@pytest.mark.parametrize("version", ["0.2", "1"])
def test_material_is_read(
    uri: str, digests: dict[str, str], source: ImageSource | GitSource | UrlSource, version: str
) -> None:
    materials = [{"uri": uri, "digest": digests}]
    provenance = (
        {"materials": materials}
        if version == "0.2"
        else {"buildDefinition": {"resolvedDependencies": materials}}
    )
    assert sources_of_provenance(provenance) == [source]


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"materials": None},
        {"materials": [1, {}, {"uri": 3}]},
        {"buildDefinition": []},
        {"materials": "x"},
    ],
)
def test_provenance_that_is_none_has_no_sources(provenance: dict[str, object]) -> None:
    assert sources_of_provenance(provenance) == []


def test_steps_of_an_old_daemon() -> None:
    steps = [
        Step("[internal] load build definition from Dockerfile", b""),
        Step("[internal] load metadata for r.io/base:1", b""),
        Step("[internal] load metadata for docker.io/library/busybox:latest", b""),
        Step(f"[a 1/3] FROM r.io/base:1@{DIGEST}", b""),
        Step("[b 1/2] FROM docker.io/library/busybox", b""),
        Step("FROM r.io/tool", b""),
        Step("[a 2/3] RUN echo FROM x", b""),
        Step("http://h/file", b""),
        Step("[a 3/3] ADD http://h/file /f", b""),
        Step(
            "[internal] load git source git://h/r#main", b"Initialized\n" + b"b" * 40 + b"\trefs/heads/main\n"
        ),
    ]
    assert sources_of_steps(steps) == BuildSources(
        images=(
            ImageSource("docker.io/library/busybox:latest", "", ""),
            ImageSource("r.io/base:1", "", DIGEST),
            ImageSource("r.io/tool:latest", "", ""),
        ),
        repositories=(GitSource("git://h/r#main", "b" * 40),),
        files=(UrlSource("http://h/file", ""),),
    )


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("alpine", "docker.io/library/alpine"),
        ("moby/buildkit", "docker.io/moby/buildkit"),
        ("localhost/x", "localhost/x"),
        ("h:1/x", "h:1/x"),
        ("r.io/a/b", "r.io/a/b"),
    ],
)
def test_full_name_has_a_registry(name: str, full: str) -> None:
    assert full_name(name) == full
