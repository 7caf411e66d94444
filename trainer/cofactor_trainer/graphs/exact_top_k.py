"""Exact top-k over a whole catalogue, in operations that ONNX has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EXCLUDED_SCORE = -1e30
# Below every excluded item's: what fills the last block up is never returned.
PADDING_SCORE = -2e30
BLOCK_SIZE = 128
# Below, one TopK is as fast as two stages.
TWO_STAGE_ITEMS = 50_000


def padded_length(n_rows: int) -> int:
    """n_rows and what is missing to whole blocks of the two stages."""
    return n_rows + -n_rows % BLOCK_SIZE


def exclude(scores: Tensor, excluded_rows: Tensor, n_items: int) -> Tensor:
    """Scores (B, n_items + 1 or more) with those of excluded_rows (B, E) and all from n_items on at EXCLUDED_SCORE."""
    if scores.shape[1] == n_items + 1:
        rows = functional.pad(excluded_rows, (0, 1), value=n_items)
    else:
        beyond = torch.arange(n_items, scores.shape[1]).expand(excluded_rows.shape[0], -1)
        rows = torch.cat([excluded_rows, beyond], 1)
    return scores.scatter(1, rows, EXCLUDED_SCORE)


def top_rows(scores: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Best k columns of scores (B, n), best first, the lower one first among equals.

    k (1,) -> rows (B, k), scores (B, k).
    """
    wanted: int = k.item()  # type: ignore[assignment]
    torch._check(wanted >= 1)
    torch._check(wanted < scores.shape[1])
    if scores.shape[1] < TWO_STAGE_ITEMS:
        best, rows = torch.topk(scores, wanted)
        return rows, best
    return _two_stage_top_rows(scores, wanted)


def _two_stage_top_rows(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As top_rows: the k best blocks by their maximum hold the k best columns.

    The blocks are put back in their order before the second stage, so that equals stay in the order of rows.
    """
    missing = -scores.shape[1] % BLOCK_SIZE
    padded = functional.pad(scores, (0, missing), value=PADDING_SCORE) if missing else scores
    # len(padded) in the place of -1 would make the size of the batch a constant.
    blocks = padded.reshape(-1, padded.shape[1] // BLOCK_SIZE, BLOCK_SIZE)
    maxima = blocks.amax(2)
    _, best_blocks = torch.topk(maxima, torch.sym_min(k, maxima.shape[1]))
    best_blocks = best_blocks.sort(1).values
    candidates = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, BLOCK_SIZE)).flatten(1)
    best, positions = torch.topk(candidates, k)
    block = best_blocks.gather(1, torch.div(positions, BLOCK_SIZE, rounding_mode="floor"))
    return block * BLOCK_SIZE + torch.remainder(positions, BLOCK_SIZE), best
