"""Search for better hyper-parameters with Optuna (T. Akiba et al., Optuna, KDD 2019)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cofactor_trainer.architectures.batches import check_batches
from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError, MissingExtraError, TrainerError
from cofactor_trainer.training.checkpoints import run_fingerprint
from cofactor_trainer.training.train import train

if TYPE_CHECKING:
    import optuna

_BATCH_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
_FACTORS = (8, 16, 32, 50, 64, 100, 128, 200, 256)
_MAX_EPOCHS = 20


@dataclass(frozen=True)
class Trial:
    """Hyper-parameters that were tried, and the validation loss of their last epoch."""

    settings: dict[str, Any]
    loss: float


def search_hyperparameters(
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
    """Try hyper-parameters near those of a recipe, starting with the recipe itself.

    Args:
        split: ratings to train on and to compare trials by. The validation ratings are not unseen afterwards: report
            the quality of the result on another split.
        recipe: recipe to vary.
        n_trials: number of trials in all, including those that ``study`` already holds.
        seed: seed of the training; together with the number of trials in ``study`` also of the sampling.
        device: device to train on.
        allow_misfit_range: train even if some ratings lie outside the range that the model can predict.
        study: SQLite file that stores the trials, so that an interrupted search can continue.
        on_trial: called with the number and the result of every new trial.

    Returns:
        All trials, the best first.

    Raises:
        MissingExtraError: optuna is not installed.
        RecipeError: the recipe does not fit the ratings.
        InputError: the study belongs to another recipe, seed or split, or its file is not a study.
    """
    library = _import_optuna()
    resolve_range(recipe, split.train, allow_misfit=allow_misfit_range)
    check_batches(recipe, split.train.n_ratings)
    opened = _open_study(library, recipe, study)
    _check_purpose(opened, [run_fingerprint(recipe, seed, part) for part in (split.train, split.validation)], study)
    # With the same seed as before, a continued search would draw the same trials again.
    opened.sampler = library.samplers.TPESampler(seed=(seed + len(opened.trials)) % (1 << 32))
    if not opened.trials:
        opened.enqueue_trial(_settings_of(recipe), skip_if_exists=True)

    def train_trial(trial: optuna.Trial) -> float:
        varied = recipe.with_settings(**_suggest_settings(trial, recipe))
        try:
            result = train(
                split.train, split.validation, varied, seed=seed, device=device, allow_misfit_range=allow_misfit_range
            )
        except TrainerError as error:
            raise library.TrialPruned(str(error)) from error
        loss = result.history[-1].validation_loss
        assert loss is not None
        if on_trial is not None:
            on_trial(trial.number + 1, Trial(trial.params, loss))
        return loss

    opened.optimize(train_trial, n_trials=max(0, n_trials - len(opened.trials) + _queued_trials(opened)))
    done = [Trial(trial.params, trial.value) for trial in opened.trials if trial.value is not None]
    if not done:
        raise TrainerError("every trial diverged: start with a lower --learning-rate")
    return sorted(done, key=lambda trial: trial.loss)


def _import_optuna() -> Any:
    try:
        library = importlib.import_module("optuna")
    except ImportError:
        raise MissingExtraError("the search for hyper-parameters", "optuna", "search") from None
    library.logging.set_verbosity(library.logging.WARNING)
    return library


def _open_study(library: Any, recipe: Recipe, path: Path | None) -> optuna.Study:
    """Open the study in a file, or create it."""
    database = importlib.import_module("sqlalchemy.exc")  # installed with optuna
    try:
        study: optuna.Study = library.create_study(
            storage=None if path is None else f"sqlite:///{path}",
            study_name=f"cofactor {recipe.name}",
            load_if_exists=True,
        )
    except database.DBAPIError as error:
        raise InputError(f"cannot be used as a study ({error.orig}): name another file with --study", path) from None
    return study


def _check_purpose(study: optuna.Study, purpose: list[str], path: Path | None) -> None:
    """Record the purpose of a new study, or refuse a study that was started for another one.

    Raises:
        InputError: the study has another purpose.
    """
    if study.user_attrs.setdefault("purpose", purpose) != purpose:
        raise InputError(
            "the study belongs to another recipe, seed, split or set of ratings: repeat the flags it was started with, "
            "or name another file with --study",
            path,
        )
    study.set_user_attr("purpose", purpose)


def _suggest_settings(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest rates within a factor of ten of the recipe's, and any allowed value for the other settings."""
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", *_range_around(recipe.learning_rate), log=True),
        "weight_decay": trial.suggest_float("weight_decay", *_range_around(recipe.weight_decay or 0.1), log=True),
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


def _range_around(value: float) -> tuple[float, float]:
    return value / 10, value * 10


def _queued_trials(study: optuna.Study) -> int:
    return sum(trial.state.name == "WAITING" for trial in study.trials)
