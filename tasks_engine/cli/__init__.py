"""The command `tasks`: parses input, shows output, has no rules of its own."""
