"""Load the graphs of a version as ONNX Runtime sessions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import onnxruntime

from cofactor_server.arrays import AnyArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.device.session import DeviceSession
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.execution_providers import CPU, Device
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)


class RunsGraph(Protocol):
    """Runs one graph on a device. An onnxruntime.InferenceSession is called in the same way."""

    def run(self, outputs: Any, inputs: Mapping[str, AnyArray], *options: object) -> list[Any]:
        """Return the outputs of these names."""


def load_on_cpu(directory: VersionDirectory, graph: str) -> onnxruntime.InferenceSession:
    """Load one graph on the CPU.

    Raises ModelRefused if the graph does not load, and OSError or MemoryError if the machine lacks files or memory.
    """
    path = str(directory.graph_path(graph))
    options = session_options(graph, is_prepacked=directory.is_prepacked(graph))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[CPU])
    except Exception as error:
        raise_if_passing(error)
        # ONNX Runtime's errors have no common base class. Their texts contain paths, so only the log gets them.
        _LOGGER.debug("cannot load %s", path, exc_info=True)
        raise ModelRefused(
            f"model {directory.label} refused: graph {graph} does not load ({type(error).__name__})"
        ) from None
    session.disable_fallback()
    return session


def load_on_device(directory: VersionDirectory, graph: str, tables: DeviceTables, device: Device) -> DeviceSession:
    """Load one graph on a device. Raises the errors of load_model and of DeviceTables.bind_graph."""
    model, bound = tables.bind_graph(graph)
    options = session_options(graph, is_prepacked=directory.is_prepacked(graph), on_device=True)
    return DeviceSession(load_model(model, device, options), bound, device)


def load_model(model: bytes, device: Device, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Load a model on a device. Raises ONNX Runtime's errors, and RuntimeError if it moved the model to the CPU."""
    session = onnxruntime.InferenceSession(model, options, providers=device.providers, enable_fallback=0)
    if session.get_providers()[0] != device.provider:
        raise RuntimeError(f"ONNX Runtime did not start {device.provider}")
    session.disable_fallback()
    return session


def session_options(graph: str, *, is_prepacked: bool = False, on_device: bool = False) -> onnxruntime.SessionOptions:
    """Return the options with which the server runs a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The arena reuses the memory of one run for the next. Without it, the system clears new pages for every run (4 % of
    # a search of a million items), and the threads use different memory (8 of the 87 microseconds of a call on 1,682
    # items).
    options.enable_cpu_mem_arena = graph in ("recommend", "similar_items")
    # Without prepacking, all sessions read the mapped tables.bin instead of copies of their own.
    options.add_session_config_entry("session.disable_prepacking", "0" if is_prepacked else "1")
    if on_device:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def nodes_elsewhere(session: onnxruntime.InferenceSession, device: Device) -> list[str]:
    """Return the operators of a session's nodes that do not run on its device; empty if ONNX Runtime does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # ONNX Runtime 1.23
        return []
    return [
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != device.provider
        for node in part.get_nodes()
    ]
