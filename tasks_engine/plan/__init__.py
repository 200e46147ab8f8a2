"""Decides what will run, and what may run next. Pure."""
