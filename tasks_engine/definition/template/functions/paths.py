"""Go's functions of slash-separated paths, which Sprig offers; no file is ever looked at."""

from __future__ import annotations

from tasks_engine.definition.template.functions.signatures import TEXT, Takes


def clean(path: str) -> str:
    """The shortest path that means the same."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or "."


def base(path: str) -> str:
    """The last part of a path."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def directory(path: str) -> str:
    """All but the last part of a path, cleaned."""
    start, slash, _ = path.rpartition("/")
    return clean(start + slash)


def extension(path: str) -> str:
    """The last part from its last point on; empty when it has none."""
    _, point, end = path.rpartition("/")[2].rpartition(".")
    return point + end if point else ""


SIGNATURES = {
    "clean": Takes(clean, TEXT),
    "base": Takes(base, TEXT),
    "dir": Takes(directory, TEXT),
    "ext": Takes(extension, TEXT),
    "isAbs": Takes(lambda path: path.startswith("/"), TEXT),
}
