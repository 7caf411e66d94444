"""Load a version's graphs on a device, check them, and place every graph where it is faster."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import onnxruntime

from cofactor_server.arrays import AnyArray
from cofactor_server.errors import ProviderUnavailable
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.placement import (
    PlacedSession,
    Placement,
    Trial,
    decide,
    measure,
    on_cpu,
    shortest_run_s,
)
from cofactor_server.inference.device.recommend import DeviceRecommend, has_device_graph
from cofactor_server.inference.device.session import DeviceSession
from cofactor_server.inference.device.shape_buckets import BATCH_SIZES, ShapeBuckets, padded_length
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.device.trial_inputs import (
    EMBED_ITEM,
    RECOMMEND,
    TRIAL_SIZES,
    TrialInputs,
    size_of,
)
from cofactor_server.inference.execution_providers import Device, reason_of, unavailable
from cofactor_server.inference.sessions import RunsGraph, load_on_device, nodes_elsewhere
from cofactor_server.repository.passing_errors import is_passing
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)


class DeviceGraphs:
    """The graphs of one version on a device.

    Args:
        directory: the version.
        device: the device.
        must_use: True if the device must run graph recommend and every pinned graph.
        pinned: graphs that the device runs whatever the trials say, while the CPU runs all others; None to let the
            trials decide.

    Attributes:
        sessions: the graphs that the device can run, by name.
        tables: the tables that they read.
        placements: where each graph runs, once `place` was called.
        must_use: as above.
        memory_bytes: device memory that the version has taken; None if that is not known.
    """

    def __init__(
        self, directory: VersionDirectory, device: Device, *, must_use: bool, pinned: frozenset[str] | None = None
    ) -> None:
        """Load the graphs. Raises the errors of `drop` if a graph does not load that the device must run."""
        self._directory = directory
        self._device = device
        self._pinned = pinned
        self._free_before = device.free_memory()
        self._problems: dict[str, str] = {EMBED_ITEM: "new items are too rare to take memory of the device"}
        self.must_use = must_use
        self.tables = DeviceTables(directory, device)
        self.sessions: dict[str, RunsGraph] = {}
        self.placements: list[Placement] = []
        self.memory_bytes: int | None = None
        for graph in directory.manifest.graphs:
            if graph.name != EMBED_ITEM and (pinned is None or graph.name in pinned):
                self._load(graph.name)

    def drop(self, graph: str, problem: str) -> None:
        """Leave a graph to the CPU.

        If the device must run it, raises OSError for a lack of memory, which may pass, and else ProviderUnavailable.
        """
        self._give_up(graph)
        self._problems[graph] = problem
        if self.must_use and (graph == RECOMMEND or self._pinned is not None):
            text = unavailable(f"graph {graph} of {self._directory.label}: {problem}")
            if is_passing(RuntimeError(problem)):
                raise OSError(errno.ENOMEM, text)
            raise ProviderUnavailable(text)
        _LOGGER.warning("%s: the CPU runs graph %s: %s", self._directory.label, graph, problem)

    def run(self, graph: str, outputs: Sequence[str], inputs: Mapping[str, AnyArray]) -> list[AnyArray] | None:
        """Run a graph -> its outputs of these names, or None if the device does not run it with these inputs."""
        session = self.sessions.get(graph)
        if session is None or (isinstance(session, DeviceRecommend) and not session.can_run(inputs)):
            return None
        return session.run(outputs, inputs)

    def place(
        self, cpu: Mapping[str, onnxruntime.InferenceSession], max_batch_size: int, failure: DeviceFailure
    ) -> dict[str, Any]:
        """Time every graph on both -> what runs each of them. Graphs that the device loses give up its memory.

        `failure` is told of runs that fail on the device from then on.
        """
        inputs = TrialInputs(self._directory, _n_profile_columns(cpu))
        placed: dict[str, Any] = dict(cpu)
        for graph, session in cpu.items():
            placement = self._try(graph, session, inputs, max_batch_size)
            self.placements.append(placement)
            _LOGGER.info("%s", describe(self._directory.label, placement))
            if not placement.uses_device:
                self._give_up(graph)
                continue
            device = self.sessions[graph]
            is_accepted = partial(_is_accepted, device, placement) if graph == RECOMMEND else _accepts_everything
            placed[graph] = PlacedSession(session.run, device.run, placement, size_of(graph), is_accepted, failure)
        self._report_memory()
        return placed

    def warm_up(self, max_batch_size: int) -> None:
        """Run graph recommend with every shape of short lists that the device takes."""
        if RECOMMEND not in self.sessions:
            return
        placement = next(placement for placement in self.placements if placement.graph == RECOMMEND)
        sizes = [size for size in _batch_sizes(max_batch_size) if placement.takes(size)]
        for inputs in TrialInputs(self._directory).recommend_shapes(sizes):
            self.sessions[RECOMMEND].run(("item_rows", "scores", "ratings"), inputs)
        self._report_memory()

    def _give_up(self, graph: str) -> None:
        """Free the device memory of a graph."""
        self.sessions.pop(graph, None)
        self.tables.release(graph)

    def _load(self, graph: str) -> None:
        try:
            if graph == RECOMMEND and has_device_graph(self._directory):
                recommend = DeviceRecommend(self._directory, self.tables, self._device)
                elsewhere = nodes_elsewhere(recommend.session, self._device)
                if elsewhere:
                    _LOGGER.warning("%s: the CPU runs parts of graph recommend: %s", self._directory.label, elsewhere)
                self.sessions[graph] = recommend
                return
            session = load_on_device(self._directory, graph, self.tables, self._device)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            _LOGGER.debug("cannot load %s on the device", graph, exc_info=True)
            self.drop(graph, reason_of(str(error)) or type(error).__name__)
            return
        self.sessions[graph] = self._padded(session) if graph == RECOMMEND else session

    def _padded(self, session: DeviceSession) -> ShapeBuckets:
        manifest = self._directory.manifest
        return ShapeBuckets(session, int(manifest.item_count), has_ranking_part=manifest.ranking_factor_count > 0)

    def _try(
        self, graph: str, session: onnxruntime.InferenceSession, inputs: TrialInputs, max_batch_size: int
    ) -> Placement:
        if graph not in self.sessions:
            return on_cpu(graph, self._problems.get(graph, "--gpu-graphs does not name it"))
        sizes = _batch_sizes(max_batch_size) if graph == RECOMMEND else TRIAL_SIZES[graph]
        runs = {size: inputs.make(graph, size) for size in sizes}
        outputs = [output.name for output in session.get_outputs()]
        device = self.sessions[graph]
        try:
            possible = _possible_sizes(sizes, lambda size: device.run(outputs, runs[size]))
            trials = measure(
                possible,
                lambda size: shortest_run_s(lambda: session.run(outputs, runs[size])),
                lambda size: shortest_run_s(lambda: device.run(outputs, runs[size])),
            )
        except Exception as error:
            self.drop(graph, reason_of(str(error)) or type(error).__name__)
            return on_cpu(graph, self._problems[graph])
        trials += [Trial(size, None, None) for size in sizes[len(possible) :]]
        return decide(graph, trials, is_pinned=self._pinned is not None)

    def _report_memory(self) -> None:
        """Compare the device memory that the version has taken with the size of its tables."""
        free = self._device.free_memory()
        if free is None or self._free_before is None:
            return
        self.memory_bytes = self._free_before - free
        _LOGGER.info(
            "%s has taken %.0f MiB of device memory, %.0f of them for the tables %s",
            self._directory.label,
            self.memory_bytes / 2**20,
            self.tables.n_bytes / 2**20,
            ", ".join(self.tables.names),
        )


def describe(label: str, placement: Placement) -> str:
    """Say in one line where a graph runs and why."""
    places = [
        f"{trial.size}: {'device' if is_on_device else 'CPU'} (CPU {_ms(trial.cpu_s)}, device {_ms(trial.device_s)})"
        for trial, is_on_device in zip(placement.trials, placement.on_device, strict=True)
    ]
    return f"{label}: graph {placement.graph}: {', '.join(places) or 'CPU'}: {placement.reason}"


def _ms(seconds: float | None) -> str:
    return "not tried" if seconds is None else f"{1000 * seconds:.3g} ms"


def _batch_sizes(max_batch_size: int) -> Sequence[int]:
    return [size for size in BATCH_SIZES if size <= padded_length(max_batch_size, BATCH_SIZES)]


def _possible_sizes(sizes: Sequence[int], run: Callable[[int], object]) -> Sequence[int]:
    """Return the sizes up to the largest for which the device has room. Raises its error if there is none.

    The largest comes first: its memory serves all the others.
    """
    for n_sizes in range(len(sizes), 0, -1):
        try:
            run(sizes[n_sizes - 1])
        except Exception:  # ONNX Runtime's errors have no common base class
            if n_sizes == 1:
                raise
            _LOGGER.debug("the device has no room for a run of %d", sizes[n_sizes - 1], exc_info=True)
        else:
            return sizes[:n_sizes]
    return []


def _is_accepted(device: RunsGraph, placement: Placement, inputs: Mapping[str, AnyArray]) -> bool:
    """Return True if the device takes a run of graph recommend also at the size to which it is padded."""
    if not placement.takes(padded_length(len(inputs["user_bias"]), BATCH_SIZES)):
        return False
    return not isinstance(device, DeviceRecommend) or device.can_run(inputs)


def _accepts_everything(inputs: Mapping[str, AnyArray]) -> bool:
    del inputs
    return True


def _n_profile_columns(sessions: Mapping[str, onnxruntime.InferenceSession]) -> int:
    if "embed_user" not in sessions:
        return 0
    shapes = {value.name: value.shape for value in sessions["embed_user"].get_inputs()}
    return int(shapes["profile"][1]) if "profile" in shapes else 0
