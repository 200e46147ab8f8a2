"""What reading task files costs: `python tests/benchmarks/task_language.py STEPS` prints one line of JSON.

    {"load_s": load, check and plan, "yaml_s": libyaml's nodes of the same text, "peak_mb": of the process}

Each step has an environment, an alias, a template and two ids in `when`.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import yaml

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.request import RunRequest

INPUTS = Inputs(run={"ID": "r1", "Registry": "registry.example.com"}, values={"name": "app"})


def task_text(steps: int) -> str:
    lines = [
        "version: v1.1.0",
        "alias:",
        "  values:",
        "    tool: '{{.Run.Registry}}/tool:{{.Run.ID}}'",
        "env: [STAGE=test]",
        "steps:",
    ]
    for number in range(steps):
        lines += [
            f"  - id: step-{number}",
            f"    cmd: $tool build --name {{{{.Values.name}}}}-{number} --tag $ID",
            f"    env: [NUMBER={number}, 'RUN={{{{.Run.ID}}}}']",
        ]
        if number > 1:
            lines.append(
                f"    when: [step-{number - 1}, step-{number // 2 if number // 2 != number - 1 else 0}]"
            )
    return "\n".join(lines) + "\n"


def load_and_plan(text: str) -> float:
    """Seconds."""
    started = time.perf_counter()
    make_plan(load_task(text, "task.yaml", INPUTS), RunRequest("r1", "task.yaml", "registry.example.com"))
    return time.perf_counter() - started


def yaml_nodes(text: str) -> float:
    """Seconds."""
    started = time.perf_counter()
    yaml.compose(text, Loader=yaml.CSafeLoader)
    return time.perf_counter() - started


def main() -> None:
    text = task_text(int(sys.argv[1]))
    load_s = load_and_plan(text)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"load_s": load_s, "yaml_s": yaml_nodes(text), "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
