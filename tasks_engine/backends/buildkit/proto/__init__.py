"""Generated from schemas/buildkit by `make proto`; never edited."""
