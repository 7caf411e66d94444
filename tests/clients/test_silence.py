"""The example clients leave a connection that the network has swallowed, and call again on another."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

GET_MODEL = "/cofactor.v1.CatalogService/GetModel"
TIMEOUT_S = 25  # keepalive needs 15: a ping after 10 s, given up 5 s later


class Connection(socketserver.BaseRequestHandler):
    """Bytes both ways; once silent, they are taken and lost."""

    silent = False

    def handle(self):
        self.server.connections.append(self)
        with socket.create_connection(self.server.upstream) as upstream:
            threading.Thread(target=self._carry, args=(upstream, self.request), daemon=True).start()
            self._carry(self.request, upstream)

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):  # either side has gone
            while content := source.recv(65536):
                if not self.silent:
                    sink.sendall(content)
            if not self.silent:
                sink.shutdown(socket.SHUT_WR)


class Link(socketserver.ThreadingTCPServer):
    """A TCP proxy in front of a port of this machine.

    Attributes:
        connections: all there have been.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.upstream = ("127.0.0.1", port)
        self.connections: list[Connection] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def silence_once(self) -> None:
        """The connections open by now carry nothing any more, and nobody is told; later ones do."""
        if not any(connection.silent for connection in self.connections):
            for connection in self.connections:
                connection.silent = True


@pytest.fixture(scope="module")
def outcomes(examples, open_proxy):
    """For each language what its client printed and which calls arrived; side by side, as all of them wait."""

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


def test_leaves_a_connection_that_has_fallen_silent(example, outcomes, expected):
    done, calls = outcomes[example.language]
    assert done.stdout.splitlines() == expected.splitlines(), done.stderr
    assert calls[GET_MODEL] == 2, "the control: the first answer was lost"
