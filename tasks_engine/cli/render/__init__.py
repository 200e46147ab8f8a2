"""What people and programs see while a run goes on."""

from tasks_engine.cli.render.summary import summary_lines
from tasks_engine.cli.render.views import Mode, View, open_view

__all__ = ["Mode", "View", "open_view", "summary_lines"]
