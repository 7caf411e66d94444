"""Encode the files that hold overlays, and verify them when they are read."""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from cofactor.v1.overlay_pb2 import Overlay, OverlayFile
from cofactor_server.repository.overlays.checks import OverlayError


def encode_overlay(overlay: Overlay) -> bytes:
    """Return the content of the file of an overlay."""
    content = overlay.SerializeToString(deterministic=True)
    return OverlayFile(overlay=content, sha256=hashlib.sha256(content).digest()).SerializeToString()


def decode_overlay(content: bytes, sequence: int) -> Overlay:
    """Return the overlay of the file with this number; raises OverlayError if it is damaged or has another number."""
    try:
        file = OverlayFile.FromString(content)
        if hashlib.sha256(file.overlay).digest() != file.sha256:
            raise OverlayError("sha256", "does not match the overlay: the file is damaged; publish it again")
        overlay = Overlay.FromString(file.overlay)
    except DecodeError:
        raise OverlayError(
            "file", "is not an OverlayFile (proto/cofactor/v1/overlay.proto); publish it again"
        ) from None
    if overlay.sequence != sequence:
        raise OverlayError("sequence", f"is {overlay.sequence}, and the name of the file says {sequence}")
    return overlay
