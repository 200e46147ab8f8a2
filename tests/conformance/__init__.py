"""The task language beside its original: recorded behaviour of acr-builder's `acb`, and what this project gives."""
