"""T16: overlays of a version under load: no call fails, no answer mixes two overlays, and each is seen in time."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2_grpc
from cofactor.v1 import recommender_pb2 as pb
from cofactor_trainer.export.version_reader import read_version
from tests.support.checking_clients import Clients, connect
from tests.support.figures import FULL, figures
from tests.support.known_versions import PAGE_SIZE
from tests.support.overlays import Twins, publish
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

SECONDS_TO_SEE = 10.0
GENRE = "Fresh"


class KnownOverlays:
    """Overlays of version 1 with known answers: number s adds an item that everyone gets first and removes another.

    Attributes:
        expected: item ids of each user by number; number 0 is the version without an overlay.
        seen: the numbers that checked responses had.
    """

    def __init__(self, versions, n_overlays: int) -> None:
        self.models, folder = versions.models, versions.models / versions.name / "1"
        self._twins = Twins(folder)
        self.seen: set[int] = set()
        ranked = _rank(read_version(folder), PAGE_SIZE + 1)
        ids = self._twins.item_ids
        self._removed = [ids[1 + number % (len(ids) - 1)] for number in range(n_overlays + 1)]
        self.expected = [[[ids[row] for row in rows[:PAGE_SIZE]] for rows in ranked]]
        for number in range(1, n_overlays + 1):
            kept = [[ids[row] for row in rows if ids[row] != self._removed[number]] for rows in ranked]
            self.expected.append([[self.added(number), *own[: PAGE_SIZE - 1]] for own in kept])

    @staticmethod
    def added(number: int) -> str:
        return f"new-{number}"

    def publish(self, number: int) -> None:
        item = self._twins.twin(
            self._twins.item_ids[0], self.added(number), bias=100.0, title=f"Overlay {number}", genres=[GENRE]
        )
        publish(self.models, self._twins.overlay(number, [item], [self._removed[number]]))

    def check(self, _versions, response: pb.RecommendResponse, user: int) -> str:
        """Return how a response differs from that of the overlay that it names; empty if it does not."""
        number, found = response.model.overlay_sequence, [result.item_id for result in response.results]
        expected = self.expected[number][user]
        self.seen.add(number)
        return "" if found == expected else f"overlay {number}: {found}, not {expected}"


def _rank(version, depth: int) -> np.ndarray:
    """Return the rows of each user's best items, (n_users, depth)."""
    tables, manifest = version.tables, version.manifest
    logits = tables["user_factors"][:-1] @ tables["item_factors"][:-1].T + tables["item_bias"][:-1]
    scores = logits + manifest.default_popularity_weight * tables["item_log_popularity"][:-1]
    offsets, rated = tables["rated.offsets"], tables["rated.item_rows"]
    for user in range(len(scores)):
        scores[user, rated[offsets[user] : offsets[user + 1]]] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :depth]


def is_seen(channel, overlays: KnownOverlays, number: int) -> bool:
    """Return True if Recommend, SimilarItems, SearchItems, filters and Explain know the added item of an overlay."""
    recommender = recommender_pb2_grpc.RecommenderServiceStub(channel)
    catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
    item_id, user = overlays.added(number), pb.User(user_id="u003")
    model = catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model
    if model.overlay_sequence != number:
        return False
    fresh = pb.ItemFilter(any_genres=[GENRE])
    first = recommender.Recommend(pb.RecommendRequest(user=user, page_size=1), timeout=10).results
    filtered = recommender.Recommend(pb.RecommendRequest(user=user, filter=fresh), timeout=10).results
    similar = recommender.SimilarItems(pb.SimilarItemsRequest(item_ids=["i000"], filter=fresh), timeout=10).results
    found = catalog.SearchItems(catalog_pb2.SearchItemsRequest(query=f"overlay {number}"), timeout=10).items
    explained = recommender.Explain(pb.ExplainRequest(user=user, item_id=item_id), timeout=10)
    lists = [[result.item_id for result in results] for results in (first, filtered, similar, found)]
    assert lists == [[item_id]] * 4
    assert explained.model.overlay_sequence == number
    return True


def test_t16_overlays_under_load_fail_no_call_and_mix_no_answers(versions, tmp_path) -> None:
    n_overlays, rate, poll_s = (200, 600, "1") if FULL else (10, 120, "0.05")
    overlays, seconds = KnownOverlays(versions, n_overlays), []
    with (
        figures("T16", overlays=n_overlays) as found,
        ServerProcess(versions.models, tmp_path / "log", "--poll-interval-s", poll_s) as server,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        target = f"127.0.0.1:{server.port}"
        clients = Clients(versions, lambda: connect(target, retries=False), rate=1.1 * rate, check=overlays.check)
        with clients:
            for number in range(1, n_overlays + 1):
                overlays.publish(number)
                what = f"overlay {number} is seen"
                seconds.append(until(lambda n=number: is_seen(channel, overlays, n), SECONDS_TO_SEE, what))
        outcome = clients.outcome
        found.update(
            requests=sum(outcome.codes.values()),
            errors=outcome.n_failed,
            mixed=len(outcome.wrong),
            rate=round(outcome.rate),
            seen_after_s_median=round(float(np.median(seconds)), 2),
            seen_after_s_worst=round(max(seconds), 2),
            p99_ms=round(1e3 * np.quantile(outcome.seconds, 0.99), 1),
        )
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    assert len(overlays.seen) > n_overlays / 2, "invalid run: too few requests"
    if FULL:
        assert outcome.rate >= rate, "invalid run: too few requests"


def test_t16_control_an_answer_of_another_overlay_is_noticed(versions, tmp_path) -> None:
    """The check of T16 must not pass a server whose overlay is not the one that it names."""
    overlays = KnownOverlays(versions, 2)
    overlays.publish(1)
    overlays.expected[1], overlays.expected[2] = overlays.expected[2], overlays.expected[1]
    with (
        ServerProcess(versions.models, tmp_path / "log") as server,
        Clients(
            versions, lambda: connect(f"127.0.0.1:{server.port}"), n_clients=2, rate=100, check=overlays.check
        ) as clients,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        until(lambda: is_seen(channel, overlays, 1), 20)
        until(lambda: overlays.seen, 20, "the clients have an answer")
    assert clients.outcome.n_ok > 0
    assert len(clients.outcome.wrong) == clients.outcome.n_ok


def test_t16_a_killed_publisher_leaves_the_last_overlay_in_force_and_workers_agree(versions, tmp_path) -> None:
    """A file that is cut short under its final name, as a copy over a network leaves it, is refused."""
    overlays = KnownOverlays(versions, 3)
    overlays.publish(1)
    folder = versions.models / versions.name / "overlays" / "1"
    with ServerProcess(versions.models, tmp_path / "log", "--poll-interval-s", "0.05", "--workers", "2") as server:

        def all_see(number: int) -> bool:
            # Every connection goes to one of the workers.
            for _ in range(8):
                with connect(f"127.0.0.1:{server.port}") as channel:
                    if not is_seen(channel, overlays, number):
                        return False
            return True

        until(lambda: all_see(1), 20, "both workers serve overlay 1")
        (folder / "2.binpb").write_bytes((folder / "1.binpb").read_bytes()[:-50])
        until(lambda: server.text().count("overlay 2 refused") == 2, 20, "both workers refuse overlay 2")
        assert all_see(1)
        overlays.publish(3)
        until(lambda: all_see(3), 20, "both workers serve overlay 3")
