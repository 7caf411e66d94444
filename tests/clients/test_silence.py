"""The example clients close a connection on which the network drops all data, and retry on another one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

GET_MODEL = "/cofactor.v1.CatalogService/GetModel"
TIMEOUT_S = 25  # keepalive takes 15 s: a ping after 10 s, and 5 s until it times out


class Connection(socketserver.BaseRequestHandler):
    """Connection that forwards bytes both ways. Once it is silent, it reads and drops them."""

    silent = False

    def handle(self):
        self.server.connections.append(self)
        with socket.create_connection(self.server.upstream) as upstream:
            threading.Thread(target=self._forward, args=(upstream, self.request), daemon=True).start()
            self._forward(self.request, upstream)

    def _forward(self, source, sink):
        with contextlib.suppress(OSError):  # either side has closed the connection
            while content := source.recv(65536):
                if not self.silent:
                    sink.sendall(content)
            if not self.silent:
                sink.shutdown(socket.SHUT_WR)


class Link(socketserver.ThreadingTCPServer):
    """TCP proxy in front of a port of this machine.

    Attributes:
        connections: all connections so far.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.upstream = ("127.0.0.1", port)
        self.connections: list[Connection] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def silence_once(self) -> None:
        """Silence the connections that are open now, without closing them. Later connections work."""
        if not any(connection.silent for connection in self.connections):
            for connection in self.connections:
                connection.silent = True


@pytest.fixture(scope="module")
def outcomes(examples, open_proxy):
    """Output of the client of each language, and the calls that arrived. They run in parallel, because they wait."""

    def run(example):
        proxy = open_proxy()
        link = Link(proxy.port)
        proxy.on_arrival = link.silence_once
        try:
            done = example.run(f"127.0.0.1:{link.server_address[1]}", timeout=str(TIMEOUT_S))
            return done, dict(proxy.calls)
        finally:
            link.shutdown()
            link.server_close()
            proxy.stop()

    with ThreadPoolExecutor(max(1, len(examples))) as pool:
        return dict(zip((example.language for example in examples), pool.map(run, examples), strict=True))


def test_retries_on_another_connection_when_one_is_silent(example, outcomes, expected):
    done, calls = outcomes[example.language]
    assert done.stdout.splitlines() == expected.splitlines(), done.stderr
    assert calls[GET_MODEL] == 2, "control: the first response was lost"
