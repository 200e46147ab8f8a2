"""A private copy of the user's folder, for builds that write files."""

from __future__ import annotations

from tasks_engine.backends.workspace.private_folder import PrivateFolder


def test_what_builds_write_does_not_reach_the_users_folder(tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("as it was")
    workspace = PrivateFolder(context, tmp_path / "copy")

    (workspace.folder() / "file").write_text("changed")
    (workspace.folder() / "new").write_text("new")
    workspace.changed()

    assert (workspace.folder() / "file").read_text() == "changed"
    assert [(each.name, each.read_text()) for each in context.iterdir()] == [("file", "as it was")]
    workspace.remove()
    assert not (tmp_path / "copy").exists()
