"""Write serialised requests, each with the content of the right response, computed in numpy and not by a server."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving.tables import Tables
from cofactor.v1 import recommender_pb2 as pb

K = 10
CLEAR_ORDER = 1e-4
"""Least difference between scores: users whose best items are closer are left out, as float32 may order them anyhow."""
PAIRS = 10_000
BATCH = 64


@dataclass(frozen=True)
class Workload:
    """A file of calls for the driver, and how to check the responses (driver/check.go)."""

    path: Path
    check: str
    fields: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recommendation:
    """The right recommendation for one user."""

    user_id: str
    item_ids: list[str]


class Truth:
    """Computes the right responses of a version."""

    def __init__(self, version: Path) -> None:
        self._tables = Tables(version)
        self.user_ids = self._tables.strings("user_ids")
        self.item_ids = self._tables.strings("item_ids")

    def recommendations(self, count: int) -> list[Recommendation]:
        """Return the best K items of `count` users by the default ranking, without the items that each has rated."""
        tables = self._tables
        n_ranking = tables.manifest.get("rankingFactorCount", 0)
        order = tables.manifest.get("defaultOrder", {"ratingWeight": 1.0})
        weight = order.get("popularityWeight", tables.manifest.get("defaultPopularityWeight", 0.0))
        rating_weight = np.float32(order.get("ratingWeight", 0.0))
        factors, users = tables.array("item_factors")[:-1], tables.array("user_factors")
        weights = np.full(factors.shape[1], rating_weight)
        weights[factors.shape[1] - n_ranking :] = order.get("rankingWeight", 0.0)
        users = users * weights
        offset = rating_weight * tables.array("item_bias")[:-1]
        offset = offset + np.float32(weight) * tables.array("item_log_popularity")[:-1]
        bounds, rated = tables.array("rated.offsets"), tables.array("rated.item_rows")
        found: list[Recommendation] = []
        for row in np.random.default_rng(3).permutation(len(self.user_ids)):
            scores = factors @ users[row] + offset
            scores[rated[bounds[row] : bounds[row + 1]]] = -np.inf
            best = np.argpartition(-scores, K)[: K + 1]
            best = best[np.argsort(-scores[best])]
            if np.diff(-scores[best]).min() < CLEAR_ORDER:
                continue
            found.append(Recommendation(self.user_ids[row], [self.item_ids[item] for item in best[:K]]))
            if len(found) == count:
                return found
        raise ValueError(f"only {len(found)} of {count} users have a clear order of items")

    def ratings(self, user_rows: np.ndarray, item_rows: np.ndarray) -> np.ndarray:
        """Return the predicted ratings of pairs, (n,)."""
        tables = self._tables
        span = tables.manifest["ratingRange"]
        low, high = span.get("low", 0.0), span.get("high", 0.0)
        dot = np.einsum(
            "ij,ij->i",
            tables.array("user_factors")[user_rows].astype(np.float64),
            tables.array("item_factors")[item_rows].astype(np.float64),
        )
        logits = dot + tables.array("user_bias")[user_rows] + tables.array("item_bias")[item_rows]
        logits += tables.manifest.get("globalBias", 0.0)
        scale = tables.manifest.get("ratingMin", 0.0), tables.manifest.get("ratingMax", 0.0)
        return (low + (high - low) / (1 + np.exp(-logits))).clip(*scale).astype("<f4")


def write_calls(path: Path, calls: Iterable[tuple[bytes, bytes]]) -> Path:
    """Write a workload file for the driver (driver/workload.go)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for call in calls:
            for part in call:
                file.write(struct.pack("<I", len(part)) + part)
    return path


def recommend_request(user_id: str) -> pb.RecommendRequest:
    """Return the request that a client sends."""
    return pb.RecommendRequest(user=pb.User(user_id=user_id), page_size=K)


def constant_response(recommendation: Recommendation) -> bytes:
    """Return the bare echo's response to every call; it is as long as a real one."""
    response = pb.RecommendResponse(recommendation_id="0" * 32)
    response.model.name, response.model.version = "items-1682", "1"
    response.model.execution_provider = "CPUExecutionProvider"
    for item_id in recommendation.item_ids:
        response.results.add(item_id=item_id, score=1.0, predicted_rating=1.0)
    return response.SerializeToString()


def _with_lengths(item_ids: Sequence[str]) -> bytes:
    return b"".join(bytes([len(item_id)]) + item_id.encode() for item_id in item_ids)


def recommend(folder: Path, users: Sequence[Recommendation]) -> Workload:
    """Write the calls of Recommend, which are also the messages of StreamRecommend."""
    calls = [(recommend_request(user.user_id).SerializeToString(), _with_lengths(user.item_ids)) for user in users]
    return Workload(write_calls(folder / "recommend.calls", calls), "fields", (1, 1))


def batch_recommend(folder: Path, users: Sequence[Recommendation]) -> Workload:
    """Write calls of BatchRecommend with BATCH users each."""
    calls = []
    for start in range(0, len(users) - BATCH + 1, BATCH):
        group = users[start : start + BATCH]
        request = pb.BatchRecommendRequest(requests=[recommend_request(user.user_id) for user in group])
        calls.append((request.SerializeToString(), b"".join(_with_lengths(user.item_ids) for user in group)))
    return Workload(write_calls(folder / "batch.calls", calls), "fields", (1, 1, 1, 1))


def predict(folder: Path, truth: Truth, count: int = 16) -> Workload:
    """Write calls of Predict with PAIRS user and item pairs each."""
    random = np.random.default_rng(5)
    calls = []
    for _ in range(count):
        users, items = random.integers(0, len(truth.user_ids), PAIRS), random.integers(0, len(truth.item_ids), PAIRS)
        request = pb.PredictRequest(
            user_ids=[truth.user_ids[row] for row in users], item_ids=[truth.item_ids[row] for row in items]
        )
        calls.append((request.SerializeToString(), truth.ratings(users, items).tobytes()))
    return Workload(write_calls(folder / "predict.calls", calls), "floats")


def echo(folder: Path, users: Sequence[Recommendation], response: bytes) -> Workload:
    """Write the requests of Recommend, all with the same response."""
    calls = [(recommend_request(user.user_id).SerializeToString(), response) for user in users]
    return Workload(write_calls(folder / "echo.calls", calls), "bytes")


def msgpack(folder: Path, users: Sequence[Recommendation]) -> Workload:
    """Write calls for mosec. Ids are short and fewer than 16, so MessagePack writes every length in one byte."""

    def text(value: str) -> bytes:
        return bytes([0xA0 | len(value)]) + value.encode()

    def request(user_id: str) -> bytes:
        return bytes([0x82]) + text("user_id") + text(user_id) + text("k") + bytes([K])

    def response(item_ids: Sequence[str]) -> bytes:
        return text("item_ids") + bytes([0x90 | len(item_ids)]) + b"".join(map(text, item_ids))

    calls = [(request(user.user_id), response(user.item_ids)) for user in users]
    return Workload(write_calls(folder / "msgpack.calls", calls), "contains")


def json_bodies(folder: Path, users: Sequence[Recommendation], separators: tuple[str, str]) -> Workload:
    """Write calls for LitServe, whose JSON has no spaces, and for BentoML, whose JSON has them."""
    calls = []
    for user in users:
        response = json.dumps({"item_ids": user.item_ids}, separators=separators)[1:-1]
        calls.append((json.dumps({"user_id": user.user_id, "k": K}).encode(), response.encode()))
    return Workload(write_calls(folder / f"json{len(separators[0])}.calls", calls), "contains")


def open_inference(folder: Path, users: Sequence[Recommendation]) -> Workload:
    """Write calls for MLServer: ModelInferRequest of inference.GRPCInferenceService, encoded field by field."""

    def field(number: int, payload: bytes) -> bytes:
        assert len(payload) < 128
        return bytes([number << 3 | 2, len(payload)]) + payload

    calls = []
    for user in users:
        contents = field(5, field(8, user.user_id.encode()))
        tensor = field(1, b"user_id") + field(2, b"BYTES") + field(3, bytes([1])) + contents
        response = b"".join(field(8, item_id.encode()) for item_id in user.item_ids)
        calls.append((field(1, b"recommend") + field(5, tensor), response))
    return Workload(write_calls(folder / "open-inference.calls", calls), "contains")
