"""The platform of a run, such as linux/arm/v7: what `--platform` takes. Pure."""

from __future__ import annotations

from tasks_engine.errors import UsageError

#: operating system -> architecture -> its variants; sources: GOOS and GOARCH of Go, OCI image-spec "Platform Variants"
PLATFORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "linux": {
        "amd64": ("v1", "v2", "v3", "v4"),
        "arm64": ("v8", "v9"),
        "arm": ("v5", "v6", "v7"),
        "386": (),
        "loong64": (),
        "mips64le": (),
        "ppc64le": (),
        "riscv64": (),
        "s390x": (),
    },
    "windows": {"amd64": (), "arm64": ()},
}
#: other names of architectures
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "x64": "amd64",
    "x86": "386",
    "i386": "386",
    "aarch64": "arm64",
}
#: variants that an architecture has anyway, and that nobody writes
_USUAL_VARIANT = {"amd64": "v1", "arm64": "v8"}


def read_platform(text: str, own_architecture: str) -> str:
    """`os/architecture[/variant]`, as images name it; without an architecture it is that of this machine.

    Raises UsageError that lists what there is.
    """
    words = text.strip().lower().split("/")
    system, architecture, variant = (*words, "", "")[:3]
    if len(words) > 3 or "" in words:
        raise _refusal(text, "the form is os[/architecture[/variant]], such as linux/arm/v7")
    architectures = PLATFORMS.get(system)
    if architectures is None:
        raise _refusal(text, f"operating systems are {', '.join(PLATFORMS)}")
    architecture = _ARCHITECTURES.get(architecture, architecture) or own_architecture
    if architecture not in architectures and len(words) > 1:
        raise _refusal(text, f"architectures of {system} are {', '.join(architectures)}")
    variants = architectures.get(architecture, ())
    if variant and variant not in variants:
        known = f"are {', '.join(variants)}" if variants else "do not exist"
        raise _refusal(text, f"variants of {system}/{architecture} {known}")
    if variant == _USUAL_VARIANT.get(architecture):
        variant = ""
    return "/".join(filter(None, (system, architecture, variant)))


def _refusal(text: str, hint: str) -> UsageError:
    return UsageError(f"--platform: there is no platform '{text}'", hint=hint)
