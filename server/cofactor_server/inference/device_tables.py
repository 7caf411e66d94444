"""Copy a version's tables to a device once and share them among all its graphs."""

from __future__ import annotations

import onnxruntime

from cofactor_server.repository.version_directory import VersionDirectory


class DeviceTables:
    """Copies of a version's tables on a device. A table is copied when the first graph needs it.

    Sessions keep no reference to the copies, so this object must live as long as they do.
    """

    def __init__(self, directory: VersionDirectory, device: str) -> None:
        self._directory = directory
        self._device = device
        self._values: dict[str, onnxruntime.OrtValue] = {}

    def share(self, graph_name: str, options: onnxruntime.SessionOptions) -> None:
        """Let the graph's session use the shared tables instead of copying them from the file.

        ONNX Runtime uses a shared table if it plans that initializer on the same device. Otherwise it warns and loads a
        copy of its own. Graphs whose weights are prepacked are skipped, because they rearrange the tables.
        """
        if self._directory.is_prepacked(graph_name):
            return
        for initializer, table in self._directory.whole_tables(graph_name).items():
            options.add_initializer(initializer, self._value(table))

    def _value(self, table: str) -> onnxruntime.OrtValue:
        if table not in self._values:
            values = self._directory.tables[table]
            self._values[table] = onnxruntime.OrtValue.ortvalue_from_numpy(values, self._device, 0)
        return self._values[table]
