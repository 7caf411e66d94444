"""Measure the ONNX graphs beside a plain read of the table and beside other engines, on one thread.

The tables are random and have 64 factors. Every round measures every engine once, in turn, so that other load on the
machine slows all of them down alike; medians and quartiles are taken over the rounds. faiss and implicit are compared,
and matplotlib draws the plot, if they are installed.

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python -m benchmarks.engine [--items 1700 100000 1000000] [--rounds 30] [--output docs/benchmarks/engine.md]

For 10 million items the tables take 6 GB of disk; building them takes three times the memory of the factors.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.engine_page import Results, plot, summary, table
from cofactor_server.inference.sessions import session_options
from cofactor_trainer.export.table_file import write_tables
from cofactor_trainer.export.version_graphs import LARGE_TABLES
from cofactor_trainer.graphs.fold_in import EmbedRatingUser
from cofactor_trainer.graphs.graph_specs import (
    embed_user_spec,
    predict_spec,
    recommend_spec,
    similar_items_spec,
    similarity_spec,
)
from cofactor_trainer.graphs.item_codes import quantize_items
from cofactor_trainer.graphs.item_columns import RecommendColumnwise, build_item_columns
from cofactor_trainer.graphs.onnx_writer import write_graph
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.recommend_blockwise import RecommendBlockwise
from cofactor_trainer.graphs.recommend_quantized import RecommendQuantized
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.top_k import LARGE_CATALOGUE_ITEMS
from cofactor_trainer.graphs.user_prior import prior_of_trained_rows
from cofactor_trainer.scoring.trained_model import TrainedModel

N_FACTORS = 64
# The variance of scores falls by a factor of 0.82 from one direction to the next, as in a dot-bias model of
# ml-latest-small; of four trained models its variance falls most slowly. Only the 8-bit codes depend on this.
FACTOR_SCALES = (0.8 * 0.82 ** (np.arange(N_FACTORS) / 4)).astype(np.float32)
K = 10
N_EXCLUDED = 100
BATCHES = (1, 8, 32, 128)
# Most scores in a batch. The graphs hold only part of the scores at once; the other engines hold all of them.
MAX_SCORES = 320_000_000
MAX_SCORES_OF_OTHERS = 64_000_000
GRAPHS = ("predict", "recommend", "similar_items", "similarity", "embed_user")

Engines = dict[str, Callable[[], object]]


def build(folder: Path, n_items: int) -> TrainedModel:
    """Write the tables and every graph of a random model; return the model with its item factors memory-mapped."""
    random = np.random.default_rng(0)
    model = TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=random.standard_normal((1001, N_FACTORS), dtype=np.float32) * FACTOR_SCALES,
        user_bias=random.standard_normal(1001, dtype=np.float32),
        item_factors=random.standard_normal((n_items + 1, N_FACTORS), dtype=np.float32) * FACTOR_SCALES,
        item_bias=random.standard_normal(n_items + 1, dtype=np.float32),
        global_bias=0.1,
        rating_range=(0.5, 5.5),
        n_dot_factors=N_FACTORS,
    )
    popularity = np.log1p(random.integers(0, 1000, n_items + 1)).astype(np.float32)
    norms = (1 / np.linalg.norm(model.item_factors, axis=1)).astype(np.float32)
    weights, inverse = torch.from_numpy(popularity), torch.from_numpy(norms)
    arrays = {
        "item_factors": model.item_factors,
        "item_bias": model.item_bias,
        "item_log_popularity": popularity,
        "item_inverse_norms": norms,
        "item_columns": build_item_columns(model.item_factors, model.item_bias, popularity, norms),
        **quantize_items(model.user_factors, model.item_factors, model.item_bias, popularity),
    }
    tables = {table.name: table for table in write_tables(folder / "tables.bin", arrays)}
    scorer = Scorer(model)
    large_tables = {name: torch.from_numpy(arrays[name]) for name in LARGE_TABLES}
    columns = large_tables["item_columns"]
    large = n_items >= LARGE_CATALOGUE_ITEMS
    many = RecommendBlockwise(scorer, weights) if large else Recommend(scorer, weights)
    quantized = RecommendQuantized(scorer, weights, large_tables)
    sources = {
        "predict": predict_spec(scorer),
        "recommend": recommend_spec(scorer, many, RecommendColumnwise(scorer, weights, columns) if large else None),
        "recommend_int8": recommend_spec(scorer, many, quantized),
        "similar_items": similar_items_spec(scorer, inverse, columns if large else None),
        "similarity": similarity_spec(scorer, inverse),
        "embed_user": embed_user_spec(EmbedRatingUser(scorer, prior_of_trained_rows(model))),
    }
    for name, source in sources.items():
        write_graph(source, folder / f"{name}.onnx", tables, "tables.bin")
    offset = tables["item_factors"].offset
    # Mapped like the server's tables; copy-on-write, because torch warns about read-only arrays.
    table = np.memmap(folder / "tables.bin", np.float32, "c", offset, model.item_factors.shape)
    return replace(model, item_factors=table)


def session(path: Path, graph: str) -> onnxruntime.InferenceSession:
    """Open a graph with the server's session options."""
    return onnxruntime.InferenceSession(path, session_options(graph), providers=["CPUExecutionProvider"])


def recommend_engines(folder: Path, model: TrainedModel, batch: int) -> Engines:
    """Return the engines that find the ten best items for a batch of users."""
    n_items = len(model.item_bias) - 1
    users = np.ascontiguousarray(model.user_factors[:batch])
    table = np.asarray(model.item_factors)[:-1]
    inputs = {
        "user_factors": users,
        "user_bias": model.user_bias[:batch],
        "popularity_weight": np.ones(batch, dtype=np.float32),
        "excluded_rows": np.random.default_rng(1).integers(0, n_items, (batch, N_EXCLUDED)),
        "k": np.array([K]),
    }
    exact = session(folder / "recommend.onnx", "recommend")
    quantized = session(folder / "recommend_int8.onnx", "recommend")
    engines: Engines = {
        "read of the table": table.max,
        "recommend": lambda: exact.run(None, inputs),
        "recommend int8": lambda: quantized.run(None, inputs),
    }
    return engines if batch * n_items > MAX_SCORES_OF_OTHERS else engines | other_libraries(table, users)


def other_libraries(table: np.ndarray, users: np.ndarray) -> Engines:
    """Return the engines of torch and numpy, and those of faiss and implicit if they are installed."""
    n_items = len(table)
    tensor, queries = torch.from_numpy(table), torch.from_numpy(users)
    engines: Engines = {
        "torch.topk": lambda: torch.topk(queries @ tensor.t(), K),
        "numpy argpartition": lambda: np.argpartition(users @ table.T, n_items - K, axis=1)[:, -K:],
    }
    try:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(N_FACTORS)
        index.add(table)
        engines["faiss IndexFlatIP"] = lambda: index.search(users, K)
    except ImportError:
        print("faiss is not installed and is left out")
    try:
        from implicit.cpu.topk import topk

        engines["implicit topk"] = lambda: topk(table, users, K, num_threads=1)
    except ImportError:
        print("implicit is not installed and is left out")
    return engines


def other_engines(folder: Path, model: TrainedModel) -> Engines:
    """Return the other graphs, each with inputs of a request's usual size."""
    random = np.random.default_rng(2)
    n_items = len(model.item_bias) - 1
    sessions = {graph: session(folder / f"{graph}.onnx", graph) for graph in GRAPHS}
    users = {"user_factors": model.user_factors[:1], "user_bias": model.user_bias[:1]}
    engines: Engines = {}

    def add(label: str, graph: str, inputs: dict[str, np.ndarray]) -> None:
        engines[label] = lambda: sessions[graph].run(None, inputs)

    for count in (1, 1024):
        add(f"predict, {count} items", "predict", {**users, "item_rows": random.integers(0, n_items, count)})
    for count in (10, 100):
        rows = random.choice(n_items, (1, count), replace=False)
        ratings = random.uniform(1, 5, (1, count)).astype(np.float32)
        add(f"embed_user, {count} ratings", "embed_user", {"item_rows": rows, "ratings": ratings})
    similar = {"item_rows": np.array([1]), "excluded_rows": np.array([n_items]), "k": np.array([K])}
    add("similar_items", "similar_items", similar)
    candidates = random.integers(0, n_items, 1000)
    add("similarity, 1000 candidates", "similarity", {"item_rows": np.array([1]), "candidate_rows": candidates})
    return engines


def measure(engines: Engines, rounds: int) -> dict[str, np.ndarray]:
    """Measure every engine in every round, in milliseconds; a first round warms up and does not count.

    Every engine runs twice in its turn and the second run counts. So a catalogue that fits the processor's cache is in
    the cache, although every engine has a table of its own.
    """
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name, run in engines.items():
            run()
            start = time.perf_counter()
            run()
            if number:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def load_cost(folder: Path) -> tuple[float, float]:
    """Load sessions of all graphs in a process of their own; return seconds and MB of anonymous memory."""
    # The process does not import torch: memory that torch has freed would hide what the sessions take.
    code = f"""
import time
import onnxruntime
from cofactor_server.inference.sessions import session_options
def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) / 1024
before, start = anonymous(), time.perf_counter()
sessions = [
    onnxruntime.InferenceSession(
        {str(folder)!r} + f"/{{graph}}.onnx", session_options(graph), providers=["CPUExecutionProvider"]
    )
    for graph in {GRAPHS!r}
]
print(time.perf_counter() - start, anonymous() - before)
"""
    words = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return float(words[0]), float(words[1])


def measure_size(n_items: int, rounds: int, results: Results) -> str:
    """Measure a catalogue of one size, add its figures to `results`, and return the table row of its load cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build(folder, n_items)
        for batch in BATCHES:
            scores = batch * n_items
            if scores > MAX_SCORES:
                continue
            times = measure(recommend_engines(folder, model, batch), max(5, rounds // (1 + scores // 8_000_000)))
            results[n_items, str(batch)] = times
        results[n_items, ""] = measure(other_engines(folder, model), rounds)
        seconds, megabytes = load_cost(folder)
        size = (folder / "tables.bin").stat().st_size / 2**20
    return f"| {n_items:,} | {size:,.0f} MB | {seconds:.3f} s | {megabytes:.1f} MB |"


def main() -> None:
    """Measure every size; print the tables and write the page and its plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", nargs="+", type=int, default=[1_700, 100_000, 1_000_000], help="catalogue sizes")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write; the plot goes beside it")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")):
        parser.error(
            "set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1: the compared libraries read them when they are loaded"
        )
    torch.set_num_threads(1)
    command = f"python -m benchmarks.engine --items {' '.join(map(str, arguments.items))} --rounds {arguments.rounds}"
    lines = [
        "# The engine",
        "",
        f"`{command}`: {os.cpu_count()} cores ({platform.machine()}), one thread per engine, ONNX Runtime "
        f"{onnxruntime.__version__}, torch {torch.__version__}; load average {os.getloadavg()[0]:.1f} at the start.",
        "",
        f"Times are medians in milliseconds. Every engine finds the ten best of all items with {N_FACTORS} factors. "
        f"The graphs exclude {N_EXCLUDED} items for each user; the other engines exclude none. Every engine runs twice "
        "in its turn and the second run counts, so a catalogue that fits the processor's cache is in the cache.",
        "",
        "The factors are drawn so that the variance of scores falls from one direction to the next, as in a trained "
        "model. Only the 8-bit codes depend on that: for factors that are alike in all directions int8 is 2.4 to 2.8 "
        "times as fast as float32. [Decision 0004](../decisions/0004-two-layouts-of-the-item-table.md) explains the "
        "graphs and where their time goes.",
        "",
    ]
    results: Results = {}
    loads = [measure_size(n_items, arguments.rounds, results) for n_items in arguments.items]
    lines += summary(results)
    lines += ["", "Loading all five float32 graphs in one process:", "", "| items | tables | load | anonymous memory |"]
    lines += ["|---|---|---|---|", *loads, "", "## Every figure", ""]
    lines += [f"The other engines are left out of batches of more than {MAX_SCORES_OF_OTHERS:,} scores.", ""]
    lines += table(results)
    print(*lines[6:], sep="\n")
    if arguments.output:
        image = arguments.output.with_suffix(".svg")
        plot(results, image)
        lines += ["", f"![Milliseconds for one user by the size of the catalogue]({image.name})"]
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
