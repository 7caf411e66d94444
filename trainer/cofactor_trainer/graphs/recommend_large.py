"""Recommend for several users over catalogues that no cache holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.exact_top_k import EXCLUDED_SCORE
from cofactor_trainer.graphs.modules import Recommend, Scorer
from cofactor_trainer.graphs.onnx_writer import part_of_table

# Scores of so many items and 128 users stay in the last cache between one operation and the next, and are too few for
# the allocator to take memory from the system, and give it back, for each of them.
PART_ROWS = 3 << 13
# Every part is nine nodes.
MAX_PARTS = 128
# Items of a block. The best blocks are scored again, of which small ones are less work; the maxima of all are kept.
BLOCK_ROWS = 16


class RecommendMany(Recommend):
    """Recommend for a dot product, exact, reading the table once for all users.

    A part of the catalogue is scored at a time and only the maxima of its blocks are kept, so that the scores of all
    users, 4 bytes for every item and user, never go through memory. The k best blocks hold the k best items; their
    scores are computed again. The parts are views of the table, not copies, and the product has the items in the rows
    of its result: the other way round, ONNX Runtime would rearrange the whole table at every run.
    """

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        n_rows = scorer.n_items + 1
        step = max(PART_ROWS, -(-n_rows // MAX_PARTS))
        step += -step % BLOCK_ROWS
        self.parts = [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
        tables = {
            "item_factors": scorer.item_factors,
            "item_bias": scorer.item_bias[:, None],
            "item_log_popularity": item_log_popularity[:, None],
        }
        for name, table in tables.items():
            for start, stop in self.parts:
                self.register_buffer(part_of_table(name, start), table[start:stop])

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend."""
        users, weights, excluded = user_factors.t(), popularity_weight[None], excluded_rows.t()
        maxima = torch.cat([self._maxima(part, users, weights, excluded) for part in self.parts]).t()
        wanted: int = k.item()  # type: ignore[assignment]
        torch._check(wanted >= 1)
        torch._check(wanted <= self.scorer.n_items)
        _, blocks = torch.topk(maxima, torch.sym_min(wanted, maxima.shape[1]))
        # In the order of rows, so that equals stay in it.
        blocks = blocks.sort(1).values
        rows = (blocks[:, :, None] * BLOCK_ROWS + torch.arange(BLOCK_ROWS)).flatten(1).clamp(max=self.scorer.n_items)
        scores = self.scores(user_factors, popularity_weight, rows)
        scores = self._exclude(scores, rows, blocks, excluded_rows, maxima.shape[1])
        best, positions = torch.topk(scores, wanted)
        return self._answer(user_bias, popularity_weight, rows.gather(1, positions), best)

    def _maxima(self, part: tuple[int, int], users: Tensor, weights: Tensor, excluded_rows: Tensor) -> Tensor:
        """Best score of every block of a part: users (d, B), weights (1, B), excluded_rows (E, B) -> (blocks, B)."""
        start, stop = part
        factors, bias, popularity = (
            self.get_buffer(part_of_table(name, start)) for name in ("item_factors", "item_bias", "item_log_popularity")
        )
        scores = torch.addmm(torch.addmm(bias, popularity, weights), factors, users)
        positions = excluded_rows - start
        inside = positions.clamp(0, stop - start - 1)
        lowered = torch.where(positions == inside, EXCLUDED_SCORE, torch.inf)
        scores = scores.scatter_reduce(0, inside, lowered, "amin")
        missing = -(stop - start) % BLOCK_ROWS
        scores = functional.pad(scores, (0, 0, 0, missing), value=EXCLUDED_SCORE) if missing else scores
        return scores.reshape((stop - start + missing) // BLOCK_ROWS, BLOCK_ROWS, -1).amax(1)

    def _exclude(self, scores: Tensor, rows: Tensor, blocks: Tensor, excluded_rows: Tensor, n_blocks: int) -> Tensor:
        """Scores (B, R) of rows, which are those of blocks (B, n), at EXCLUDED_SCORE where excluded."""
        n_best = blocks.shape[1]
        place = torch.full((blocks.shape[0], n_blocks), n_best, dtype=torch.int32)
        place = place.scatter(1, blocks, torch.arange(n_best, dtype=torch.int32).expand(blocks.shape[0], -1))
        block = excluded_rows // BLOCK_ROWS
        positions = place.gather(1, block) * BLOCK_ROWS + (excluded_rows - block * BLOCK_ROWS)
        # What lies in none of the best blocks lands behind the scores.
        scores = torch.where(rows == self.scorer.n_items, EXCLUDED_SCORE, scores)
        lowered = functional.pad(scores, (0, BLOCK_ROWS)).scatter(1, positions, EXCLUDED_SCORE)
        return lowered[:, : scores.shape[1]]
