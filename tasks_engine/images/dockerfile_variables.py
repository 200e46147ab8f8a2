"""The variables of FROM lines: ARG, build arguments and the platforms. Pure."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping

from tasks_engine.images.dockerfile_images import DockerfileError, shortened
from tasks_engine.images.dockerfile_lines import Instruction, split_words
from tasks_engine.images.dockerfile_words import Expander, ExpansionError


def parse_build_args(arguments: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Values of `--build-arg NAME=VALUE`, the last of a name. A lone NAME is taken from the environment.

    Raises DockerfileError for one without a name.
    """
    values: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not name:
            raise DockerfileError(
                "build-arg-malformed",
                f"build argument '{shortened(argument)}' has no name",
                0,
                hint="the form is --build-arg NAME=VALUE",
            )
        if equals:
            values[name] = value
        elif name in environment:
            values[name] = environment[name]
    return values


def platform_values(prefix: str, platform: str) -> dict[str, str]:
    """Variables such as TARGETARCH of a platform such as `linux/arm64`."""
    system, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture = {"aarch64": "arm64", "x86_64": "amd64"}.get(architecture, architecture)
    if architecture == "arm":
        variant = variant or "v7"
    elif (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return {
        f"{prefix}PLATFORM": "/".join(filter(None, (system, architecture, variant))),
        f"{prefix}OS": system,
        f"{prefix}OSVERSION": "",
        f"{prefix}ARCH": architecture,
        f"{prefix}VARIANT": variant,
    }


class FromVariables:
    """Values in FROM lines: as a build sees them, and as the looser reading does."""

    def __init__(
        self, expander: Expander, build_args: Mapping[str, str], predefined: Mapping[str, str]
    ) -> None:
        self.expander = expander
        self._build_args = build_args
        #: only what an ARG before the first FROM names; the last of a name counts
        self.declared = {name: build_args.get(name, value) for name, value in predefined.items()}
        #: build arguments count without an ARG, ARGs of stages go on counting; the first of a name counts
        self._heard = {name: without_quotes(value) for name, value in build_args.items()}
        self.loose = ChainMap(self._heard, self.declared)
        #: name -> why its default has no value
        self.broken: dict[str, str] = {}

    def declare(self, instruction: Instruction) -> None:
        """An ARG before the first FROM."""
        for name, word in self._assignments(instruction):
            if name in self._build_args:
                self.declared[name] = self._build_args[name]
            elif word is not None:
                try:
                    self.declared[name] = self.expander.expand(word, self.declared).text
                except ExpansionError as error:
                    self.broken[name] = str(error)
                    self.declared.pop(name, None)
                else:
                    self._heard.setdefault(name, self.declared[name])

    def hear(self, instruction: Instruction) -> None:
        """An ARG inside a stage."""
        for name, word in self._assignments(instruction):
            if word is not None and name not in self._heard:
                try:
                    self._heard[name] = self.expander.expand(word, self.loose).text
                except ExpansionError as error:
                    self.broken.setdefault(name, str(error))

    def _assignments(self, instruction: Instruction) -> list[tuple[str, str | None]]:
        words = split_words(instruction.arguments, self.expander.escape)
        if not words:
            raise DockerfileError(
                "arg-empty", "ARG names no variable", instruction.line, hint="the form is ARG NAME[=VALUE]"
            )
        parts = (word.partition("=") for word in words)
        return [(name, value if equals else None) for name, equals, value in parts]


def without_quotes(text: str) -> str:
    return text.strip("'\"")
