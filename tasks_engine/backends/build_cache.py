"""Which caches a build reads and writes, by what its daemon can do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from tasks_engine.backends.buildkit import Cache, inline_cache, registry_cache
from tasks_engine.definition.build_attributes import CacheEntry
from tasks_engine.errors import StepFailed
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.model import BuildWork


@dataclass(frozen=True)
class BuildCache:
    imports: tuple[Cache, ...] = ()
    exports: tuple[Cache, ...] = ()
    #: what is done instead of what was asked for, a whole sentence; empty when nothing is
    warning: str = ""


def build_cache(
    work: BuildWork, exports_of_daemon: Callable[[], Collection[str]], insecure: Collection[str]
) -> BuildCache:
    """The caches of a build. `exports_of_daemon` gives the types that its daemon writes; it is asked when needed.

    `insecure` are registries without TLS. Raises StepFailed for an image that is none.
    """
    imports = [_entry(each, insecure) for each in work.cache_from]
    exports = [_entry(each, insecure) for each in work.cache_to]
    if not work.cache:
        return BuildCache(tuple(imports), tuple(exports))
    kept = registry_cache(work.cache, insecure=_is_insecure(work.cache, insecure))
    if "registry" in exports_of_daemon():
        exports.append(registry_cache(work.cache, mode="max", insecure=_is_insecure(work.cache, insecure)))
        warning = ""
    else:
        exports.append(inline_cache())
        imports += [registry_cache(tag, insecure=_is_insecure(tag, insecure)) for tag in _in_registries(work)]
        warning = (
            f"the engine cannot keep a build cache in a registry: instead of {work.cache} the image itself "
            "carries the cache of its last stage, once it is pushed"
        )
    # The engine has what it built itself; the registry is for what others have built.
    return BuildCache(() if work.no_cache else (*imports, kept), tuple(exports), warning)


def _entry(entry: CacheEntry, insecure: Collection[str]) -> Cache:
    attributes = dict(entry.attributes)
    if entry.type == "registry" and _is_insecure(attributes.get("ref", ""), insecure):
        attributes.setdefault("registry.insecure", "true")
    return Cache(entry.type, attributes)


def _is_insecure(image: str, insecure: Collection[str]) -> bool:
    try:
        return parse_reference(image).registry in insecure
    except InvalidReference as error:
        raise StepFailed(f"'{image}' cannot keep a build cache: {error}") from error


def _in_registries(work: BuildWork) -> Iterator[str]:
    """Tags that name a registry: the others are nowhere but on the engine."""
    return (tag for tag in work.tags if "/" in tag and parse_reference(tag).registry != "docker.io")
