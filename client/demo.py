"""The whole way in one program: train, export, serve, and call every method. `make demo` and `make serve` run it.

What it makes stays in .demo/ beside the Makefile; a second run finds it there, checks it and starts at once.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofactor_client import Client, EntryError, Item, ItemFilter, RpcError, ScoredItem, recommend_request
from cofactor_client.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".demo"
MODELS = STATE / "models"
HELD_OUT = STATE / "held_out.csv"
SERVER_LOG = STATE / "server.log"
RECIPES = {"dot-product": "dot-bias", "neural-net": "neural-net"}
VERSION = "1"
HELD_OUT_FRACTION = 0.2
SPLIT_SEED = 42
USER = "15"
LONGEST = 40
FIVE_RATINGS = (
    ("Star Wars: Episode IV - A New Hope", 5.0),
    ("The Matrix", 5.0),
    ("Blade Runner", 4.5),
    ("Pretty Woman", 2.0),
    ("The Notebook", 1.5),
)

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=120)


def main() -> int:
    """Everything, in order; 0 when every call was answered."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    STATE.mkdir(exist_ok=True)
    heading("1. Train and export")
    for name, recipe in RECIPES.items():
        train(name, recipe)
    hold_out()
    heading("2. Serve")
    port = arguments.port or (50051 if arguments.serve else free_port())
    with serving(port) as (server, address):
        try:
            for name in RECIPES:
                heading(f"3. Ask the {name} model")
                with Client(address, model=name) as client:
                    tour(client)
        except RpcError as error:
            console.print(Text(f"a call failed: {error.status.name}: {error.message}", style="red"))
            return 1
        if arguments.serve:
            stay_up(server, address)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train on MovieLens, export, serve, and call every method.")
    parser.add_argument("--serve", action="store_true", help="keep the server up afterwards")
    parser.add_argument("--port", type=int, help="default: 50051 with --serve, else any free one")
    return parser


def train(name: str, recipe: str) -> None:
    """A version directory of the model, unless it is there and intact; then how far its graphs are from torch."""
    from cofactor_server.bundle import open_bundle
    from cofactor_server.errors import ModelRefused

    place = MODELS / name / VERSION
    try:
        bundle = open_bundle(place)
        console.print(f"{name}: trained before, {len(bundle.manifest.files)} files with the right checksums")
    except ModelRefused:
        if place.exists():
            broken = place.with_name(f".broken-{time.time_ns()}")
            place.rename(broken)
            console.print(f"{name}: damaged, moved to {broken.name}")
        flags = {
            "--dataset": "ml-latest-small",
            "--recipe": recipe,
            "--output": str(MODELS.relative_to(ROOT)),
            "--name": name,
            "--version": VERSION,
            "--validation-fraction": str(HELD_OUT_FRACTION),
            "--split-seed": str(SPLIT_SEED),
        }
        words = [word for flag in flags.items() for word in flag]
        done = subprocess.run([sys.executable, "-m", "cofactor_trainer", *words], cwd=ROOT)  # noqa: S603 - our own words
        if done.returncode:
            raise SystemExit(f"error: training the {name} model failed with status {done.returncode}") from None
        bundle = open_bundle(place)
    parity(bundle.path)
    console.print(f"{name}: held-out RMSE {bundle.manifest.metrics['rmse']:.4f}")


def parity(version: Path) -> None:
    """Runs the golden cases in ONNX Runtime and prints how far the answers are from torch's."""
    import onnxruntime

    golden = np.load(version / "golden.npz")
    worst: dict[str, float] = {}
    cases = sorted({tuple(key.split("/")[:2]) for key in golden.files})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        graph: onnxruntime.InferenceSession(version / f"{graph}.onnx", options, providers=["CPUExecutionProvider"])
        for graph in {graph for graph, _ in cases}
    }
    for graph, case in cases:
        session = sessions[graph]
        ranked = f"{graph}/{case}/out/scores" in golden.files
        inputs = {i.name: golden[f"{graph}/{case}/in/{i.name}"] for i in session.get_inputs()}
        for output, found in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            wanted = golden[f"{graph}/{case}/out/{output.name}"]
            # Where two items score alike either may come first: of ranked lists only the scores are comparable.
            if wanted.dtype.kind == "f" and (output.name == "scores" or not ranked):
                error = np.abs(found - wanted) / np.maximum(1, np.abs(wanted))
                worst[graph] = max(worst.get(graph, 0.0), float(error[wanted > -1e29].max(initial=0)))
    shown = ", ".join(f"{graph} {error:.0e}" for graph, error in sorted(worst.items()))
    console.print(f"export parity, largest difference from torch in {len(cases)} golden cases: {shown}", soft_wrap=True)


def hold_out() -> None:
    """Writes the ratings that neither model has seen, of users and items that both know."""
    if HELD_OUT.exists():
        return
    from cofactor_trainer.movielens import load_embedded_small
    from cofactor_trainer.splits import random_split

    validation = random_split(load_embedded_small(), HELD_OUT_FRACTION, SPLIT_SEED).validation
    known = (validation.user_rows < validation.n_users) & (validation.item_rows < validation.n_items)
    pd.DataFrame(
        {
            "user_id": np.array(validation.user_ids, object)[validation.user_rows[known]],
            "item_id": np.array(validation.catalogue.item_ids, object)[validation.item_rows[known]],
            "rating": validation.ratings[known],
        }
    ).to_csv(HELD_OUT, index=False)


@contextmanager
def serving(port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server process on this machine, ready; stopped at the end."""
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "cofactor_server", "--models", str(MODELS), "--port", str(port)]
    started = time.perf_counter()
    with SERVER_LOG.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:  # noqa: S603 - ours
        try:
            wait_until_ready(server, address)
            seconds = time.perf_counter() - started
            console.print(f"cofactor-serve answers on {address} after {seconds:.1f} s (log: .demo/{SERVER_LOG.name})")
            yield server, address
        finally:
            server.send_signal(signal.SIGTERM)
            console.print(f"\nserver stopped, exit status {server.wait(timeout=30)}")


def wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Returns when the server's health is SERVING; ends the program with the server's own words when it gives up."""
    with Client(address) as client:
        for _ in range(120):
            try:
                return client.wait_until_ready(0.5)
            except UnavailableError:
                if server.poll() is not None:
                    break
    words = SERVER_LOG.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise SystemExit("\n".join(["error: the server did not start; it said:", *words]))


def tour(client: Client) -> None:
    """Every method once."""
    description = client.get_model()
    model = description.model
    console.print(
        f"GetModel: {model.name} {model.version}, {model.architecture}, {model.factor_count} factors, "
        f"{model.user_count:,} users, {model.item_count:,} items, on {model.execution_providers[0]}"
    )
    console.print("ListModels: " + ", ".join(f"{m.name} {m.version} ({m.state})" for m in client.iter_models()))
    found = client.search_items("star wars", 3)
    show_items("SearchItems, 'star wars'", found)
    show_items("ListTopItems, most rated", client.top_items("most-rated", 5))
    best = (item for item in client.iter_top_items("highest-bias") if item.bias and item.rating_count >= 50)
    if five := list(islice(best, 5)):  # a network has no biases of its own
        show_items("ListTopItems, best liked whatever one's taste, of those rated 50 times", five)
    top = client.recommend(USER, 10)
    show_scored(f"Recommend, top 10 for user {USER}", top, "score")
    predictions(client)
    toy_story = client.search_items("toy story", 1).items[0]
    similar = client.similar_items(toy_story.item_id, 5, filter=ItemFilter(min_rating_count=20))
    show_scored(f"SimilarItems, like {toy_story.title}", similar, "cosine")
    explanation(client, top.results[0])
    newcomer(client)
    everybody(client)


def predictions(client: Client) -> None:
    """Predicted beside true held-out ratings, for one user and for all."""
    held_out = pd.read_csv(HELD_OUT, dtype={"user_id": str, "item_id": str})
    mine = held_out[held_out["user_id"] == USER].head(8)
    answer = client.predict(USER, mine["item_id"])
    titles = titles_of(client, mine["item_id"])
    rows = [
        (titles[item_id].title, f"{rating:.2f}", f"{true:g}", f"{rating - true:+.2f}")
        for item_id, rating, true in zip(mine["item_id"], answer.ratings, mine["rating"], strict=True)
    ]
    show(f"Predict, beside the held-out ratings of user {USER}", ("title", "predicted", "true", "off by"), rows)
    started = time.perf_counter()
    predicted = client.predict_frame(held_out)
    seconds = time.perf_counter() - started
    errors = predicted.to_numpy() - held_out["rating"].to_numpy()
    rmse = float(np.sqrt(np.mean(errors**2)))
    constant = float(held_out["rating"].std(ddof=0))
    console.print(
        f"  all {len(held_out):,} held-out ratings in {seconds:.2f} s: RMSE {rmse:.4f} "
        f"(always saying their mean: {constant:.4f})"
    )


def explanation(client: Client, scored: ScoredItem) -> None:
    """Why one item was recommended."""
    answer = client.explain(USER, scored.item_id, max_contributions=3)
    titles = titles_of(client, [part.item_id for part in answer.contributions])
    rows = [
        ("average", "", f"{answer.global_bias:+.3f}"),
        ("this user rates", "", f"{answer.user_bias:+.3f}"),
        ("this film is rated", "", f"{answer.item_bias:+.3f}"),
    ]
    rows += [
        (f"because of {titles[part.item_id].title}", f"{part.rating:g}", f"{part.contribution:+.3f}")
        for part in answer.contributions
    ]
    rows.append(("everything else in common", "", f"{answer.remainder:+.3f}"))
    rows.append(("sum", "", f"{answer.score:+.3f}"))
    show(f"Explain, why {scored.title} for user {USER}", ("part", "rated", "adds"), rows)


def newcomer(client: Client) -> None:
    """A user whom no model has seen: five ratings, an embedding, ten recommendations; and one of the opposite taste."""
    films = {title: client.search_items(title, 1).items[0] for title, _ in FIVE_RATINGS}
    ratings = {films[title].item_id: rating for title, rating in FIVE_RATINGS}
    user = client.embed_new_user(ratings)
    console.print("\n[bold]EmbedNewUser[/], from five ratings")
    for title, rating in FIVE_RATINGS:
        console.print(Text(f"  {rating:g}  {films[title].title}"))
    console.print(
        f"  gives {len(user.embedding.factors)} factors, fitting the ratings to an RMSE of {user.fit_rmse:.2f}"
    )
    show_scored("Recommend, to that new user", client.recommend(user.embedding, 10), "score")
    opposite = client.embed_new_user({item_id: 6 - rating for item_id, rating in ratings.items()})
    show_scored("Recommend, to one who rates the other way round", client.recommend(opposite.embedding, 5), "score")
    horror = recommend_request(USER, 3, filter=ItemFilter(any_genres=("Horror",)))
    console.print("\n[bold]BatchRecommend[/], a user, the new one, an unknown one, and one who wants horror")
    for answer in client.batch_recommend([USER, user.embedding, "nobody", horror], 3):
        if isinstance(answer, EntryError):
            console.print(Text(f"  {answer.reason}: {answer.message}"))
        else:
            console.print(Text("  " + " | ".join(scored.title for scored in answer)))


def everybody(client: Client) -> None:
    """One stream for all users."""
    users = pd.read_csv(HELD_OUT, usecols=["user_id"], dtype=str)["user_id"].unique().tolist()
    started = time.perf_counter()
    best: Counter[str] = Counter()
    for _, answer in client.stream_recommend(users, 1):
        if not isinstance(answer, EntryError):
            best.update(scored.title for scored in answer)
    seconds = time.perf_counter() - started
    favourite, count = best.most_common(1)[0]
    console.print(
        f"\n[bold]StreamRecommend[/], the best film for each of {len(users)} users: {len(best)} different films in "
        f"{seconds:.2f} s, most often {favourite} ({count} times)",
        soft_wrap=True,
    )


def titles_of(client: Client, item_ids: Iterable[str]) -> dict[str, Item]:
    """What is known of these items."""
    wanted = ItemFilter(candidate_item_ids=tuple(item_ids))
    found = client.recommend(USER, max(1, len(wanted.candidate_item_ids)), filter=wanted, include_rated=True)
    return {scored.item_id: scored.item for scored in found if scored.item is not None}


def show_items(title: str, items: Iterable[Item]) -> None:
    """A table of items."""
    rows = [
        (item.title, str(item.release_year or ""), ", ".join(item.genres), str(item.rating_count)) for item in items
    ]
    show(title, ("title", "year", "genres", "ratings"), rows)


def show_scored(title: str, results: Iterable[ScoredItem], score: str) -> None:
    """A table of ranked items."""
    rows = []
    for rank, scored in enumerate(results, start=1):
        item = scored.item
        year, genres = (str(item.release_year or ""), ", ".join(item.genres)) if item else ("", "")
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        rows.append((str(rank), scored.title, year, genres, predicted, f"{scored.score:.3f}"))
    show(title, ("#", "title", "year", "genres", "predicted", score), rows)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A titled table, without columns in which nothing stands."""
    console.print(Text(f"\n{title}", style="bold"))
    filled = [column for column in range(len(columns)) if any(row[column] for row in rows)]
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for name in (columns[column] for column in filled):
        words = name in ("title", "genres", "part")
        table.add_column(name, justify="left" if words else "right", min_width=0 if words else len(name))
    for row in rows:
        table.add_row(*(Text(shortened(row[column])) for column in filled))
    console.print(table)


def shortened(text: str) -> str:
    """At most LONGEST characters, so that a row is a line."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def heading(text: str) -> None:
    """A line across."""
    console.print()
    console.rule(f"[bold]{text}", align="left")


def stay_up(server: subprocess.Popen[bytes], address: str) -> None:
    """Waits until interrupted."""
    heading("4. Try it")
    for command in (
        f"cofactor recommend {USER} --address {address}",
        f"cofactor similar 'Toy Story' --address {address}",
        f"cofactor embed --rate 'Toy Story=5' --rate 'Alien=2' --recommend 10 --address {address}",
        f"cofactor search star wars --address {address}",
        f"cofactor model --address {address} --model neural-net",
    ):
        console.print(f"  .venv/bin/{command}", soft_wrap=True)
    console.print("Ctrl-C stops the server.")
    try:
        status = server.wait()
    except KeyboardInterrupt:
        return
    raise SystemExit(f"error: the server stopped by itself with status {status}; see .demo/{SERVER_LOG.name}")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
