"""`make soak`: kills runs at random moments, a hundred times, and stops at the first that leaves something.

    python -m tests.soak.run [--rounds N] [--seed S] [--go-on]     with the services of runners/local/test_services.py

The seed is printed; the same seed kills at the same moments, as far as a machine is as fast as it was.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import sys
import time

from tests.soak.killing import Killer


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--go-on", action="store_true", help="do all rounds, whatever happens")
    parser.add_argument("--engine", default=os.environ.get("TASKS_TEST_ENGINE", ""))
    arguments = parser.parse_args()
    registry = os.environ.get("TASKS_TEST_REGISTRY", "")
    if not arguments.engine or not registry:
        sys.exit("soak: run it with `make soak`, which starts the services")
    print(
        f"soak: {arguments.rounds} rounds, seed {arguments.seed} (again: SEED={arguments.seed})", flush=True
    )
    chance = random.Random(arguments.seed)
    killer = Killer(arguments.engine, registry)
    failed = 0
    name = f"soak-{os.getpid()}-{int(time.time()):x}"
    try:
        lasts_s = killer.undisturbed(f"{name}-calm")
        print(f"soak: a run takes {lasts_s:.1f} s", flush=True)
        for number in range(1, arguments.rounds + 1):
            moment_s = chance.uniform(0, lasts_s)
            done = killer.round(f"{name}-{number}.", moment_s, from_git=chance.random() < 0.5)
            word = "FAILED" if done.problems else "ok"
            print(
                f"{number:4} {word:6} killed after {moment_s:5.2f} s, {done.shown:5} lines shown, "
                f"{done.removed:2} things removed; last: {done.last_line[:70]}",
                flush=True,
            )
            for problem in done.problems:
                print(f"       {problem[:2000]}", flush=True)
            failed += bool(done.problems)
            if failed and not arguments.go_on:
                break
    finally:
        killer.close()
    print(f"soak: {failed} of {number} rounds failed" if failed else f"soak: {number} rounds, nothing left")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
