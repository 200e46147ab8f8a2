from __future__ import annotations

import pytest

from tasks_engine.definition.build_context import (
    BuildContext,
    ContextKind,
    dockerfile_path,
    parse_build_context,
)


def git(address: str, ref: str = "", subdir: str = "") -> BuildContext:
    return BuildContext(ContextKind.GIT, address, ref, subdir)


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("https://host/o/r.git", git("https://host/o/r.git")),
        ("http://host/r.git#main", git("http://host/r.git", "main")),
        ("https://host/r.git#main:src", git("https://host/r.git", "main", "src")),
        ("https://host/r.git#:src/a/", git("https://host/r.git", "", "src/a/")),
        ("https://host/r.git#:", git("https://host/r.git")),
        ("https://host/r.git#refs/pull/1/head:s", git("https://host/r.git", "refs/pull/1/head", "s")),
        ("https://host/r.git#a:b:c", git("https://host/r.git", "a", "b:c")),
        ("https://host/r.git#a#b:c", git("https://host/r.git", "a#b", "c")),
        ("https://host/r.git#feature%2Fx:s", git("https://host/r.git", "feature/x", "s")),
        ("https://host/r.git#a%3Ab", git("https://host/r.git", "a", "b")),
        ("https://host/r.git#a%zz%", git("https://host/r.git", "a%zz%")),
        ("https://host/r.git#a%00b", git("https://host/r.git", "a%00b")),
        ("git://host/r#b:s", git("git://host/r", "b", "s")),
        ("git@host:o/r.git#b:s", git("git@host:o/r.git", "b", "s")),
        ("ssh://git@host:22/o/r", git("ssh://git@host:22/o/r")),
        ("github.com/o/r", git("https://github.com/o/r")),
        ("github.com/o/r.git#b:s", git("https://github.com/o/r.git", "b", "s")),
        ("https://dev.azure.com/o/p/_git/r#b:s", git("https://dev.azure.com/o/p/_git/r", "b", "s")),
        ("https://x.VisualStudio.com/p/_git/r/", git("https://x.VisualStudio.com/p/_git/r/")),
    ],
)
def test_git(text: str, context: BuildContext) -> None:
    assert parse_build_context(text) == context
    assert context.is_remote


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://token@host/r.git", "https://dummy:token@host/r.git"),
        ("https://token@dev.azure.com/o/_git/r", "https://dummy:token@dev.azure.com/o/_git/r"),
        ("https://user:password@host/r.git", "https://user:password@host/r.git"),
        ("https://user:@host/r.git", "https://user:@host/r.git"),
        ("https://@host/r.git", "https://@host/r.git"),
        ("https://host/a@b/r.git", "https://host/a@b/r.git"),
        ("ssh://git@host/r.git", "ssh://git@host/r.git"),
    ],
)
def test_a_lone_user_name_becomes_a_password(text: str, address: str) -> None:
    assert parse_build_context(text) == git(address)


@pytest.mark.parametrize(
    "text",
    [
        "https://host/x.tar.gz",
        "http://host/x.tar.gz?sig=a",
        "https://github.com/o/r",
        "https://host/r.git#",
        "https://host/r.git/",
        "https://host/r.GIT",
        "https://host/r.git?x=1",
        "http://dev.azure.com/o/_git/r",
        "https://dev.azure.com/o/p/r",
        "https://dev.azure.com/o/_git/r?version=main",
        "https://visualstudio.com/o/_git/r",
        "https://dev.azure.com@host/o/_git/r",
    ],
)
def test_downloads(text: str) -> None:
    assert parse_build_context(text) == BuildContext(ContextKind.HTTP, text)


@pytest.mark.parametrize(
    ("text", "address", "folder"),
    [
        ("https://host/x.tar.gz#:src", "https://host/x.tar.gz", "src"),
        ("http://host/x?sig=a#:a%2Fb c", "http://host/x?sig=a", "a/b c"),
        ("https://host/x.tar#main:src", "https://host/x.tar#main:src", ""),
        ("https://host/x.tar#:", "https://host/x.tar#:", ""),
    ],
)
def test_a_download_may_name_a_folder(text: str, address: str, folder: str) -> None:
    context = parse_build_context(text)
    assert context == BuildContext(ContextKind.HTTP, address, subdir=folder)
    assert parse_build_context(str(context)) == context
    assert context.build_subdir == (folder or ".")


@pytest.mark.parametrize("text", ["oci://host/a:1", "Oci://host/a:1"])
def test_artifacts(text: str) -> None:
    assert parse_build_context(text) == BuildContext(ContextKind.OCI, "host/a:1")


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "",
        "dir/sub",
        "/srv",
        "src.git",
        "host/a",
        " https://host/r.git",
        "HTTPS://host/r.git",
        "file:///r.git",
    ],
)
def test_folders(text: str) -> None:
    context = parse_build_context(text)
    assert context == BuildContext(ContextKind.LOCAL, text)
    assert not context.is_remote


def test_a_dash_is_standard_input() -> None:
    context = parse_build_context("-")
    assert context.kind is ContextKind.STDIN
    assert not context.is_remote


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("https://host/r.git", "."),
        ("https://host/r.git#b:a/b/", "a/b/"),
        ("git://host/r#:s", "s"),
        ("dir", "."),
    ],
)
def test_every_git_context_builds_in_its_folder(text: str, folder: str) -> None:
    assert parse_build_context(text).build_subdir == folder


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://token@host/r.git#b", "https://host/r.git"),
        ("https://user:p@ss@host/r.git", "https://host/r.git"),
        ("ssh://user:password@host/r.git", "ssh://host/r.git"),
        ("git@host:r.git", "git@host:r.git"),
        ("https://user:password@host/x.tar?sig=secret", "https://host/x.tar?…"),
        ("https://host/a@b.tar", "https://host/a@b.tar"),
        ("oci://user:password@host/a@sha256:0", "host/a@sha256:0"),
        ("HTTPS://user:password@host/x", "HTTPS://host/x"),
        ("dir@x", "dir@x"),
    ],
)
def test_logins_and_signatures_are_not_shown(text: str, shown: str) -> None:
    assert parse_build_context(text).shown == shown


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("https://github.com/o/r", "is a download, not a git repository"),
        ("https://x@www.GitHub.com/o/r", "is a download, not a git repository"),
        ("HTTPS://github.com/o/r", "is a folder, not a git repository"),
        ("https://github.com/o/r/archive/main.tar.gz", ""),
        ("https://github.com/o/r.git", ""),
        ("github.com/o/r", ""),
        (".github/docker", ""),
        ("https://host/x", ""),
    ],
)
def test_a_page_of_github_is_doubtful(text: str, doubt: str) -> None:
    assert parse_build_context(text).doubt.endswith(doubt)
    assert bool(parse_build_context(text).doubt) is bool(doubt)


@pytest.mark.parametrize(
    ("context", "folder", "file", "path"),
    [
        (".", ".", "", "Dockerfile"),
        ("src", "src", "", "src/Dockerfile"),
        ("/srv", "/srv", "", "/srv/Dockerfile"),
        ("src", "src", "other/Dockerfile", "other/Dockerfile"),
        ("src", "src", "/abs/D", "/abs/D"),
        ("https://h/r.git", "", "", "Dockerfile"),
        ("https://h/r.git", "step", "", "step/Dockerfile"),
        ("https://h/r.git", "step", "a/D", "step/a/D"),
        ("https://h/x.tar", "step", "/abs/D", "step/abs/D"),
        ("oci://h/x", "step", "../D", "D"),
    ],
)
def test_where_the_dockerfile_is(context: str, folder: str, file: str, path: str) -> None:
    assert dockerfile_path(parse_build_context(context), folder, file) == path
