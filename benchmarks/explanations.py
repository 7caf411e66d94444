"""Measure how often the reasons that Explain gives are a smaller part of a score than what they leave out.

    python -m benchmarks.explanations --models models --model films [--users 100] [--seed 1]

The version needs a ranking part. A server recommends ten items to some users of the training data, and to as many
newcomers with ten ratings of 5 each, of items that those users rated. Each item is explained. A score, less the item's
own part and the user's, is the person's part: the reasons, the ratings that are in no reason, and what does not follow
from the ratings. Printed is the share of items for which the other two exceed the reasons; and, for the predicted
rating, the share for which the rest exceeds the contributions shown.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from benchmarks.serving.tables import Tables
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import ExplainRequest, Rating, RatingHistory, RecommendRequest, User
from cofactor.v1.recommender_pb2_grpc import RecommenderServiceStub

PLACES = 10


@contextmanager
def serving(models: Path) -> Iterator[RecommenderServiceStub]:
    """Run a server of a folder of models."""
    command = [sys.executable, "-m", "cofactor_server", "--models", str(models), "--provider", "cpu", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while not (found := re.search(r"listening on \S+ port (\d+)", _text(log))):
                if process.poll() is not None:
                    raise SystemExit(_text(log))
                time.sleep(0.05)
            with grpc.insecure_channel(f"127.0.0.1:{found[1]}") as channel:
                yield RecommenderServiceStub(channel)
        finally:
            process.terminate()


def _text(log) -> str:
    log.seek(0)
    return log.read()


def exceeded(stub: RecommenderServiceStub, model: ModelRef, user: User) -> Iterator[tuple[bool, bool]]:
    """Yield for each item of a user's list whether the rest exceeds the reasons, for its place and for its rating."""
    for item in stub.Recommend(RecommendRequest(model=model, user=user, page_size=PLACES)).results:
        found = stub.Explain(ExplainRequest(model=model, user=user, item_id=item.item_id))
        parts = found.ranking
        place = abs(sum(reason.contribution for reason in parts.reasons)), abs(parts.other_part + parts.unexplained)
        shown = abs(sum(one.contribution for one in found.contributions))
        yield place[1] > place[0], abs(found.other_contributions + found.unexplained) > shown


def main() -> None:
    """Explain the lists of known users and of newcomers, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of models")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--users", type=int, default=100, help="number of known users and of newcomers")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choice of users")
    arguments = parser.parse_args()
    tables = Tables(max((arguments.models / arguments.model).glob("*/manifest.json")).parent)
    user_ids, item_ids = tables.strings("user_ids"), tables.strings("item_ids")
    bounds, rated = tables.array("rated.offsets"), tables.array("rated.item_rows")
    rows = random.Random(arguments.seed).sample(range(len(user_ids)), arguments.users)
    known = [User(user_id=user_ids[row]) for row in rows]
    newcomers = [
        User(history=RatingHistory(ratings=[Rating(item_id=item_ids[item], rating=5.0) for item in chosen]))
        for chosen in (rated[bounds[row] : bounds[row + 1]][:10] for row in rows)
    ]
    with serving(arguments.models) as stub:
        for name, users in (("known users", known), ("newcomers with 10 ratings", newcomers)):
            found = [pair for user in users for pair in exceeded(stub, ModelRef(name=arguments.model), user)]
            place, rating = (sum(column) / len(found) for column in zip(*found, strict=True))
            print(f"{name}, {len(found):,} items: the rest exceeds the reasons for {place:.1%} of places,", end=" ")
            print(f"the contributions shown for {rating:.1%} of predicted ratings")


if __name__ == "__main__":
    main()
