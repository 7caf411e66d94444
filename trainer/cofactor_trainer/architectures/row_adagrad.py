"""Optimise tables of which a step touches few rows, with one number of state a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cofactor_trainer.architectures.optimizer import DecayGroup

_EPSILON = 1e-10


class RowAdagrad:
    """Adagrad (J. Duchi, E. Hazan and Y. Singer, 2011) with one sum of squares a row, for sparse gradients.

    The sum is that of the mean squares of the row's gradients, as in D. Mudigere et al., Software-hardware co-design
    for fast and scalable training of deep learning recommendation models, 2022. Only rows with a gradient change, the
    decay included: a row decays as often as it is used.
    """

    def __init__(self, groups: Sequence[DecayGroup]) -> None:
        self._parameters = [(parameter, group.weight_decay) for group in groups for parameter in group.parameters]
        self._sums = [torch.zeros(len(parameter), device=parameter.device) for parameter, _ in self._parameters]

    def zero_grad(self) -> None:
        """Forget every gradient."""
        for parameter, _ in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, momentum: float) -> None:  # noqa: ARG002 - all optimisers take it
        """Update the rows that have a gradient; the momentum is not used."""
        for (parameter, weight_decay), sums in zip(self._parameters, self._sums, strict=True):
            if parameter.grad is None:
                continue
            rows, gradient = parameter.grad._indices()[0], parameter.grad._values()
            squares = gradient.square()
            total = sums.index_select(0, rows) + (squares.mean(1) if squares.ndim > 1 else squares)
            sums.index_copy_(0, rows, total)
            rates = learning_rate / (total.sqrt() + _EPSILON)
            values = parameter.index_select(0, rows).mul_(1 - learning_rate * weight_decay)
            values.addcmul_(gradient, rates[:, None] if gradient.ndim > 1 else rates, value=-1)
            parameter.index_copy_(0, rows, values)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of every parameter."""
        return {"sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums from a state of the same model."""
        for sums, saved in zip(self._sums, state["sums"], strict=True):
            sums.copy_(saved)
