"""The task language: the text of a task file becomes a Task. Pure: no I/O, clock or randomness."""
