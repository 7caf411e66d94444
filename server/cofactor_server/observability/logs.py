"""Log as text for people or as JSON for machines. JSON lines hold the ids of the current call."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import grpc

from cofactor_server.observability.request_ids import REQUEST_ID_KEY

# W3C Trace Context: version, trace id, span id, flags.
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _CurrentCall(threading.local):
    context: grpc.ServicerContext | None = None


# The call that the current thread handles. The interceptor sets it; it is read only when something is logged.
CURRENT_CALL = _CurrentCall()


def call_ids() -> dict[str, str]:
    """Return the request_id and trace_id that the caller of the current call sent, as far as there are any."""
    context = CURRENT_CALL.context
    if context is None:
        return {}
    ids = {}
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY:
            ids["request_id"] = str(value)[:128]
        elif key == "traceparent":
            match = _TRACE_PARENT.fullmatch(str(value))
            if match:
                ids["trace_id"] = match[1]
    return ids


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, severity, logger, message, process, request_id, trace_id, exception.

    python-json-logger is not used: for these keys, ids and milliseconds it needs a subclass as long as this class.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        content: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **call_ids(),
        }
        # Ids passed as `extra` to the logger take precedence over those of the call.
        content.update({key: getattr(record, key) for key in ("request_id", "trace_id") if hasattr(record, key)})
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


class BadHeaderFilter(logging.Filter):
    """Reports headers that are not UTF-8 in one line, at most once a minute.

    grpcio logs the value, which may be a token, with a stack trace, and does so for every call.
    """

    _PAUSE_S = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        if not (record.name.startswith("grpc") and str(record.msg).startswith("Invalid encoding")):
            return True
        if self._clock() < self._next:
            return False
        self._next = self._clock() + self._PAUSE_S
        record.msg, record.args, record.exc_info = "a caller sent a header that is not UTF-8", (), None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def configure_logging(level: str, log_format: str) -> None:
    """Log to standard error, from `level` on, as "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT_FORMAT))
    handler.addFilter(BadHeaderFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
