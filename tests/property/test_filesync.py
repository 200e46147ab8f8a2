"""Any folder and any patterns: the listing keeps the protocol's order and selects what the patterns say."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_engine.backends.buildkit.filesync import Selection, data_packet, walk
from tasks_engine.backends.buildkit.patterns import PatternList, compile_patterns
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet

NAMES = st.sampled_from(["a", "b", "a-b", "a.b", "ab", "B", "ä", "\uffee", "\U0001f600", "a b", "[x]"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TREES = st.lists(PATHS, max_size=12)
COMPONENTS = NAMES.filter(lambda name: "[" not in name) | st.sampled_from(
    ["*", "**", "?", "a*", "*b", "[a-c]"]
)
PATTERNS = st.lists(
    st.builds(
        lambda bang, parts: bang + "/".join(parts),
        st.sampled_from(["", "", "!"]),
        st.lists(COMPONENTS, min_size=1, max_size=3),
    ),
    max_size=4,
)


def make(root: Path, tree: list[str]) -> None:
    for path in tree:
        try:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


def listing(root: Path, selection: Selection) -> list[str]:
    root_fd = os.open(root, os.O_RDONLY)
    try:
        return [entry.path for entry in walk(root, root_fd, selection)]
    finally:
        os.close(root_fd)


def matched(patterns: PatternList, path: str) -> bool:
    result, state = False, patterns.nothing()
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        result, state = patterns.match("/".join(parts[:end]), state)
    return result


@settings(deadline=None)
@given(TREES, PATTERNS, PATTERNS)
def test_listing_is_ordered_complete_and_what_the_patterns_say(
    tree: list[str], include: list[str], exclude: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, tree)
        everything = [str(path.relative_to(root)) for path in root.rglob("*")]
        sent = listing(root, Selection(include=include, exclude=exclude))

    assert sent == sorted(sent, key=lambda path: [part.encode() for part in path.split("/")])
    assert len(set(sent)) == len(sent)
    included, excluded = compile_patterns(include), compile_patterns(exclude)
    wanted = {
        path
        for path in everything
        if (not include or matched(included, path)) and not (exclude and matched(excluded, path))
    }
    parents = {str(parent) for path in wanted for parent in Path(path).parents} - {"."}
    assert set(sent) == wanted | parents


@given(PATTERNS, PATHS)
def test_a_match_lies_only_where_the_walk_goes(patterns: list[str], path: str) -> None:
    compiled = compile_patterns([pattern for pattern in patterns if not pattern.startswith("!")])
    folder = path.rpartition("/")[0]
    if folder and matched(compiled, path) and not matched(compiled, folder):
        assert compiled.may_match_below(folder)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_data_packet_by_hand_reads_back(entry_id: int, data: bytes) -> None:
    packet = Packet.FromString(data_packet(entry_id, data))
    assert (packet.type, packet.id, packet.data) == (Packet.PACKET_DATA, entry_id, data)
