"""An ONNX session whose inputs and outputs stay where they are from run to run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray


class Binding:
    """Inputs of one shape on the device, outputs on the host: for one run at a time."""

    def __init__(self, session: Any, outputs: Sequence[str], inputs: dict[str, AnyArray], device: str) -> None:
        self._session = session
        self._binding = session.io_binding()
        # On the CPU a value is the array it was made of: without a copy, later runs would write into the caller's.
        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(order="C"), device, 0)
            for name, array in inputs.items()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, "cpu")

    def run(self, inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """Run on inputs of the shapes it was made for."""
        for name, array in inputs.items():
            self._values[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._binding)
        # The next run writes into the same outputs, and what numpy() gives is a view of them.
        return [value.numpy().copy() for value in self._binding.get_outputs()]


class BoundSession:
    """Runs a graph through bindings that are kept, as many for each shape of inputs as ever ran at once.

    For graphs whose inputs come in few shapes; the number of results `k` decides an output's shape, and counts as one.
    """

    def __init__(self, session: Any, outputs: Sequence[str], device: str) -> None:
        self._session = session
        self._outputs = tuple(outputs)
        self._device = device
        self._free: dict[tuple[object, ...], deque[Binding]] = {}
        self._lock = threading.Lock()

    def run(self, outputs: Sequence[str], inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """As onnxruntime's run; `outputs` are those of the constructor, in any order."""
        shapes = tuple((name, inputs[name].shape, int(inputs[name][0]) if name == "k" else 0) for name in inputs)
        with self._lock:
            free = self._free.setdefault(shapes, deque())
            binding = free.pop() if free else None
        if binding is None:
            binding = Binding(self._session, self._outputs, inputs, self._device)
        found = dict(zip(self._outputs, binding.run(inputs), strict=True))
        with self._lock:
            # Not after an error: its state is then unknown.
            free.append(binding)
        return [found[name] for name in outputs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
