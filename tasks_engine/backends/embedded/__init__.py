"""The engine that `tasks` brings along for a Linux machine that has none.

`engine.EmbeddedEngine` is the door. Nothing is imported here: finding an engine must stay cheap.
"""
