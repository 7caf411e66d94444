"""Run the application with uvicorn."""

from __future__ import annotations

import socket

import uvicorn

from cofactor_web.app import create_app
from cofactor_web.settings import GatewaySettings


class GatewayServer(uvicorn.Server):
    """HTTP server of the gateway. It prints its address when it accepts connections.

    Attributes:
        url: the address of the page.
    """

    def __init__(self, settings: GatewaySettings, host: str = "127.0.0.1", port: int = 0, grace_s: int = 10) -> None:
        """Bind the address; port 0 stands for any. Raises OSError if it is not free."""
        self._listener = _bind(host, port)
        bound_host, bound_port = self._listener.getsockname()[:2]
        self.url = f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}/"
        super().__init__(
            uvicorn.Config(
                create_app(settings),
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=grace_s,
            )
        )

    def serve_until_stopped(self) -> None:
        """Serve until SIGINT or SIGTERM, or until should_exit is set."""
        with self._listener:
            self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the address."""
        await super().startup(sockets)
        if self.started:
            print(f"page at {self.url}", flush=True)


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address. Raises OSError with a message that names the flags."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise OSError(f"--host and --port: cannot listen at {host} port {port}: {error}") from None
    return listener
