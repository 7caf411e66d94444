"""Predict ratings of pairs of users and items."""

from __future__ import annotations

from torch import Tensor, nn

from cofactor_trainer.graphs.scorer import Scorer


class Predict(nn.Module):
    """Graph predict: logits and ratings of user and item pairs."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute graph predict; docs/model-format.md has the shapes."""
        logits = self.scorer.pairs(user_factors, user_bias, item_rows)
        return logits, self.scorer.ratings(logits)
