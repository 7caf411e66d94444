"""Load one version of a repository for a batch job, as a server loads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.config import Provider, ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.repository.listing import ModelListing, RepositoryListing
from cofactor_server.repository.sources import ModelSource, open_source
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import LiveRegistry


@dataclass(frozen=True)
class VersionChoice:
    """Names a version, and how to load it.

    Attributes:
        repository: folder of the models, or its fsspec address.
        model: name of the model; empty for the first by name.
        version: name of the version; empty for the one with the label or, without a label, for the current one.
        label: label of the version, or empty.
        provider: where the graphs may run.
        erasure_key_file: key of the erased users, which the repository may require.
        require_signature: public key that must verify the version's signature; empty for none.
        batch_size: most users in one run of the engine.
    """

    repository: str
    model: str = ""
    version: str = ""
    label: str = ""
    provider: Provider = "auto"
    erasure_key_file: str = ""
    require_signature: str = ""
    batch_size: int = 64

    @classmethod
    def of_directory(cls, directory: Path, choice: VersionChoice) -> VersionChoice:
        """Return the choice of a version directory, `<repository>/<model>/<version>`.

        Raises ConfigurationError if it is no folder.
        """
        if not directory.is_dir():
            raise ConfigurationError(f"--version-dir: the folder {directory} does not exist")
        place = directory.resolve()
        return replace(
            choice, repository=str(place.parent.parent), model=place.parent.name, version=place.name, label=""
        )


@contextmanager
def load_version(choice: VersionChoice) -> Iterator[LoadedVersion]:
    """Load the version: verified, from a private copy and without the erased users, as a server does.

    Raises ConfigurationError, ModelRefused, ModelNotFound or ProviderUnavailable.
    """
    config = ServerConfig(
        models=choice.repository,
        provider=choice.provider,
        erasure_key_file=choice.erasure_key_file,
        require_signature=choice.require_signature,
        max_batch_size=choice.batch_size,
        max_page_size=10_000,
        max_response_mib=1024,
        batching="off",
        cache_mib=0,
    )
    live = LiveRegistry(config, Metrics(), source=_narrow_source(choice))
    try:
        # An empty label is a label that no version has.
        ref = ModelRef(label=choice.label) if choice.label else ModelRef(version=choice.version or None)
        yield live.current.resolve(ref)
    finally:
        live.close()


def _narrow_source(choice: VersionChoice) -> ModelSource:
    """Return the repository without the versions that are not wanted, so that they are not loaded."""
    source = open_source(choice.repository)
    listing = source.list_versions()
    model = choice.model or min(listing, default="")
    if choice.model and choice.model not in listing:
        raise ConfigurationError(f"{choice.repository} has no model {choice.model}")
    if choice.version and choice.version not in listing[model].stamps:
        raise ConfigurationError(f"{choice.repository} has no version {choice.version} of the model {model}")
    return _NarrowSource(source, model, choice.version)


class _NarrowSource:
    """A model repository of which one model, or one version of it, is seen; implements ModelSource."""

    def __init__(self, source: ModelSource, model: str, version: str) -> None:
        self._source = source
        self._model = model
        self._version = version
        self.write_policy = source.write_policy
        self.update_policy = source.update_policy
        self.copy = source.copy
        self.list_erasures = source.list_erasures
        self.read_erasure = source.read_erasure
        self.add_erasure = source.add_erasure
        self.read_rules = source.read_rules
        self.overlays = source.overlays

    def list_versions(self) -> RepositoryListing:
        """List the chosen versions."""
        listing = self._source.list_versions()
        model = listing.get(self._model)
        if model is None:
            return {}
        if not self._version:
            return {self._model: model}
        return {
            self._model: ModelListing(
                _only(model.stamps, self._version), _only(model.unreadable, self._version), model.problem
            )
        }

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json; None if the version is chosen by its name."""
        return None if self._version else self._source.read_policy(name)


def _only(entries: dict[str, str], key: str) -> dict[str, str]:
    return {key: entries[key]} if key in entries else {}
