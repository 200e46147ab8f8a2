"""What people and programs see while a run goes on. Loads what is asked for: lists of runs need no view."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks_engine.cli.render.summary import summary_lines
    from tasks_engine.cli.render.views import Mode, View, open_view

__all__ = ["Mode", "View", "open_view", "summary_lines"]
_MODULE_BY_NAME = {"Mode": "views", "View": "views", "open_view": "views", "summary_lines": "summary"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
