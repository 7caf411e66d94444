"""Recommend for several users at once over a catalogue that is larger than the processor's caches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.graph_spec import table_slice_name
from cofactor_trainer.graphs.recommend import Recommend, Users
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.top_k import EXCLUDED_SCORE

# Items of a part. The scores of a part for 128 users stay in the last-level cache from one operation to the next. They
# are also small enough for the allocator to reuse its memory: it would request larger arrays from the system each time.
PART_ROWS = 3 << 13
# Every part adds nine nodes to the graph.
MAX_PARTS = 128
# Items of a block. Small blocks leave fewer items to score again; large ones leave fewer maxima to store.
BLOCK_ROWS = 16


class RecommendBlockwise(Recommend):
    """Exact Recommend for a dot product that reads the item table once for all users of a batch.

    The catalogue is scored part by part. Only the maximum of every block of a part is stored, so that the scores, 4
    bytes per item and user, never go through main memory. The k blocks with the highest maxima hold the k best items,
    whose scores are then computed again.

    The parts are views of the table, not copies. The scores have items in rows: with items in columns, ONNX Runtime
    would rearrange the whole table in every run.
    """

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, *, reads_network: bool = True) -> None:
        super().__init__(scorer, item_log_popularity, reads_network=reads_network)
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
                self.register_buffer(table_slice_name(name, start), table[start:stop])

    def find(self, users: Users, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best items of every user, as `Recommend.find` does."""
        query = self.query(users)
        assert query is not None
        columns, excluded = query.t(), excluded_rows.t()
        maxima = torch.cat([self._block_maxima(part, users, columns, excluded) for part in self.parts]).t()
        wanted: int = k.item()  # type: ignore[assignment]
        torch._check(wanted >= 1)
        torch._check(wanted <= self.scorer.n_items)
        _, blocks = torch.topk(maxima, torch.sym_min(wanted, maxima.shape[1]))
        # In the order of rows, so that equal scores stay in that order.
        blocks = blocks.sort(1).values
        rows = (blocks[:, :, None] * BLOCK_ROWS + torch.arange(BLOCK_ROWS)).flatten(1).clamp(max=self.scorer.n_items)
        scores = self.score_rows(users, query, rows)
        scores = self._mask_excluded(scores, rows, blocks, excluded_rows, maxima.shape[1])
        best, positions = torch.topk(scores, wanted)
        return rows.gather(1, positions), best

    def _block_maxima(self, part: tuple[int, int], users: Users, columns: Tensor, excluded_rows: Tensor) -> Tensor:
        """Return the best score of every block of a part.

        columns (q, B) of the query, excluded_rows (E, B) -> (blocks, B).
        """
        start, stop = part
        factors, bias, popularity = (
            self.get_buffer(table_slice_name(name, start))
            for name in ("item_factors", "item_bias", "item_log_popularity")
        )
        if users.order_weights is not None:
            bias = bias * users.order_weights.t()[:1]
        scores = torch.addmm(torch.addmm(bias, popularity, users.popularity_weight[None]), factors, columns)
        positions = excluded_rows - start
        inside = positions.clamp(0, stop - start - 1)
        lowered = torch.where(positions == inside, EXCLUDED_SCORE, torch.inf)
        scores = scores.scatter_reduce(0, inside, lowered, "amin")
        missing = -(stop - start) % BLOCK_ROWS
        scores = functional.pad(scores, (0, 0, 0, missing), value=EXCLUDED_SCORE) if missing else scores
        return scores.reshape((stop - start + missing) // BLOCK_ROWS, BLOCK_ROWS, -1).amax(1)

    def _mask_excluded(
        self, scores: Tensor, rows: Tensor, blocks: Tensor, excluded_rows: Tensor, n_blocks: int
    ) -> Tensor:
        """Set the scores of excluded rows to EXCLUDED_SCORE.

        scores (B, R) of rows (B, R), which are the rows of blocks (B, n); excluded_rows (B, E) -> (B, R).
        """
        n_best = blocks.shape[1]
        place = torch.full((blocks.shape[0], n_blocks), n_best, dtype=torch.int32)
        place = place.scatter(1, blocks, torch.arange(n_best, dtype=torch.int32).expand(blocks.shape[0], -1))
        block = excluded_rows // BLOCK_ROWS
        positions = place.gather(1, block) * BLOCK_ROWS + (excluded_rows - block * BLOCK_ROWS)
        # An excluded row outside the best blocks has a position in the padding, which is cut off again.
        scores = torch.where(rows == self.scorer.n_items, EXCLUDED_SCORE, scores)
        lowered = functional.pad(scores, (0, BLOCK_ROWS)).scatter(1, positions, EXCLUDED_SCORE)
        return lowered[:, : scores.shape[1]]
