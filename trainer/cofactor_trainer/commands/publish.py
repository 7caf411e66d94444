"""Run `cofactor-train publish`: copy a version into the model repository of servers."""

from __future__ import annotations

import argparse

from cofactor_trainer.export.publish import publish_version


def run(arguments: argparse.Namespace) -> int:
    """Publish the version and print where it is."""
    location = publish_version(arguments.version, arguments.repository, arguments.sign_key)
    print(f"published{' and signed' if arguments.sign_key else ''}: {location}")
    return 0
