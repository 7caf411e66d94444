"""Adam with decoupled weight decay over one flat buffer for each weight decay, and the one-cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
    """Parameters that decay alike: each step multiplies them by 1 - learning rate * weight_decay."""

    parameters: Sequence[torch.nn.Parameter]
    weight_decay: float


def one_cycle(progress: float, peak: float) -> tuple[float, float]:
    """Learning rate and momentum (Adam's beta 1) at a part of the training, 0 to 1.

    The rate climbs from peak / 25 over the first quarter and falls to peak / 100,000, momentum goes the other way,
    both by half cosines: L. N. Smith, A disciplined approach to neural network hyper-parameters, 2018, with the
    constants of fastai's fit_one_cycle.
    """
    if progress < WARM_UP:
        position = progress / WARM_UP
        return _cosine(peak / START_DIVISOR, peak, position), _cosine(HIGH_MOMENTUM, LOW_MOMENTUM, position)
    position = (progress - WARM_UP) / (1 - WARM_UP)
    return _cosine(peak, peak / FINAL_DIVISOR, position), _cosine(LOW_MOMENTUM, HIGH_MOMENTUM, position)


def schedule(kind: Literal["one-cycle", "constant"], progress: float, peak: float) -> tuple[float, float]:
    """Learning rate and momentum of a schedule at a part of the training, 0 to 1."""
    return one_cycle(progress, peak) if kind == "one-cycle" else (peak, 0.9)


class FlatAdamW:
    """AdamW (I. Loshchilov and F. Hutter, 2019) whose step is one fused call for each group.

    The parameters become views of one buffer, and so do their gradients, which must be added in place.
    """

    def __init__(self, groups: Sequence[DecayGroup]) -> None:
        self._groups = [_FlatGroup(group) for group in groups if group.parameters]

    def zero_grad(self) -> None:
        """Set every gradient to 0."""
        for group in self._groups:
            group.gradient.zero_()

    def step(self, learning_rate: float, momentum: float) -> None:
        """One update."""
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
        """The moments of every group; the values are the model's."""
        return {"groups": [group.state() for group in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same model."""
        for group, saved in zip(self._groups, state["groups"], strict=True):
            for name, tensor in group.state().items():
                tensor.copy_(saved[name])


class _FlatGroup:
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
    return start + (1 - math.cos(math.pi * position)) * (end - start) / 2
