"""Paginate: encode page tokens, and find the version and the page that a request asks for.

A page token is opaque to callers and stored nowhere. It holds the model version, the offset of the page and a
fingerprint of the request, so that all pages of a list come from one version and one request.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.errors import InvalidPageToken, PageTokenExpired
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

# A token is this head (layout, offset, fingerprint), the version's key and a checksum of both, in hexadecimal.
_HEAD = struct.Struct(">BII")
# With the digest of a named rule set between head and version key, the layout is another one.
_LAYOUT, _LAYOUT_WITH_RULES = 2, 3
_RULES_DIGEST_BYTES = 8
_CHECKSUM = struct.Struct(">I")

Rows = npt.NDArray[np.signedinteger]


class PaginatedMessage(Protocol):
    """A request with a page token."""

    page_token: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 (protobuf's name)
        """Serialize the message."""


class PaginatedRequest(PaginatedMessage, Protocol):
    """A request with a page token and a model."""

    @property
    def model(self) -> ModelRef:
        """The model that the request names."""

    def HasField(self, field_name: Literal["model"]) -> bool:  # noqa: N802 (protobuf's name)
        """Return True if the request names a model."""


@dataclass(slots=True, eq=False)
class PageToken:
    """The decoded token of a page.

    Attributes:
        offset: number of results before the page.
        fingerprint: fingerprint of the request without its token.
        version_key: the model version, "name/version", and its overlay, "name/version+sequence".
        rules_digest: digest of the named rule set of the list; empty if it has none.
    """

    offset: int
    fingerprint: int
    version_key: str
    rules_digest: bytes = b""


@dataclass(slots=True, eq=False)
class RequestedPage:
    """The page that a request asks for, on the version that serves it.

    Attributes:
        version: the version that ranks.
        offset: number of results before the page.
        request_key: the serialized request without its token, the same for all pages of a list.
        rules_digest: digest of the named rule set of the list; empty if it has none.
    """

    version: LoadedVersion
    offset: int
    request_key: bytes
    rules_digest: bytes = b""

    def next_token(self, page_size: int) -> str:
        """Return the token of the next page."""
        fingerprint = request_fingerprint(self.request_key)
        return encode_token(self.offset + page_size, fingerprint, self.version.page_key, self.rules_digest)

    def cut(self, rows: Rows, page_size: int) -> tuple[Rows, str]:
        """Return this page of a whole list of rows, and the token of the next page ("" on the last page)."""
        end = self.offset + page_size
        return rows[self.offset : end], self.next_token(page_size) if len(rows) > end else ""


def find_page(registry: ModelRegistry, request: PaginatedRequest, user_id: str = "") -> RequestedPage:
    """Return the page that a request asks for; ModelRegistry.resolve says what `user_id` is for.

    Clears the page token of the request. Raises ModelNotFound, InvalidPageToken, or PageTokenExpired if the version of
    the token is no longer loaded.
    """
    token, request_key = pop_page_token(request)
    if token is None:
        if request.HasField("model"):
            return RequestedPage(registry.resolve(request.model, user_id), 0, request_key)
        return RequestedPage(registry.resolve_default(user_id), 0, request_key)
    version = registry.get(token.version_key)
    if version is None:
        raise PageTokenExpired
    _check_model(registry, request.model, version)
    return RequestedPage(version, token.offset, request_key, token.rules_digest)


def _check_model(registry: ModelRegistry, ref: ModelRef, version: LoadedVersion) -> None:
    """Raise InvalidPageToken if the request names another model or another version than its token.

    Anyone can compute a fingerprint, so the token alone must not choose the model. A label may have moved since the
    first page; the list then stays on its version.
    """
    name = ref.name or registry.default_name
    if version.manifest.name != name or ref.version not in ("", version.manifest.version):
        raise InvalidPageToken("belongs to a list of another model; start again at the first page")


def pop_page_token(request: PaginatedMessage) -> tuple[PageToken | None, bytes]:
    """Clear and decode the page token of a request; return it (None on the first page) and the request's key.

    Raises InvalidPageToken if the token is damaged or was made for another request.
    """
    text = request.page_token
    if text:
        request.page_token = ""
    request_key = type(request).__name__.encode() + request.SerializeToString(deterministic=True)
    if not text:
        return None, request_key
    token = decode_token(text)
    if token.fingerprint != request_fingerprint(request_key):
        raise InvalidPageToken("belongs to a request with other parameters; change only page_token")
    return token, request_key


def encode_token(offset: int, fingerprint: int, version_key: str, rules_digest: bytes = b"") -> str:
    """Return the token that callers see; the arguments are those of PageToken."""
    layout = _LAYOUT_WITH_RULES if rules_digest else _LAYOUT
    head = _HEAD.pack(layout, offset, fingerprint) + rules_digest + version_key.encode()
    return (head + _checksum(head)).hex()


def decode_token(text: str) -> PageToken:
    """Decode a token; raises InvalidPageToken unless encode_token made it."""
    try:
        raw = bytes.fromhex(text)
        head, checksum = raw[: -_CHECKSUM.size], raw[-_CHECKSUM.size :]
        layout, offset, fingerprint = _HEAD.unpack_from(head)
        key_start = _HEAD.size + (_RULES_DIGEST_BYTES if layout == _LAYOUT_WITH_RULES else 0)
        version_key = head[key_start:].decode()
    except (struct.error, ValueError):
        raise InvalidPageToken("is not a token of this server; start again at the first page") from None
    if layout not in (_LAYOUT, _LAYOUT_WITH_RULES) or checksum != _checksum(head):
        raise InvalidPageToken("is not a token of this server; start again at the first page")
    return PageToken(offset, fingerprint, version_key, head[_HEAD.size : key_start])


def request_fingerprint(request_key: bytes) -> int:
    """Return a 32-bit hash of a request."""
    return zlib.crc32(request_key)


def _checksum(head: bytes) -> bytes:
    """Return the checksum that reveals a damaged token.

    It is not a signature: a forged token gives its maker an offset, and anyone may ask for any offset. The version in
    the token is checked against the model of the request.
    """
    return _CHECKSUM.pack(zlib.crc32(head))
