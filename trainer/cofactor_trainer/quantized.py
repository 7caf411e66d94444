"""Recommend from 8-bit item factors: a quarter of the memory to read, and exact scores for the best of them.

The codes rank the catalogue roughly; what ranks high is scored again from the float32 table, so that scores are
exact, and only an item that the rough ranking misses can be lost; the export measures how many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofactor_trainer.dataset import Float32Array
from cofactor_trainer.graphs import Recommend, Scorer, take
from cofactor_trainer.top_k import EXCLUDED_SCORE, exclude, top_rows

BLOCK_SIZE = 32
# Candidates that are scored exactly, for k results.
CANDIDATES_PER_RESULT = 4
MORE_CANDIDATES = 32


def quantize(item_factors: Float32Array) -> dict[str, npt.NDArray[Any]]:
    """Item factors (n, q) as codes uint8 (n, ceil(q / 32), 32) around 128, and the scale of every 32 of them.

    The layout is that of ONNX Runtime's MatMulNBits.
    """
    n_rows, n_columns = item_factors.shape
    n_blocks = -(-n_columns // BLOCK_SIZE)
    codes = np.full((n_rows, n_blocks, BLOCK_SIZE), 128, dtype=np.uint8)
    scales = np.zeros((n_rows, n_blocks), dtype=np.float32)
    for start in range(0, n_rows, 1 << 16):
        part = item_factors[start : start + (1 << 16)]
        padded = np.zeros((len(part), n_blocks * BLOCK_SIZE), dtype=np.float32)
        padded[:, :n_columns] = part
        blocks = padded.reshape(len(part), n_blocks, BLOCK_SIZE)
        scale = np.abs(blocks).max(2) / 127
        steps = np.divide(blocks, scale[:, :, None], out=np.zeros_like(blocks), where=scale[:, :, None] > 0)
        codes[start : start + len(part)] = np.rint(steps) + 128
        scales[start : start + len(part)] = scale
    return {"item_codes": codes, "item_scales": scales}


class RecommendQuantized(Recommend):
    """Recommend for a dot product."""

    item_codes: Tensor
    item_scales: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, item_codes: Tensor, item_scales: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        self.register_buffer("item_codes", item_codes)
        self.register_buffer("item_scales", item_scales)

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend."""
        offset = popularity_weight[:, None] * self.item_log_popularity + self.scorer.item_bias
        rough = exclude(self._rough_scores(user_factors) + offset, excluded_rows, self.scorer.n_items)
        n_candidates = (k * CANDIDATES_PER_RESULT + MORE_CANDIDATES).clamp(max=self.scorer.n_items)
        candidates, rough = top_rows(rough, n_candidates)
        # In the order of rows, so that equals stay in it; the excluded ones are told by their rough score.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = (take(self.scorer.item_factors, candidates) @ user_factors[:, :, None])[:, :, 0]
        scores = scores + take(self.scorer.item_bias, candidates)
        scores = scores + popularity_weight[:, None] * take(self.item_log_popularity, candidates)
        scores = torch.where(rough < 0.1 * EXCLUDED_SCORE, torch.full_like(scores, EXCLUDED_SCORE), scores)
        best, positions = torch.topk(scores, k.item())  # type: ignore[arg-type]
        return self._answer(user_bias, popularity_weight, candidates.gather(1, positions), best)

    def _rough_scores(self, user_factors: Tensor) -> Tensor:
        n_rows = self.scorer.n_items + 1
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (user_factors, self.item_codes, self.item_scales),
            {
                "K": self.scorer.n_user_factors,
                "N": n_rows,
                "bits": 8,
                "block_size": BLOCK_SIZE,
                # The products are of 8-bit integers too: with floats nothing would be gained.
                "accuracy_level": 4,
            },
            dtype=torch.float32,
            shape=(user_factors.shape[0], n_rows),
            version=1,
        )
