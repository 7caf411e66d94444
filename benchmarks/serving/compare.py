"""Compare the server of this checkout with that of an earlier revision, on the same versions and under the same loads.

    python -m benchmarks.serving.compare --before REVISION [--rounds 5]

The windows of the two servers alternate, round after round. Each line shows the median requests per second of both, the
median of the rounds' ratios, and the lowest and highest ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.serving import catalogue, servers, tools, workload
from benchmarks.serving.driver import Load, WrongAnswerError, measure
from benchmarks.serving.scenarios import BATCH_METHOD, PREDICT_METHOD, STREAM_METHOD, Context
from benchmarks.serving.server_process import RunningServer, ServerSpec
from benchmarks.serving.workload import Truth, Workload

WARM_UP_S, WINDOW_S = 0.5, 2.0


def loads(context: Context) -> Sequence[tuple[str, ServerSpec, Load]]:
    """Return what is compared: a name, a server and a load each."""
    folder, recommend = context.calls(catalogue.ML100K), context.recommend
    plain, cached = context.cofactor(), context.cofactor("--cache-mib", "64")
    large = catalogue.HUNDRED_THOUSAND
    large_users = Truth(context.version(large)).recommendations(128)
    pairs = workload.predict(folder, Truth(context.version(catalogue.ML100K)))
    batches = workload.batch_recommend(folder, context.small)
    return [
        ("Recommend, 64 in flight", plain, Load(recommend, 64)),
        ("Recommend, 1 in flight", plain, Load(recommend, 1)),
        ("Recommend, cache hits", cached, Load(recommend, 64)),
        ("StreamRecommend, 8 x 32", plain, Load(recommend, 32, streams=8, method=STREAM_METHOD)),
        ("BatchRecommend of 64", plain, Load(batches, 4, per_call=workload.BATCH, method=BATCH_METHOD)),
        ("Predict of 10,000 pairs", plain, Load(pairs, 2, per_call=workload.PAIRS, method=PREDICT_METHOD)),
        (
            "Recommend, 100,000 items, 16 in flight",
            servers.cofactor("cofactor-100k", large),
            Load(workload.recommend(context.calls(large), large_users), 16),
        ),
    ]


def checkout(revision: str) -> Path:
    """Check a revision out beside the others of earlier comparisons."""
    git = ["git", "-C", str(tools.ROOT)]
    commit = subprocess.run([*git, "rev-parse", revision], check=True, capture_output=True, text=True).stdout.strip()
    folder = tools.CACHE / "revisions" / commit[:12]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*git, "worktree", "prune"], check=True)
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(folder), commit], check=True)
    return folder


def at(folder: Path, spec: ServerSpec, label: str) -> ServerSpec:
    """Return the same server, with its code taken from a checkout."""
    path = os.pathsep.join(str(folder / top) for top in ("proto", "server"))
    return replace(spec, name=f"{spec.name} {label}", environment={**spec.environment, "PYTHONPATH": path})


def first_request(calls: Workload) -> bytes:
    """Return the first message of a workload, which begins with its length."""
    content = calls.path.read_bytes()
    return content[4 : 4 + int.from_bytes(content[:4], "little")]


def main() -> None:
    """Measure every load on both servers and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, metavar="REVISION", help="the revision to compare with")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args()
    driver, context = tools.driver(), Context()
    folders = {"before": checkout(arguments.before), "now": tools.ROOT}
    hello = first_request(context.recommend)
    rows = loads(context)
    running: dict[tuple[str, str], RunningServer] = {}
    try:
        for _, spec, load in rows:
            hello = first_request(load.workload) if load.method == "" else hello
            for label, folder in folders.items():
                if (spec.name, label) not in running:
                    log = tools.CACHE / f"{spec.name} {label}.log".replace(" ", "_")
                    running[spec.name, label] = RunningServer(at(folder, spec, label), hello, log)
        for name, spec, load in rows:
            rates: dict[str, list[float]] = {label: [] for label in folders}
            try:
                for number in range(arguments.rounds):
                    for label in sorted(folders, reverse=number % 2 == 1):
                        found = measure(driver, running[spec.name, label], load, WARM_UP_S, WINDOW_S, shared=False)
                        rates[label].append(found.rate)
            except WrongAnswerError as error:  # the two revisions answer differently
                print(f"{name}: not compared: {error}", flush=True)
                continue
            ratios = [now / before for now, before in zip(rates["now"], rates["before"], strict=True)]
            before, now = (statistics.median(rates[label]) for label in ("before", "now"))
            print(
                f"{name}: {before:,.0f} before, {now:,.0f} now, ratio {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})",
                flush=True,
            )
    finally:
        for server in running.values():
            server.stop()


if __name__ == "__main__":
    main()
