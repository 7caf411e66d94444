"""Run a server with metrics and the admin API, and a gateway to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server_process import ServerProcess, free_port
from tests.support.web import RunningGateway, run_gateway


@dataclass(frozen=True)
class PageServer:
    """A server process, and the address of its admin API."""

    process: ServerProcess
    admin_target: str


@contextmanager
def run_page(models: Path, log: Path, *flags: str, **settings: object) -> Iterator[tuple[PageServer, RunningGateway]]:
    """Run a server in its own process, and a gateway to it with its metrics and its admin API; yield both.

    `flags` are those of the server; `settings` replace those of the gateway.
    """
    metrics_port, admin_port = free_port(), free_port()
    ports = ("--metrics-port", str(metrics_port), "--admin-port", str(admin_port))
    with ServerProcess(models, log, *ports, *flags) as process:
        admin_target = f"127.0.0.1:{admin_port}"
        own = {"metrics_url": f"http://127.0.0.1:{metrics_port}/metrics", "admin_target": admin_target}
        with run_gateway(f"127.0.0.1:{process.port}", **{**own, **settings}) as gateway:
            yield PageServer(process, admin_target), gateway
