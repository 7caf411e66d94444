"""Who may call what: static tokens and JSON Web Tokens, and the methods each of them opens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from cofactor_server.errors import ConfigurationError, PermissionDenied, Unauthenticated

_log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATTERN = re.compile(r"[A-Za-z0-9_.*]+/[A-Za-z0-9_*]+|\*")
# Asymmetric only: with a shared secret, whoever can check a token can make one.
_ALGORITHMS = ("ES256", "ES384", "RS256", "PS256", "EdDSA")
_MOST_VERIFIED = 4096
_LONGEST_TOKEN = 8192


@dataclass(frozen=True)
class Caller:
    """Who is calling.

    methods: patterns such as "cofactor.v1.RecommenderService/*" or "*"; it may call what one of them matches.
    """

    name: str
    methods: tuple[str, ...]

    def may_call(self, method: str) -> bool:
        """Whether a pattern matches the method, such as "/cofactor.v1.RecommenderService/Predict"."""
        return any(pattern == "*" or fnmatchcase(method.removeprefix("/"), pattern) for pattern in self.methods)


class Authenticator(Protocol):
    """One kind of token."""

    def authenticate(self, token: str) -> Caller | None:
        """Return whose token it is, or None where it is not one of these or no longer valid."""


class StaticTokens:
    """Tokens listed, by their SHA-256, in a TOML file that is read again when it changes.

        [clients.web]
        sha256 = "…"            # printf %s "$TOKEN" | sha256sum
        methods = ["cofactor.v1.RecommenderService/*"]

    Tokens must be long and random (openssl rand -hex 32): a fast hash does not protect a guessable one.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises ConfigurationError naming the entry at fault."""
        self._path = path
        self._clock = clock
        self._clients = _read_clients(path)
        self._modified = path.stat().st_mtime_ns
        self._look_again = clock() + 1.0

    def authenticate(self, token: str) -> Caller | None:
        """Compare with every entry, in a time that does not tell which matched."""
        if self._clock() >= self._look_again:
            self._read_again()
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for expected, caller in self._clients:
            if hmac.compare_digest(digest, expected):
                found = caller
        return found

    def _read_again(self) -> None:
        self._look_again = self._clock() + 1.0
        try:
            modified = self._path.stat().st_mtime_ns
            if modified != self._modified:
                self._clients, self._modified = _read_clients(self._path), modified
                _log.info("tokens reloaded: %d clients", len(self._clients))
        except (OSError, ConfigurationError) as error:
            _log.error("tokens not reloaded, the old ones stay valid: %s", error)


def _read_clients(path: Path) -> list[tuple[bytes, Caller]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--tokens: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--tokens: {path} is not TOML: {error}") from None
    clients = content.get("clients")
    if content.keys() != {"clients"} or not isinstance(clients, dict) or not clients:
        raise ConfigurationError(f"--tokens: {path} must hold tables [clients.NAME] and nothing else")
    return [_client(name, entry) for name, entry in clients.items()]


def _client(name: str, entry: Any) -> tuple[bytes, Caller]:
    if not isinstance(entry, dict) or entry.keys() != {"sha256", "methods"}:
        raise ConfigurationError(f"--tokens: clients.{name} must have sha256 and methods, and nothing else")
    sha256, methods = entry["sha256"], entry["methods"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ConfigurationError(f"--tokens: clients.{name}.sha256 must be 64 hexadecimal digits, not the token itself")
    if not isinstance(methods, list) or not all(isinstance(m, str) and _PATTERN.fullmatch(m) for m in methods):
        raise ConfigurationError(
            f'--tokens: clients.{name}.methods must be a list such as ["package.Service/*"] or ["*"]'
        )
    return bytes.fromhex(sha256), Caller(name, tuple(methods))


class JsonWebTokens:
    """Tokens of an identity provider, checked against its key set (a JWKS file, read again when it changes).

    `sub` names the caller; `scope` (a text, separated by spaces) or `scp` (a list) holds the patterns of the methods.
    """

    def __init__(self, key_set: Path, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        """Read the keys. Raises ConfigurationError where they cannot be used or PyJWT is not installed."""
        try:
            import jwt
        except ImportError:
            raise ConfigurationError("--jwt-keys needs the extra cofactor[jwt]") from None
        self._jwt = jwt
        self._path = key_set
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._keys, self._modified = self._read_keys(), key_set.stat().st_mtime_ns
        self._look_again = clock() + 1.0

    def _read_keys(self) -> dict[str, Any]:
        try:
            key_set = self._jwt.PyJWKSet.from_json(self._path.read_text("utf-8"))
        except OSError as error:
            raise ConfigurationError(f"--jwt-keys: cannot read {self._path}: {error.strerror}") from None
        except (self._jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise ConfigurationError(f"--jwt-keys: {self._path} is not a JWKS file: {error}") from None
        keys = {key.key_id: key for key in key_set.keys if key.key_id and key.key_type != "oct"}
        if not keys:
            raise ConfigurationError(f"--jwt-keys: {self._path} holds no public key with a kid")
        return keys

    def authenticate(self, token: str) -> Caller | None:
        """Verify signature, issuer, audience and times; what was verified is remembered until it expires."""
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            if now >= self._look_again:
                self._read_again()
            remembered = self._verified.get(digest)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        try:
            claims = self._verify(token)
        except self._jwt.PyJWTError as error:
            _log.debug("token refused: %s", error)
            return None
        caller = _caller_of(claims)
        with self._lock:
            self._verified[digest] = (float(claims["exp"]), caller)
            if len(self._verified) > _MOST_VERIFIED:
                self._verified.popitem(last=False)
        return caller

    def _verify(self, token: str) -> dict[str, Any]:
        key = self._keys.get(self._jwt.get_unverified_header(token).get("kid", ""))
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

    def _read_again(self) -> None:
        self._look_again = self._clock() + 1.0
        try:
            modified = self._path.stat().st_mtime_ns
            if modified != self._modified:
                self._keys, self._modified = self._read_keys(), modified
                self._verified.clear()  # a key that was withdrawn opens nothing any more
                _log.info("token keys reloaded: %d", len(self._keys))
        except (OSError, ConfigurationError) as error:
            _log.error("token keys not reloaded, the old ones stay valid: %s", error)


def _caller_of(claims: dict[str, Any]) -> Caller:
    scopes = claims.get("scope", claims.get("scp", ""))
    patterns = scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
    # A scope that is not a pattern of ours belongs to another service.
    return Caller(str(claims["sub"]), tuple(p for p in patterns if isinstance(p, str) and _PATTERN.fullmatch(p)))


class Authentication:
    """Decides on a call by its metadata. Methods of `open_services` need no token: a load balancer has none."""

    def __init__(self, authenticators: Sequence[Authenticator], open_services: Sequence[str] = ()) -> None:
        self._authenticators = tuple(authenticators)
        self._open = tuple(f"/{service}/" for service in open_services)

    def admit(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Caller | None:
        """Return the caller, None on an open method; raises Unauthenticated or PermissionDenied."""
        if method.startswith(self._open):
            return None
        token = _bearer_token(metadata)
        for authenticator in self._authenticators:
            caller = authenticator.authenticate(token)
            if caller is not None:
                if not caller.may_call(method):
                    raise PermissionDenied(method)
                return caller
        raise Unauthenticated


def _bearer_token(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    values = [value for key, value in metadata if key == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > _LONGEST_TOKEN:
        raise Unauthenticated
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token
