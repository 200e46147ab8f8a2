from __future__ import annotations

import pytest

from tasks_engine.images.mirrors import mirrored, mirrored_name
from tasks_engine.images.reference import InvalidReference, parse_reference

SHA = "sha256:" + "a" * 64
MIRRORS = {
    "mcr.microsoft.com": "127.0.0.1:5000/mcr",
    "docker.io": "mirror.example.com",
    "docker.io/library": "mirror.example.com/official",
    "docker.io/library/busybox": "127.0.0.1:5000/tools/bb",
    "Quay.io/": "127.0.0.1:5000/quay/",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mcr.microsoft.com/dotnet/sdk:8", "127.0.0.1:5000/mcr/dotnet/sdk:8"),
        (f"mcr.microsoft.com/a@{SHA}", f"127.0.0.1:5000/mcr/a@{SHA}"),
        (f"mcr.microsoft.com/a:1@{SHA}", f"127.0.0.1:5000/mcr/a:1@{SHA}"),
        ("MCR.microsoft.com/a", "127.0.0.1:5000/mcr/a:latest"),
        ("alpine", "mirror.example.com/official/alpine:latest"),
        ("index.docker.io/library/alpine", "mirror.example.com/official/alpine:latest"),
        ("team/app", "mirror.example.com/team/app:latest"),
        ("librarys/app", "mirror.example.com/librarys/app:latest"),
        ("busybox:1", "127.0.0.1:5000/tools/bb:1"),
        ("busyboxes:1", "mirror.example.com/official/busyboxes:1"),
        ("quay.io/a/b", "127.0.0.1:5000/quay/a/b:latest"),
    ],
)
def test_the_longest_name_that_fits_is_replaced(name: str, expected: str) -> None:
    assert str(mirrored(parse_reference(name), MIRRORS)) == expected
    assert mirrored_name(name, MIRRORS) == expected


@pytest.mark.parametrize(
    "name",
    ["ghcr.io/a", "mcr.microsoft.com.evil.io/a", "mcr.microsoft.com:443/a", "Not A Name", "127.0.0.1:5000/x"],
)
def test_other_names_stay_letter_for_letter(name: str) -> None:
    assert mirrored_name(name, MIRRORS) == name


@pytest.mark.parametrize("name", ["alpine", "team/app", "mcr.microsoft.com/a", "busybox"])
def test_names_at_a_mirror_are_not_mapped_again(name: str) -> None:
    once = mirrored_name(name, {**MIRRORS, "mirror.example.com": "elsewhere.example.com"})
    assert mirrored_name(once, {**MIRRORS, "mirror.example.com": "elsewhere.example.com"}) == once


def test_a_mirror_may_be_a_folder_of_the_same_registry() -> None:
    mirrors = {"docker.io": "docker.io/copies"}
    assert mirrored_name("alpine", mirrors) == "docker.io/copies/library/alpine:latest"
    assert mirrored_name("copies/library/alpine", mirrors) == "copies/library/alpine"


def test_a_mirror_that_gives_no_name_is_named() -> None:
    with pytest.raises(InvalidReference, match=r"mirror 'http://x' of 'docker\.io'"):
        mirrored(parse_reference("a/b"), {"docker.io": "http://x"})
