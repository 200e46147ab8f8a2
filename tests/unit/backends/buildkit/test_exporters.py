from __future__ import annotations

import io
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.destinations import ToFile
from tasks_engine.backends.buildkit.exporters import (
    Exporter,
    docker_tar,
    files_tar,
    image,
    local,
    moby,
    oci_tar,
)
from tasks_engine.backends.buildkit.solve import BuildOptions, solve_request

TO = ToFile(io.BytesIO())


@pytest.mark.parametrize(
    ("exporter", "kind", "attrs"),
    [
        (moby([]), "moby", {}),
        (moby(["a:1", "b:2"]), "moby", {"name": "a:1,b:2"}),
        (image(["a:1"]), "image", {"name": "a:1"}),
        (image(["a:1"], push=True), "image", {"name": "a:1", "push": "true"}),
        (image(["a"], push_by_digest=True), "image", {"name": "a", "push": "true", "push-by-digest": "true"}),
        (image([], insecure=True), "image", {"registry.insecure": "true"}),
        (image([], store=False, unpack=True), "image", {"store": "false", "unpack": "true"}),
        (
            image([], compression="zstd", compression_level=3, force_compression=True, oci_media_types=True),
            "image",
            {
                "compression": "zstd",
                "compression-level": "3",
                "force-compression": "true",
                "oci-mediatypes": "true",
            },
        ),
        (
            image([], annotations={"org.x": "1", "index:org.y": "2"}),
            "image",
            {"annotation.org.x": "1", "annotation-index.org.y": "2"},
        ),
        (docker_tar(["a"], TO), "docker", {"name": "a"}),
        (oci_tar([], TO, compression="gzip"), "oci", {"compression": "gzip"}),
        (files_tar(TO), "tar", {}),
        (local(Path("out")), "local", {}),
    ],
)
def test_exporter_in_the_daemons_words(exporter: Exporter, kind: str, attrs: dict[str, str]) -> None:
    assert (exporter.type, exporter.attrs) == (kind, attrs)


@pytest.mark.parametrize(
    ("kind", "to"),
    [("local", None), ("local", TO), ("tar", None), ("oci", Path("x")), ("image", TO), ("moby", Path())],
)
def test_destination_must_fit(kind: str, to: ToFile | Path | None) -> None:
    with pytest.raises(ValueError, match=f"'{kind}'"):
        Exporter(kind, {}, to)


def test_first_exporter_is_said_in_the_old_way_too() -> None:
    options = BuildOptions(Path("/c"), exporters=[image(["a"], push=True), local(Path("out"))])
    request = solve_request(options, ref="r")
    attrs = {"name": "a", "push": "true"}
    assert (request.exporter_deprecated, dict(request.exporter_attrs_deprecated)) == ("image", attrs)
    assert [(each.type, dict(each.attrs)) for each in request.exporters] == [("image", attrs), ("local", {})]


def test_one_name_is_no_list_of_names() -> None:
    with pytest.raises(ValueError, match="list"):
        image("alpine:1")
