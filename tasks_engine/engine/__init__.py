"""Runs a plan: the only place where decisions meet effects. Drives ports, knows no backend."""
