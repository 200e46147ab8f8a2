from __future__ import annotations

import pytest

from tasks_engine.definition.image_names import (
    cache_image,
    known_registry,
    possible_reference,
    unique_images,
    with_registry,
)
from tasks_engine.images.reference import InvalidReference

DIGEST = "sha256:" + "f" * 64
TOKEN = "\U000f5ec0eyJzIjoiYSJ9\U000f5ec1"


def test_images_are_normalised_and_stand_once() -> None:
    names = [
        "a",
        "docker.io/library/a:latest",
        "host:5000/x",
        "a:1",
        "host:5000/x:latest",
        "index.docker.io/b/c",
    ]
    assert unique_images(names) == ("a:latest", "host:5000/x:latest", "a:1", "b/c:latest")


def test_an_image_from_a_secret_stays_as_written() -> None:
    assert unique_images([f"{TOKEN}/a", "b", f"{TOKEN}/a"]) == (f"{TOKEN}/a", "b:latest")


@pytest.mark.parametrize(
    "image", ["a:T", "a:v-T", "a/T", "T", "r.io:5000/a/T:T", "a@T", "a@sha256:T", "aT", "T/a"]
)
def test_an_image_may_be_completed_by_an_output(image: str) -> None:
    assert possible_reference(image.replace("T", TOKEN)).repository


@pytest.mark.parametrize("image", ["A:T", "a b:T", "a:-T", "T@a", ":T", "a:T:T"])
def test_an_image_that_no_output_can_complete_is_refused(image: str) -> None:
    with pytest.raises(InvalidReference):
        possible_reference(image.replace("T", TOKEN))


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("r.io:5000/a:T", "r.io:5000"),
        ("a/T", "docker.io"),
        ("a", "docker.io"),
        ("a:T", ""),
        ("T/a", ""),
        ("T", ""),
    ],
)
def test_a_registry_is_known_where_no_output_can_change_it(image: str, registry: str) -> None:
    assert known_registry(image.replace("T", TOKEN)) == registry


def test_a_wrong_image_is_refused() -> None:
    with pytest.raises(InvalidReference):
        unique_images(["a", "B c"])


@pytest.mark.parametrize(
    ("tag", "registry", "known", "expected"),
    [
        ("test:latest", "foo.io", (), "foo.io/test:latest"),
        ("bar", "", (), "bar"),
        ("library/test", "foo.io", (), "library/test"),
        ("foo.io/test", "foo.io", (), "foo.io/test"),
        ("foo.io.example/test", "foo.io", (), "foo.io/foo.io.example/test"),
        ("bar.io/test", "foo.io", ("bar.io",), "bar.io/test"),
        ("a/b/c:l", "foo.io", ("", "bar.io"), "foo.io/a/b/c:l"),
    ],
)
def test_tags_below_a_registry(tag: str, registry: str, known: tuple[str, ...], expected: str) -> None:
    assert with_registry(tag, registry, known) == expected


@pytest.mark.parametrize(
    ("tags", "image"),
    [
        (["a"], "run.io/a:cache_t_s"),
        (["a:1", "b"], "run.io/a:cache_t_s"),
        (["a", "host.io/b:1"], "host.io/b:cache_t_s"),
        ([f"host:5000/b@{DIGEST}"], "host:5000/b:cache_t_s"),
        (["org/name:8080"], "org/name:cache_t_s"),
        (["host.io/a/b/c"], "host.io/a/b/c:cache_t_s"),
        ([f"{TOKEN}/a:1"], f"{TOKEN}/a:cache_t_s"),
    ],
)
def test_the_image_of_a_cache(tags: list[str], image: str) -> None:
    assert cache_image(tags, registry="run.io", task="t", step="s") == image


@pytest.mark.parametrize(
    ("tags", "registry", "task"),
    [([], "run.io", "t"), (["a"], "", "t"), (["a"], "run.io", "t" * 128), (["a"], "run.io", "a b")],
)
def test_a_cache_without_a_name_is_refused(tags: list[str], registry: str, task: str) -> None:
    with pytest.raises(InvalidReference):
        cache_image(tags, registry=registry, task=task, step="s")
