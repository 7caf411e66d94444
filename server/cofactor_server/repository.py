"""The model versions a server holds, and which of them answers a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.bundle import open_bundle
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError, ModelNotFound, NotServing, quoted
from cofactor_server.providers import requested_providers
from cofactor_server.version import ModelVersion

_LOGGER = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def natural_order(version: str) -> list[tuple[int, int, str]]:
    """Sort key: digits compare as numbers, so that 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


class ModelRepository:
    """Versions by name; immutable, so that a request sees one state throughout.

    Attributes:
        versions: by name, newest first.
        default_name: the model that answers when a request names none.
    """

    def __init__(self, versions: Iterable[ModelVersion], default_name: str) -> None:
        self.versions: dict[str, list[ModelVersion]] = {}
        for version in sorted(versions, key=lambda v: natural_order(v.manifest.version), reverse=True):
            self.versions.setdefault(version.manifest.name, []).append(version)
        self._by_key = {version.key: version for held in self.versions.values() for version in held}
        self.default_name = default_name

    def held(self, key: str) -> ModelVersion | None:
        """The version "name/version", or None when it is not held."""
        return self._by_key.get(key)

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """The version that a request means; raises ModelNotFound."""
        name = ref.name or self.default_name
        versions = self.versions.get(name)
        if versions is None:
            if not self.versions:
                raise NotServing
            raise ModelNotFound(f"no model is called {quoted(name)}")
        choice = ref.WhichOneof("choice")
        if choice is None:
            return versions[0]
        if choice == "label":
            for version in versions:
                if ref.label in version.description.labels:
                    return version
            raise ModelNotFound(f"no version of {quoted(name)} is labelled {quoted(ref.label)}")
        found = self._by_key.get(f"{name}/{ref.version}")
        if found is None:
            raise ModelNotFound(f"version {quoted(ref.version)} of {quoted(name)} is not served")
        return found


def newest_versions(models: Path) -> list[Path]:
    """The highest version directory of each model in a folder, by name.

    Raises ConfigurationError when the folder cannot be read or holds none.
    """
    try:
        names = sorted(p for p in models.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())
        newest = []
        for name in names:
            versions = [p for p in name.iterdir() if _VERSION.fullmatch(p.name) and (p / "manifest.json").is_file()]
            if versions:
                newest.append(max(versions, key=lambda p: natural_order(p.name)))
    except OSError as error:
        raise ConfigurationError(f"--models: cannot read {models}: {error.strerror}") from None
    if not newest:
        raise ConfigurationError(
            f"--models: {models} holds no <name>/<version>/manifest.json; cofactor-train writes one"
        )
    return newest


def load_repository(config: ServerConfig) -> ModelRepository:
    """Verifies and loads the highest version of every model.

    Raises ModelRefused, ProviderUnavailable or ConfigurationError.
    """
    paths = newest_versions(config.models)
    names = [path.parent.name for path in paths]
    default = config.model or names[0]
    if default not in names:
        raise ConfigurationError(
            f"--model {default}: there is no such model in {config.models}, only {', '.join(names)}"
        )
    providers = requested_providers(config.provider, config.gpu_memory_mib)
    versions = [ModelVersion(open_bundle(path), providers, config) for path in paths]
    return ModelRepository(versions, default)
