"""Turn every line on standard error into JSON, also those that do not come from Python's logging.

gRPC's core, other C libraries and the interpreter write to file descriptor 2 themselves, and none of them offers a
hook. So descriptor 2 becomes a pipe to a small process, forked before there are threads. A thread could not do this: a
library that fills the pipe while it holds Python's lock would wait for a reader that waits for the lock. The process
also outlives a crash, and so forwards its last words.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

# Ends the forwarding; no text contains this byte.
_END = b"\0"
_LONGEST_LINE = 2**20
# A line of absl's logging, which gRPC's core uses: severity and date, time, thread, file:line] message.
_ABSL = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ (\S+:\d+\] .*)", re.DOTALL)
_SEVERITIES = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}


def start_json_stderr() -> Callable[[], None]:
    """Forward standard error of this process and its children as JSON; return a function that ends this.

    Call it before any thread starts.
    """
    reader, writer = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            os.close(writer)
            _forward(reader)
        finally:
            os._exit(0)
    original = os.dup(2)
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)

    def end() -> None:
        os.write(2, _END)  # children may keep the pipe open, so its end does not come by itself
        os.dup2(original, 2)
        os.close(original)
        os.waitpid(process_id, 0)

    return end


def _forward(reader: int) -> None:
    # Signals for the whole group are for the server; this process ends when the server has written its last line.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(0)
    os.close(1)
    for line in _lines(reader):
        output = to_json(line)
        while output:
            output = output[os.write(2, output) :]


def _lines(reader: int) -> Iterator[bytes]:
    """Yield every line until the pipe or the forwarding ends."""
    rest = b""
    while chunk := os.read(reader, 65_536):
        text, end, _ = chunk.partition(_END)
        *lines, rest = (rest + text).split(b"\n")
        yield from lines
        if end:
            break
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    yield rest


def to_json(line: bytes) -> bytes:
    """Return a line as one line of JSON: unchanged if it is JSON already, nothing if it is blank."""
    text = line.decode("utf-8", errors="replace").strip()
    if not text:
        return b""
    if not _is_object(text):
        match = _ABSL.fullmatch(text)
        content = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "severity": _SEVERITIES[match[1]] if match else "ERROR",
            "logger": "grpc.core" if match else "stderr",
            "message": match[2] if match else text,
        }
        text = json.dumps(content, ensure_ascii=False)
    return text.encode("utf-8", errors="replace") + b"\n"


def _is_object(text: str) -> bool:
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
