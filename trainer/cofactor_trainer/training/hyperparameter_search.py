"""Search for hyper-parameters with Optuna: T. Akiba et al., Optuna, KDD 2019."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cofactor_trainer.architectures.batches import check_batches
from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError, MissingExtraError, TrainerError
from cofactor_trainer.training.checkpoints import run_fingerprint
from cofactor_trainer.training.train import train

_BATCH_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
_FACTORS = (8, 16, 32, 50, 64, 100, 128, 200, 256)
_MAX_EPOCHS = 20


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and the validation loss of the last epoch."""

    settings: dict[str, Any]
    loss: float


def search(
    split: Split,
    recipe: Recipe,
    *,
    n_trials: int,
    seed: int = 42,
    device: str = "cpu",
    allow_misfit_range: bool = False,
    study: Path | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> list[Trial]:
    """Try settings near a recipe's, beginning with the recipe itself; the best trial comes first.

    Args:
        split: judged on its validation part, which is no longer unseen afterwards: report figures on another split.
        recipe: what is varied.
        n_trials: in all, those that ``study`` holds already included.
        seed: of the training, and with the number of trials that ``study`` holds of the sampling.
        device: to train on.
        allow_misfit_range: train even if the model can never predict some of the ratings.
        study: SQLite file that keeps the trials, so that a search that was interrupted goes on.
        on_trial: told the number of each trial and how it went.

    Raises:
        MissingExtraError: optuna is not installed.
        RecipeError: the recipe does not fit the ratings.
        InputError: the study is of another recipe, seed or split, or its file no study.
    """
    optuna = _optuna()
    resolve_range(recipe, split.train, allow_misfit=allow_misfit_range)
    check_batches(recipe, split.train.n_ratings)
    kept = _open_study(optuna, recipe, study)
    purpose = [run_fingerprint(recipe, seed, part) for part in (split.train, split.validation)]
    if kept.user_attrs.setdefault("purpose", purpose) != purpose:
        raise InputError(
            "the study is of another recipe, seed, split or set of ratings: give the flags it was begun with, or name "
            "another file",
            study,
        )
    kept.set_user_attr("purpose", purpose)
    # Seeded alike, a search that goes on would draw the trials that it has made already.
    kept.sampler = optuna.samplers.TPESampler(seed=(seed + len(kept.trials)) % (1 << 32))
    if not kept.trials:
        kept.enqueue_trial(_settings_of(recipe), skip_if_exists=True)

    def loss_of(trial: Any) -> float:
        tried = replace(recipe, **_suggest(trial, recipe))
        try:
            result = train(
                split.train, split.validation, tried, seed=seed, device=device, allow_misfit_range=allow_misfit_range
            )
        except TrainerError as error:
            raise optuna.TrialPruned(str(error)) from error
        loss = result.history[-1].validation_loss
        assert loss is not None
        if on_trial is not None:
            on_trial(trial.number + 1, Trial(trial.params, loss))
        return loss

    kept.optimize(loss_of, n_trials=max(0, n_trials - len(kept.trials) + _waiting(kept)))
    done = [Trial(trial.params, trial.value) for trial in kept.trials if trial.value is not None]
    if not done:
        raise TrainerError("every trial diverged: begin with a lower --learning-rate")
    return sorted(done, key=lambda trial: trial.loss)


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError:
        raise MissingExtraError("the search for hyper-parameters", "optuna", "search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open_study(optuna: Any, recipe: Recipe, path: Path | None) -> Any:
    """The study in a file, a new one where there is none."""
    database = importlib.import_module("sqlalchemy.exc")  # comes with optuna
    try:
        return optuna.create_study(
            storage=None if path is None else f"sqlite:///{path}",
            study_name=f"cofactor {recipe.name}",
            load_if_exists=True,
        )
    except database.DBAPIError as error:
        raise InputError(f"cannot be used as a study ({error.orig}): name another file with --study", path) from None


def _suggest(trial: Any, recipe: Recipe) -> dict[str, Any]:
    """A factor of ten around what the recipe has for the two rates; what the flags allow for the rest."""
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", *_around(recipe.learning_rate), log=True),
        "weight_decay": trial.suggest_float("weight_decay", *_around(recipe.weight_decay or 0.1), log=True),
        "epochs": trial.suggest_int("epochs", 1, max(_MAX_EPOCHS, recipe.epochs)),
        "batch_size": trial.suggest_categorical("batch_size", sorted({*_BATCH_SIZES, recipe.batch_size})),
    }
    if recipe.n_factors is not None:
        suggested["n_factors"] = trial.suggest_categorical("n_factors", sorted({*_FACTORS, recipe.n_factors}))
    return suggested


def _settings_of(recipe: Recipe) -> dict[str, Any]:
    settings = {name: getattr(recipe, name) for name in ("learning_rate", "epochs", "batch_size")}
    settings["weight_decay"] = recipe.weight_decay or 0.1
    return settings if recipe.n_factors is None else settings | {"n_factors": recipe.n_factors}


def _around(value: float) -> tuple[float, float]:
    return value / 10, value * 10


def _waiting(study: Any) -> int:
    """Trials that are queued but not begun."""
    return sum(trial.state.name == "WAITING" for trial in study.trials)
