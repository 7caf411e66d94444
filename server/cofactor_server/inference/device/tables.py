"""Copy a version's tables to a device once, and bind them to all its graphs.

In the version's files a table is an initializer of every graph that reads it, and ONNX Runtime would copy it to the
device once for each session. So the server turns these initializers into inputs and binds each of them to the one copy:
sharing does not depend on what ONNX Runtime does with initializers (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray
from cofactor_server.inference.device.onnx_model import ExternalTensor, external_tensors_as_inputs
from cofactor_server.inference.execution_providers import Device
from cofactor_server.repository.version_directory import VersionDirectory


@dataclass(frozen=True)
class DeviceArray:
    """An array in device memory, or a part of one.

    Attributes:
        name: name of the input that it is bound to.
        dtype: element type.
        shape: shape.
        address: address of its first byte.
        owner: owns the memory, which lives as long as any array in it.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    address: int
    owner: onnxruntime.OrtValue


class DeviceTables:
    """Copies of a version's tables on a device. A table is copied when the first graph needs it."""

    def __init__(self, directory: VersionDirectory, device: Device) -> None:
        self._directory = directory
        self._device = device
        self._values: dict[str, onnxruntime.OrtValue] = {}
        self._readers: dict[str, set[str]] = {}

    @property
    def n_bytes(self) -> int:
        """Return the size of all copies."""
        return sum(int(value.tensor_size_in_bytes()) for value in self._values.values())

    @property
    def names(self) -> list[str]:
        """Return the names of the tables that have a copy."""
        return sorted(self._values)

    def bind_graph(self, graph: str) -> tuple[bytes, list[DeviceArray]]:
        """Return the graph with tables as inputs, and what to bind to these.

        Raises KeyError or ValueError if an initializer is not a part of a table; ONNX Runtime's errors if the device
        has no room for a table.
        """
        path = self._directory.graph_path(graph)
        assert path is not None
        model, tensors = external_tensors_as_inputs(path.read_bytes())
        return model, [self._part_of_a_table(graph, tensor) for tensor in tensors]

    def whole(self, graph: str, name: str, values: AnyArray | None = None) -> DeviceArray:
        """Return the copy of a table for a graph, or of values that are computed from tables and named like one."""
        table = self._directory.tables[name] if values is None else values
        copy = self._copy(graph, name, table)
        return DeviceArray(name, table.dtype, table.shape, int(copy.data_ptr()), copy)

    def release(self, graph: str) -> None:
        """Free the copies that no other graph reads, as soon as the graph's sessions are gone."""
        for name, graphs in self._readers.items():
            graphs.discard(graph)
            if not graphs:
                self._values.pop(name, None)

    def _part_of_a_table(self, graph: str, tensor: ExternalTensor) -> DeviceArray:
        """Return the part of a table that an initializer refers to."""
        size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
        for entry in self._directory.manifest.tables:
            table = self._directory.tables[entry.name]
            if entry.offset <= tensor.offset and tensor.offset + size <= entry.offset + table.nbytes:
                copy = self._copy(graph, entry.name, table)
                address = int(copy.data_ptr()) + tensor.offset - entry.offset
                return DeviceArray(tensor.name, tensor.dtype, tensor.shape, address, copy)
        raise ValueError(f"initializer {tensor.name} is not a part of a table")

    def _copy(self, graph: str, name: str, values: AnyArray) -> onnxruntime.OrtValue:
        self._readers.setdefault(name, set()).add(graph)
        if name not in self._values:
            contiguous = np.ascontiguousarray(values)
            self._values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(contiguous, self._device.memory, 0)
        return self._values[name]


def bind(binding: onnxruntime.IOBinding, arrays: Sequence[DeviceArray], device: Device) -> None:
    """Bind arrays on the device to inputs of a session, without a copy."""
    for array in arrays:
        binding.bind_input(array.name, device.memory, 0, array.dtype.type, array.shape, array.address)
