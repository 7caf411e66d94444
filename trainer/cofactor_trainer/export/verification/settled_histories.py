"""Histories on which float32 can decide what a network's fold-in answers.

Each Gauss-Newton step linearises the network, which has kinks. A long history now and then lands so near to one that
the last bit of a rating decides on which side, and the next steps carry the difference into the third digit of the
answer: two programs that are both right differ. Such a history says nothing of an export. Another, or a shorter one, is
compared in its place.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.export.verification.golden_cases import Case

# Of a rating, in proportion: a few of float32's last bits.
PERTURBATION = 3e-7
PERTURBED_RUNS = 8
# What the perturbed answers may differ by: well below what an export may.
LARGEST_CHANGE = 2e-6
REDRAWS = 3


def settled_history(case: Case, fold_in: nn.Module, n_items: int) -> Case:
    """The case itself, or one of the same items with other ratings, or with fewer, that float32 decides.

    case: inputs of embed_user, item_rows (B, N) padded with n_items, ratings (B, N).
    """
    random = torch.Generator().manual_seed(0)
    case = dict(case)
    for attempt in range(REDRAWS + case["item_rows"].shape[1]):
        if _is_settled(case, fold_in, random):
            return case
        ratings, rows = case["ratings"], case["item_rows"]
        if attempt < REDRAWS:
            case["ratings"] = ratings.flatten()[torch.randperm(ratings.numel(), generator=random)].reshape(
                ratings.shape
            )
        else:
            # A quarter less, down to none, which every float32 decides.
            kept = int(((rows != n_items).sum(1).max() * 3) // 4)
            case["item_rows"] = torch.where(torch.arange(rows.shape[1]) < kept, rows, n_items)
    return case


def _is_settled(case: Case, fold_in: nn.Module, random: torch.Generator) -> bool:
    with torch.inference_mode():
        answers = fold_in(**case)
        others = []
        for _ in range(PERTURBED_RUNS):
            noise = torch.randn(case["ratings"].shape, generator=random)
            others.append(fold_in(**{**case, "ratings": case["ratings"] * (1 + PERTURBATION * noise)}))
    return all(
        _change(answer, other_answer) <= LARGEST_CHANGE
        for other in others
        for answer, other_answer in zip(answers, other, strict=True)
    )


def _change(answer: Tensor, other: Tensor) -> float:
    difference = (answer - other).abs() / (answer.abs() / 10).clamp(min=1)
    return float(np.max(difference.numpy(), initial=0))
