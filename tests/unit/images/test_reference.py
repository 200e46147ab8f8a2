from __future__ import annotations

import pytest

from tasks_engine.images.reference import InvalidReference, parse_reference

SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("team/app", "docker.io/team/app:latest"),
        ("a/b/c/d:x", "docker.io/a/b/c/d:x"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("host:5000/a/b:t", "host:5000/a/b:t"),
        ("registry.example.com/app", "registry.example.com/app:latest"),
        ("REGISTRY/app", "REGISTRY/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        (f"app@{SHA}", f"docker.io/library/app@{SHA}"),
        (f"app:1@{SHA}", f"docker.io/library/app:1@{SHA}"),
        ("a_b__c.d---e", "docker.io/library/a_b__c.d---e:latest"),
    ],
)
def test_references_are_normalised(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/team/app", "team/app:latest"),
        ("host:5000/app", "host:5000/app:latest"),
        # shorter, these would name another image
        ("docker.io/library/a/b", "docker.io/library/a/b:latest"),
        ("docker.io/library/library/a", "docker.io/library/library/a:latest"),
        ("docker.io/foo.bar/a", "docker.io/foo.bar/a:latest"),
        ("docker.io/localhost/a", "docker.io/localhost/a:latest"),
    ],
)
def test_the_familiar_form_names_the_same_image(text: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert reference.familiar == familiar
    assert parse_reference(familiar) == reference


def test_a_short_form_that_would_be_another_image_or_none_is_not_used() -> None:
    for text in ("docker.io/do_ker.io/4:latest", "docker.io/a.b/c:latest", "docker.io/localhost/c:latest"):
        assert parse_reference(text).familiar == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the image has no name"),
        (":tag", "the image has no name"),
        ("App", "image name 'App' must be lower case"),
        ("app:", "'' is not a tag"),
        ("app:a:b", "'a:b' is not a tag"),
        ("app:" + "x" * 129, f"'{'x' * 129}' is not a tag"),
        ("app:.x", "'.x' is not a tag"),
        ("app@sha256:12", "'sha256:12' is not a digest"),
        ("app@", "'' is not a digest"),
        ("a//b", "'a//b' is not an image name"),
        ("a/", "'a/' is not an image name"),
        ("-a", "'-a' is not an image name"),
        ("a..b", "'a..b' is not an image name"),
        ("a b", "'a b' is not an image name"),
        ("app\n", "'app\n' is not an image name"),
        ("-x.y/app", "'-x.y' is not a registry"),
        ("host:port/app", "'host:port' is not a registry"),
        ("a" * 250, f"'{'a' * 250}' is not an image name"),
    ],
)
def test_what_is_no_reference(text: str, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a-" * 50_000, "a.b-" * 30_000 + ".c/x", "a/" * 50_000, "x:" + "y" * 100_000]
)
def test_long_texts_are_refused_at_once(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_reference(text)
