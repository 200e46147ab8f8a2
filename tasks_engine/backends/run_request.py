"""What a run was asked for, kept beside it so that it can be asked for again; nothing secret is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

REQUEST_VERSION = 1


@dataclass(frozen=True)
class KeptRequest:
    """A command line, without values that nobody may keep."""

    #: `--name=value` each, as `tasks run` takes them
    options: tuple[str, ...] = ()
    #: FILE and CONTEXT
    paths: tuple[str, ...] = ()
    #: the folder it was given in: relative paths count from there
    folder: str = ""
    #: FILE was standard input; its text is kept beside
    has_task_text: bool = False
    task_name: str = ""
    #: names of values that were given as secrets
    secrets: tuple[str, ...] = ()
    #: registries of logins that were given as text
    credentials: tuple[str, ...] = ()
    #: what else was left out, in words
    withheld: tuple[str, ...] = ()

    def masked(self, mask: Callable[[str], str]) -> KeptRequest:
        """Without the arguments that `mask` changes, since they hold a secret."""
        told = [each.partition("=")[0] for each in self.options if mask(each) != each]
        told += [
            what for what, each in zip(("FILE", "CONTEXT"), self.paths, strict=False) if mask(each) != each
        ]
        if not told:
            return self
        return replace(
            self,
            options=tuple(each for each in self.options if mask(each) == each),
            paths=tuple(map(mask, self.paths)),
            withheld=(*self.withheld, *(f"{each}, which held a secret" for each in told)),
        )

    def to_json(self) -> dict[str, Any]:
        return {"version": REQUEST_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KeptRequest:
        """Raises ValueError for another version, and for what is damaged."""
        if data.get("version") != REQUEST_VERSION:
            raise ValueError(
                f"request of version {data.get('version')!r}; this program knows {REQUEST_VERSION}"
            )
        known: dict[str, Any] = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        for name, value in known.items():
            usual = getattr(cls, name)
            if (
                isinstance(usual, tuple)
                and isinstance(value, list)
                and all(isinstance(each, str) for each in value)
            ):
                known[name] = tuple(value)
            elif type(value) is not type(usual):
                raise ValueError(f"'{name}' of the request is damaged")
        return cls(**known)
