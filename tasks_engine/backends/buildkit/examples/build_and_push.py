import os
import sys
from pathlib import Path

from tasks_engine.backends.buildkit import BuildKitClient, BuildOptions, DockerConfig, image

with BuildKitClient.connect(os.environ.get("BUILDKIT_HOST", "docker+unix:///var/run/docker.sock")) as client:
    options = BuildOptions(context=Path(), exporters=[image([sys.argv[1]], push=True)])
    result = client.build(options, credentials=DockerConfig().find)
print(result.image_digest)
