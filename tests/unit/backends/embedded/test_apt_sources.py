"""Sources of another suite, derived from the machine's own."""

from __future__ import annotations

from tasks_engine.backends.embedded.apt_sources import (
    AptSource,
    parse_deb822,
    parse_one_line,
    render,
    retarget,
)
from tasks_engine.backends.embedded.packages import parse_print_uris

ALIASES = ("stable", "oldstable")


def test_deb822_is_rewritten_with_its_keys_and_other_vendors_are_left_out() -> None:
    text = """\
Types: deb deb-src
# a remark
URIs: http://mirror/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Trusted: yes

Types: deb
URIs: http://mirror/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: https://vendor/repo
Suites: nodistro
Components: main
"""
    assert (
        render(retarget(parse_deb822(text), "bookworm", ALIASES, "trixie"))
        == """\
Types: deb
URIs: http://mirror/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror/debian-security
Suites: trixie-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""
    )


def test_disabled_and_source_only_stanzas_do_not_count() -> None:
    text = "Types: deb\nEnabled: no\nSuites: bookworm\n\nTypes: deb-src\nSuites: bookworm\n"
    assert parse_deb822(text) == []


def test_one_line_entries_keep_architecture_and_key_but_never_trust() -> None:
    text = """\
# deb http://old/debian bookworm main
deb [ arch=amd64,arm64 trusted=yes signed-by=/k.gpg ] http://mirror/debian bookworm main contrib # remark
deb-src http://mirror/debian bookworm main
deb http://flat/repo ./
"""
    options = {"Architectures": "amd64 arm64", "Signed-By": "/k.gpg"}
    assert parse_one_line(text) == [
        AptSource(("http://mirror/debian",), ("bookworm",), ("main", "contrib"), options)
    ]


def test_old_security_suites_and_aliases_are_known() -> None:
    sources = parse_one_line("deb http://m/s bookworm/updates main\ndeb http://m/d stable main\n")
    assert [source.suites for source in retarget(sources, "bookworm", ALIASES, "trixie")] == [
        ("trixie-security",),
        ("trixie",),
    ]


def test_repository_of_a_vendor_with_the_release_name_but_other_components_is_left_out() -> None:
    sources = parse_one_line("deb https://download.docker.com/linux/debian bookworm stable\n")
    assert retarget(sources, "bookworm", ALIASES, "trixie") == []


def test_print_uris_gives_name_size_and_digest() -> None:
    digest = "a" * 64
    output = f"Reading...\n'http://m/x%2by_1%7e2_amd64.deb' x+y_1~2_amd64.deb 123 SHA256:{digest}\nE: other\n"
    (package,) = parse_print_uris(output).values()
    assert (package.name, package.file_name, package.size_bytes, package.sha256) == (
        "x+y",
        "x+y_1~2_amd64.deb",
        123,
        digest,
    )
