"""Run `cofactor-train update`: warm start, judgement and publication in one command, for schedulers."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cofactor_trainer.commands.metrics_protocol import noun_of
from cofactor_trainer.commands.refresh_flags import LOCKED, NOT_BETTER, NOTHING_NEW, PUBLISHED
from cofactor_trainer.commands.warm_training import WarmTraining
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.ann_index.builder import require_faiss
from cofactor_trainer.export.finished_training import FinishedTraining
from cofactor_trainer.export.new_version import check_new_version
from cofactor_trainer.export.publish import publish_version
from cofactor_trainer.export.version_writer import version_of_time
from cofactor_trainer.refresh.changes import find_changes
from cofactor_trainer.refresh.hold_out import NewData
from cofactor_trainer.refresh.judging import compare_models, is_better, is_worse
from cofactor_trainer.refresh.repository_lock import LockedError, only_update
from cofactor_trainer.refresh.serving_policy import (
    check_label,
    check_share,
    label_canary,
    pin_stable,
    read_policy,
    running_version,
)
from cofactor_trainer.refresh.starting_version import read_starting_version
from cofactor_trainer.refresh.warm_start import WarmStart, carry_over

_EXIT_CODES = {
    "published": PUBLISHED,
    "would-publish": PUBLISHED,
    "not-better": NOT_BETTER,
    "locked": LOCKED,
    "nothing-new": NOTHING_NEW,
}


@dataclass
class Outcome:
    """Report an update in one line of JSON.

    Attributes:
        result: a key of the exit codes.
        details: everything else.
    """

    result: str
    details: dict[str, Any] = field(default_factory=dict)


def run(arguments: argparse.Namespace) -> int:
    """Update a model; print one line of JSON and return the exit code."""
    started = time.monotonic()
    _check_flags(arguments)
    try:
        with only_update(arguments.repository / arguments.model):
            outcome = _update(arguments, Console(stderr=True))
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        outcome = Outcome("locked")
    line = {"result": outcome.result, "model": arguments.model, **outcome.details}
    print(json.dumps({**line, "seconds": round(time.monotonic() - started, 3)}))
    return _EXIT_CODES[outcome.result]


def _update(arguments: argparse.Namespace, console: Console) -> Outcome:
    """Do everything while no other update of the model runs."""
    model_dir: Path = arguments.repository / arguments.model
    policy = read_policy(model_dir)
    check_share(policy, arguments.label, arguments.canary_percent)
    running = running_version(model_dir, policy)
    training = WarmTraining(
        console, read_starting_version(model_dir / running), keeps_space=arguments.embedding_space != "renew"
    )
    if training.is_approximate:
        require_faiss()
    new = training.load(arguments)
    details: dict[str, Any] = {"running": running, "version": None, "changes": _changes(new)}
    n_judged = round(arguments.validation_fraction * new.changes.n_added)
    if n_judged < max(1, arguments.min_judged):
        console.print(
            f"{n_judged:,} of {new.changes.n_added:,} new {noun_of(new.dataset)} can be held out, and the judgement "
            f"needs {arguments.min_judged:,} (--min-judged): nothing is published",
            soft_wrap=True,
        )
        return Outcome("nothing-new", details)
    split = new.hold_out(arguments.validation_fraction, arguments.split_seed)
    judged = training.learn(split.train)
    details["judgement"] = _judge(training, split, judged, console) | {"chosen": _how_chosen(new)}
    if not details["judgement"]["accepted" if arguments.require == "not-worse" else "better"]:
        return Outcome("not-better", details)
    if arguments.dry_run:
        return Outcome("would-publish", details)
    version = arguments.version or version_of_time(model_dir, datetime.now(UTC))
    finished = training.finish(new, split, judged, arguments.model, version)
    console.print("exporting, and comparing every graph with torch")
    return Outcome("published", details | _publish(finished, arguments, running))


def _publish(finished: FinishedTraining, arguments: argparse.Namespace, running: str) -> dict[str, Any]:
    """Export, publish and label a version, and describe it. Wherever this is interrupted, the repository is valid.

    The running version is made stable first: otherwise the new one would serve everyone from its first moment.
    """
    model_dir: Path = arguments.repository / arguments.model
    with tempfile.TemporaryDirectory() as folder:
        exported = finished.export(Path(folder))
        pin_stable(model_dir, running)
        publish_version(exported, str(arguments.repository), arguments.sign_key)
    label_canary(model_dir, arguments.label, finished.version, arguments.canary_percent)
    is_kept = finished.lineage is not None and finished.lineage.embedding_space is not None
    return {
        "version": finished.version,
        "label": arguments.label,
        "canary_percent": arguments.canary_percent,
        "embedding_space": "kept" if is_kept else "renewed",
    }


def _judge(training: WarmTraining, split: Split, judged: WarmStart, console: Console) -> dict[str, Any]:
    """Compare the new model with the running version as it would serve the same users."""
    running = carry_over(training.start, split.train, find_changes(training.start, split.train))
    comparisons = compare_models(running, judged.model, split)
    for comparison in comparisons:
        console.print(comparison.describe(), soft_wrap=True, highlight=False)
    return {
        "ratings": split.validation.n_ratings,
        "accepted": not is_worse(comparisons),
        "better": is_better(comparisons),
        "measures": {comparison.measure: comparison.to_json() for comparison in comparisons},
    }


def _how_chosen(new: NewData) -> str:
    return "latest" if new.has_times else "random"


def _changes(new: NewData) -> dict[str, int]:
    changes = new.changes
    return {
        "added": changes.n_added,
        "changed": changes.n_changed,
        "removed": changes.n_removed,
        "new_users": int(changes.is_new_user.sum()),
        "new_items": int(changes.is_new_item.sum()),
    }


def _check_flags(arguments: argparse.Namespace) -> None:
    """Reject flags before anything is read."""
    repository: Path = arguments.repository
    if "://" in str(repository) or str(repository).startswith(("s3:", "gs:")):
        raise InputError(
            "--repository is an address, and object stores have no locks: update a folder, and copy its versions with "
            "cofactor-train publish",
            repository,
        )
    check_new_version(repository, arguments.model, arguments.version)
    check_label(arguments.label)
    if not (repository / arguments.model).is_dir():
        raise InputError(
            "there is no such model: publish a first version, with cofactor-train --output and --name",
            repository / arguments.model,
        )
    if arguments.split != "random":
        raise InputError("--split does not apply to update, which holds out the newest data: leave it out")
    if not 0 < arguments.validation_fraction < 1:
        raise InputError(
            f"--validation-fraction is {arguments.validation_fraction:g}: it must be above 0 and below 1, because the "
            "new version is judged on what is held out"
        )
    if arguments.min_judged < 1:
        raise InputError(f"--min-judged is {arguments.min_judged}: it must be at least 1")
