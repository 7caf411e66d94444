"""Verify JSON Web Tokens of an identity provider."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cofactor_server.errors import ConfigurationError
from cofactor_server.security.authentication import METHOD_PATTERN, AuthenticatedClient
from cofactor_server.security.reloaded_file import ReloadedFile

_LOGGER = logging.getLogger(__name__)

# Only asymmetric ones: with a shared secret, everyone who can verify a token can also make one.
_ALGORITHMS = ("ES256", "ES384", "RS256", "PS256", "EdDSA")
_MOST_CACHED = 4096


class _KeySet:
    """Public keys, and a cache of the tokens that they verified.

    A reload replaces both, so that the tokens of a withdrawn key are no longer valid.
    """

    def __init__(self, keys: dict[str, Any]) -> None:
        """`keys` are PyJWK by key id."""
        self.keys = keys
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[float, AuthenticatedClient]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.keys)

    def cached_client(self, digest: bytes, now: float) -> AuthenticatedClient | None:
        """Return the client of a token that was verified before and has not expired."""
        with self._lock:
            expires, client = self._verified.get(digest, (now, None))
        return client if expires > now else None

    def cache(self, digest: bytes, expires: float, client: AuthenticatedClient) -> None:
        """Cache a verified token until it expires; the oldest entry is evicted if the cache is full."""
        with self._lock:
            self._verified[digest] = (expires, client)
            if len(self._verified) > _MOST_CACHED:
                self._verified.popitem(last=False)


class JsonWebTokens:
    """Verify tokens with the keys of a JWKS file, which is read again when it changes.

    The claim `sub` is the client's name. The claim `scope` (a string, separated by spaces) or `scp` (a list) has the
    patterns of the methods that it may call.
    """

    def __init__(self, key_set: Path, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        """Read the keys; raises ConfigurationError if they cannot be used or PyJWT is not installed."""
        try:
            import jwt
        except ImportError:
            raise ConfigurationError("--jwt-keys needs the extra cofactor[jwt]") from None
        self._jwt = jwt
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._file = ReloadedFile("token keys", key_set, self._read_keys, clock)

    def reload(self) -> None:
        """Read the file again."""
        self._file.reload()

    def verify(self, token: str) -> AuthenticatedClient | None:
        """Verify the signature, issuer, audience and times of a token, and return its client."""
        key_set = self._file.content()
        digest = hashlib.sha256(token.encode()).digest()
        client = key_set.cached_client(digest, self._clock())
        if client is not None:
            return client
        try:
            claims = self._decode(token, key_set)
        except (self._jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:  # such as an `exp` of infinity
            _LOGGER.debug("token refused: %s", error)
            return None
        client = _client_of(claims)
        key_set.cache(digest, float(claims["exp"]), client)
        return client

    def _read_keys(self, path: Path) -> _KeySet:
        try:
            content = json.loads(path.read_text("utf-8"))
            if content == {"keys": []}:  # valid, and admits nobody; PyJWT takes it for an error
                return _KeySet({})
            key_set = self._jwt.PyJWKSet.from_dict(content)
        except OSError as error:
            raise ConfigurationError(f"--jwt-keys: cannot read {path}: {error.strerror}") from None
        except (self._jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise ConfigurationError(f"--jwt-keys: {path} is not a JWKS file: {error}") from None
        keys = {key.key_id: key for key in key_set.keys if key.key_id and key.key_type != "oct"}
        if not keys:
            raise ConfigurationError(f"--jwt-keys: {path} has no public key with a kid")
        return _KeySet(keys)

    def _decode(self, token: str, key_set: _KeySet) -> dict[str, Any]:
        """Return the claims of a valid token; raises PyJWTError."""
        key = key_set.keys.get(self._jwt.get_unverified_header(token).get("kid", ""))
        if key is None:
            raise self._jwt.InvalidTokenError("its key is not in the key set")
        claims: dict[str, Any] = self._jwt.decode(
            token,
            key,
            algorithms=list(_ALGORITHMS),
            issuer=self._issuer,
            audience=self._audience,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return claims


def _client_of(claims: Mapping[str, Any]) -> AuthenticatedClient:
    scopes = claims.get("scope", claims.get("scp", ""))
    patterns = scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
    # A scope that is no method pattern belongs to another service.
    methods = tuple(p for p in patterns if isinstance(p, str) and METHOD_PATTERN.fullmatch(p))
    return AuthenticatedClient(str(claims["sub"]), methods)
