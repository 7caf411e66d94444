"""Measure the rows of new items by the number of their ratings, with and without their attributes.

    python -m benchmarks.new_items [--seeds 42 43] [--output docs/benchmarks/new-items.md]

A tenth of the items of MovieLens 100k with at least 40 ratings are hidden. The default recipe is trained on the others
and exported. The exported graph embed_item computes the rows of the hidden items from their first n ratings, in random
order. COFACTOR_ML100K names the folder of MovieLens 100k.

Ratings: the error is that of the ratings of the hidden items beyond the 20th.

Ranking: the hidden items are put into the catalogue at their rows, and every user's unseen items are ordered by the
default order. Relevant are the hidden items that the user rated 4 and more, among the second half of the ratings beyond
the 20th. In comparison, the same recipe is trained on all other ratings, the first half beyond the 20th among them.

The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import onnxruntime
import torch

from benchmarks.datasets import ml_100k_folder
from benchmarks.newcomers import ndcg
from cofactor_trainer.architectures.recipes import DEFAULT_RECIPE, find_recipe
from cofactor_trainer.data.attribute_columns.features import item_frame
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.train import train

FEWEST_RATINGS, HIDDEN_SHARE = 40, 0.1
COUNTS = (0, 5, 10, 20)
FIRST_LATER = 20
RELEVANT, K = 4.0, 10
# Mean squared errors of the prototype, with attributes, by the number of known ratings.
TARGETS = {0: 1.135, 5: 0.919, 10: 0.869, 20: 0.828}


@dataclass(frozen=True)
class Hidden:
    """The hidden items: their rows in the whole catalogue, and the positions of their ratings in random order."""

    rows: np.ndarray
    histories: list[np.ndarray]

    @property
    def tested(self) -> list[np.ndarray]:
        """Return the positions of the ratings that judge the ranking, for every item."""
        return [history[FIRST_LATER + (len(history) - FIRST_LATER) // 2 :] for history in self.histories]


def hide(dataset, seed):
    """Return the data set without the hidden items, the rows that are left, and the hidden items."""
    random = np.random.RandomState(seed)
    counts = dataset.item_rating_counts()
    eligible = np.flatnonzero(counts >= FEWEST_RATINGS)
    rows = random.permutation(eligible)[: int(len(eligible) * HIDDEN_SHARE)]
    histories = [random.permutation(np.flatnonzero(dataset.item_rows == item)) for item in rows]
    kept = np.setdiff1d(np.arange(dataset.n_items), rows)
    row = np.full(dataset.n_items, -1, np.int32)
    row[kept] = np.arange(len(kept))
    left = dataset.select_ratings(row[dataset.item_rows] >= 0)
    left = replace(left, catalogue=dataset.catalogue.select(kept), item_rows=row[left.item_rows])
    return left, kept, Hidden(rows, histories)


def fit(ratings, seed):
    """Train the default recipe with its ranking part."""
    recipe = find_recipe(DEFAULT_RECIPE)
    return add_ranking_part(train(ratings, None, recipe, seed=seed).model, ratings, recipe, seed=seed)


def embedded(version, dataset, hidden, count, *, with_attributes):
    """Return the rows of the hidden items by the exported graph: factors (n, q), biases (n,)."""
    session, features = cpu_session(version / "embed_item.onnx"), read_version(version).manifest.item_features
    columns = encode_profiles(tuple(features), item_frame(dataset.catalogue.select(hidden.rows))).astype(np.float32)
    known = [history[:count] for history in hidden.histories]
    nobody = np.full((len(known), 1), dataset.n_users)
    inputs = {
        "user_rows": np.column_stack([np.stack([dataset.user_rows[places] for places in known]), nobody]),
        "ratings": np.column_stack([np.stack([dataset.ratings[places] for places in known]), nobody]),
        "attributes": columns * np.float32(with_attributes),
    }
    inputs["user_rows"] = inputs["user_rows"].astype(np.int64)
    inputs["ratings"] = inputs["ratings"].astype(np.float32)
    return session.run(["item_factors", "item_bias"], inputs)


def squared_error(model, dataset, hidden, factors, bias):
    """Return the mean squared error of the hidden items' ratings beyond the 20th."""
    errors, n_dot = [], model.n_dot_factors
    low, high = model.rating_range
    for row, one_bias, history in zip(factors, bias, hidden.histories, strict=True):
        later = history[FIRST_LATER:]
        users = dataset.user_rows[later]
        logits = model.user_factors[users, :n_dot] @ row[:n_dot] + model.user_bias[users] + one_bias
        ratings = low + (high - low) / (1 + np.exp(-(logits + model.global_bias)))
        errors.append((ratings.clip(dataset.rating_min, dataset.rating_max) - dataset.ratings[later]) ** 2)
    return float(np.concatenate(errors).mean())


def item_mean_error(dataset, left, hidden, count, strength=5.0):
    """Return the error of predicting the mean of the known ratings, shrunk towards the mean of all."""
    errors, mean = [], left.ratings.mean(dtype=np.float64)
    for history in hidden.histories:
        known = dataset.ratings[history[:count]]
        predicted = (known.sum() + strength * mean) / (len(known) + strength)
        errors.append((predicted - dataset.ratings[history[FIRST_LATER:]]) ** 2)
    return float(np.concatenate(errors).mean())


def ranked(model, dataset, hidden, kept, factors, bias):
    """Rank with the hidden items at some rows.

    Returns:
        NDCG@10 among the hidden items only, NDCG@10 and Recall@20 among all items, and the share of the 20 best places
        that the hidden items take.
    """
    order, n_dot, n_ranking = model.order, model.n_dot_factors, model.n_ranking_factors
    items = np.concatenate([model.item_factors[: len(kept)], factors])
    biases = np.concatenate([model.item_bias[: len(kept)], bias])
    users = model.user_factors[:-1]
    scores = order.rating_weight * (users[:, :n_dot] @ items[:, :n_dot].T + biases)
    scores += order.ranking_weight * (users[:, -n_ranking:] @ items[:, -n_ranking:].T)
    place = np.full(dataset.n_items, -1)
    place[np.concatenate([kept, hidden.rows])] = np.arange(dataset.n_items)
    tested = np.concatenate(hidden.tested)
    seen = np.ones(dataset.n_ratings, bool)
    seen[tested] = False
    scores[dataset.user_rows[seen], place[dataset.item_rows[seen]]] = -np.inf
    liked = tested[dataset.ratings[tested] >= RELEVANT]
    found = []
    for user in np.unique(dataset.user_rows[liked]):
        relevant = place[dataset.item_rows[liked[dataset.user_rows[liked] == user]]]
        best = np.argsort(-scores[user], kind="stable")
        new = best[best >= len(kept)]
        shown = best[: 2 * K]
        found.append(
            (
                ndcg(new[:K], relevant),
                ndcg(best[:K], relevant),
                np.isin(relevant, shown).sum() / min(len(relevant), 2 * K),
                (shown >= len(kept)).mean(),
            )
        )
    return np.mean(found, axis=0)


def measure(dataset, seed):
    """Return the errors and the rankings of one seed, by row of the tables."""
    left, kept, hidden = hide(dataset, seed)
    model = fit(left, seed)
    errors, rankings = {}, {}
    unknown = np.tile(model.item_factors[-1], (len(hidden.rows), 1)), np.repeat(model.item_bias[-1], len(hidden.rows))
    errors["unknown"] = squared_error(model, dataset, hidden, *unknown)
    rankings["the unknown row"] = ranked(model, dataset, hidden, kept, *unknown)
    with tempfile.TemporaryDirectory() as folder:
        version = export_version(model, left, Path(folder), "new-items", "1", metrics={}, hyperparameters={})
        for count in COUNTS:
            errors[count, "mean"] = item_mean_error(dataset, left, hidden, count)
            for given in (False, True):
                rows = embedded(version, dataset, hidden, count, with_attributes=given)
                errors[count, given] = squared_error(model, dataset, hidden, *rows)
                text = f"{count} ratings{', genres and year' if given else ''}"
                rankings[text] = ranked(model, dataset, hidden, kept, *rows)
                if given:
                    mean = model.item_factors[: len(kept), -model.n_ranking_factors :].mean(0)
                    rows[0][:, -model.n_ranking_factors :] = mean
                    rankings[f"{text}, the ranking part unknown"] = ranked(model, dataset, hidden, kept, *rows)
    is_known = np.ones(dataset.n_ratings, bool)
    is_known[np.concatenate(hidden.tested)] = False
    whole = fit(dataset.select_ratings(is_known), seed)
    order = np.concatenate([kept, hidden.rows, [dataset.n_items]])
    whole = replace(whole, item_factors=whole.item_factors[order], item_bias=whole.item_bias[order])
    rows = whole.item_factors[len(kept) : -1], whole.item_bias[len(kept) : -1]
    rankings["trained on all ratings but those that judge"] = ranked(whole, dataset, hidden, kept, *rows)
    return errors, rankings


def page(results, dataset, seeds):
    """Return the page, and the targets that are missed."""
    errors = {key: np.mean([result[0][key] for result in results]) for key in results[0][0]}
    rankings = {key: np.mean([result[1][key] for result in results], axis=0) for key in results[0][1]}
    lines = [
        "# New items",
        "",
        f"`python -m benchmarks.new_items --seeds {' '.join(map(str, seeds))}`; {dataset.name} by title, recipe "
        f"`{DEFAULT_RECIPE}`, means of the seeds {', '.join(map(str, seeds))}. "
        f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, {platform.machine()}.",
        "",
        f"A tenth of the items with at least {FEWEST_RATINGS} ratings are hidden. The exported graph `embed_item` "
        "computes their rows.",
        "",
        "## Predicted ratings",
        "Mean squared error of the hidden items' ratings beyond the 20th. The targets are the figures of a prototype.",
        "",
        "| ratings known | the unknown row | item mean, shrunk | fold-in | fold-in with genres and year | target |",
        "|---|---|---|---|---|---|",
    ]
    for count in COUNTS:
        row = errors["unknown"], errors[count, "mean"], errors[count, False], errors[count, True], TARGETS[count]
        lines.append(f"| {count} | {' | '.join(f'{value:.3f}' for value in row)} |")
    lines += [
        "",
        "## Order",
        "The hidden items are put into the catalogue at their rows. Relevant are the hidden items that a user rated 4 "
        "and more, among the second half of the ratings beyond the 20th; the other ratings of the hidden items are no "
        "candidates.",
        "",
        "| row of the hidden items | NDCG@10 among them | NDCG@10, all items | Recall@20, all items | share of the 20 "
        "best places |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |" for name, values in rankings.items()]
    missed = [count for count in COUNTS if errors[count, True] > TARGETS[count]]
    lines += ["", f"Missed targets: {', '.join(f'{count} ratings' for count in missed) or 'none'}.", ""]
    return "\n".join(lines), missed


def main() -> int:
    """Measure, print the page and write it; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43], help="seeds that choose the hidden items")
    parser.add_argument("--output", type=Path, help="file to write the page to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_100k(ml_100k_folder(), by_title=True)
    text, missed = page([measure(dataset, seed) for seed in arguments.seeds], dataset, arguments.seeds)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
