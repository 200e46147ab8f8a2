"""Registries over the OCI distribution API: digests, manifests, blobs, and artifacts as contexts."""

from tasks_engine.backends.registry.answers import Quota
from tasks_engine.backends.registry.artifacts import fetch_artifact
from tasks_engine.backends.registry.blobs import BlobStream
from tasks_engine.backends.registry.client import RegistryClient
from tasks_engine.backends.registry.manifests import Descriptor, Manifest, Platform

__all__ = [
    "BlobStream",
    "Descriptor",
    "Manifest",
    "Platform",
    "Quota",
    "RegistryClient",
    "fetch_artifact",
]
