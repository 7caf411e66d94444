"""Page tokens: where the next page starts, on which version, of which request. Opaque to callers, kept nowhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from cofactor_server.errors import InvalidPageToken

_HEAD = struct.Struct(">BI8s")
_LAYOUT = 1
_CHECK = 6
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(slots=True, eq=False)
class PageToken:
    """A page to come.

    Attributes:
        offset: results before it.
        fingerprint: 8 bytes that tell the request, its token aside.
        model: name and version, "name/version".
    """

    offset: int
    fingerprint: bytes
    model: str


def encode_token(offset: int, fingerprint: bytes, model: str) -> str:
    """The token as callers see it; its parts are those of PageToken."""
    head = _HEAD.pack(_LAYOUT, offset, fingerprint) + model.encode()
    # The urlsafe functions of base64 take three times as long as this.
    return binascii.b2a_base64(head + _check(head), newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def decode_token(text: str) -> PageToken:
    """The token in `text`; raises InvalidPageToken unless it is one that encode_token() gave."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        head, check = raw[:-_CHECK], raw[-_CHECK:]
        layout, offset, fingerprint = _HEAD.unpack_from(head)
        model = head[_HEAD.size :].decode()
    except (binascii.Error, struct.error, ValueError):
        raise InvalidPageToken("is not a token of this server; start again at the first page") from None
    if layout != _LAYOUT or check != _check(head):
        raise InvalidPageToken("is not a token of this server; start again at the first page")
    return PageToken(offset, fingerprint, model)


def fingerprint(request: bytes) -> bytes:
    """8 bytes that tell a serialised request from others."""
    return hashlib.blake2b(request, digest_size=8).digest()


def _check(head: bytes) -> bytes:
    """Tells a damaged token. Not a signature: a forged token gains nothing but an offset, which anyone may ask for."""
    return hashlib.blake2b(head, digest_size=_CHECK, person=b"cofactor-page").digest()
