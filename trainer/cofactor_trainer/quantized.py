"""Recommend from 8-bit codes of the items: a quarter of the memory to read, and exact scores for the best of them.

The codes rank the catalogue roughly; what ranks high is scored again from the float32 table, so that scores are
exact, and only an item that the rough ranking misses can be lost; the export measures how many.

A rough score is one product of 8-bit integers, bias and popularity included, and stays an integer until the best are
found: to scale every item's score would take as long as to compute it. So all items share their scales, one for each
column. The only such product that ONNX Runtime streams as it lies in memory is of unsigned numbers by signed ones, of
which 64 stand for the user's 0; that adds 64 times the sum of an item's codes to its score. So the codes are made to
sum to 0: the mean over the columns is taken away from each item, and has a code of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.dataset import Float32Array
from cofactor_trainer.graphs import Recommend, Scorer
from cofactor_trainer.top_k import EXCLUDED_SCORE, padded_length, top_rows

# The largest code. The sum of two products of 7 bits by 8 is below 2^15, where processors without VNNI stop.
LARGEST = 127
# What stands for 0 in the user's half, which has no signs.
ZERO = 64
# Below every rough score, which is below 2^7 * 2^7 times the number of columns.
EXCLUDED_ROUGH_SCORE = -(1 << 30)
# Candidates that are scored exactly, for k results.
CANDIDATES_PER_RESULT = 4
MORE_CANDIDATES = 64
_ROWS_AT_ONCE = 1 << 16


def quantize(
    item_factors: Float32Array, item_bias: Float32Array, item_log_popularity: Float32Array
) -> dict[str, npt.NDArray[Any]]:
    """(n, q), (n,), (n,) -> the tables item_codes and item_code_steps.

    item_codes, int8 (c, padded_length(n)), c a multiple of 4, has a row for every factor and for log popularity, which
    sum to 0; their mean before that, twice, the second time negative; the bias; then zeros. item_code_steps, (q + 3,),
    is what a step of each factor's code and of log popularity's is worth, of the mean's for a user whose values of the
    former sum to 1, and of the bias'.
    """
    n_rows, n_columns = len(item_factors), item_factors.shape[1] + 1
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, n_rows, _ROWS_AT_ONCE)]

    def columns(part: slice) -> npt.NDArray[np.float64]:
        return np.column_stack([item_factors[part], item_log_popularity[part]]).astype(np.float64)

    centre = sum(columns(part).sum(0) for part in parts) / n_rows
    spread = np.max([np.abs(columns(part) - centre).max(0) for part in parts], axis=0)
    spread[spread == 0] = 1

    def balanced(part: slice) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        values = (columns(part) - centre) / spread
        mean = values.mean(1)
        return values - mean[:, None], mean

    largest = max(np.abs(balanced(part)[0]).max() for part in parts) or 1.0
    largest_mean = max(np.abs(balanced(part)[1]).max() for part in parts) or 1.0
    bias_middle = (item_bias.max() + item_bias.min()) / 2
    bias_step = (item_bias.max() - item_bias.min()) / 2 / LARGEST or 1.0
    codes = np.zeros((n_columns + 3 + -(n_columns + 3) % 4, padded_length(n_rows)), dtype=np.int8)
    for part in parts:
        values, mean = balanced(part)
        # Rounding the sums up to each column, not the columns, leaves their sum at 0.
        sums = np.rint(np.cumsum(values * ((LARGEST - 1) / largest), axis=1))
        part = slice(part.start, part.start + len(values))
        codes[:n_columns, part] = np.diff(sums, axis=1, prepend=0).T
        codes[n_columns, part] = np.rint(mean * (LARGEST / largest_mean))
        codes[n_columns + 1, part] = -codes[n_columns, part]
        codes[n_columns + 2, part] = np.rint((item_bias[part] - bias_middle) / bias_step)
    steps = spread * (largest / (LARGEST - 1))
    mean_step = largest_mean / LARGEST * (LARGEST - 1) / largest
    return {"item_codes": codes, "item_code_steps": np.array([*steps, mean_step, bias_step], dtype=np.float32)}


class RecommendQuantized(Recommend):
    """Recommend for a dot product and one user."""

    item_codes: Tensor
    item_code_steps: Tensor

    def __init__(
        self, scorer: Scorer, item_log_popularity: Tensor, item_codes: Tensor, item_code_steps: Tensor
    ) -> None:
        super().__init__(scorer, item_log_popularity)
        self.register_buffer("item_codes", item_codes)
        self.register_buffer("item_code_steps", item_code_steps)

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend, for B = 1."""
        n_items = self.scorer.n_items
        beyond = torch.arange(n_items, self.item_codes.shape[1])[None]
        rough = self._rough_scores(torch.cat([user_factors, popularity_weight[:, None]], 1))
        rough = rough.scatter(1, torch.cat([excluded_rows, beyond], 1), EXCLUDED_ROUGH_SCORE)
        n_candidates = (k * CANDIDATES_PER_RESULT + MORE_CANDIDATES).clamp(max=n_items)
        candidates, rough = top_rows(rough, n_candidates)
        # In the order of rows, so that equals stay in it; the excluded ones are told by their rough score.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self.scores(user_factors, popularity_weight, candidates)
        scores = torch.where(rough == EXCLUDED_ROUGH_SCORE, EXCLUDED_SCORE, scores)
        best, positions = torch.topk(scores, k.item())  # type: ignore[arg-type]
        return self._answer(user_bias, popularity_weight, candidates.gather(1, positions), best)

    def _rough_scores(self, user: Tensor) -> Tensor:
        """User factors and popularity weight (1, q + 1) -> int32 (1, padded_length(n_items + 1))."""
        signed = user * self.item_code_steps[:-2]
        mean = signed.sum(1, keepdim=True) * self.item_code_steps[-2:-1]
        unsigned = torch.cat([mean.relu(), (-mean).relu(), self.item_code_steps[None, -1:]], 1)
        step = torch.maximum(
            signed.abs().amax(1, keepdim=True) / (LARGEST - ZERO), unsigned.amax(1, keepdim=True) / LARGEST
        )
        codes = torch.cat([torch.round(signed / step) + ZERO, torch.round(unsigned / step)], 1)
        codes = functional.pad(codes, (0, self.item_codes.shape[0] - codes.shape[1])).to(torch.uint8)
        return torch.onnx.ops.symbolic(
            "MatMulInteger",
            (codes, self.item_codes),
            dtype=torch.int32,
            shape=(1, self.item_codes.shape[1]),
        )
