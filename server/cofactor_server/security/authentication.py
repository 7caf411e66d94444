"""Authenticate calls by their bearer token, and check that the token allows the method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from cofactor_server.errors import PermissionDenied, Unauthenticated

METHOD_PATTERN = re.compile(r"[A-Za-z0-9_.*]+/[A-Za-z0-9_*]+|\*")
_LONGEST_TOKEN = 8192


@dataclass(frozen=True)
class AuthenticatedClient:
    """A client that is known by its token.

    Attributes:
        name: its name.
        methods: patterns of the methods that it may call, such as "cofactor.v1.RecommenderService/*" or "*".
    """

    name: str
    methods: tuple[str, ...]

    def may_call(self, method: str) -> bool:
        """Return True if a pattern matches the method, such as "/cofactor.v1.RecommenderService/Predict"."""
        return any(pattern == "*" or fnmatchcase(method.removeprefix("/"), pattern) for pattern in self.methods)


class TokenVerifier(Protocol):
    """Verify one kind of token."""

    def verify(self, token: str) -> AuthenticatedClient | None:
        """Return the client of a token, None if the token is of another kind or not valid."""

    def reload(self) -> None:
        """Read again what tokens are checked with."""


class Authenticator:
    """Authenticate calls with the first verifier that accepts their token.

    Methods of `open_services` need no token: a load balancer that checks health has none.
    """

    def __init__(self, verifiers: Sequence[TokenVerifier], open_services: Sequence[str] = ()) -> None:
        self._verifiers = tuple(verifiers)
        self._open_prefixes = tuple(f"/{service}/" for service in open_services)

    def reload(self) -> None:
        """Read the files of all verifiers again."""
        for verifier in self._verifiers:
            verifier.reload()

    def authorize(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> AuthenticatedClient | None:
        """Return the client of a call, None for an open method; raises Unauthenticated or PermissionDenied."""
        if method.startswith(self._open_prefixes):
            return None
        token = _bearer_token(metadata)
        for verifier in self._verifiers:
            client = verifier.verify(token)
            if client is not None:
                if not client.may_call(method):
                    raise PermissionDenied(method)
                return client
        raise Unauthenticated


def _bearer_token(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    """Return the token of the only authorization header; raises Unauthenticated if there is none."""
    values = [value for key, value in metadata if key == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > _LONGEST_TOKEN:
        raise Unauthenticated
    scheme, _, token = values[0].strip(" ").partition(" ")
    token = token.lstrip(" ")  # RFC 6750 allows several spaces
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token
