"""Name each call by its caller's request id, or by a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

REQUEST_ID_KEY = "x-request-id"
_LEGAL_REQUEST_ID = re.compile(r"[!-~]{1,128}")


def request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's own request id, or a new one."""
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _LEGAL_REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
