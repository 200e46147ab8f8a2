"""The folder a run works on: the user's own, a private copy, or volumes of a remote engine."""
