"""Measure what a filter expression of 20 clauses adds to a Recommend over 100,000 items.

    python -m benchmarks.filters [--before REVISION] [--rounds 30] [--output docs/benchmarks/filters.md]

Everything runs in one process without a network, with one thread for computations; the items have random factors and
attributes. All times are processor seconds. The requests take turns, round after round, and each ratio is that of one
round: the page has the medians and the middle half. --before also runs the server of an earlier revision, in turn with
that of this checkout, on the same versions.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.serving import catalogue, tools
from cofactor.v1.recommender_pb2 import ItemFilter, RecommendRequest, User
from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.filter_expressions import compile_expression
from cofactor_server.ranking.ranker import always_active
from cofactor_server.server import create_server
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.recommend import RecommendPipeline

WITH_ATTRIBUTES = replace(catalogue.HUNDRED_THOUSAND, name="items-100k-attributes", has_attributes=True)
_SHOP = ["in_stock", "price >= 2", 'brand >= "brand 0100"', 'added > "2020-06-01"', "genres:*"]
EXPRESSIONS = {
    "few": [*_SHOP, 'category in ["category 1", "category 2", "category 3"]', "price < 60"]
    + [f'NOT tags:"tag {n}"' for n in range(13)],
    "half": [*_SHOP, 'category != "category 1"', "price < 200"] + [f'NOT tags:"tag {n}"' for n in range(13)],
    "most": [f'NOT brand = "brand {n:04}"' for n in range(8)]
    + [f'NOT tags:"tag {n}"' for n in range(8)]
    + ['NOT category = "category 1"', "NOT price > 500", 'NOT added < "2020-01-31"', "rating_count >= 0"],
}
ONE_CLAUSE = "price < 10"
WORKER = Path(__file__).with_name("recommend_worker.py")
ROOT = Path(__file__).parents[2]


def seconds(function: Callable[[], object], n_calls: int = 1) -> float:
    """Return the processor seconds of one call, the mean of a few."""
    start = time.process_time()
    for _ in range(n_calls):
        function()
    return (time.process_time() - start) / n_calls


def spread(values: Sequence[float], unit: str) -> str:
    """Return the median and the middle half of values."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3g} {unit} ({low:.3g} to {high:.3g})"


def measure_calls(models: Path, n_rounds: int) -> Iterator[str]:
    """Yield the rows of the table of Recommend with and without expressions."""
    config = ServerConfig(models=models, port=0, provider="cpu", cache_mib=0)
    with create_server(config) as server:
        registry, parser = server.repository, RequestParser(config)
        pipeline, version = RecommendPipeline(parser, Metrics()), registry.resolve_default()
        items = version.catalogue

        def recommend(user: int, expression: str) -> float:
            request = RecommendRequest(user=User(user_id=str(user)), page_size=10)
            if expression:
                request.filter.expression = expression
            return seconds(lambda: pipeline.run(registry, request, always_active))

        cases = {"": "", "one": ONE_CLAUSE} | {name: " AND ".join(clauses) for name, clauses in EXPRESSIONS.items()}
        for expression in cases.values():
            recommend(1, expression)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for round_number in range(n_rounds):
            for name, expression in cases.items():
                times[name].append(recommend(2 + round_number, expression))
        yield f"| no filter | 100 % | {spread([1e3 * t for t in times['']], 'ms')} | | | |"
        for name, expression in list(cases.items())[1:]:
            yield _row(version, parser, items, name, expression, times, n_rounds)


def _row(version, parser, items: Catalogue, name, expression, times, n_rounds: int) -> str:
    """Return the row of one expression: its share of the items, its Recommend, and its own cost."""
    ratios = [after / before for after, before in zip(times[name], times[""], strict=True)]
    usual = statistics.median(times[""])
    compiled = compile_expression(expression, items.attributes.schema)
    share = compiled.mask(items).mean()
    item_filter = ItemFilter(expression=expression)
    cached = [seconds(lambda: parser.filters.parse(version, item_filter), 20) / usual for _ in range(n_rounds)]
    first = [
        (
            seconds(lambda: compile_expression(expression, items.attributes.schema)) / usual,
            seconds(lambda: compiled.mask(items)) / usual,
        )
        for _ in range(n_rounds)
    ]
    n_clauses = len(EXPRESSIONS.get(name, [""]))
    compiling, evaluating = ([100 * pair[part] for pair in first] for part in (0, 1))
    return (
        f"| {n_clauses} clause{'s' if n_clauses > 1 else ''} | {share:.0%} | x {spread(ratios, '')} "
        f"| **{spread([100 * c for c in cached], '%')}** | {spread(compiling, '%')} | {spread(evaluating, '%')} |"
    )


@contextmanager
def worker(models: Path, source: Path) -> Iterator[Callable[[int, list[RecommendRequest]], float]]:
    """Run Recommend in a process of its own, with the packages of a checkout; yield a function that times requests."""
    paths = os.pathsep.join(str(source / part) for part in ("proto", "server"))
    command = [sys.executable, str(WORKER), str(models)]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def ask(n_calls: int, requests: list[RecommendRequest]) -> float:
            encoded = [base64.b64encode(request.SerializeToString()).decode() for request in requests]
            process.stdin.write(json.dumps([n_calls, encoded]) + "\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield ask
        process.stdin.close()


def compare(before: str, n_rounds: int) -> Iterator[str]:
    """Yield the rows of the table of two revisions.

    Half of the rounds have servers of their own, because a process keeps the place of its tables in memory, and with it
    its speed.
    """
    kinds = {
        "no filter": {},
        "with items": {"return_items": True},
        "filter by genre": {"filter": ItemFilter(any_genres=["Drama"])},
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", before], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        for size, n_calls in ((catalogue.ML100K, 5), (catalogue.HUNDRED_THOUSAND, 1)):
            catalogue.write(size, tools.CACHE)
            found: dict[str, list[tuple[float, float]]] = {what: [] for what in kinds}
            for _ in range(2):
                with ExitStack() as stack:
                    models = size.models(tools.CACHE)
                    old, new = (stack.enter_context(worker(models, source)) for source in (Path(folder), ROOT))
                    for round_number in range(n_rounds // 2 + 1):
                        for what, options in kinds.items():
                            users = [RecommendRequest(user=User(user_id=str(n)), **options) for n in range(1, 21)]
                            if round_number % 2:
                                after, earlier = new(n_calls, users), old(n_calls, users)
                            else:
                                earlier, after = old(n_calls, users), new(n_calls, users)
                            if round_number:  # the first one warms up
                                found[what].append((earlier, after))
            for what, pairs in found.items():
                times = np.array(pairs)
                sides = " | ".join(spread([1e3 * t for t in times[:, side]], "ms") for side in (0, 1))
                yield f"| {size.n_items:,} | {what} | {sides} | **x {spread(times[:, 1] / times[:, 0], '')}** |"


def write_page(output: Path | None, arguments: argparse.Namespace) -> None:
    """Measure everything, and print or write the page."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    catalogue.write(WITH_ATTRIBUTES, tools.CACHE)
    rows = list(measure_calls(WITH_ATTRIBUTES.models(tools.CACHE), arguments.rounds))
    lines = [
        "# What a filter expression costs",
        "",
        f"Written by `python -m benchmarks.filters --rounds {arguments.rounds}"
        + (f" --before {arguments.before}" if arguments.before else "")
        + " --output docs/benchmarks/filters.md`.",
        "100,000 items of 64 factors with six attributes (40 categories, 2,000 brands, prices, booleans, 3 of 200 tags",
        "each, dates), a tenth of the values unknown. Processor time without a network, one thread; median and middle",
        "half of the rounds. The requests of a round take turns.",
        "",
        "## One expression",
        "The bar: 20 clauses cost at most 10 % of a Recommend. *Repeated*: the expression is among the 32 filters used",
        "last, so its items are looked up. *First*: the server has not seen it lately. Percentages are of a Recommend",
        "without a filter. *Whole call* is relative to that, too: a filter also changes how many items are ranked.",
        "",
        "| filter | items | whole call | repeated | first: compiled | first: evaluated |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "The expression of a repeated filter costs its look-up, whatever it says. The rest of *whole call* is the",
        "ranking: the graph scores all items and lowers those that are left out one by one. If more than nine tenths",
        "are left out, the others are scored alone.",
    ]
    if arguments.before:
        lines += [
            "",
            f"## Recommend before and after, revision {arguments.before}",
            "The ratio is new / old of the same round.",
            "",
            "| items | request | before | now | ratio |",
            "|---|---|---|---|---|",
            *compare(arguments.before, arguments.rounds),
        ]
    page = "\n".join(lines).replace(" )", ")").replace("  (", " (") + "\n"
    if output is None:
        print(page)
    else:
        output.write_text(page, encoding="utf-8")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="REVISION", help="compare with the server of this revision as well")
    parser.add_argument("--rounds", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="page to write (default: print it)")
    arguments = parser.parse_args()
    write_page(arguments.output, arguments)


if __name__ == "__main__":
    main()
