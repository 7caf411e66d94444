"""Report the metrics of each process, so that one process can expose those of all workers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cofactor_server.observability.counters import Metrics, MetricTotals

_LOGGER = logging.getLogger(__name__)

# Name of the gauge -> [(labels, value)].
Gauges: TypeAlias = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class MetricsReport:
    """Totals and gauges of one process at one moment."""

    totals: MetricTotals
    gauges: Gauges

    def write(self, path: Path) -> None:
        """Write the report to a file, atomically."""
        content = json.dumps({"totals": self.totals.to_json(), "gauges": self.gauges})
        temporary = path.with_suffix(".new")
        temporary.write_text(content, "utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> MetricsReport:
        """Read a report that `write` wrote."""
        content = json.loads(path.read_text("utf-8"))
        gauges = {name: [(labels, value) for labels, value in rows] for name, rows in content["gauges"].items()}
        return cls(MetricTotals.from_json(content["totals"]), gauges)


class MetricsReporter:
    """Makes the reports of this process."""

    def __init__(self, metrics: Metrics, gauges: Callable[[], Gauges]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def report(self) -> MetricsReport:
        """Return a report of this moment."""
        gauges = self._gauges()
        gauges["cofactor_memory_bytes"] = [({}, float(resident_bytes()))]
        gauges["cofactor_workers"] = [({}, 1.0)]
        return MetricsReport(self._metrics.totals(), gauges)


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes, or 0 if the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class WorkerReports:
    """Reads the reports that worker processes write to a folder, each to `<process id>.json`.

    The totals of a dead worker are kept: Prometheus takes a counter that falls for one that was reset, and rates would
    jump. The gauges of a dead worker are dropped.
    """

    def __init__(self, folder: Path, live: Callable[[], Iterable[int]]) -> None:
        """live: returns the process ids of the workers that run."""
        self._folder = folder
        self._live = live
        self._last: dict[str, MetricsReport] = {}

    def reports(self) -> list[MetricsReport]:
        """Return the last report of each worker."""
        live = {str(process_id) for process_id in self._live()}
        reports = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                self._last[path.stem] = MetricsReport.read(path)
            except (OSError, ValueError, KeyError, TypeError):  # the metrics of the other workers are still exposed
                _LOGGER.exception("cannot read the metrics of worker %s; its last report stays in use", path.stem)
            report = self._last.get(path.stem, MetricsReport(MetricTotals(), {}))
            reports.append(report if path.stem in live else MetricsReport(report.totals, {}))
        return reports


def write_reports_until_drained(reporter: MetricsReporter, path: Path, drained: Callable[[float], bool]) -> None:
    """Write a report every second, and a last one after the server has drained.

    drained: waits up to so many seconds and returns True if the server has drained.
    """
    is_failing = False
    is_last = False
    while not is_last:
        is_last = drained(1.0)
        try:
            reporter.report().write(path)
        except Exception:  # for example a full disk: the next report may succeed
            if not is_failing:
                _LOGGER.exception("cannot write the metrics of this worker; its last report stays in use")
            is_failing = True
        else:
            is_failing = False
