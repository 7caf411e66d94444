"""Entry point of the `cofactor-web` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. Returns 0, or 2 for wrong arguments or an address that is not free."""
    parsed = _build_parser().parse_args(arguments)
    if arguments is None:
        # uvicorn stops for either signal, and then sends it again to the handlers that were there before.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))
    try:
        return _serve(parsed)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "cofactor").startswith("cofactor"):
            raise  # a broken installation, not a missing extra
        print(
            f"error: cofactor-web needs the package {error.name}: pip install 'cofactor[web]' (in a checkout '.[web]')",
            file=sys.stderr,
        )
        return 2


def _serve(parsed: argparse.Namespace) -> int:
    # Imported here, so that a missing extra is one line.
    from cofactor_client import Tls
    from cofactor_web.http_server import GatewayServer
    from cofactor_web.settings import GatewaySettings

    tls = None
    if parsed.tls or parsed.tls_ca or parsed.tls_certificate:
        tls = Tls(parsed.tls_ca, parsed.tls_certificate, parsed.tls_key, parsed.tls_server_name)
        tls.credentials()  # raises OSError now if a file cannot be read
    settings = GatewaySettings(
        target=parsed.target,
        admin_target=parsed.admin_target,
        metrics_url=parsed.metrics_url,
        tls=tls,
        timeout_s=parsed.timeout_s,
        max_body_bytes=parsed.max_body_kib * 2**10,
    )
    GatewayServer(settings, parsed.host, parsed.port, parsed.grace_s).serve_until_stopped()
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cofactor-web", description="JSON gateway and page of a Cofactor server.")
    add = parser.add_argument
    target = os.environ.get("COFACTOR_TARGET")
    add("--version", action="version", version=f"%(prog)s {version('cofactor')}")
    add("--target", metavar="HOST:PORT", default=target, required=not target, help="the gRPC server (COFACTOR_TARGET)")
    add("--admin-target", metavar="HOST:PORT", help="its admin API; without it there are no routes for operators")
    add("--metrics-url", metavar="URL", help="its Prometheus metrics, such as http://127.0.0.1:9464/metrics")
    add("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    add("--port", type=int, default=8080, help="port to listen at; 0 for any (default: %(default)s)")
    add("--timeout-s", type=float, default=10.0, help="deadline of calls without X-Timeout-Ms (default: %(default)g)")
    add("--max-body-kib", type=int, default=1024, help="largest body of a request (default: %(default)s)")
    add("--grace-s", type=int, default=10, help="time for calls in flight after SIGTERM (default: %(default)s)")
    add("--tls", action="store_true", help="TLS to the server, with the authorities that come with gRPC")
    add("--tls-ca", metavar="FILE", help="TLS to the server, with these authorities")
    add("--tls-certificate", metavar="FILE", help="certificate of the gateway, for mutual TLS")
    add("--tls-key", metavar="FILE", help="its private key")
    add("--tls-server-name", metavar="NAME", help="name in the server's certificate, if not that of the address")
    return parser


if __name__ == "__main__":
    sys.exit(main())
