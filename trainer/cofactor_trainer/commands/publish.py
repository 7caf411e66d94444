"""Run `cofactor-train publish`: copy a version into the model repository of servers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cofactor_trainer.export.publish import publish_version


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "publish",
        help="copy a version into a model repository",
        description="Check a version and copy it into a model repository. Servers see the whole version or nothing. "
        "They load it at their next poll, unless serving.json labels another version stable.",
    )
    parser.add_argument("version", type=Path, metavar="VERSION", help="version directory, models/NAME/VERSION")
    parser.add_argument("repository", metavar="REPOSITORY", help="directory, or a URL such as s3://bucket/models")
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="KEY.pem",
        help="sign the version with this private key (P-256), for servers with --require-signature (needs the signing "
        "extra)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish the version and print where it is."""
    location = publish_version(arguments.version, arguments.repository, arguments.sign_key)
    print(f"published{' and signed' if arguments.sign_key else ''}: {location}")
    return 0
