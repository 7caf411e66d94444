"""Find histories whose fold-in is numerically stable in float32.

Each Gauss-Newton step linearises the network, which has kinks. A long history sometimes comes so near to a kink that
the last bit of a rating decides on which side it falls. The next steps amplify the difference to the third digit of
the output, and two correct programs differ. A dot product has no kinks, but where many factors meet few or improbable
ratings the steps have not converged, and amplify as well. Such a history cannot verify an export, so another one takes
its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from cofactor_trainer.export.verification.golden_inputs import GraphInputs
from cofactor_trainer.export.verification.tolerances import relative_difference

# Relative noise that is added to a rating: a few of the last bits of float32.
PERTURBATION = 3e-7
PERTURBED_RUNS = 8
# Largest change of an output that is still stable: well below the tolerance for an export, and in the same unit.
LARGEST_CHANGE = 2e-6
REDRAWS = 3
# Inputs that are perturbed. The second is that of models of ratings and events.
_PERTURBED = ("ratings", "event_weights")
_ITEMS = ("item_rows", "event_rows")
# Inputs in the order in which the modules of embed_user and embed_item take them, and their outputs.
_ORDER = ("item_rows", "ratings", "event_rows", "event_weights", "profile")
OUTPUTS = ("user_factors", "user_bias", "fitted")


class EmbedUser(Protocol):
    """Function that computes graph embed_user, or embed_item, where users and items are exchanged."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return user factors, user bias and, unless items of a ranking are embedded, fitted ratings."""


def find_stable_history(
    history: GraphInputs, embed_user: EmbedUser, n_items: int, units: Mapping[str, float]
) -> GraphInputs:
    """Return the history if it is stable, or else the first stable one of its variations.

    The variations are the same items with their ratings in another order, and then fewer and fewer of the items.

    Args:
        history: inputs of embed_user: item_rows (B, N) padded with n_items, ratings (B, N).
        embed_user: fold-in to test with.
        n_items: row of the unknown item.
        units: units of the outputs, by name; `output_units` explains them.
    """
    random = torch.Generator().manual_seed(0)
    varied = dict(history)
    n_columns = max(varied[name].shape[1] for name in _ITEMS if name in varied)
    for attempt in range(REDRAWS + n_columns):
        if _is_stable(varied, embed_user, random, units):
            return varied
        ratings = varied["ratings"]
        if attempt < REDRAWS:
            order = torch.randperm(ratings.numel(), generator=random)
            varied["ratings"] = ratings.flatten()[order].reshape(ratings.shape)
        else:
            # Drop a quarter of the items. Without items every history is stable.
            for name in _ITEMS:
                if name in varied:
                    varied[name] = _without_a_quarter(varied[name], n_items)
    return varied


def _without_a_quarter(rows: Tensor, n_items: int) -> Tensor:
    """Replace the last quarter of the items of histories, (B, N), by padding."""
    n_kept = int(((rows != n_items).sum(1).max() * 3) // 4)
    return torch.where(torch.arange(rows.shape[1]) < n_kept, rows, n_items)


def _is_stable(
    history: GraphInputs, embed_user: EmbedUser, random: torch.Generator, units: Mapping[str, float]
) -> bool:
    """Return True if noise in the last bits of the ratings hardly changes the outputs."""
    with torch.inference_mode():
        outputs = embed_user(*_in_order(history))
        perturbed_runs = []
        for _ in range(PERTURBED_RUNS):
            perturbed = dict(history)
            for name in _PERTURBED:
                if name in history:
                    noise = torch.randn(history[name].shape, generator=random)
                    perturbed[name] = history[name] * (1 + PERTURBATION * noise)
            perturbed_runs.append(embed_user(*_in_order(perturbed)))
    return all(
        relative_difference(perturbed.numpy(), output.numpy(), units.get(name, 1.0)).max(initial=0) <= LARGEST_CHANGE
        for run in perturbed_runs
        for name, output, perturbed in zip(OUTPUTS[: len(outputs)], outputs, run, strict=True)
    )


def _in_order(history: GraphInputs) -> list[Tensor]:
    return [history[name] for name in _ORDER if name in history]
