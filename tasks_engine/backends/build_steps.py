"""`build` steps of one run, on the BuildKit of its engine or on one that stands alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks_engine.backends import builds
from tasks_engine.backends.build_access import BuildAccess, build_access, with_secret_arguments
from tasks_engine.backends.build_cache import build_cache
from tasks_engine.backends.build_dependencies import dependencies_of, names_used, scanned
from tasks_engine.backends.build_files import BuildFileFinder, BuildFiles, FetchArtifact
from tasks_engine.backends.build_places import GivenToBuilds, OwnPlaces, Places, WorkspacePlaces
from tasks_engine.backends.build_request import (
    build_options,
    file_exporters,
    full_names,
    with_image_settings,
)
from tasks_engine.backends.buildkit import BuildKitError, BuildOptions, BuildSources, Exporter, ImageSource
from tasks_engine.backends.builds import Builder, Built
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.workspace.user_folder import Workspace
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_attributes import CacheEntry
from tasks_engine.errors import BackendError, StepFailed
from tasks_engine.events import ImageBuilt, ImageDependencies, RunWarning
from tasks_engine.images.dockerfile_frontend import frontend_of
from tasks_engine.images.dockerfile_mirrors import mirror_dockerfile
from tasks_engine.images.mirrors import mirrored_name
from tasks_engine.images.reference import InvalidReference, Reference, parse_reference
from tasks_engine.plan.model import BuildWork, PlannedStep
from tasks_engine.plan.policy import forbidden_image, images_of_tools
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput
from tasks_engine.settings import RegistrySettings

_IMAGE = "docker-image://"


@dataclass(frozen=True)
class BuildSite:
    """What the builds of a run have around them."""

    #: the user's folder, which the workspace may be a copy of
    context: Path
    #: the engine of the containers
    endpoint: Endpoint | None
    #: the daemon has no store of images that an engine knows
    alone: bool
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    policy: Policy = field(default_factory=Policy)
    given: GivenToBuilds = field(default_factory=GivenToBuilds)
    #: text -> the same with values of secrets; raises SecretError
    reveal: Callable[[str], str] = str
    #: hears of every value that must not be shown
    on_secret: Callable[[bytes], None] = field(default=lambda _: None)
    fetch_artifact: FetchArtifact | None = None
    #: image -> its digest as far as the engine knows it, for builders that do not tell; raises BackendError
    digest_in_engine: Callable[[Reference], str] = field(default=lambda _: "")
    #: why a build cannot write files into the workspace; empty: it can
    no_outputs: str = ""


@dataclass(frozen=True)
class _Done:
    """A build of this run, to be done again from the cache."""

    #: without exporters
    options: BuildOptions
    access: BuildAccess
    #: says what the image's manifest holds besides
    exporter: Exporter
    #: digest of the image's configuration, or of its index
    identity: str


class BuildSteps:
    """Thread-safe. Close it when the last step has ended."""

    def __init__(self, builder: Builder, workspace: Workspace, site: BuildSite) -> None:
        self._builder = builder
        self._workspace = workspace
        self._site = site
        self._files = BuildFileFinder(site.given, site.fetch_artifact)
        self._done_by_step: dict[str, _Done] = {}
        #: full name of an image that is in no registry -> the step that built it
        self._maker_by_image: dict[str, str] = {}
        #: full names of all images of this run
        self._built_images: set[str] = set()
        self._lock = threading.Lock()
        #: asks for dependencies, while later steps run
        self._tellings: list[Future[None]] = []
        self._behind = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dependencies")

    def close(self) -> None:
        """Returns when all dependencies are told, and removes what was fetched."""
        self._behind.shutdown()
        self._files.close()
        for telling in self._tellings:
            telling.result()

    def build(
        self, step: PlannedStep, work: BuildWork, output: StepOutput, cancel: CancelToken
    ) -> Mapping[str, str]:
        """Returns the step's outputs. The environment of `step` holds no tokens.

        Raises StepFailed, BackendError, or the reason of `cancel`.
        """
        site = self._site
        work = _with_revealed_addresses(work, site.reveal)
        places = self._places(step)
        files = self._files.find(work, places, site.context, cancel)
        for warning in files.warnings:
            _warn(output, warning)
        access = build_access(step, work, places, site.given.ssh)
        work, access = with_secret_arguments(
            work, access, files.text, site.reveal, in_history=site.given.secrets_in_history
        )
        for secret in access.secrets.values():
            site.on_secret(secret.data)
        self._refuse_images(work, files)
        cache = build_cache(work, lambda: self._builder.can.cache_exports, site.registries.insecure)
        if cache.warning:
            _warn(output, f"step '{step.id}': {cache.warning}")
        sent = self._with_mirrors(work, files)
        options = build_options(step, work, sent, cache, site.context, self._builder.info, alone=site.alone)
        exporters = self._exporters(work, places)
        built = self._build(replace(options, exporters=exporters), output, cancel, access, files.text)
        if any(exporter.to is not None for exporter in exporters):
            self._workspace.changed()
        with self._lock:
            self._built_images.update(full_names(work.tags))
        if site.alone:
            self._remember(step, work, built, output, cancel)
        output.emit(
            ImageBuilt(
                step_id=step.id,
                tags=work.tags,
                digest=built.result.image_digest or "",
                image_id=built.result.image_id or "",
            )
        )
        telling = self._behind.submit(self._tell_dependencies, work, files, built, output)
        with self._lock:
            self._tellings.append(telling)
        outputs = {"digest": built.result.image_digest or "", "image": work.tags[0] if work.tags else ""}
        return {name: value for name, value in outputs.items() if value}

    def push(
        self, image: str, maker: str, output: StepOutput, cancel: CancelToken, *, by_digest: bool = False
    ) -> str:
        """Builds again, all from the cache, with a push at the end: a standalone daemon keeps no images.

        `by_digest` without the tag. Returns the digest.
        """
        done = self._done_by_step.get(maker)
        if done is None:
            raise StepFailed(
                f"{image} cannot be pushed: step '{maker}' has not built it",
                hint="let the push wait for it with `when`, and do not ignore that it failed",
            )
        # What steps have changed in the workspace since must not get into an image that others have tested.
        if self._identity(done.options, done.access, output, cancel) != done.identity:
            raise StepFailed(
                f"{image} cannot be pushed: a standalone builder keeps no images, and what step '{maker}' built "
                "cannot be built again, since files of its context or a base image have changed",
                hint="push it before they change, or build in a Docker Engine (without BUILDKIT_HOST)",
            )
        insecure = parse_reference(image).registry in self._site.registries.insecure
        pushing = builds.to_registry([image], by_digest=by_digest, insecure=insecure)
        pushing = replace(pushing, attrs={**done.exporter.attrs, **pushing.attrs})
        again = replace(done.options, exporters=[pushing])
        digest = self._builder.build(again, output, cancel, done.access).result.image_digest or ""
        with self._lock:
            self._maker_by_image.pop(str(parse_reference(image)), None)
        return digest

    def _places(self, step: PlannedStep) -> Places:
        if self._site.given.paths_from is not None:
            return OwnPlaces(self._site.given.paths_from)
        return WorkspacePlaces(self._workspace.folder(), step.working_directory)

    def _refuse_images(self, work: BuildWork, files: BuildFiles) -> None:
        """Images of registries that the policy does not allow, and on a daemon that keeps no images those of this run,
        which it would look for in a registry, and find none or an old one.
        """
        policy = self._site.policy
        if not self._site.alone and not policy.allowed_registries:
            return
        images = scanned(work, files.text)
        if images is None and policy.allowed_registries:
            raise StepFailed(
                "the Dockerfile does not tell what it builds on, and the policy of this machine allows only some "
                "registries",
                hint="write the names of its images out, or give the variables in them a value",
            )
        used = names_used(images)
        used |= {name.removeprefix(_IMAGE) for name in files.named.values() if isinstance(name, str)}
        foreign = set(images_of_tools(work.build_args, work.attestations, (*work.cache_from, *work.cache_to)))
        foreign |= set(filter(None, (work.cache, frontend_of(files.text))))
        for image in foreign:
            forbidden = forbidden_image(image, policy)
            if forbidden is not None:
                raise StepFailed(f"the build {forbidden.message}", hint=forbidden.hint)
        with self._lock:
            for image in full_names(used):
                is_own = image in self._built_images and not work.pull
                forbidden = None if is_own else forbidden_image(image, policy)
                if forbidden is not None:
                    raise StepFailed(f"the Dockerfile {forbidden.message}", hint=forbidden.hint)
                if image in self._maker_by_image:
                    raise StepFailed(
                        f"the Dockerfile builds on {parse_reference(image).familiar}, which step "
                        f"'{self._maker_by_image[image]}' has built; a standalone builder keeps no images",
                        hint="push it in a step between them, write both as stages of one Dockerfile, or build in a "
                        "Docker Engine (without BUILDKIT_HOST)",
                    )

    def _with_mirrors(self, work: BuildWork, files: BuildFiles) -> BuildFiles:
        mirrors = self._site.registries.mirrors
        if not mirrors:
            return files

        def mirror(name: str) -> str:
            return mirrored_name(name, mirrors)

        text = mirror_dockerfile(
            files.text,
            mirror,
            build_args=work.build_args,
            platforms=[each for each in work.platforms if each != "local"],
            target=work.target,
        )
        named = {
            name: _IMAGE + mirror(source.removeprefix(_IMAGE)) if isinstance(source, str) else source
            for name, source in files.named.items()
        }
        if text == files.text:
            return replace(files, named=named)
        return replace(files, named=named, dockerfile=self._files.with_dockerfile(files, text))

    def _exporters(self, work: BuildWork, places: Places) -> list[Exporter]:
        """The image first, if there is to be one."""
        beside = file_exporters(work, places)
        if beside and self._site.no_outputs and self._site.given.paths_from is None:
            raise StepFailed(f"a build cannot write files into the workspace: {self._site.no_outputs}")
        if work.outputs and not work.tags:
            return beside
        return [self._image_exporter(work), *beside]

    def _image_exporter(self, work: BuildWork) -> Exporter:
        if not self._site.alone:
            exporter = builds.into_its_docker(work.tags)
        elif work.runs_later:
            assert self._site.endpoint is not None
            if len(work.platforms) > 1:
                raise StepFailed(
                    f"{work.tags[0]} is for {len(work.platforms)} platforms, so a standalone builder cannot give it to "
                    "the engine that runs it later",
                    hint="run an image that is built for the engine's own platform, in a step of its own",
                )
            exporter = builds.into_docker(work.tags, self._site.endpoint)
        else:
            exporter = builds.into_nothing(work.tags)
        return with_image_settings(exporter, work, lambda: self._builder.can.can_push)

    def _build(
        self, options: BuildOptions, output: StepOutput, cancel: CancelToken, access: BuildAccess, text: str
    ) -> Built:
        """Builds with all its exporters, one after the other where the daemon takes one at a time."""
        exporters = options.exporters
        if len(exporters) < 2 or self._builder.can.several_exporters:
            return self._builder.build(options, output, cancel, access, text)
        built = self._builder.build(replace(options, exporters=exporters[:1]), output, cancel, access, text)
        for exporter in exporters[1:]:
            again = replace(options, exporters=[exporter], no_cache=False, pull=False, cache_to=())
            self._builder.build(again, output, cancel, access, text)
        return built

    def _remember(
        self, step: PlannedStep, work: BuildWork, built: Built, output: StepOutput, cancel: CancelToken
    ) -> None:
        """Keeps what a later push needs."""
        exporter = with_image_settings(builds.into_nothing(work.tags), work, lambda: True)
        options = replace(built.options, exporters=(), no_cache=False, pull=False, cache_to=())
        identity = built.result.image_id or built.result.image_digest or ""
        if work.tags and (options.provenance or options.sbom_generator):
            # These say when something was built, so they are never the same again.
            identity = self._identity(options, built.access, output, cancel)
        with self._lock:
            self._done_by_step[step.id] = _Done(options, built.access, exporter, identity)
            self._maker_by_image.update(dict.fromkeys(full_names(work.tags), step.id))

    def _identity(
        self, options: BuildOptions, access: BuildAccess, output: StepOutput, cancel: CancelToken
    ) -> str:
        """What is in the image that is built again from the cache."""
        plain = replace(options, provenance="", sbom_generator="", exporters=[builds.into_nothing(())])
        result = self._builder.build(plain, output, cancel, access).result
        return result.image_id or result.image_digest or ""

    def _tell_dependencies(
        self, work: BuildWork, files: BuildFiles, built: Built, output: StepOutput
    ) -> None:
        try:
            sources = self._with_digests(built.sources())
        except (BuildKitError, BackendError) as error:
            _warn(
                output, f"step '{output.step_id}': what the build depends on cannot be told: {error.message}"
            )
            return
        digest = built.result.image_digest or ""
        for each in dependencies_of(work, files, sources, digest, self._site.registries.mirrors):
            output.emit(ImageDependencies(step_id=output.step_id, dependencies=each.to_json()))

    def _with_digests(self, sources: BuildSources) -> BuildSources:
        return replace(sources, images=tuple(map(self._with_digest, sources.images)))

    def _with_digest(self, image: ImageSource) -> ImageSource:
        if image.digest:
            return image
        try:
            return replace(image, digest=self._site.digest_in_engine(parse_reference(image.reference)))
        except InvalidReference:  # a frontend may have names of its own
            return image


def _with_revealed_addresses(work: BuildWork, reveal: Callable[[str], str]) -> BuildWork:
    """With the logins of addresses and caches, which no image shows."""

    def revealed(caches: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
        return tuple(
            replace(each, attributes={name: reveal(value) for name, value in each.attributes.items()})
            for each in caches
        )

    return replace(
        work,
        context=reveal(work.context),
        build_contexts={name: reveal(source) for name, source in work.build_contexts.items()},
        cache_from=revealed(work.cache_from),
        cache_to=revealed(work.cache_to),
    )


def _warn(output: StepOutput, message: str) -> None:
    output.emit(RunWarning(message=message))
