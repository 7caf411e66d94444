"""Declare the flags of warm starts, and those of `cofactor-train update`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cofactor_trainer.commands.dataset_flags import add_dataset_flags

# Exit codes of `cofactor-train update`; 2 is an error that the user can fix.
PUBLISHED, NOT_BETTER, LOCKED, NOTHING_NEW = 0, 3, 4, 5


def add_warm_start_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `cofactor-train train` that start from a version."""
    group = parser.add_argument_group("refresh")
    group.add_argument(
        "--warm-start",
        type=Path,
        metavar="VERSION",
        help="start from a version directory and learn only what is new in the dataset, in a fraction of the time (dot "
        "products only)",
    )
    _add_space_flag(group)


def add_update_parser(commands: Any) -> None:
    """Declare the sub-command `update`."""
    parser = commands.add_parser(
        "update",
        help="refresh the running version and publish the result as a canary, for cron",
        description="Start from the running version of a model, learn what is new, judge the result against the "
        "running version on the newest data, and publish it with a label that gives it a share of the users. Prints "
        f"one line of JSON. Exit codes: {PUBLISHED} published, 2 error, {NOT_BETTER} not good enough, {LOCKED} another "
        f"update is running, {NOTHING_NEW} too little is new.",
    )
    group = parser.add_argument_group("model")
    group.add_argument("--repository", type=Path, required=True, metavar="DIR", help="model repository of the servers")
    group.add_argument("--model", required=True, metavar="NAME", help="name of the model")
    group.add_argument("--version", metavar="V", help="name of the new version (default: the UTC time)")
    group.add_argument(
        "--sign-key", type=Path, metavar="KEY.pem", help="sign the version with this private key (signing extra)"
    )
    _add_judging_flags(parser)
    add_dataset_flags(parser, "--data", required=True)
    parser.set_defaults(validation_fraction=0.5)


def _add_judging_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("judgement and publication")
    group.add_argument(
        "--require",
        choices=("not-worse", "better"),
        default="not-worse",
        help="publish unless the new version is worse, or only if it is better; a difference counts if its whole 95%% "
        "interval is on one side (default: %(default)s)",
    )
    group.add_argument(
        "--min-judged",
        type=int,
        default=20,
        metavar="N",
        help="fewest held-out ratings to judge by; with fewer nothing happens (default: %(default)s)",
    )
    group.add_argument("--label", default="canary", help="label of the new version (default: %(default)s)")
    group.add_argument(
        "--canary-percent",
        type=float,
        default=5.0,
        metavar="P",
        help="share of the users that the label serves (default: %(default)s)",
    )
    group.add_argument("--dry-run", action="store_true", help="judge, but change nothing in the repository")
    _add_space_flag(group)


def _add_space_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--embedding-space",
        choices=("keep", "renew"),
        help="keep: leave known items where they are, so that embeddings that were handed out stay valid; renew: move "
        "them, too (default: keep)",
    )
