"""Measure memory and time of `cofactor-train` on millions of synthetic events, and of folding a new user in.

    python -m benchmarks.events_at_scale [--share 1] [--output docs/benchmarks/events-at-scale.md]

1 million users have 20 million events of 500,000 items. Activity and popularity follow power laws. Every user belongs
to a hidden group, which most of the user's events are from, so a ranking that beats popularity shows that the model
learns. --share makes all three numbers smaller. The command runs as a process of its own, whose peak of resident
memory counts from the import of the libraries to the published version. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path

import onnxruntime

from benchmarks.events_at_scale.events import GROUP_SHARE, N_GROUPS, Size
from benchmarks.events_at_scale.run import FOLD_INS, Run, measure

GIGABYTES_TARGET, FOLD_IN_TARGET = 2.0, 1.0


def verdicts(run: Run, share: float) -> list[tuple[str, float, float, bool]]:
    """Return every target with what was reached, and whether it is met; memory has one at full size only."""
    own, popularity = (run.measures[name]["ndcg"] for name in ("this model", "popularity"))
    found = [
        (f"milliseconds to fold {run.fold_in.events} events in, graph", run.fold_in.graph, FOLD_IN_TARGET, False),
        ("NDCG@10 of held-out events, above popularity", own, popularity, True),
    ]
    if share == 1:
        found.insert(0, ("peak of resident memory, GB", run.gigabytes, GIGABYTES_TARGET, False))
    return [(name, got, target, got > target if above else got <= target) for name, got, target, above in found]


def document(run: Run, lines: Sequence[str], flags: Sequence[str]) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.events_at_scale", *sys.argv[1:]])
    trained = " ".join(["cofactor-train", "--dataset", "events.csv", *flags])
    phases = "\n".join(f"| {name} | {seconds:,.0f} |" for name, seconds in run.phases.items())
    epochs = "\n".join(
        f"| {number} | {seconds:,.0f} | {loss:.3f} |"
        for number, (seconds, loss) in enumerate(zip(run.epochs, run.losses, strict=True), 1)
    )
    measures = "\n".join(
        f"| {name} | {of_row['ndcg']:.4f} | {of_row['recall']:.4f} | {of_row['coverage']:.4f} |"
        for name, of_row in run.measures.items()
    )
    judged = max(of_row["n_users"] for of_row in run.measures.values())
    own = run.gigabytes - run.libraries
    return f"""# {run.events:,} events

{run.events:,} synthetic events by {run.users:,} users of {run.items:,} items, {run.pairs:,} pairs of a user and an
item. Activity and popularity follow power laws. Each user belongs to one of {N_GROUPS} hidden groups, whose items are
{GROUP_SHARE:.0%} of the user's events. [training.md](../training.md#millions-of-users) describes the recipe.

`{command}` ran `{trained}` on {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}, torch
{torch_version()}, ONNX Runtime {onnxruntime.__version__}. A load above the number of cores means that other programs
ran, too: the seconds are then an upper bound.

| | reached | target | |
|---|---|---|---|
{chr(10).join(lines)}

Memory is the peak of resident memory of the whole command, from the first import to the published version, in 10^9
bytes. {run.libraries:.2f} GB of it are there once torch is imported: a torch built for CUDA loads the CUDA libraries
even if it trains on a CPU. {own:.2f} GB are events, model, training and export.

| phase | seconds |
|---|---|
{phases}

| epoch of the first training | seconds | train loss |
|---|---|---|
{epochs}

Held-out events, the first ten recommendations among all items, {judged:,} users:

| | NDCG@10 | Recall@10 | coverage |
|---|---|---|---|
{measures}

The version has {run.megabytes:,.0f} MB, and a server that has loaded it {run.fold_in.gigabytes:.2f} GB of resident
memory. The graph `embed_user` folds a new user with {run.fold_in.events} events in within {run.fold_in.graph:.2f} ms on
one thread. The RPC EmbedNewUser with the ids as text takes {run.fold_in.rpc:.2f} ms over loopback, client and server on
the same cores (medians of {FOLD_INS}).
"""


def torch_version() -> str:
    """Return the version of torch, without its import."""
    return installed_version("torch")


def main() -> int:
    """Measure, print, write the page; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the full size (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each training (default: %(default)s)")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags of cofactor-train")
    parser.add_argument("--folder", type=Path, help="where to keep the version (default: nowhere)")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    flags = ["--recipe", "ranking-large", "--epochs", str(arguments.epochs), *arguments.flags]
    with tempfile.TemporaryDirectory() as temporary:
        run = measure(Size.of_share(arguments.share), flags, arguments.folder or Path(temporary))
    checks = verdicts(run, arguments.share)
    lines = [
        f"| {name} | {got:.4g} | {target:.4g} | {'met' if is_met else '**missed**'} |"
        for name, got, target, is_met in checks
    ]
    page = document(run, lines, flags)
    print(page)
    if arguments.output is not None:
        arguments.output.write_text(page, encoding="utf-8")
    return int(not all(is_met for *_, is_met in checks))


if __name__ == "__main__":
    sys.exit(main())
