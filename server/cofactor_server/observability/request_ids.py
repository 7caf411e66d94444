"""Choose the id of a request: the caller's own or a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

REQUEST_ID_KEY = "x-request-id"
_VALID_REQUEST_ID = re.compile(r"[!-~]{1,128}")


def request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the valid request id in the caller's metadata, or a new one."""
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _VALID_REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
