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
        is_metered: True if there is a rate limit.
    """

    def __init__(self, authenticator: Authenticator | None = None, rate_limiter: RateLimiter | None = None) -> None:
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self.is_needed = authenticator is not None or rate_limiter is not None
        self.is_metered = rate_limiter is not None

    def admit(self, method: str, context: grpc.ServicerContext) -> str:
        """Return the name that the rate limit counts the call under, "" if it does not count.

        Raises Unauthenticated, PermissionDenied or RateLimited if the call may not go on.
        """
        client = None
        if self._authenticator is not None:
            client = self._authenticator.authorize(method, context.invocation_metadata())
        if self._rate_limiter is None or method.startswith("/grpc.health."):
            return ""
        name = client.name if client is not None else _address(context.peer())
        wait_s = self._rate_limiter.acquire(name)
        if wait_s > 0:
            raise RateLimited(wait_s)
        return name

    def acquire(self, name: str) -> float:
        """Count a further message of a call; return 0, or the seconds until it may go on."""
        return self._rate_limiter.acquire(name) if self._rate_limiter is not None else 0.0

    def charge(self, name: str, n_requests: int) -> None:
        """Count further requests of an admitted call."""
        if self._rate_limiter is not None:
            self._rate_limiter.charge(name, n_requests)


def _address(peer: str) -> str:
    """Return the host of a peer such as "ipv4:10.0.0.7:51234"; a client may use any number of ports."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
