"""Load the graphs of a version as ONNX Runtime sessions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import onnxruntime

from cofactor_server.arrays import AnyArray
from cofactor_server.errors import ModelRefused, ProviderUnavailable
from cofactor_server.inference.device_tables import DeviceTables
from cofactor_server.inference.execution_providers import CPU, CUDA, ProviderList, preferred_provider
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)

# ONNX Runtime's name for the memory of a CUDA device.
DEVICE = "cuda"


class GraphSession(Protocol):
    """Runs one graph: an onnxruntime.InferenceSession, or a wrapper of one."""

    def run(self, outputs: Sequence[str], inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """Return the outputs of these names."""


class SessionLoader:
    """Loads the graphs of one version on the preferred provider, or on the CPU where CUDA does not work.

    Args:
        directory: the version.
        providers: execution providers to try, the preferred one first.
        must_use_first: True to fail where the first provider does not work.

    Attributes:
        device_tables: tables that the sessions share on a device; None on the CPU. Must live as long as the sessions.
    """

    def __init__(self, directory: VersionDirectory, providers: ProviderList, *, must_use_first: bool) -> None:
        self._directory = directory
        self._providers = providers
        self._must_use_first = must_use_first
        self.device_tables = DeviceTables(directory, DEVICE) if preferred_provider(providers) == CUDA else None

    def load(self, graph: str) -> onnxruntime.InferenceSession:
        """Load one graph.

        Raises ModelRefused if the graph does not load, OSError or MemoryError if the machine lacks files or memory, and
        ProviderUnavailable if CUDA must run the graph and does not.
        """
        session = None if self.device_tables is None else self._load_on_cuda(graph, self.device_tables)
        if session is None:
            session = self._load_on_cpu(graph)
        session.disable_fallback()
        return session

    def _load_on_cuda(self, graph: str, tables: DeviceTables) -> onnxruntime.InferenceSession | None:
        """Load one graph -> its session, which ONNX Runtime may have moved to the CPU, or None if it failed to load."""
        session = None
        options = self._options(graph)
        try:
            tables.share(graph, options)
            session = onnxruntime.InferenceSession(self._path(graph), options, providers=self._providers)
        except Exception:
            _LOGGER.debug("cannot load %s", self._path(graph), exc_info=True)
        if session is not None and session.get_providers()[0] == CUDA:
            return session
        if self._must_use_first:
            raise ProviderUnavailable(
                "--provider cuda: ONNX Runtime cannot use CUDA here (libraries missing or of another version: install "
                "the extra cofactor[cuda]); use --provider cpu, or auto to take what works"
            )
        _LOGGER.warning("CUDA does not run graph %s of %s; it runs on the CPU", graph, self._directory.label)
        return session

    def _load_on_cpu(self, graph: str) -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(self._path(graph), self._options(graph), providers=[CPU])
        except Exception as error:
            raise_if_passing(error)
            # ONNX Runtime's errors have no common base class. Their texts contain paths, so only the log gets them.
            _LOGGER.debug("cannot load %s", self._path(graph), exc_info=True)
            raise ModelRefused(
                f"model {self._directory.label} refused: graph {graph} does not load ({type(error).__name__})"
            ) from None

    def _path(self, graph: str) -> str:
        return str(self._directory.graph_path(graph))

    def _options(self, graph: str) -> onnxruntime.SessionOptions:
        return session_options(graph, is_prepacked=self._directory.is_prepacked(graph))


def session_options(graph: str, *, is_prepacked: bool = False) -> onnxruntime.SessionOptions:
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
    return options
