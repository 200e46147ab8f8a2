"""What built images depend on, by the Dockerfile and by what the builder has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks_engine.backends.build_dependencies import dependencies_of, names_used, scanned
from tasks_engine.backends.build_files import BuildFiles
from tasks_engine.backends.buildkit import BuildSources, ImageSource
from tests.unit.backends.build_scene import build_work

ONE, TWO, THREE = (f"sha256:{letter * 64}" for letter in "123")


def listed(text: str, images: dict[str, str], *, mirrors: dict[str, str] | None = None, named=None, **work):
    files = BuildFiles(Path("/c"), Path("/c/Dockerfile"), text, "c0ffee", named=named or {})
    sources = BuildSources(tuple(ImageSource(name, "linux/amd64", digest) for name, digest in images.items()))
    found = dependencies_of(build_work(**{"tags": ("app:1",), **work}), files, sources, THREE, mirrors or {})
    return [each.to_json() for each in found]


def seen(image: dict[str, Any] | None) -> tuple[str, str] | None:
    return (image["reference"], image["digest"]) if image is not None else None


def test_digests_are_those_the_builder_has_seen():
    (entry,) = listed(
        "FROM go:1 AS build\nFROM host.io/base\nCOPY --from=build /a /\n",
        {"docker.io/library/go:1": ONE, "host.io/base:latest": TWO},
    )

    assert seen(entry["image"]) == ("app:1", THREE)
    assert seen(entry["runtime-dependency"]) == ("host.io/base:latest", TWO)
    assert list(map(seen, entry["buildtime-dependency"])) == [("go:1", ONE)]
    assert entry["git"] == {"git-head-revision": "c0ffee"}


def test_an_image_that_the_builder_did_not_need_has_no_digest():
    (entry,) = listed("FROM unused AS x\nFROM scratch\n", {})

    assert list(map(seen, entry["buildtime-dependency"])) == [("unused:latest", "")]
    assert seen(entry["runtime-dependency"]) == ("scratch:latest", "")


def test_what_only_the_builder_knows_is_build_time():
    (entry,) = listed("FROM a\n", {"docker.io/library/a:latest": ONE, "r.io/onbuild:1": TWO})

    assert list(map(seen, entry["buildtime-dependency"])) == [("r.io/onbuild:1", TWO)]


def test_tools_of_the_builder_are_no_dependencies():
    (entry,) = listed(
        "# syntax=docker/dockerfile:1\nFROM a\n",
        {"docker.io/docker/dockerfile:1": ONE, "docker.io/docker/buildkit-syft-scanner:stable-1": TWO},
    )

    assert entry["buildtime-dependency"] is None


def test_mirrors_do_not_show():
    (entry,) = listed(
        "FROM mcr.microsoft.com/base:1\n",
        {"127.0.0.1:5000/mcr/base:1": ONE},
        mirrors={"mcr.microsoft.com": "127.0.0.1:5000/mcr"},
    )

    assert seen(entry["runtime-dependency"]) == ("mcr.microsoft.com/base:1", ONE)
    assert entry["buildtime-dependency"] is None


def test_a_named_context_takes_the_place_of_an_image():
    (entry,) = listed(
        "FROM base\nCOPY --from=files /x /\n",
        {"docker.io/library/other:2": ONE},
        named={"base": "docker-image://other:2", "files": Path("/f")},
    )

    assert seen(entry["runtime-dependency"]) == ("other:2", ONE)
    assert entry["buildtime-dependency"] is None


def test_a_dockerfile_of_another_frontend_has_what_was_seen():
    (entry,) = listed(
        "# syntax=r.io/own\nbuild: all\n", {"r.io/own:latest": ONE, "r.io/base:1": TWO}, tags=()
    )

    assert (entry["image"], entry["runtime-dependency"]) == (None, None)
    assert ("r.io/base:1", TWO) in map(seen, entry["buildtime-dependency"])


def test_the_images_that_the_target_needs():
    text = "FROM unused AS x\nFROM a AS y\nFROM b\nCOPY --from=y / /\nCOPY --from=c / /\n"

    used = names_used(scanned(build_work(), text))

    assert used == {f"docker.io/library/{name}:latest" for name in "abc"}
