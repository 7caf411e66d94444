"""The options of every subcommand that say how a server is trusted, and the token of the environment."""

from __future__ import annotations

import argparse
import os

from cofactor_client._channel import Tls


def add_tls_options(options: argparse._ActionsContainer, authorities: str | None) -> None:
    """Declare them; `authorities` is the default of --ca, or "system" for that of --tls."""
    encrypted = authorities == "system"
    options.add_argument(
        "--tls", action="store_true", default=encrypted, help="encrypt, trusting the well-known authorities"
    )
    named = None if encrypted else authorities
    options.add_argument("--ca", metavar="FILE", default=named, help="encrypt, trusting these authorities (PEM)")
    options.add_argument("--cert", metavar="FILE", help="the client's own certificate (PEM), with --key")
    options.add_argument("--key", metavar="FILE", help="its private key (PEM)")
    options.add_argument("--server-name", metavar="NAME", help="name in the server's certificate, if not the address's")


def tls(arguments: argparse.Namespace) -> Tls | None:
    """What they say; None for plain text. Raises ValueError for half a key pair."""
    files = arguments.ca, arguments.cert, arguments.key
    return Tls(*files, server_name=arguments.server_name) if arguments.tls or any(files) else None


def token() -> str | None:
    """The bearer token to send, from COFACTOR_TOKEN."""
    return os.environ.get("COFACTOR_TOKEN") or None
