"""Select the exact top k of a whole catalogue with the operations of ONNX."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EXCLUDED_SCORE = -1e30
# Fills up the last block. Lower than every excluded item, so that it is never returned.
PADDING_SCORE = -2e30
BLOCK_SIZE = 128
# From this many items on, two stages are faster than one TopK over all items.
LARGE_CATALOGUE_ITEMS = 50_000


def padded_length(n_rows: int) -> int:
    """Round a number of rows up to whole blocks of the two-stage top k."""
    return n_rows + -n_rows % BLOCK_SIZE


def mask_excluded(scores: Tensor, excluded_rows: Tensor, n_items: int) -> Tensor:
    """Set the scores of excluded rows, and of all rows from n_items on, to EXCLUDED_SCORE.

    scores (B, n_items + 1 or more), excluded_rows (B, E) -> scores of the same shape.
    """
    if scores.shape[1] == n_items + 1:
        rows = functional.pad(excluded_rows, (0, 1), value=n_items)
    else:
        beyond = torch.arange(n_items, scores.shape[1]).expand(excluded_rows.shape[0], -1)
        rows = torch.cat([excluded_rows, beyond], 1)
    return scores.scatter(1, rows, EXCLUDED_SCORE)


def top_k_rows(scores: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k highest-scoring rows, best first; among equal scores the lower row comes first.

    scores (B, n), k (1,) -> rows (B, k), scores (B, k).
    """
    wanted: int = k.item()  # type: ignore[assignment]
    torch._check(wanted >= 1)
    torch._check(wanted < scores.shape[1])
    if scores.shape[1] < LARGE_CATALOGUE_ITEMS:
        best, rows = torch.topk(scores, wanted)
        return rows, best
    return _two_stage_top_k(scores, wanted)


def _two_stage_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Do the same as top_k_rows by blocks: the k blocks with the highest maxima hold the k highest scores.

    The second stage takes the blocks in the order of rows, so that equal scores stay in that order.
    """
    missing = -scores.shape[1] % BLOCK_SIZE
    padded = functional.pad(scores, (0, missing), value=PADDING_SCORE) if missing else scores
    # len(padded) instead of -1 would make the batch size a constant of the graph.
    blocks = padded.reshape(-1, padded.shape[1] // BLOCK_SIZE, BLOCK_SIZE)
    maxima = blocks.amax(2)
    _, best_blocks = torch.topk(maxima, torch.sym_min(k, maxima.shape[1]))
    best_blocks = best_blocks.sort(1).values
    candidates = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, BLOCK_SIZE)).flatten(1)
    best, positions = torch.topk(candidates, k)
    block = best_blocks.gather(1, torch.div(positions, BLOCK_SIZE, rounding_mode="floor"))
    return block * BLOCK_SIZE + torch.remainder(positions, BLOCK_SIZE), best
