from __future__ import annotations

import json

import pytest

from tasks_engine.images.dependencies import ImageDependency, list_dependencies, parse_image
from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.reference import InvalidReference

HUB = "registry.hub.docker.com"
SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "registry", "repository", "tag", "digest"),
    [
        ("node:16", HUB, "library/node", "16", ""),
        ("library/node:16", HUB, "library/node", "16", ""),
        ("team/app:t", HUB, "team/app", "t", ""),
        ("a/b/c:1", HUB, "a/b/c", "1", ""),
        ("scratch:latest", HUB, "library/scratch", "latest", ""),
        (f"{HUB}/library/node:16", HUB, "library/node", "16", ""),
        ("docker.io/library/node:16", "docker.io", "library/node", "16", ""),
        ("docker.io/node:16", "docker.io", "node", "16", ""),
        ("r.azurecr.io:443/a/b:t", "r.azurecr.io:443", "a/b", "t", ""),
        ("host:5000/a:latest", "host:5000", "a", "latest", ""),
        ("localhost/a:1", "localhost", "a", "1", ""),
        (f"node@{SHA}", HUB, "library/node", "", SHA),
        (f"host:5000/a:3@{SHA}", "host:5000", "a", "3", SHA),
    ],
)
def test_the_parts_of_a_reference(
    reference: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    assert parse_image(reference) == ImageDependency(registry, repository, tag, digest, reference)


def test_an_image_as_json_leaves_out_only_a_missing_tag() -> None:
    assert list(parse_image("a:1").to_json()) == ["registry", "repository", "tag", "digest", "reference"]
    assert list(parse_image(f"a@{SHA}").to_json()) == ["registry", "repository", "digest", "reference"]


def test_there_is_an_entry_for_each_tag() -> None:
    images = scan_dockerfile("FROM go AS build\nFROM host.io/base:1\n", build_args={})
    entries = [each.to_json() for each in list_dependencies(images, ["r.io/app:v1", "app"], "c0ffee")]
    assert json.loads(json.dumps(entries)) == entries
    shared = {
        "runtime-dependency": {
            "registry": "host.io",
            "repository": "base",
            "tag": "1",
            "digest": "",
            "reference": "host.io/base:1",
        },
        "buildtime-dependency": [
            {
                "registry": HUB,
                "repository": "library/go",
                "tag": "latest",
                "digest": "",
                "reference": "go:latest",
            }
        ],
        "git": {"git-head-revision": "c0ffee"},
    }
    assert entries == [
        {
            "image": {
                "registry": "r.io",
                "repository": "app",
                "tag": "v1",
                "digest": "",
                "reference": "r.io/app:v1",
            }
        }
        | shared,
        {
            "image": {
                "registry": HUB,
                "repository": "library/app",
                "tag": "latest",
                "digest": "",
                "reference": "app:latest",
            }
        }
        | shared,
    ]
    assert list(entries[0]) == ["image", "runtime-dependency", "buildtime-dependency", "git"]


def test_without_tags_there_is_one_entry_without_an_image() -> None:
    (entry,) = list_dependencies(scan_dockerfile("FROM a", build_args={}), [])
    assert entry.to_json() == {
        "image": None,
        "runtime-dependency": parse_image("a:latest").to_json(),
        "buildtime-dependency": None,
        "git": {"git-head-revision": ""},
    }


@pytest.mark.parametrize("tag", ["a:b:c", "'a'", "", "A"])
def test_a_tag_must_be_a_reference(tag: str) -> None:
    with pytest.raises(InvalidReference):
        list_dependencies(scan_dockerfile("FROM a", build_args={}), [tag])
