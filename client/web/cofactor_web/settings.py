"""Settings of the gateway."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from cofactor_client import Tls

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of the gateway, checked at construction.

    Attributes:
        target: address of the gRPC server, "host:port".
        admin_target: address of its admin API; None for a gateway without routes for operators.
        metrics_url: address of the server's Prometheus metrics; None for a gateway that does not show them.
        tls: TLS settings of the connections to the server; None for plain text.
        timeout_s: deadline in seconds of calls whose request names none.
        max_body_bytes: largest body of a request.
        page: folder of the page, with index.html.
    """

    target: str
    admin_target: str | None = None
    metrics_url: str | None = None
    tls: Tls | None = None
    timeout_s: float = 10.0
    max_body_bytes: int = 2**20
    page: Path = PAGE

    def __post_init__(self) -> None:
        """Raise ValueError for a setting that is out of range, naming its flag."""
        if not self.target.strip():
            raise ValueError("--target: is empty; give the address of the server, HOST:PORT")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(f"--timeout-s: must be a positive number of seconds, not {self.timeout_s:g}")
        if self.max_body_bytes <= 0:
            raise ValueError("--max-body-kib: must be at least 1")
        if self.metrics_url is not None and not self.metrics_url.startswith(("http://", "https://")):
            raise ValueError(f"--metrics-url: must begin with http:// or https://, not {self.metrics_url[:64]!r}")
