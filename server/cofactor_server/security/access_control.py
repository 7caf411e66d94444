"""Admit calls by their token and by the rate of their client."""

from __future__ import annotations

import grpc

from cofactor_server.errors import RateLimited
from cofactor_server.security.authentication import Authenticator
from cofactor_server.security.rate_limit import RateLimiter


class AccessControl:
    """Admit or refuse calls; without an authenticator or a rate limiter, that check is off.

    The rate limit counts by the client's name or, without tokens, by its address.

    Attributes:
        is_needed: True if there is anything to check.
    """

    def __init__(self, authenticator: Authenticator | None = None, rate_limiter: RateLimiter | None = None) -> None:
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self.is_needed = authenticator is not None or rate_limiter is not None

    def admit(self, method: str, context: grpc.ServicerContext) -> None:
        """Raise Unauthenticated, PermissionDenied or RateLimited if a call may not go on."""
        client = None
        if self._authenticator is not None:
            client = self._authenticator.authorize(method, context.invocation_metadata())
        if self._rate_limiter is not None and not method.startswith("/grpc.health."):
            wait_s = self._rate_limiter.acquire(client.name if client is not None else _address(context.peer()))
            if wait_s > 0:
                raise RateLimited(wait_s)


def _address(peer: str) -> str:
    """Return the host of a peer such as "ipv4:10.0.0.7:51234"; a client may use any number of ports."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
