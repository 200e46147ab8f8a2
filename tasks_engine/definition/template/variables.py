"""The variables that can be seen from a place in a template; a later one hides an earlier one of its name."""

from __future__ import annotations

from collections.abc import Iterator

from tasks_engine.definition.template.values import Value


class Variables:
    """Names have no `$` here, so that `$` itself, which always is there, is the empty text."""

    def __init__(self, whole: Value = None) -> None:
        self._names = [""]
        self._values_by_name: dict[str, list[Value]] = {"": [whole]}

    def __contains__(self, name: object) -> bool:
        return name in self._values_by_name

    def __getitem__(self, name: str) -> Value:
        return self._values_by_name[name][-1]

    def __iter__(self) -> Iterator[str]:
        """The names, each once."""
        return iter(self._values_by_name)

    def declare(self, name: str, value: Value = None) -> None:
        self._names.append(name)
        self._values_by_name.setdefault(name, []).append(value)

    def assign(self, name: str, value: Value) -> None:
        """Gives another value to a variable that is there."""
        self._values_by_name[name][-1] = value

    def mark(self) -> int:
        """For `drop`."""
        return len(self._names)

    def drop(self, mark: int) -> None:
        """Forgets what was declared since the mark."""
        for name in self._names[mark:]:
            values = self._values_by_name[name]
            values.pop()
            if not values:
                del self._values_by_name[name]
        del self._names[mark:]
