"""Run a graph on a device, with the version's tables bound to its inputs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence

import onnxruntime

from cofactor_server.arrays import AnyArray
from cofactor_server.inference.device.tables import DeviceArray, bind
from cofactor_server.inference.execution_providers import Device


class DeviceSession:
    """Runs a graph whose tables are inputs. It is called like an onnxruntime.InferenceSession.

    A binding serves one run at a time; as many are made as ever ran at once. The tables are bound once in each.

    Attributes:
        session: ONNX Runtime's session.
    """

    def __init__(self, session: onnxruntime.InferenceSession, tables: Sequence[DeviceArray], device: Device) -> None:
        self.session = session
        self._tables = tables
        self._device = device
        self._idle: deque[onnxruntime.IOBinding] = deque()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, AnyArray], *options: object) -> list[AnyArray]:
        """Run the graph -> its outputs. RunOptions are those of the CPU and are not read."""
        del options
        try:
            binding = self._idle.pop()
        except IndexError:
            binding = self.session.io_binding()
            bind(binding, self._tables, self._device)
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name in outputs:
            binding.bind_output(name, "cpu")
        self.session.run_with_iobinding(binding)
        # numpy() returns a view of the outputs, and the next run may write into them.
        found = [value.numpy().copy() for value in binding.get_outputs()]
        binding.clear_binding_outputs()
        # A binding is not reused after an error, because its state is unknown then.
        self._idle.append(binding)
        return found


class FixedBinding:
    """Inputs of fixed shapes on the device, and outputs on the host, for one run at a time."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tables: Sequence[DeviceArray],
        inputs: Mapping[str, AnyArray],
        on_host: Mapping[str, AnyArray],
        outputs: Mapping[str, AnyArray],
        device: Device,
    ) -> None:
        """Allocate memory on the device for inputs of these shapes, and fill it with their values.

        The inputs `on_host` stay as they are; runs fill the arrays `outputs`.
        """
        self._session = session
        self._binding = session.io_binding()
        bind(self._binding, tables, device)
        # On the CPU, a value shares the memory of its array. Without the copy, later runs would overwrite the caller's.
        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(order="C"), device.memory, 0)
            for name, array in inputs.items()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, array in on_host.items():
            self._binding.bind_cpu_input(name, array)
        # Bound to arrays, because their shapes are known: ONNX Runtime need not allocate them in every run.
        self._outputs = outputs
        for name, array in outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def run(self, inputs: Mapping[str, AnyArray]) -> list[AnyArray]:
        """Run the graph on inputs of the binding's shapes; inputs that are not given keep their values."""
        for name, array in inputs.items():
            self._values[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding)
        return [array.copy() for array in self._outputs.values()]


class IdleBindings:
    """Bindings that are not in use, by the shape that they are for."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, ...], deque[FixedBinding]] = {}
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> FixedBinding | None:
        """Return a binding for a shape and keep it from others, or None if there is none."""
        with self._lock:
            idle = self._idle.setdefault(shape, deque())
            return idle.pop() if idle else None

    def put(self, shape: tuple[int, ...], binding: FixedBinding) -> None:
        """Let others take a binding. Not after an error, because its state is unknown then."""
        with self._lock:
            self._idle[shape].append(binding)

    def count(self) -> int:
        """Return the number of bindings."""
        with self._lock:
            return sum(map(len, self._idle.values()))
