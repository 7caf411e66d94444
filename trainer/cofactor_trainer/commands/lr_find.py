"""Run `cofactor-train lr-find`: find a learning rate with a range test."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.event_flags import OF_RATINGS
from cofactor_trainer.commands.recipe_flags import recipe_from_flags, resolve_device
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.data.events.weights import weigh_events
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.export.atomic_directory import replace_text
from cofactor_trainer.training.lr_finder import LearningRateCurve, find_learning_rate
from cofactor_trainer.training.rated_rows import rated_part

_PRINTED_ROWS = 12
_BAR_WIDTH = 40


def run(arguments: argparse.Namespace) -> int:
    """Run the range test, then print and plot it."""
    if arguments.steps < 10:
        raise InputError(f"--steps is {arguments.steps}: it must be at least 10")
    console = Console()
    recipe, device = recipe_from_flags(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    split = split_dataset(dataset, arguments)
    print_dataset(console, dataset, None if split is None else split.validation.n_ratings)
    if dataset.given_ratings is not None:
        console.print(OF_RATINGS, soft_wrap=True, markup=False, highlight=False)
    sweep = find_learning_rate(
        rated_part(weigh_events(dataset) if split is None else split.train),
        recipe,
        seed=arguments.seed,
        device=device,
        n_steps=arguments.steps,
        allow_misfit_range=arguments.allow_misfit_range,
    )
    _print(console, sweep)
    if arguments.plot is not None:
        write_plot(sweep, recipe.name, arguments.plot)
        console.print(f"plot: {arguments.plot}")
    console.print(f"suggestion: --learning-rate {sweep.suggestion:.1e} (the recipe has {recipe.learning_rate:g})")
    return 0


def write_plot(sweep: LearningRateCurve, name: str, path: Path) -> None:
    """Write the curve as one self-contained HTML file.

    Raises:
        MissingExtraError: plotly is not installed.
        InputError: the file cannot be written.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingExtraError("the plot of the learning rates", "plotly", "report") from None
    figure = go.Figure(go.Scatter(x=sweep.rates, y=sweep.losses, mode="lines", name="loss"))
    figure.add_vline(x=sweep.suggestion, line_dash="dash", annotation_text=f"suggested: {sweep.suggestion:.1e}")
    figure.update_xaxes(type="log", title="learning rate", exponentformat="power")
    figure.update_yaxes(title="loss, smoothed")
    figure.update_layout(title=f"Learning-rate range test of {name}", template="plotly_white")
    try:
        replace_text(path, figure.to_html(include_plotlyjs=True))
    except OSError as error:
        raise InputError(
            f"the plot cannot be written ({error.strerror}): pass another file with --plot", path
        ) from None


def _print(console: Console, sweep: LearningRateCurve) -> None:
    console.print(f"{'learning rate':>14}{'loss':>10}", style="bold")
    highest = max(sweep.losses)
    step = max(1, len(sweep.rates) // _PRINTED_ROWS)
    for rate, loss in list(zip(sweep.rates, sweep.losses, strict=True))[::step]:
        console.print(f"{rate:>14.1e}{loss:>10.4f}  {'█' * round(_BAR_WIDTH * loss / highest)}", highlight=False)
