"""Report the loaded versions and the length of the queue as Prometheus gauges."""

from __future__ import annotations

from collections.abc import Callable

from cofactor_server.observability.process_reports import Gauges
from cofactor_server.observability.prometheus import GAUGES
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import LiveRegistry


class ServingGauges:
    """Computes the current gauges of a server.

    Args:
        live: the loaded versions.
        n_waiting: returns the number of calls that wait for a thread.
        expiry_times: returns file -> when the first of its certificates expires, in seconds since 1970.
    """

    def __init__(
        self, live: LiveRegistry, n_waiting: Callable[[], int], expiry_times: Callable[[], dict[str, float]]
    ) -> None:
        self._live = live
        self._expiry_times = expiry_times
        self._n_waiting = n_waiting

    def __call__(self) -> Gauges:
        """Return all gauges."""
        watcher = self._live.watcher
        gauges: Gauges = {name: [] for name in GAUGES}
        gauges["cofactor_queue_depth"] = [({}, float(self._n_waiting()))]
        gauges["cofactor_repository_reachable"] = [({}, 0.0 if watcher.repository_error else 1.0)]
        gauges["cofactor_tls_expiry_timestamp_seconds"] = [
            ({"file": file}, seconds) for file, seconds in self._expiry_times().items()
        ]
        for model, state in watcher.snapshot.items():
            for version, loaded in state.loaded.items():
                labels = {"model": model, "version": version}
                is_current = state.routing is not None and state.routing.current == version
                provider, manifest = loaded.value.served_model.execution_provider, loaded.value.manifest
                gauges["cofactor_model_info"].append(({**labels, "provider": provider}, 1.0))
                gauges["cofactor_model_current"].append((labels, float(is_current)))
                gauges["cofactor_model_load_timestamp_seconds"].append((labels, loaded.load_time))
                trained = float(manifest.train_time.seconds)
                gauges["cofactor_model_train_timestamp_seconds"].append((labels, trained))
                overlay = self._live.overlays.overlay_of(loaded.value.key)
                sequence = 0 if overlay is None else overlay.sequence
                gauges["cofactor_overlay_sequence"].append((labels, float(sequence)))
                _add_device_gauges(gauges, labels, loaded.value)
            for version in state.refused:
                gauges["cofactor_model_refused"].append(({"model": model, "version": version}, 1.0))
        return gauges


def _add_device_gauges(gauges: Gauges, labels: dict[str, str], version: LoadedVersion) -> None:
    """Report where the graphs of a version run and its device memory; nothing on a server without a device."""
    for placement in version.description.placements:
        for trial in placement.trials:
            place = {"graph": placement.graph, "size": str(trial.size), "provider": trial.execution_provider}
            gauges["cofactor_graph_info"].append(({**labels, **place}, 1.0))
    if version.description.placements:
        sizes = {
            "taken": version.description.device_memory_bytes,
            "tables": version.description.device_table_bytes,
        }
        for kind, size in sizes.items():
            gauges["cofactor_device_memory_bytes"].append(({**labels, "kind": kind}, float(size)))
