"""Page tokens: where the next page starts, on which version, of which request. Opaque to callers, kept nowhere."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from cofactor_server.errors import InvalidPageToken

# The head's layout, offset, fingerprint.
_HEAD = struct.Struct(">BII")
_LAYOUT = 2
_CHECK = struct.Struct(">I")


@dataclass(slots=True, eq=False)
class PageToken:
    """A page to come.

    Attributes:
        offset: results before it.
        fingerprint: a number that tells the request, its token aside.
        model: name and version, "name/version".
    """

    offset: int
    fingerprint: int
    model: str


def encode_token(offset: int, fingerprint: int, model: str) -> str:
    """The token as callers see it; its parts are those of PageToken."""
    head = _HEAD.pack(_LAYOUT, offset, fingerprint) + model.encode()
    return (head + _check(head)).hex()


def decode_token(text: str) -> PageToken:
    """The token in `text`; raises InvalidPageToken unless it is one that encode_token() gave."""
    try:
        raw = bytes.fromhex(text)
        head, check = raw[: -_CHECK.size], raw[-_CHECK.size :]
        layout, offset, fingerprint = _HEAD.unpack_from(head)
        model = head[_HEAD.size :].decode()
    except (struct.error, ValueError):
        raise InvalidPageToken("is not a token of this server; start again at the first page") from None
    if layout != _LAYOUT or check != _check(head):
        raise InvalidPageToken("is not a token of this server; start again at the first page")
    return PageToken(offset, fingerprint, model)


def fingerprint(request: bytes) -> int:
    """32 bits that tell a serialised request from others."""
    return zlib.crc32(request)


def _check(head: bytes) -> bytes:
    """Tells a damaged token. Not a signature: a forged token gains nothing but an offset, which anyone may ask for."""
    return _CHECK.pack(zlib.crc32(head))
