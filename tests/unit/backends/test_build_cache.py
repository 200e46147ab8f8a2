"""Which caches a build reads and writes."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tasks_engine.backends.build_cache import BuildCache, build_cache
from tasks_engine.backends.buildkit import Cache
from tasks_engine.definition.build_attributes import CacheEntry
from tasks_engine.errors import StepFailed
from tests.unit.backends.build_scene import build_work

KEPT = "r.io/app:cache_task_b"


def cache(
    exports: Collection[str] = ("registry", "inline"), insecure: Collection[str] = (), **work
) -> BuildCache:
    return build_cache(build_work(**work), lambda: exports, insecure)


def test_without_a_cache_nobody_is_asked():
    def ask() -> Collection[str]:
        raise AssertionError

    assert build_cache(build_work(), ask, ()) == BuildCache()


def test_a_cache_in_the_registry_is_read_and_written_with_all_stages():
    found = cache(cache=KEPT)

    assert found.imports == (Cache("registry", {"ref": KEPT}),)
    assert found.exports == (Cache("registry", {"ref": KEPT, "mode": "max"}),)
    assert not found.warning


def test_without_cache_it_is_only_written():
    found = cache(cache=KEPT, no_cache=True)

    assert (found.imports, len(found.exports)) == ((), 1)


def test_a_daemon_that_cannot_write_it_puts_it_into_the_image_and_says_so():
    found = cache(["inline"], cache=KEPT, tags=("r.io/app:1", "local"))

    assert found.exports == (Cache("inline"),)
    assert [each.attrs["ref"] for each in found.imports] == ["r.io/app:1", KEPT]
    assert KEPT in found.warning


def test_caches_of_flags_come_as_they_are():
    s3 = CacheEntry("s3", {"bucket": "b"})
    found = cache(
        cache_from=(CacheEntry("registry", {"ref": "r.io/a"}),),
        cache_to=(s3, CacheEntry("inline")),
        cache=KEPT,
    )

    assert [each.type for each in found.imports] == ["registry", "registry"]
    assert [each.type for each in found.exports] == ["s3", "inline", "registry"]


def test_an_insecure_registry_is_asked_without_tls():
    entries = (CacheEntry("registry", {"ref": "r.io/a"}),)
    found = cache(insecure=["r.io"], cache=KEPT, cache_from=entries, cache_to=entries)

    assert all(each.attrs["registry.insecure"] == "true" for each in (*found.imports, *found.exports))


def test_a_cache_that_is_no_image_fails_the_step():
    with pytest.raises(StepFailed, match="cannot keep a build cache"):
        cache(cache_to=(CacheEntry("registry", {"ref": "UPPER"}),))
