"""Train with `--warm-start`: begin with a version, learn what is new, measure on the newest of that."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.flag_values import reject_flags
from cofactor_trainer.commands.metrics_protocol import noun_of
from cofactor_trainer.commands.two_trainings import held_out_metrics
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.weights import with_dismissed
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.ann_index.builder import require_faiss
from cofactor_trainer.export.finished_training import FinishedTraining, export_training
from cofactor_trainer.export.fitted.probabilities import calibration_of
from cofactor_trainer.export.held_out_measures import measure_held_out
from cofactor_trainer.export.new_version import check_new_version, create_model_directory
from cofactor_trainer.export.version_writer import MetricsProtocol, version_of_time
from cofactor_trainer.refresh.hold_out import NewData, compare, require_new_pairs
from cofactor_trainer.refresh.starting_version import StartingVersion, read_starting_version
from cofactor_trainer.refresh.warm_start import WarmStart, warm_start

# The version that a warm start begins with has decided these.
_RECIPE_FLAGS = ("recipe", "objective", "epochs", "batch_size", "learning_rate", "weight_decay", "no_ranking_part")
_OTHER_FLAGS = ("recency", "rating_range", "allow_misfit_range", "patience", "checkpoint", "resume", "tensorboard")


def train_from_version(console: Console, arguments: argparse.Namespace) -> int:
    """Run `cofactor-train train --warm-start VERSION`."""
    _check_flags(arguments)
    start = read_starting_version(arguments.warm_start)
    name = arguments.name or start.exported.manifest.name
    check_new_version(arguments.output, name, arguments.version)
    training = WarmTraining(console, start, keeps_space=arguments.embedding_space != "renew")
    if arguments.approximate or training.is_approximate:
        require_faiss()
    new = training.load(arguments)
    require_new_pairs(new)
    create_model_directory(arguments.output / name)
    split = None
    if arguments.validation_fraction and round(arguments.validation_fraction * new.changes.n_added):
        split = new.hold_out(arguments.validation_fraction, arguments.split_seed)
    judged = None if split is None else training.learn(split.train)
    finished = training.finish(new, split, judged, name, arguments.version or _version_of_time(arguments.output / name))
    if arguments.quantize is not None or arguments.approximate:
        finished = replace(
            finished,
            quantize_to=arguments.quantize or finished.quantize_to,
            approximate=arguments.approximate or finished.approximate,
        )
    console.print("exporting, and comparing every graph with torch")
    path = export_training(finished, arguments.output)
    console.print(f"exported: {path}", soft_wrap=True, markup=False, highlight=False)
    return 0


@dataclass(frozen=True)
class WarmTraining:
    """Warm starts from a version.

    Attributes:
        console: where to say what happens.
        start: the version.
        keeps_space: True if embeddings of the version stay valid.
    """

    console: Console
    start: StartingVersion
    keeps_space: bool

    @property
    def is_approximate(self) -> bool:
        """True if the version has an index of candidates, so that the new one gets one, too."""
        return self.start.exported.manifest.HasField("approximate_index")

    def load(self, arguments: argparse.Namespace) -> NewData:
        """Load the data that the flags name, and find what is new in it."""
        manifest = self.start.exported.manifest
        if not 0 <= arguments.validation_fraction < 1:
            raise InputError(
                f"--validation-fraction is {arguments.validation_fraction:g}: it must be at least 0 and below 1"
            )
        self._print(f"reading {arguments.dataset}")
        table = load_dataset(arguments)
        refuse_unapplied_erasures(table, manifest)
        print_dataset(self.console, table, None)
        new = compare(self.start, table)
        self._print(f"since version {manifest.version}: {new.changes.describe(noun_of(new.dataset))}")
        return new

    def learn(self, dataset: RatingsDataset) -> WarmStart:
        """Start from the version and learn what a data set has beyond it."""
        return warm_start(self.start, dataset, keeps_space=self.keeps_space)

    def finish(
        self, new: NewData, split: Split | None, judged: WarmStart | None, name: str, version: str
    ) -> FinishedTraining:
        """Learn everything, and return what the export needs; ``judged`` learnt the train part of ``split``."""
        if new.dataset.events is not None:
            kept = self.start.exported.manifest.events
            feedback = replace(new.dataset.events, recency_boost=kept.recency_boost, recency_decay=kept.recency_decay)
            new = replace(new, dataset=replace(new.dataset, events=feedback))
        metrics, protocol = {}, MetricsProtocol("not measured: no new ratings were held out", refitted=False)
        if split is not None and judged is not None:
            metrics = held_out_metrics(judged.model, split)
            protocol = MetricsProtocol(
                self._protocol(new, split), refitted=True, measures=measure_held_out(judged.model, split).to_json()
            )
        result, manifest = self.learn(new.dataset), self.start.exported.manifest
        is_kept = result.lineage.embedding_space is not None
        self._print(f"embedding space: {'kept' if is_kept else 'renewed'}")
        return FinishedTraining(
            result.model,
            new.dataset,
            name,
            version,
            metrics=metrics,
            hyperparameters={**manifest.hyperparameters, "warm_start": manifest.version},
            protocol=protocol,
            rated=with_dismissed(new.dataset),
            quantize_to="int8" if "item_codes" in self.start.exported.tables else None,
            approximate=self.is_approximate,
            lineage=result.lineage,
            calibration=calibration_of(manifest),
        )

    def _protocol(self, new: NewData, split: Split) -> str:
        noun, version = noun_of(new.dataset), self.start.exported.manifest.version
        chosen = "the latest of them" if new.has_times else "chosen at random"
        return (
            f"measured on {split.validation.n_ratings:,} of {new.changes.n_added:,} {noun} that version {version} had "
            f"not learnt, {chosen}, after a warm start from it with the others; the exported model then learnt all "
            f"{new.dataset.n_ratings:,}"
        )

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


def _check_flags(arguments: argparse.Namespace) -> None:
    reject_flags(arguments, "--warm-start, which goes on with the recipe of its version", *_RECIPE_FLAGS, *_OTHER_FLAGS)
    if arguments.n_factors is not None:
        raise InputError("--factors does not apply to --warm-start, whose version has its factors: leave it out")
    if arguments.split != "random" or arguments.export != "refitted":
        raise InputError(
            "--split and --export do not apply to --warm-start, which holds out the newest of what its version does "
            "not know, and exports what has learnt everything: leave them out"
        )


def _version_of_time(model_dir: Path) -> str:
    return version_of_time(model_dir, datetime.now(UTC))


def refuse_unapplied_erasures(table: RatingsDataset, manifest: Manifest) -> None:
    """Refuse to start from a version that may have learnt from users who were erased after its training.

    Raises:
        InputError: the table was read with erasures that the version did not take into account.
    """
    erasures = table.erasures
    if erasures is None or not erasures.record_count:
        return
    if erasures.records_sha256 != manifest.erasures.records_sha256:
        raise InputError(
            f"users were erased since version {manifest.version} was trained, and a warm start would carry traces of "
            "their data into the new version: train in full, without --warm-start"
        )
