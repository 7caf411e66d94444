"""Find and compare similar items by the cosine of their factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.top_k import mask_excluded, top_k_rows


class ItemCosine(nn.Module):
    """Cosine of items with the mean unit vector of other items.

    Items are compared by all their factors. The last column of a ranking part is a bias and takes no part.
    """

    item_factors: Tensor
    item_inverse_norms: Tensor

    def __init__(self, scorer: Scorer, item_inverse_norms: Tensor) -> None:
        super().__init__()
        self.n_items = scorer.n_items
        self.has_bias_column = scorer.n_ranking > 0
        self.register_buffer("item_factors", scorer.item_factors)
        self.register_buffer("item_inverse_norms", item_inverse_norms)

    def query(self, item_rows: Tensor) -> Tensor:
        """Return the mean of the items' unit vectors, scaled to length 1: (M,) -> (1, q).

        It is 0 if the unit vectors cancel out, and in the column that is not compared.
        """
        vectors = gather_rows(self.item_factors, item_rows)
        if self.has_bias_column:
            vectors = functional.pad(vectors[:, :-1], (0, 1))
        units = vectors * gather_rows(self.item_inverse_norms, item_rows)[:, None]
        mean = units.mean(0, keepdim=True)
        norm = (mean * mean).sum(1, keepdim=True).sqrt()
        vanishes = norm < 1e-6
        return torch.where(vanishes, torch.zeros_like(mean), mean / torch.where(vanishes, torch.ones_like(norm), norm))


class SimilarItems(ItemCosine):
    """Graph similar_items: the items of the catalogue most similar to the given ones."""

    def forward(self, item_rows: Tensor, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Compute graph similar_items; docs/model-format.md has the shapes."""
        scores = functional.linear(self.query(item_rows), self.item_factors) * self.item_inverse_norms
        masked = mask_excluded(scores, torch.cat([excluded_rows, item_rows])[None], self.n_items)
        similar_rows, best = top_k_rows(masked, k)
        return similar_rows[0], best[0]


class Similarity(ItemCosine):
    """Graph similarity: how similar candidates are to the given items."""

    def forward(self, item_rows: Tensor, candidate_rows: Tensor) -> Tensor:
        """Compute graph similarity; docs/model-format.md has the shapes."""
        scores = functional.linear(gather_rows(self.item_factors, candidate_rows), self.query(item_rows))[:, 0]
        return scores * gather_rows(self.item_inverse_norms, candidate_rows)
