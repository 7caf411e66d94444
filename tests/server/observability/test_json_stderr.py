"""With --log-format json every line on standard error is a JSON object, whoever wrote it."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from cofactor_server.observability.json_stderr import to_json
from cofactor_server.observability.logs import BadHeaderFilter
from tests.support.server_process import ServerProcess
from tests.support.waiting import until


def message_of(line: bytes) -> tuple[str, str, str]:
    content = json.loads(to_json(line))
    return content["severity"], content["logger"], content["message"]


def test_lines_become_json_objects() -> None:
    own = b'{"time": "now", "message": "unchanged"}'
    assert to_json(own) == own + b"\n"
    assert to_json(b" \r") == b""
    assert message_of(b"E1126 09:40:07.3   16755 hpack_parser.cc:1048] Error parsing 'x'") == (
        "ERROR",
        "grpc.core",
        "hpack_parser.cc:1048] Error parsing 'x'",
    )
    assert message_of(b"I1126 09:40:07.302154       1 a.cc:1] started")[0] == "INFO"
    for text in (b"terminate called", b"{", b"[1]", b'{"a": 1} and more', b"\xff"):
        assert message_of(text) == ("ERROR", "stderr", text.decode(errors="replace"))


def header(name: bytes, value: bytes) -> bytes:
    """Return a literal header of HPACK, not indexed."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def send_call(port: int, name: bytes, value: bytes) -> None:
    """Make a call with one more header, which no gRPC library would send, and wait for the response."""
    headers = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"), (b"te", b"trailers"))
    path = (b":path", b"/cofactor.v1.CatalogService/GetModel")
    block = b"".join(header(*pair) for pair in (*headers, path, (b"content-type", b"application/grpc"), (name, value)))
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        settings, call, body = frame(4, 0, 0), frame(1, 4, 1, block), frame(0, 1, 1, bytes(5))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + call + body)
        received = b""
        while b"grpc-status" not in received:
            received += connection.recv(4096)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_lines_of_grpcs_core_and_of_bad_headers_are_json(dot_version, tmp_path, workers) -> None:
    models, log = dot_version.parents[1], tmp_path / "log"
    flags = ("--log-format", "json", "--drain-delay-s", "0", *(("--workers", workers) if workers != "1" else ()))
    with ServerProcess(models, log, *flags) as server:
        send_call(server.port, b"grpc-timeout", b"nonsense")
        until(lambda: "hpack_parser" in server.text(), 60, "gRPC's core logs the header")
        send_call(server.port, b"authorization", b"Bearer secret \xff")
        until(lambda: "not UTF-8" in server.text(), 60, "the header that is not UTF-8 is logged")
        [forwarder] = [
            child
            for child in psutil.Process(server.pid).children()
            if child.name() == psutil.Process(server.pid).name()
            and child.cmdline() == psutil.Process(server.pid).cmdline()
        ]
        assert server.stop() == 0
        assert not forwarder.is_running()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "stopping" in [line["message"] for line in lines], "the last lines are not lost"
    assert [line["logger"] for line in lines if "hpack_parser" in line["message"]] == ["grpc.core"]
    assert "secret" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_the_error_of_a_command_that_cannot_start_is_json_and_the_exit_code_stays(tmp_path) -> None:
    command = [sys.executable, "-m", "cofactor_server", "--models", str(tmp_path), "--log-format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert json.loads(line)["message"].startswith("error: --models: ")


def test_the_last_words_of_a_process_that_is_killed_are_forwarded(tmp_path) -> None:
    program = """
import os, signal
from cofactor_server.observability.json_stderr import start_json_stderr
start_json_stderr()
os.write(2, b"last words")
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert json.loads(result.stderr)["message"] == "last words"


def test_bad_headers_are_logged_once_a_minute_without_their_value() -> None:
    now = [0.0]
    bad_headers = BadHeaderFilter(lambda: now[0])

    def record() -> logging.LogRecord:
        return logging.LogRecord("grpc", logging.ERROR, "", 0, "Invalid encoding on %s", (b"secret",), sys.exc_info())

    first = record()
    assert bad_headers.filter(first)
    assert (first.getMessage(), first.levelname) == ("a caller sent a header that is not UTF-8", "WARNING")
    assert not bad_headers.filter(record())
    now[0] = 61
    assert bad_headers.filter(record())
    other = logging.LogRecord("grpc", logging.ERROR, "", 0, "another problem", (), None)
    assert bad_headers.filter(other)
    assert other.levelname == "ERROR"
