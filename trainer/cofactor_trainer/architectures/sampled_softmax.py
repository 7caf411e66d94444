"""Compute the loss of a softmax over the catalogue, or over a sample of a large one."""

from __future__ import annotations

import torch
from torch import Tensor

# With this many items or more, the softmax runs over a sample of them.
SAMPLED_FROM_ITEMS = 20_000
SAMPLED_ITEMS = 8_192


def draw_candidates(item_rows: Tensor, n_users: int, rated_shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of the items that the softmax runs over, and the log of their inclusion probabilities.

    The candidates are the items of a batch of users, and more that are drawn evenly. Their rows ascend. With the logs
    subtracted from the scores, the sum of exponentials over the sample is an unbiased estimate of the sum over all
    items (D. G. Horvitz and D. J. Thompson, 1952).

    item_rows (n,) are the items of the n_users users; rated_shares (n_items,) says which share of all users has each
    item.
    """
    n_items = len(rated_shares)
    drawn = torch.randint(n_items, (SAMPLED_ITEMS,), device=item_rows.device)
    candidates = torch.unique(torch.cat([item_rows.long(), drawn]))
    rated_share = rated_shares.index_select(0, candidates).clamp(max=1 - 1e-6)
    absence = torch.pow(1 - rated_share, n_users) * (1 - 1 / n_items) ** SAMPLED_ITEMS
    return candidates, torch.log1p(-absence)


def replace_by_gradient(
    scores: Tensor, positions: Tensor, columns: Tensor, weights: Tensor, log_inclusion: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of the users' items, (), and replace the scores by its gradient, in place.

    Args:
        scores: scores of the items for every user, (n_users, m), less log_inclusion.
        positions: user of every rating, (n,).
        columns: item of every rating, (n,).
        weights: weight of every rating, (n,).
        log_inclusion: logs of the items' inclusion probabilities, (m,); None if all items of the catalogue are there.
    """
    scores -= scores.amax(1, keepdim=True)
    chosen = scores[positions, columns]
    if log_inclusion is not None:
        chosen += log_inclusion.index_select(0, columns)
    sums = scores.exp_().sum(1)
    total = weights.sum()
    loss = ((sums.log()[positions] - chosen) * weights).sum() / total
    user_weights = torch.zeros(len(scores), device=weights.device).index_add_(0, positions, weights)
    scores *= (user_weights / (total * sums))[:, None]
    scores.index_put_((positions, columns), -weights / total, accumulate=True)
    return loss
