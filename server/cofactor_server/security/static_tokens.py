"""Verify static tokens, which a file lists by their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from cofactor_server.errors import ConfigurationError
from cofactor_server.security.authentication import METHOD_PATTERN, AuthenticatedClient
from cofactor_server.security.reloaded_file import ReloadedFile

_SHA256 = re.compile(r"[0-9a-f]{64}")


class StaticTokens:
    """Verify tokens against a TOML file, which is read again when it changes.

        [clients.web]
        sha256 = "…"            # printf %s "$TOKEN" | sha256sum
        methods = ["cofactor.v1.RecommenderService/*"]

    A file without clients is valid and admits nobody. Tokens must be long and random (openssl rand -hex 32): a fast
    hash does not protect one that can be guessed.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file; raises ConfigurationError that names the entry at fault."""
        self._file = ReloadedFile("tokens", path, _read_clients, clock)

    def reload(self) -> None:
        """Read the file again."""
        self._file.reload()

    def verify(self, token: str) -> AuthenticatedClient | None:
        """Return the client of a token. The time it takes does not depend on which entry matches."""
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for expected, client in self._file.content():
            if hmac.compare_digest(digest, expected):
                found = client
        return found


def _read_clients(path: Path) -> list[tuple[bytes, AuthenticatedClient]]:
    """Return the SHA-256 of every token, with its client."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--tokens: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--tokens: {path} is not TOML: {error}") from None
    clients = content.get("clients", {})
    if not content.keys() <= {"clients"} or not isinstance(clients, dict):
        raise ConfigurationError(f"--tokens: {path} must have tables [clients.NAME] and nothing else")
    parsed = [_parse_client(name, entry) for name, entry in clients.items()]
    names: dict[bytes, str] = {}
    for digest, client in parsed:
        if names.setdefault(digest, client.name) != client.name:
            # Which methods such a token allows would depend on the order of the entries.
            raise ConfigurationError(
                f"--tokens: clients.{names[digest]} and clients.{client.name} have one token; give each its own"
            )
    return parsed


def _parse_client(name: str, entry: object) -> tuple[bytes, AuthenticatedClient]:
    if not isinstance(entry, dict) or entry.keys() != {"sha256", "methods"}:
        raise ConfigurationError(f"--tokens: clients.{name} must have sha256 and methods, and nothing else")
    sha256, methods = entry["sha256"], entry["methods"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        raise ConfigurationError(f"--tokens: clients.{name}.sha256 must be 64 hexadecimal digits, not the token itself")
    if not isinstance(methods, list) or not all(isinstance(m, str) and METHOD_PATTERN.fullmatch(m) for m in methods):
        raise ConfigurationError(
            f'--tokens: clients.{name}.methods must be a list such as ["package.Service/*"] or ["*"]'
        )
    return bytes.fromhex(sha256), AuthenticatedClient(name, tuple(methods))
