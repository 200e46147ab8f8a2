from __future__ import annotations

import pytest

from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.patterns import compile_patterns, escape, name_matcher, without_nested


def matches(patterns: list[str], path: str) -> bool:
    """Walks to `path` as the sender does."""
    compiled = compile_patterns(patterns)
    matched, state = False, compiled.nothing()
    components = path.split("/")
    for end in range(len(components)):
        matched, state = compiled.match("/".join(components[: end + 1]), state)
    return matched


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a", "a", True),
        ("a", "b/a", False),
        ("a", "a/b", True),
        ("*", "a/b", True),
        ("*.py", "x.py", True),
        ("*.py", "d/x.py", False),
        ("d/*", "d/x", True),
        ("d/*", "d", False),
        ("?", "a", True),
        ("?", "ab", False),
        ("a?c", "a/c", False),
        ("**", "a/b/c", True),
        ("**/x", "x", True),
        ("**/x", "a/b/x", True),
        ("**/x", "a/xx", False),
        ("**.pyc", "a/b.pyc", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "az", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("a[^b]c", "a/c", True),
        ("a[^b]c", "abc", False),
        ("a[.-0]c", "a/c", True),
        ("a[x/]c", "a/c", True),
        ("a[^b]c/d", "a/c/d", True),
        ("a[^b]c/d", "a/c/e", False),
        ("a\\/b", "a/b", True),
        ("[a-c]/x", "b/x", True),
        ("[\\-]", "-", True),
        ("**]", "a/]", True),
        ("**]", "x]", False),
        ("[[]x", "[x", True),
        ("[\\]]x", "]x", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("a.b", "axb", False),
        ("/a/", "a", True),
        ("./a//b", "a/b", True),
        ("ä*", "ände", True),
        ("a\nb*", "a\nbc", True),
    ],
)
def test_pattern_means_these_paths(pattern: str, path: str, expected: bool) -> None:
    assert matches([pattern], path) is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "other", True),
        (["*", "!keep/deep"], "keep/deep", False),
        (["*", "!keep/deep"], "keep/other", True),
        (["*", "!*.md", "README.md"], "README.md", True),
        (["!a", "a"], "a", True),
        (["docs", "!docs/**/*.txt"], "docs/a/b.txt", False),
        (["", "  ", "a"], "a", True),
        (["a", "!a/b", "a"], "a/b", True),
        (["a", "!a/b", "a"], "a/b/c", True),
        (["a", "!a/b", "a", "!a/b/c"], "a/b/c", False),
        (["*/secret", "!d"], "d/secret", True),
        (["! a", "a"], "a", True),
    ],
)
def test_last_match_wins(patterns: list[str], path: str, expected: bool) -> None:
    assert matches(patterns, path) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "!",
        "a[",
        "a[b",
        "[\\",
        "[",
        "[^",
        "[]",
        "[]a]",
        "[^]",
        "[a-]",
        "[-a]",
        "[a-b-c]",
        "a\\",
        "\\",
        "**/[",
        "[a][",
    ],
)
def test_pattern_without_meaning_is_refused(pattern: str) -> None:
    with pytest.raises(ContextError):
        compile_patterns([pattern])


def test_empty_range_is_refused_where_it_is_tried() -> None:
    with pytest.raises(ContextError, match=r"'a\[z-a\]' has an empty range"):
        matches(["a[z-a]"], "b")
    assert not matches(["!a[z-a]"], "b")
    assert matches(["b", "a[z-a]"], "b")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.so", "a.so", True),
        ("*.so", "b.txt", False),
        ("**", "a", True),
        ("a**b", "axb", True),
        ("\\**", "*x", True),
        ("!a*", "!ab", True),
        ("!a*", "ab", False),
        (" a*", " ab", True),
        (" a*", "ab", False),
        ("[", "[", False),
        ("[z-a]", "z", False),
    ],
)
def test_pattern_of_one_name_has_no_signs_around_it(pattern: str, name: str, expected: bool) -> None:
    assert name_matcher(pattern)(name) is expected


@pytest.mark.parametrize(
    ("patterns", "folder", "expected"),
    [
        (["Dockerfile"], "src", False),
        (["src/a"], "src", True),
        (["src/a"], "lib", False),
        (["src/a/b"], "src/x", False),
        (["s*/a/b"], "src/a", True),
        (["src/a"], "src/a", False),
        (["**/x"], "any/where", True),
        (["src/**/x"], "src/deep/er", True),
        (["src/**/x"], "lib/deep", False),
        (["a[^b]c/d"], "a/c", True),
        (["src/[ab]/c/d"], "src/a/c", True),
        (["src/[ab]/c"], "lib", False),
        (["a\\/b/c"], "a/b", True),
    ],
)
def test_walk_enters_only_folders_that_can_hold_a_match(
    patterns: list[str], folder: str, expected: bool
) -> None:
    assert compile_patterns(patterns).may_match_below(folder) is expected


def test_escaped_path_matches_itself_only() -> None:
    assert matches([escape("a[1]*")], "a[1]*")
    assert not matches([escape("a[1]*")], "a1x")


def test_nested_paths_are_covered_by_the_outer_one() -> None:
    assert without_nested(["b", "a/b", "a", "a-b", "a/c/d", "b"]) == ["a", "a-b", "b"]
