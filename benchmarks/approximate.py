"""Compare Recommend from an index with the exact graph: time, recall, and the cost of the index.

The factors are random with the spectrum of a trained MovieLens model: the variance of item factor j falls as j^-1.2,
that of user factor j as 1 / j. (No index works for factors of equal variance.) Popularity follows a power law. The
version is exported and served like any other.

    export OMP_NUM_THREADS=1
    python -m benchmarks.approximate [--items 1000000 5000000] [--output docs/benchmarks/approximate.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import torch

from cofactor_server.inference.ann_index import ApproximateTopK
from cofactor_server.inference.catalogue_top_k import CatalogueTopK
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.ranker import TopKQuery
from cofactor_server.ranking.user_vectors import UserVectors
from cofactor_server.repository.version_directory import VersionDirectory, open_version_directory
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.export.ann_index.builder import build_index
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.scoring.trained_model import TrainedModel

N_FACTORS = 64
N_USERS = 100_000
N_RATINGS = 20_000_000
K = 10
BLOCKS, USERS_PER_BLOCK = 10, 20
COLUMNS = (
    "items, popularity weight",
    "clusters searched",
    "recall@10, @100",
    "index, ms",
    "exact, ms",
    "exact / index",
    "build, s",
    "index",
    "tables",
    "anonymous",
)


def model_of(n_items: int) -> TrainedModel:
    """Return a model whose factors have a falling spectrum."""
    random = np.random.default_rng(0)
    place = np.arange(1, N_FACTORS + 1, dtype=np.float32)
    users = random.standard_normal((N_USERS + 1, N_FACTORS), dtype=np.float32) * np.sqrt(0.3 / place)
    items = random.standard_normal((n_items + 1, N_FACTORS), dtype=np.float32)
    items *= np.sqrt(0.05 / place**1.2)
    return TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=users,
        user_bias=random.standard_normal(N_USERS + 1, dtype=np.float32) * np.float32(0.3),
        item_factors=items,
        item_bias=random.standard_normal(n_items + 1, dtype=np.float32) * np.float32(0.25),
        global_bias=0.1,
        rating_range=(0.0, 5.5),
        n_dot_factors=N_FACTORS,
    )


def dataset_of(n_items: int) -> RatingsDataset:
    """Return ratings whose items follow a power law; the popular items are spread over all rows."""
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), N_RATINGS // N_USERS)
    items = random.permutation(n_items)[(n_items * random.random(len(users)) ** 3).astype(np.int64)].astype(np.int32)
    ratings = (random.integers(1, 11, len(users)) / 2).astype(np.float32)
    ids = [f"{row:08}" for row in range(max(n_items, N_USERS))]
    nothing = np.zeros(n_items, np.int64)
    catalogue = Catalogue(ids[:n_items], [""] * n_items, [()] * n_items, nothing)
    return RatingsDataset("synthetic", ids[:N_USERS], catalogue, users, items, ratings, None, 0.5, 5.0)


@dataclass
class Service:
    """A version that answers top-k queries from its index and exactly."""

    directory: VersionDirectory

    def __post_init__(self) -> None:
        n_items = self.directory.manifest.item_count
        engine = Engine(self.directory, [CPU], must_use_first=True)
        self.users = UserVectors(self.directory.tables, engine, n_items, 0)
        self.exact = CatalogueTopK(engine, n_items, 1)
        before = anonymous_bytes()
        self.index = ApproximateTopK(self.directory, self.exact, ItemScorer(engine, self.directory.tables))
        self.index.find(self.query(0, 0.0))
        self.anonymous_bytes = anonymous_bytes() - before

    def query(self, user_row: int, popularity_weight: float) -> TopKQuery:
        """Return the query for the ten best items that a user has not rated."""
        user = self.users.known(user_row)
        return TopKQuery(user, Order(popularity_weight=popularity_weight), user.rated_rows, K)


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process: what it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def milliseconds(service: Service, popularity_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the processor time of every user's query, from the index and exactly, in milliseconds.

    The two take turns after each block of users. Within a block the caches belong to one of them, as in a server.
    """
    users = np.random.default_rng(2).integers(0, N_USERS, (BLOCKS, USERS_PER_BLOCK + 1))
    times = np.empty((2, BLOCKS, USERS_PER_BLOCK))
    for block, rows in enumerate(users):
        for which, top_k in enumerate((service.index, service.exact)):
            for number, row in enumerate(rows):
                query = service.query(int(row), popularity_weight)
                start = time.thread_time()
                assert len(top_k.find(query).rows) == K
                if number:  # the first query of a block warms the caches
                    times[which, block, number - 1] = 1000 * (time.thread_time() - start)
    return times[0].ravel(), times[1].ravel()


def rows_of(n_items: int) -> list[str]:
    """Export, load and measure a catalogue of one size; return a table row for each popularity weight."""
    with tempfile.TemporaryDirectory() as folder:
        place = export_version(
            model_of(n_items),
            dataset_of(n_items),
            Path(folder),
            "synthetic",
            "1",
            metrics={},
            hyperparameters={},
            approximate=True,
        )
        directory = open_version_directory(place)
        start = time.process_time()
        n_clusters = build_index(directory.tables).nlist
        seconds = time.process_time() - start
        service, manifest = Service(directory), directory.manifest
        asked = manifest.approximate_index
        sizes = [(place / name).stat().st_size / 2**20 for name in (asked.path, "tables.bin")]
        lines = []
        for weight in asked.popularity_weights:
            index, exact = milliseconds(service, weight)
            cells = [
                f"{n_items:,}, {weight:g}",
                f"{asked.probe_count} of {n_clusters:,}",
                f"{manifest.metrics['approximate_recall@10']:.4f}, {manifest.metrics['approximate_recall@100']:.4f}",
                f"{np.median(index):.2f} ({index.min():.2f} to {index.max():.2f})",
                f"{np.median(exact):.1f} ({exact.min():.1f} to {exact.max():.1f})",
                f"{np.median(exact) / np.median(index):.0f}",
                f"{seconds:.0f}",
                *(f"{size:.0f} MB" for size in sizes),
                f"{service.anonymous_bytes / 2**20:.1f} MB",
            ]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure every size; print the table and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", nargs="+", type=int, default=[1_000_000], help="sizes of the catalogues")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    lines = [line for n_items in arguments.items for line in rows_of(n_items)]
    if arguments.output is not None:
        arguments.output.write_text(document(lines, arguments.items), encoding="utf-8")


def document(lines: list[str], sizes: list[int]) -> str:
    """Return the page."""
    command = f"OMP_NUM_THREADS=1 python -m benchmarks.approximate --items {' '.join(map(str, sizes))}"
    return f"""# Recommend from an index

`{command}`
on {platform.machine()}, {os.cpu_count()} cores, faiss {faiss.__version__}, one thread.

The model has {N_FACTORS} factors with the spectrum of a trained MovieLens model; popularity follows a power law;
{N_USERS:,} users gave {N_RATINGS:,} ratings. A query asks for the ten best items that one user has not rated, through
the server's own classes. Times are processor time, median and range of {BLOCKS * USERS_PER_BLOCK} users. Recall is what
the export measured on up to 1,000 users, the lower of the two popularity weights. Each worker process needs the
anonymous memory for itself; the rest of the index is mapped once for all.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main()
