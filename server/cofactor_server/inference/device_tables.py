"""A version's tables in a device's memory, once for all its graphs."""

from __future__ import annotations

import onnxruntime

from cofactor_server.repository.version_directory import VersionDirectory


class DeviceTables:
    """Copies of the tables that graphs need, made when the first of them asks.

    A session keeps no reference to what it is given: this object is to live as long as the sessions.
    """

    def __init__(self, bundle: VersionDirectory, device: str) -> None:
        self._bundle = bundle
        self._device = device
        self._values: dict[str, onnxruntime.OrtValue] = {}

    def share(self, graph_name: str, options: onnxruntime.SessionOptions) -> None:
        """Give the graph's session the tables that it would otherwise copy from the file for itself.

        ONNX Runtime takes a value in place where it plans that initializer on the same device, and warns and loads its
        own elsewhere. Graphs whose weights are rearranged when they load keep their own.
        """
        if self._bundle.is_prepacked(graph_name):
            return
        for initializer, table in self._bundle.whole_tables(graph_name).items():
            options.add_initializer(initializer, self._value(table))

    def _value(self, table: str) -> onnxruntime.OrtValue:
        if table not in self._values:
            self._values[table] = onnxruntime.OrtValue.ortvalue_from_numpy(self._bundle.tables[table], self._device, 0)
        return self._values[table]
