"""A build secret and an SSH agent go in, files come out: `RUN --mount=type=secret,id=token … > /result`."""

import os
import sys
from pathlib import Path

from tasks_engine.backends.buildkit import (
    BuildKitClient,
    BuildOptions,
    SecretValue,
    agent_from_environment,
    local,
)

ssh = {"default": agent_from_environment()} if "SSH_AUTH_SOCK" in os.environ else {}
with BuildKitClient.connect(os.environ.get("BUILDKIT_HOST", "docker+unix:///var/run/docker.sock")) as client:
    options = BuildOptions(context=Path(), exporters=[local(Path(sys.argv[1]))])
    client.build(options, secrets={"token": SecretValue(b"not in the image")}, ssh=ssh, timeout_s=600)
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
