"""Measure Recommend on a device beside torch and beside a read of the table, for every way to search.

The tables are random and nothing is exported: the server builds the graph of a device from the tables alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.cuda.run import Cell, Run, cell, failed, median_ms, row, table_head
from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.inference.device.recommend import DeviceRecommend
from cofactor_server.inference.device.recommend_graph import (
    BLOCK,
    EXCLUDED_SCORE,
    CatalogueShape,
    Search,
    counts,
    recommend_graph,
)
from cofactor_server.inference.device.tables import DeviceTables, bind
from cofactor_server.inference.engine import RECOMMEND_OUTPUTS
from cofactor_server.inference.sessions import load_model, session_options
from cofactor_server.repository.version_directory import VersionDirectory
from cofactor_trainer.training.threads import one_thread

N_FACTORS = 64
N_USERS = 1000
K = 10
GRAPH_K = 16  # results are padded to this number
N_EXCLUDED = 100
# Columns that are drawn; larger catalogues repeat them, and only the bias tells the repetitions apart.
DRAWN_COLUMNS = 1 << 20
SEARCHES: tuple[Search, ...] = ("plain", "blocks", "groups")

Inputs = dict[str, np.ndarray]


def random_catalogue(n_items: int) -> VersionDirectory:
    """Return random tables of a dot product, in memory only, with what Recommend on a device reads."""
    random = np.random.default_rng(0)
    n_columns = n_items + 1 + -(n_items + 1) % BLOCK
    drawn = 0.25 * random.standard_normal((N_FACTORS, min(n_columns, DRAWN_COLUMNS)), dtype=np.float32)
    columns = np.zeros((N_FACTORS + 3, n_columns), dtype=np.float32)
    for start in range(0, n_columns, drawn.shape[1]):
        stop = min(start + drawn.shape[1], n_columns)
        columns[:N_FACTORS, start:stop] = drawn[:, : stop - start]
    columns[N_FACTORS] = random.standard_normal(n_columns, dtype=np.float32)
    columns[N_FACTORS + 1] = np.log1p(random.integers(0, 1000, n_columns, dtype=np.int32)).astype(np.float32)
    columns[:, n_items + 1 :] = 0
    manifest = Manifest(name="random", version="1", architecture="dot-product", item_count=n_items)
    manifest.user_factor_count = N_FACTORS
    manifest.rating_range.low, manifest.rating_range.high = 0.5, 5.5
    tables = {
        "item_columns": columns,
        "item_bias": columns[N_FACTORS],
        "item_log_popularity": columns[N_FACTORS + 1],
        "user_factors": 0.25 * random.standard_normal((N_USERS, N_FACTORS), dtype=np.float32),
    }
    return VersionDirectory(Path("random/1"), manifest, tables)


def recommend_inputs(directory: VersionDirectory, n_users: int) -> Inputs:
    """Return inputs of graph recommend for the first users."""
    random = np.random.default_rng(1)
    return {
        "user_factors": np.ascontiguousarray(directory.tables["user_factors"][:n_users]),
        "user_bias": np.zeros(n_users, dtype=np.float32),
        "popularity_weight": np.full(n_users, 0.1, dtype=np.float32),
        "excluded_rows": random.integers(0, directory.manifest.item_count, (n_users, N_EXCLUDED)),
        "k": np.array([K]),
    }


class Captured:
    """Runs the graph of a device for inputs of fixed shapes, everything bound on the device, as a CUDA graph.

    ONNX Runtime captures the launches in the first runs and repeats them in later ones. Without CUDA they are not
    captured.
    """

    def __init__(self, run: Run, recommend: DeviceRecommend, search: Search, inputs: Inputs) -> None:
        device = run.device
        if run.is_on_cuda:
            device = replace(device, options={**device.options, "enable_cuda_graph": "1"})
        options = session_options("recommend", on_device=True)
        self._session = load_model(recommend_graph(recommend.shape, search), device, options)
        self._recommend = recommend
        n_users = len(inputs["user_bias"])
        self._padded = recommend.padded_inputs(recommend.query(inputs), inputs["excluded_rows"], n_users, 128)
        lowered = np.full(self._padded["excluded"].shape, EXCLUDED_SCORE, dtype=np.float32)
        value = onnxruntime.OrtValue
        self._inputs = {
            name: value.ortvalue_from_numpy(array.copy(), device.memory, 0)
            for name, array in {**self._padded, "lowered": lowered}.items()
        }
        self._outputs = {
            name: value.ortvalue_from_shape_and_type((n_users, GRAPH_K), dtype, device.memory, 0)
            for name, dtype in (("rows", np.int64), ("scores", np.float32))
        }
        self._binding = self._session.io_binding()
        bind(self._binding, recommend.columns, device)
        for name, array in self._inputs.items():
            self._binding.bind_ortvalue_input(name, array)
        for name, array in counts(recommend.shape, GRAPH_K, search).items():
            self._binding.bind_cpu_input(name, array)
        for name, array in self._outputs.items():
            self._binding.bind_ortvalue_output(name, array)

    def __call__(self) -> tuple[np.ndarray, ...]:
        """Copy the inputs to the device, run, and copy the outputs back."""
        for name, array in self._padded.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding)
        return tuple(np.array(output.numpy()) for output in self._outputs.values())


def torch_top_k(run: Run, table: torch.Tensor, inputs: Inputs) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Return two lines of torch: a product and topk, with the users and the answer on the host."""
    users = torch.from_numpy(inputs["user_factors"])

    def search() -> tuple[torch.Tensor, ...]:
        best = torch.topk(users.to(run.torch_device) @ table.t(), K)
        return best.values.cpu(), best.indices.cpu()

    return search


def read_ms(run: Run, table: torch.Tensor) -> float:
    """Return the milliseconds of one read of the table by the device: its sum, until the device has finished."""
    if not run.is_on_cuda:
        return median_ms(table.sum)
    times = []
    for _ in range(20):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        table.sum()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return float(np.median(times[5:]))


def largest_difference(run: Run, recommend: DeviceRecommend, columns: torch.Tensor, inputs: Inputs) -> float:
    """Compare the scores with those of torch on the same device; raise AssertionError if a row is not as good."""
    rows, scores, _ = recommend.run(RECOMMEND_OUTPUTS, inputs)
    query = torch.from_numpy(recommend.query(inputs)).to(run.torch_device)
    every = query @ columns
    excluded = torch.from_numpy(inputs["excluded_rows"]).to(run.torch_device)
    every.scatter_(1, excluded, EXCLUDED_SCORE)
    n_items = columns.shape[1] - len(recommend.beyond)
    every[:, n_items:] = EXCLUDED_SCORE
    expected = torch.topk(every, K).values.cpu().numpy()
    own = every.gather(1, torch.from_numpy(rows).to(run.torch_device)).cpu().numpy()
    unit = np.maximum(1, np.abs(expected))
    difference = float(max((np.abs(scores - expected) / unit).max(), (np.abs(own - expected) / unit).max()))
    assert difference < 1e-4, f"scores differ by {difference}"
    return difference


def recommend_times(run: Run) -> Iterator[str]:
    """Time every way to search at every size, beside torch and the read of the table."""
    yield (
        f"Milliseconds with the answer on the host, medians; {N_FACTORS} factors, {K} results, {N_EXCLUDED} excluded "
        "items (torch excludes none). *plain*, *blocks* and *groups* are the three searches of a device; *served* is "
        "the one that the server takes; *captured* is that search as a CUDA graph, without ratings. *read* is one read "
        "of the table by the device."
    )
    yield ""
    names = ("items", "users", "read", "torch", *SEARCHES, "served", "captured", "difference from torch")
    yield from table_head(*names)
    torch.backends.cuda.matmul.allow_tf32 = False
    with nullcontext() if run.is_on_cuda else one_thread():
        for n_items in run.catalogues:
            if run.seconds_left() < 0:
                yield row(f"{n_items:,}", "left out: no time left", *[""] * (len(names) - 2))
                continue
            yield from _one_catalogue(run, n_items)
            gc.collect()


@dataclass(frozen=True)
class _Catalogue:
    """A random catalogue on the device: for the server, and as torch's tensors."""

    directory: VersionDirectory
    tables: DeviceTables
    columns: torch.Tensor
    table: torch.Tensor


def _one_catalogue(run: Run, n_items: int) -> Iterator[str]:
    """Yield a row for every number of users. Each way frees its memory before the next one is measured."""
    directory = random_catalogue(n_items)
    columns = torch.from_numpy(directory.tables["item_columns"]).to(run.torch_device)
    table = columns[:N_FACTORS, : n_items + 1].t().contiguous()
    catalogue = _Catalogue(directory, DeviceTables(directory, run.device), columns, table)
    read = run.figures[f"read {n_items}"] = read_ms(run, table)
    served = CatalogueShape(*columns.shape).search()
    cells = {"torch": [cell(partial(_torch_ms, run, catalogue, n_users)) for n_users in run.batches]}
    for search in SEARCHES:
        cells[search] = _search_cells(run, catalogue, search)
    cells["served"] = cells[served]
    cells["captured"] = [cell(partial(_captured_ms, run, catalogue, n_users)) for n_users in run.batches]
    cells["difference"] = [cell(partial(_difference, run, catalogue, n_users), digits=8) for n_users in run.batches]
    for position, n_users in enumerate(run.batches):
        for way, found in cells.items():
            figure = found[position][1]
            if figure is not None:
                run.figures[f"{way} {n_items} {n_users}"] = figure
        yield row(f"{n_items:,}", n_users, f"{read:.3f}", *(found[position][0] for found in cells.values()))


def _search_cells(run: Run, catalogue: _Catalogue, search: Search) -> list[Cell]:
    try:
        found = DeviceRecommend(catalogue.directory, catalogue.tables, run.device, search)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        return [failed(error)] * len(run.batches)

    def time_of(n_users: int) -> float:
        inputs = recommend_inputs(catalogue.directory, n_users)
        return median_ms(lambda: found.run(RECOMMEND_OUTPUTS, inputs))

    return [cell(partial(time_of, n_users)) for n_users in run.batches]


def _torch_ms(run: Run, catalogue: _Catalogue, n_users: int) -> float:
    return median_ms(torch_top_k(run, catalogue.table, recommend_inputs(catalogue.directory, n_users)))


def _difference(run: Run, catalogue: _Catalogue, n_users: int) -> float:
    recommend = DeviceRecommend(catalogue.directory, catalogue.tables, run.device)
    return largest_difference(run, recommend, catalogue.columns, recommend_inputs(catalogue.directory, n_users))


def _captured_ms(run: Run, catalogue: _Catalogue, n_users: int) -> float:
    recommend = DeviceRecommend(catalogue.directory, catalogue.tables, run.device)
    return median_ms(_captured(run, recommend, recommend_inputs(catalogue.directory, n_users)))


def _captured(run: Run, recommend: DeviceRecommend, inputs: Inputs) -> Captured:
    captured = Captured(run, recommend, "auto", inputs)
    for _ in range(3):  # the runs in which ONNX Runtime captures, and one that repeats them
        rows, scores = captured()
    expected = recommend.run(RECOMMEND_OUTPUTS, inputs)
    assert np.abs(scores[:, :K] - expected[1]).max() < 1e-3, "the captured graph has other scores"
    assert np.mean(rows[:, :K] == expected[0]) > 0.99, "the captured graph has other rows"
    return captured
