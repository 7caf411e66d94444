"""Measure what rules cost Recommend, and that a request without rules costs what it did before there were rules.

    python -m benchmarks.serving.rules --before REVISION [--rounds 15] [--cache FOLDER] [--output PAGE]

Recommend runs in a process without a network (benchmarks/filters/recommend_worker.py) on versions with random factors.
All kinds of requests take turns in every round, and each is compared with the plain request of its round. The plain
request also takes turns with the same request to the server of another revision. Times are processor time of one call.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from benchmarks.serving.catalogue import HUNDRED_THOUSAND, ML100K, Catalogue, write
from cofactor.v1.recommender_pb2 import RecommendRequest, RuleSet, User

ROOT = Path(__file__).resolve().parents[2]
USERS = [str(number) for number in range(1, 9)]
ROUND_S = 0.03
PLAIN, SAME = "plain", "plain, again"
TENTH = {"filter": {"expression": 'category in ["category 1", "category 2", "category 3", "category 4"]'}}
THIRD = {"filter": {"any_genres": ["War"]}}
BRANDS = {"filter": {"expression": 'brand < "brand 0100"'}}
PIN = {"item_id": "500", "position": 3}
BRAND_CAP = {"attribute": "brand", "max_count": 3, "window": 10}
CATEGORY_CAP = {"attribute": "category", "max_count": 1, "window": 10}
# Name of the kind of request -> its rules; None for a request without rules.
KINDS: dict[str, dict[str, list[dict[str, object]]] | None] = {
    PLAIN: None,
    SAME: None,
    "an empty rule set": {},
    "1 pin": {"pins": [PIN]},
    "1 boost of a tenth of the items": {"boosts": [{**TENTH, "multiply": 2}]},
    "1 boost of a third of the items": {"boosts": [{**THIRD, "add": 0.5}]},
    "3 boosts": {"boosts": [{**TENTH, "multiply": 2}, {**THIRD, "add": -0.5}, {**BRANDS, "add": 0.2}]},
    "3 boosts, a cap and a pin": {
        "boosts": [{**TENTH, "multiply": 2}, {**THIRD, "add": -0.5}, {**BRANDS, "add": 0.2}],
        "caps": [BRAND_CAP],
        "pins": [PIN],
    },
    "1 cap by category": {"caps": [CATEGORY_CAP]},
    "1 guarantee for a tenth of the items": {"guarantees": [{**TENTH, "min_count": 3, "window": 10}]},
    "1 guarantee for a third of the items": {"guarantees": [{**THIRD, "min_share": 0.5, "window": 10}]},
}


class Worker:
    """A process that runs Recommend."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seconds(self, n_calls: int, requests: Sequence[RecommendRequest]) -> float:
        """Return the processor seconds of one call, from n_calls of each request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        encoded = [base64.b64encode(request.SerializeToString()).decode() for request in requests]
        print(json.dumps([n_calls, encoded]), file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


@contextmanager
def worker(models: Path, sources: Path) -> Iterator[Worker]:
    """Start a worker on a folder of models, with the server of the working tree in `sources`."""
    paths = os.pathsep.join(str(sources / folder) for folder in ("proto", "server"))
    command = [sys.executable, str(ROOT / "benchmarks" / "filters" / "recommend_worker.py"), str(models)]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the worker of {sources} does not start")
        try:
            yield Worker(process)
        finally:
            process.terminate()


def check_out(revision: str, folder: Path) -> Path:
    """Write the sources of a revision into a folder."""
    archive = subprocess.run(
        ["git", "archive", revision, "proto", "server"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def requests_of(rules: dict[str, list[dict[str, object]]] | None) -> list[RecommendRequest]:
    """Return a request of each user."""
    requests = [RecommendRequest(user=User(user_id=user)) for user in USERS]
    if rules is not None:
        for request in requests:
            request.rules.CopyFrom(json_format.ParseDict(rules, RuleSet()))
    return requests


def measure_kinds(models: Path, n_rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds of every kind of request in every round, and their ratios to the plain one of the round."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with worker(models, ROOT) as current:
        requests = {kind: requests_of(rules) for kind, rules in KINDS.items()}
        calls = {kind: _calls(current, requests[kind]) for kind in KINDS}
        for _ in range(n_rounds):
            for kind in KINDS:
                seconds[kind].append(current.seconds(calls[kind], requests[kind]))
    ratios = {kind: [a / b for a, b in zip(times, seconds[PLAIN], strict=True)] for kind, times in seconds.items()}
    return seconds, ratios


def measure_before(models: Path, before: Path, n_rounds: int) -> tuple[list[float], list[float]]:
    """Return the ratios of the plain request, now to before, and of a second process of before to the first one."""
    requests = requests_of(None)
    now_ratios, control = [], []
    with ExitStack() as open_workers:
        workers = [open_workers.enter_context(worker(models, sources)) for sources in (before, ROOT, before)]
        n_calls = _calls(workers[0], requests)
        for _ in range(2 * n_rounds):
            old, new, other = (each_worker.seconds(n_calls, requests) for each_worker in workers)
            now_ratios.append(new / old)
            control.append(other / old)
    return now_ratios, control


def _calls(measured: Worker, requests: Sequence[RecommendRequest]) -> int:
    """Return how many calls of each request a round makes, after a warm-up."""
    measured.seconds(3, requests)
    return max(1, round(ROUND_S / measured.seconds(3, requests) / len(requests)))


def _quartiles(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def tables(before: str, cache: Path, n_rounds: int) -> str:
    """Measure, and return the tables of the page."""
    catalogues = [ML100K, HUNDRED_THOUSAND]
    lines = [f"| request | {' | | '.join(f'{c.n_items:,} items' for c in catalogues)} | |", "|---" * 5 + "|"]
    lines.append("| | µs | ratio to plain | µs | ratio to plain |")
    results = []
    for catalogue in catalogues:
        with_attributes: Catalogue = replace(catalogue, name=f"{catalogue.name}-attributes", has_attributes=True)
        write(with_attributes, cache)
        results.append(measure_kinds(with_attributes.models(cache), n_rounds))
    for kind in KINDS:
        cells = [
            cell
            for seconds, ratios in results
            for cell in (f"{1e6 * np.median(seconds[kind]):,.0f}", _quartiles(ratios[kind]))
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "| plain request, now to before | ratio | before to before |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        sources = check_out(before, Path(folder))
        for catalogue in catalogues:
            write(catalogue, cache)
            ratios, control = measure_before(catalogue.models(cache), sources, n_rounds)
            lines.append(f"| {catalogue.n_items:,} items | {_quartiles(ratios)} | {_quartiles(control)} |")
    return "\n".join(lines)


PAGE = """# What rules cost

Processor time of one Recommend of 10 items in process, without gRPC and without the response cache, for {n_users} users
in turn. All kinds of requests take turns, {n_rounds} rounds; the ratios are to the plain request of the same round:
median (quartiles). Factors are random. There are 2,000 brands and 40 categories; a tenth of both is unknown.
[benchmarks/serving/rules.py](../../benchmarks/serving/rules.py) says what the rules of each row are. The machine was
shared with other work: the ratios count, not the times.

{tables}

"Before" is the revision {before}; the last column compares two processes of it, which shows the noise.

Boosts divide the catalogue into parts of items with the same change of their scores. The best items of every part with
more than a tenth of the items come from a top-k run of its own; the items of smaller parts, and of groups with a
guaranteed share, are scored one by one. So the cost grows with the number of parts. [Rules](../rules.md) describes the
algorithm.

```
python -m benchmarks.serving.rules --before {before} --rounds {n_rounds} --output docs/benchmarks/rules.md
```
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="revision to compare the plain request with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache", type=Path, help="folder for the synthetic versions; default: a temporary one")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = tables(arguments.before, arguments.cache or Path(temporary), arguments.rounds)
    page = PAGE.format(tables=found, before=arguments.before, n_rounds=arguments.rounds, n_users=len(USERS))
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
