"""Train for `cofactor-train train`: once to measure, once to export."""

from __future__ import annotations

import argparse
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.commands.metrics_protocol import describe_probability, describe_protocol, is_sampled, noun_of
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.splits import Split, in_rows_of
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings
from cofactor_trainer.export.fitted.probabilities import calibrate
from cofactor_trainer.export.fitted.recency import fit_recency
from cofactor_trainer.export.held_out_measures import measure_held_out, sample_users
from cofactor_trainer.export.version_writer import MetricsProtocol
from cofactor_trainer.scoring.calibration import Calibration
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.console_observer import ConsoleObserver
from cofactor_trainer.training.epochs import EpochResult, TrainingResult
from cofactor_trainer.training.observer import CompositeObserver, Observer
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.rated_rows import train_on_ratings
from cofactor_trainer.training.second_process import SecondProcess, has_second_processor, in_second_process
from cofactor_trainer.training.tensorboard import TensorBoardObserver
from cofactor_trainer.training.threads import is_threaded

logger = logging.getLogger(__name__)
# A training on fewer ratings takes less than a second. One on more would need its memory twice.
FEWEST_SIDE_BY_SIDE, MOST_SIDE_BY_SIDE = 20_000, 5_000_000


@dataclass(frozen=True)
class TrainedVersion:
    """Everything about a version that training decides.

    Attributes:
        model: model to export.
        train_ratings: ratings that it was trained on.
        rated: all ratings, in the rows of ``train_ratings``.
        metrics: metrics of the model that was measured.
        history: epochs of the model that was measured.
        protocol: how the metrics were measured.
        calibration: the probabilities of interaction; None for ratings, and without enough held-out events.
    """

    model: TrainedModel
    train_ratings: RatingsDataset
    rated: RatingsDataset
    metrics: dict[str, float]
    history: tuple[EpochResult, ...]
    protocol: MetricsProtocol
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Trainer:
    """Trains twice with the flags of the command: on a part of the ratings to measure, on all of them to export.

    Attributes:
        console: where to show the epochs.
        recipe: model and hyper-parameters.
        device: "cpu", "cuda" or "cuda:N".
        flags: flags of `cofactor-train train`.
    """

    console: Console
    recipe: Recipe
    device: str
    flags: argparse.Namespace

    def train_version(self, dataset: RatingsDataset, split: Split | None) -> TrainedVersion:
        """Train and measure. Then train again on all ratings, unless the measured model is to be exported."""
        if split is None:
            result = self._train_to_measure(dataset, None)
            protocol = describe_protocol(self.flags, None, refitted=False)
            (dataset,) = self._with_recency(result.model, dataset)
            return TrainedVersion(
                result.model, dataset, dataset, manifest_metrics(result, None), result.history, protocol
            )
        n_train, n_held_out = split.train.n_ratings, split.validation.n_ratings
        self._print(f"training on {n_train:,} {noun_of(dataset)}, measuring on {n_held_out:,} others")
        refits = self.flags.export == "refitted"
        with self._second_training(dataset, refits) as second:
            result = self._train_to_measure(split.train, split.validation)
            self._print(f"measuring on the {n_held_out:,} others")
            measures = measure_held_out(result.model, split)
            metrics = manifest_metrics(result, split) | measures.new_user_metrics()
            protocol = replace(describe_protocol(self.flags, split, refitted=refits), measures=measures.to_json())
            train_part, dataset = self._with_recency(result.model, split.train, dataset)
            split = replace(split, train=train_part)
            calibration, errors = self._calibrate(result.model, split)
            metrics |= errors
            if not refits:
                rated = in_rows_of(dataset, split.train)
                return TrainedVersion(result.model, split.train, rated, metrics, result.history, protocol, calibration)
            model = self._wait_for(second) if second else self._train_again(dataset, result.best_epoch).model
        return TrainedVersion(model, dataset, dataset, metrics, result.history, protocol, calibration)

    def _with_recency(
        self, model: TrainedModel, learnt: RatingsDataset, *others: RatingsDataset
    ) -> list[RatingsDataset]:
        """Return the data a model learnt, and others, with what --recency finds out; it changes no training."""
        if not self.flags.recency:
            return [learnt, *others]
        fitted = fit_recency(model, learnt)
        self._print(fitted.describe())
        return [replace(data, events=data.events and fitted.apply(data.events)) for data in (learnt, *others)]

    def _calibrate(self, model: TrainedModel, split: Split) -> tuple[Calibration | None, dict[str, float]]:
        """Fit probabilities on the held-out events. Ratings have none: nobody knows who would rate an item."""
        if split.train.events is None:
            return None, {}
        return calibrate(model, split, describe_probability(self.flags, split))

    @contextmanager
    def _second_training(self, dataset: RatingsDataset, refits: bool) -> Iterator[SecondProcess[TrainingResult] | None]:
        """Train on all ratings while the block runs, if that takes less time than to do it afterwards."""
        if not (refits and self._can_train_side_by_side(dataset.n_ratings)):
            yield None
            return
        n_epochs = self.recipe.epochs
        self._print(
            f"training again on all {dataset.n_ratings:,} {noun_of(dataset)} for {n_epochs} epochs, in a second process"
        )
        quiet = replace(self, console=Console(file=io.StringIO()))
        with in_second_process(partial(quiet._train_again, dataset, n_epochs)) as second:
            yield second

    def _can_train_side_by_side(self, n_ratings: int) -> bool:
        """Return True if a second training would not wait for the first, nor for its number of epochs."""
        flags = self.flags
        return (
            self.device == "cpu"
            and self.recipe.model != "blend"
            and FEWEST_SIDE_BY_SIDE <= n_ratings <= MOST_SIDE_BY_SIDE
            and not is_threaded(self.recipe.batch_size_for(n_ratings))
            and (flags.patience, flags.checkpoint, flags.tensorboard) == (None, None, None)
            and has_second_processor()
        )

    def _wait_for(self, second: SecondProcess[TrainingResult]) -> TrainedModel:
        if not second.is_done:
            self._print("waiting for the second process")
        result = second.result()
        self._print(f"trained again: train loss {result.history[-1].train_loss:.4f} in epoch {len(result.history)}")
        return result.model

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def _train_to_measure(self, train_ratings: RatingsDataset, validation: RatingsDataset | None) -> TrainingResult:
        """Train on the ratings, and stop early if the flags say so."""
        checkpoint: Path | None = self.flags.checkpoint
        if checkpoint is not None and not self.flags.resume:
            refit = refit_checkpoint(checkpoint)
            for path in (refit, ranking_checkpoint(checkpoint), ranking_checkpoint(refit)):
                _delete(path)  # it belongs to an earlier run
        return self._train(
            train_ratings,
            validation,
            self.flags.tensorboard,
            patience=self.flags.patience,
            checkpoint=checkpoint,
            resume=self.flags.resume,
        )

    def _train_again(self, dataset: RatingsDataset, n_epochs: int) -> TrainingResult:
        """Train on all ratings, for as many epochs as the measured model was trained."""
        self._print(f"training again on all {dataset.n_ratings:,} {noun_of(dataset)} for {n_epochs} epochs, to export")
        checkpoint = None if self.flags.checkpoint is None else refit_checkpoint(self.flags.checkpoint)
        return self._train(
            dataset,
            None,
            None if self.flags.tensorboard is None else self.flags.tensorboard / "refit",
            n_epochs=n_epochs,
            checkpoint=checkpoint,
            resume=self.flags.resume and checkpoint is not None and checkpoint.exists(),
        )

    def _train(
        self,
        train_ratings: RatingsDataset,
        validation: RatingsDataset | None,
        logs: Path | None,
        *,
        checkpoint: Path | None,
        resume: bool,
        patience: int | None = None,
        n_epochs: int | None = None,
    ) -> TrainingResult:
        with self._observer(logs, self.recipe) as observer:
            result = train_on_ratings(
                train_ratings,
                validation,
                self.recipe,
                seed=self.flags.seed,
                device=self.device,
                observer=observer,
                allow_misfit_range=self.flags.allow_misfit_range,
                patience=patience,
                checkpoint=checkpoint,
                resume=resume,
                n_epochs=n_epochs,
            )
        return replace(result, model=self._add_ranking_part(result.model, train_ratings, logs, checkpoint, resume))

    def _add_ranking_part(
        self,
        model: TrainedModel,
        train_ratings: RatingsDataset,
        logs: Path | None,
        checkpoint: Path | None,
        resume: bool,
    ) -> TrainedModel:
        if not self.recipe.ranking:
            return model
        self._print("training the ranking part")
        path = None if checkpoint is None else ranking_checkpoint(checkpoint)
        logs = None if logs is None else logs / "ranking"
        with self._observer(logs, self.recipe.ranking[0], lists_epochs=False) as observer:
            return add_ranking_part(
                model,
                train_ratings,
                self.recipe,
                seed=self.flags.seed,
                device=self.device,
                observer=observer,
                checkpoint=path,
                resume=resume,
            )

    @contextmanager
    def _observer(self, logs: Path | None, recipe: Recipe, *, lists_epochs: bool = True) -> Iterator[Observer]:
        """Show the training on the console, and log its epochs where the flags say so."""
        observers: list[Observer] = []
        if logs is not None:
            observers.append(TensorBoardObserver(logs, recipe, self.flags.seed))
        with ConsoleObserver(self.console, lists_epochs=lists_epochs) as table:
            yield CompositeObserver([table, *observers])


def refit_checkpoint(checkpoint: Path) -> Path:
    """Return the file that saves the second training, beside the checkpoint of the first."""
    return checkpoint.with_name(f"{checkpoint.name}.refit")


def ranking_checkpoint(checkpoint: Path) -> Path:
    """Return the file that saves the training of the ranking part, beside the checkpoint of the rest."""
    return checkpoint.with_name(f"{checkpoint.name}.ranking")


def _delete(path: Path) -> None:
    with suppress(OSError):  # if it cannot be deleted, writing the new checkpoint will fail with a better message
        path.unlink(missing_ok=True)


def manifest_metrics(result: TrainingResult, split: Split | None) -> dict[str, float]:
    """Return the metrics for the manifest."""
    metrics = {"train_loss": result.history[-1].train_loss}
    return metrics if split is None else metrics | held_out_metrics(result.model, split)


def held_out_metrics(model: TrainedModel, split: Split) -> dict[str, float]:
    """Return the metrics of held-out ratings; if none of them is relevant there are no ranking metrics."""
    metrics: dict[str, float] = {}
    if model.objective == "rating":
        metrics |= asdict(evaluate_ratings(model, split.of_ratings()))
    try:
        ranking = evaluate_ranking(model, sample_users(split) if is_sampled(split) else split)
    except InputError as error:
        logger.warning("the version has no ranking metrics: %s", error)
        return metrics
    names = {"ndcg": ranking.ndcg, "recall": ranking.recall}
    return metrics | {f"{name}@{ranking.k}": value for name, value in names.items()}
