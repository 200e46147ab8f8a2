"""Contexts: the files a run or a build works on, wherever they come from.

    fetch_context(address, into, options) -> FetchedContext
      local folder           taken as it is, nothing is copied
      git address            cloned as shallow as the server allows, with submodules and LFS files
      http(s) address        a tar archive in any common compression, or a lone Dockerfile
      oci://REGISTRY/REPO    handed to whoever can pull from registries
      -                      a tar archive on standard input
      /dev/null              an empty folder

An address may come from a person, who may name everything, or from anybody, who may name remote ones only:
`FetchOptions.trusted`. What an archive or a repository holds is never trusted.
"""

from tasks_engine.backends.contexts.fetch import fetch_context
from tasks_engine.backends.contexts.model import FetchedContext, FetchOptions, Revision
from tasks_engine.backends.contexts.unpack import LIMITS, UnpackLimits, unpack_tar

__all__ = [
    "LIMITS",
    "FetchOptions",
    "FetchedContext",
    "Revision",
    "UnpackLimits",
    "fetch_context",
    "unpack_tar",
]
