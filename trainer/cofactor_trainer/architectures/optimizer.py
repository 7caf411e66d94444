"""Optimise with AdamW over flat buffers and the one-cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.optim.adamw import adamw

EPSILON = 1e-5
BETA2 = 0.99
WARM_UP = 0.25
START_DIVISOR = 25.0
FINAL_DIVISOR = 1e5
HIGH_MOMENTUM, LOW_MOMENTUM = 0.95, 0.85


@dataclass(frozen=True)
class DecayGroup:
    """Parameters with the same weight decay: a step multiplies them by 1 - learning_rate * weight_decay."""

    parameters: Sequence[torch.nn.Parameter]
    weight_decay: float


def one_cycle(progress: float, peak: float) -> tuple[float, float]:
    """Return the learning rate and the momentum (Adam's beta 1) at a progress of 0 to 1.

    The rate rises from peak / 25 to the peak over the first quarter of the training, then falls to peak / 100,000.
    Momentum moves the opposite way. Both follow half cosines. L. N. Smith, A disciplined approach to neural network
    hyper-parameters, 2018, with the constants of fastai's fit_one_cycle.
    """
    if progress < WARM_UP:
        position = progress / WARM_UP
        return _cosine(peak / START_DIVISOR, peak, position), _cosine(HIGH_MOMENTUM, LOW_MOMENTUM, position)
    position = (progress - WARM_UP) / (1 - WARM_UP)
    return _cosine(peak, peak / FINAL_DIVISOR, position), _cosine(LOW_MOMENTUM, HIGH_MOMENTUM, position)


def schedule(kind: Literal["one-cycle", "constant"], progress: float, peak: float) -> tuple[float, float]:
    """Return the learning rate and the momentum of a schedule at a progress of 0 to 1."""
    return one_cycle(progress, peak) if kind == "one-cycle" else (peak, 0.9)


class Optimizer(Protocol):
    """Updates the parameters of a model from their gradients."""

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""

    def step(self, learning_rate: float, momentum: float) -> None:
        """Update the parameters once."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the parameters that the next step depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state of the same model."""


class FlatAdamW:
    """AdamW (I. Loshchilov and F. Hutter, 2019) with one fused call per group and step.

    The parameters of a group become views of one buffer, and so do their gradients. Add to gradients in place.
    """

    def __init__(self, groups: Sequence[DecayGroup]) -> None:
        self._groups = [_FlatGroup(group) for group in groups if group.parameters]

    def zero_grad(self) -> None:
        """Set every gradient to 0."""
        for group in self._groups:
            group.gradient.zero_()

    def step(self, learning_rate: float, momentum: float) -> None:
        """Update all parameters once."""
        for group in self._groups:
            adamw(
                [group.values],
                [group.gradient],
                [group.mean],
                [group.square],
                [],
                [group.steps],
                fused=True,
                amsgrad=False,
                beta1=momentum,
                beta2=BETA2,
                lr=learning_rate,
                weight_decay=group.weight_decay,
                eps=EPSILON,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the moments of every group; the parameters are in the model's own state."""
        return {"groups": [group.state() for group in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the moments from a state of the same model."""
        for group, saved in zip(self._groups, state["groups"], strict=True):
            for name, tensor in group.state().items():
                tensor.copy_(saved[name])


class _FlatGroup:
    """The parameters, gradients and moments of a group, each in one flat buffer."""

    def __init__(self, group: DecayGroup) -> None:
        self.weight_decay = group.weight_decay
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in group.parameters])
        self.gradient = torch.zeros_like(self.values)
        self.mean = torch.zeros_like(self.values)
        self.square = torch.zeros_like(self.values)
        self.steps = torch.zeros((), device=self.values.device)
        start = 0
        for parameter in group.parameters:
            end = start + parameter.numel()
            parameter.data = self.values[start:end].view(parameter.shape)
            parameter.grad = self.gradient[start:end].view(parameter.shape)
            start = end

    def state(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean, "square": self.square, "steps": self.steps}


def _cosine(start: float, end: float, position: float) -> float:
    """Interpolate along a half cosine; position goes from 0 to 1."""
    return start + (1 - math.cos(math.pi * position)) * (end - start) / 2
