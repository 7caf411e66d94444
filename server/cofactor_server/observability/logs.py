"""Logs for people or, as one JSON object a line, for machines; these know the request they were written in."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import grpc

from cofactor_server.observability.request_ids import REQUEST_ID_KEY

# W3C Trace Context: version, trace id, span id, flags.
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _CurrentCall(threading.local):
    context: grpc.ServicerContext | None = None


# The call that this thread answers: set by the interceptor, read only when something is logged.
CURRENT_CALL = _CurrentCall()


def call_ids() -> dict[str, str]:
    """request_id and trace_id of the call that this thread answers, as far as it has any."""
    context = CURRENT_CALL.context
    if context is None:
        return {}
    ids = {}
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY:
            ids["request_id"] = str(value)[:128]
        elif key == "traceparent":
            found = _TRACE_PARENT.fullmatch(str(value))
            if found:
                ids["trace_id"] = found[1]
    return ids


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, severity, logger, message, what was passed as `extra`, and the cause."""

    def format(self, record: logging.LogRecord) -> str:
        """Format as JSON."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **call_ids(),
        }
        content.update({key: getattr(record, key) for key in ("request_id", "trace_id") if hasattr(record, key)})
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


def configure_logging(level: str, form: str) -> None:
    """Log to standard error from `level` on; `form` is "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
