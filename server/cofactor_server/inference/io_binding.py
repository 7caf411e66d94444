"""Run a graph with inputs and outputs bound to memory that later runs use again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray


class Binding:
    """Inputs of fixed shapes on the device and outputs on the host, for one run at a time."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[str],
        inputs: dict[str, AnyArray],
        device: str,
    ) -> None:
        """Allocate memory for inputs of these shapes."""
        self._session = session
        self._binding = session.io_binding()
        # On the CPU, a value shares the memory of its array. Without the copy, later runs would overwrite the caller's.
        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(order="C"), device, 0)
            for name, array in inputs.items()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, "cpu")

    def run(self, inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """Run the graph on inputs of the binding's shapes."""
        for name, array in inputs.items():
            self._values[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._binding)
        # numpy() returns a view of the outputs, and the next run writes into them.
        return [value.numpy().copy() for value in self._binding.get_outputs()]


class BoundSession:
    """Runs a graph through bindings that it reuses: for each shape of the inputs, as many as ever ran at once.

    Meant for graphs whose inputs have few shapes. The number of results `k` counts as a shape, because it decides that
    of the outputs.
    """

    def __init__(self, session: onnxruntime.InferenceSession, outputs: Sequence[str], device: str) -> None:
        self._session = session
        self._outputs = tuple(outputs)
        self._device = device
        self._idle: dict[tuple[object, ...], deque[Binding]] = {}
        self._lock = threading.Lock()

    def run(self, outputs: Sequence[str], inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """Run the graph like onnxruntime does. `outputs` are those of the constructor, in any order."""
        shapes = tuple((name, inputs[name].shape, int(inputs[name][0]) if name == "k" else 0) for name in inputs)
        with self._lock:
            idle = self._idle.setdefault(shapes, deque())
            binding = idle.pop() if idle else None
        if binding is None:
            binding = Binding(self._session, self._outputs, inputs, self._device)
        found = dict(zip(self._outputs, binding.run(inputs), strict=True))
        with self._lock:
            # A binding is not reused after an error, because its state is unknown then.
            idle.append(binding)
        return [found[name] for name in outputs]
