"""Who may call, and how often."""

from __future__ import annotations

import grpc

from cofactor_server.errors import RateLimited
from cofactor_server.security.rate_limit import RateLimiter
from cofactor_server.security.tokens import Authentication


class AccessControl:
    """Admits calls by their token and their client's rate; either may be absent.

    A client is the name on the token, or the address where no token is asked for.
    """

    def __init__(self, gate: Authentication | None = None, limiter: RateLimiter | None = None) -> None:
        self._gate = gate
        self._limiter = limiter
        self.is_needed = gate is not None or limiter is not None

    def admit(self, method: str, context: grpc.ServicerContext) -> None:
        """Raises Unauthenticated, PermissionDenied or RateLimited."""
        caller = self._gate.admit(method, context.invocation_metadata()) if self._gate is not None else None
        if self._limiter is not None and not method.startswith("/grpc.health."):
            client = caller.name if caller is not None else _address(context.peer())
            wait_s = self._limiter.acquire(client)
            if wait_s > 0:
                raise RateLimited(wait_s)


def _address(peer: str) -> str:
    """The host of a peer such as "ipv4:10.0.0.7:51234": its ports are as many as it likes."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
