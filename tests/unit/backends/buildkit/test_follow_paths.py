from __future__ import annotations

from pathlib import Path

from tasks_engine.backends.buildkit.follow_paths import resolve_follow_paths


def resolve(root: Path, *paths: str) -> list[str]:
    return resolve_follow_paths(str(root), paths)


def test_plain_paths_stay_whether_they_exist_or_not(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert resolve(tmp_path, "there", "d/missing", "/d/missing/below") == ["d/missing", "there"]


def test_link_and_what_it_leads_to_are_included(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to("../target")
    assert resolve(tmp_path, "d/link") == ["d/link", "target"]


def test_link_in_the_middle_is_followed(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("v2")
    assert resolve(tmp_path, "current/bin/x") == ["current", "v2/bin/x"]


def test_links_do_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("../../../etc/passwd")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    assert resolve(tmp_path, "up", "absolute") == ["absolute", "etc/passwd", "up"]


def test_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "grow").symlink_to("grow/x")
    assert resolve(tmp_path, "a", "grow") == ["a", "b", "grow"]


def test_root_means_no_filter(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to(".")
    assert resolve(tmp_path, "x", "all") == []


def test_wildcard_follows_the_links_it_matches(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.so").symlink_to("a.so.1")
    (tmp_path / "lib" / "b.txt").symlink_to("elsewhere")
    assert resolve(tmp_path, "lib/*.so") == ["lib/*.so", "lib/a.so.1"]


def test_names_with_meaning_in_patterns_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("odd[1]/x*")
    assert resolve(tmp_path, "link") == ["link", "odd\\[1]/x\\*"]


def test_wildcard_on_the_way_includes_the_link_it_matches(tmp_path: Path) -> None:
    (tmp_path / "lib" / "real").mkdir(parents=True)
    (tmp_path / "lib" / "link").symlink_to("../v2")
    assert resolve(tmp_path, "lib/l*/x") == ["lib/l*", "v2/x"]
    assert resolve(tmp_path, "lib/r*/x") == ["lib/r*/x"]


def test_folder_with_the_name_of_a_wildcard_may_hold_links(tmp_path: Path) -> None:
    (tmp_path / "*").mkdir()
    (tmp_path / "*" / "link").symlink_to("../target")
    assert resolve(tmp_path, "*/link") == ["*/link", "target"]


def test_long_chain_of_links_is_followed(tmp_path: Path) -> None:
    for number in range(254):
        (tmp_path / f"l{number}").symlink_to(f"l{number + 1}")
    assert "l254" in resolve(tmp_path, "l0")


def test_wildcard_means_blanks_and_signs_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "!a").symlink_to("one")
    (tmp_path / " b").symlink_to("two")
    assert resolve(tmp_path, "!*") == ["!*", "one"]
    assert resolve(tmp_path, " *") == [" *", "two"]


def test_wildcard_without_meaning_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "[").symlink_to("elsewhere")
    assert resolve(tmp_path, "[") == ["["]
