"""Run gateways, and send them HTTP requests."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cofactor_web.http_server import GatewayServer
from cofactor_web.settings import GatewaySettings
from tests.support.waiting import until


@dataclass(frozen=True)
class Answer:
    """A response, with the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningGateway:
    """A gateway that listens at `url`, which has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request. Names of headers have _ for -."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            content = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        if found.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        return Answer(response.status, found, content)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def post(self, path: str, message: Any = None, **headers: str) -> Answer:
        """Send a JSON body; none without a message."""
        if message is None:
            return self.request("POST", path, **headers)
        return self.request("POST", path, json.dumps(message).encode(), content_type="application/json", **headers)


@contextmanager
def run_gateway(target: str, **settings: Any) -> Iterator[RunningGateway]:
    """Run a gateway of a server, at a free port, in a thread."""
    server = GatewayServer(GatewaySettings(target=target, **settings))
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield RunningGateway(server.url)
    finally:
        server.should_exit = True
        thread.join(30)
