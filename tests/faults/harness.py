"""Versions with known answers, servers as processes of their own, and clients that check every answer."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2, recommender_pb2_grpc

FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULTS_SEED", "20261121"))
PAGE_SIZE = 10


class Versions:
    """Publishes versions of one model whose users differ by variant, so that every answer tells its version.

    The user tables are no part of the graphs: golden answers stay right whatever the users are.
    """

    def __init__(self, source: Path, models: Path, n_variants: int = 4) -> None:
        self.source = source
        self.models = models
        self.name = source.parent.name
        self.manifest = json.loads((source / "manifest.json").read_text("utf-8"))
        self._tables = {table["name"]: table for table in self.manifest["tables"]}
        self._content = (source / "tables.bin").read_bytes()
        self.user_ids = self._strings("user_ids")
        self.item_ids = self._strings("item_ids")
        self._users = [self._make_users(variant) for variant in range(n_variants)]
        self._bodies = [self._make_body(variant) for variant in range(n_variants)]
        self.ratings = [self._rate(*users) for users in self._users]
        self.recommended = [self._recommend(*users) for users in self._users]

    def variant_of(self, version: str) -> int:
        """The variant that a version holds: versions are numbered."""
        return int(version) % len(self._users)

    def _array(self, name: str) -> np.ndarray:
        table = self._tables[name]
        shape = [int(n) for n in table["shape"]]
        count = int(np.prod(shape))
        offset = int(table.get("offset", 0))
        return np.frombuffer(self._content, table["dtype"], count, offset).reshape(shape)

    def _strings(self, name: str) -> list[str]:
        content, offsets = self._array(f"{name}.bytes").tobytes(), self._array(f"{name}.offsets")
        return [content[a:b].decode() for a, b in itertools.pairwise(offsets)]

    def _make_users(self, variant: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng([SEED, variant])
        factors, bias = self._array("user_factors"), self._array("user_bias")
        return (
            random.normal(0, 0.6, factors.shape).astype(np.float32),
            random.normal(0, 0.3, bias.shape).astype(np.float32),
        )

    def _make_body(self, variant: int) -> bytes:
        content = bytearray(self._content)
        for name, rows in zip(("user_factors", "user_bias"), self._users[variant], strict=True):
            offset = int(self._tables[name].get("offset", 0))
            content[offset : offset + rows.nbytes] = rows.tobytes()
        return bytes(content)

    def _logits(self, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
        items, item_bias = self._array("item_factors")[:-1], self._array("item_bias")[:-1]
        return factors[:-1] @ items.T + bias[:-1, None] + item_bias + self.manifest.get("globalBias", 0.0)

    def _rate(self, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
        low, high = (self.manifest["ratingRange"][end] for end in ("low", "high"))
        return low + (high - low) / (1 + np.exp(-self._logits(factors, bias)))

    def _recommend(self, factors: np.ndarray, bias: np.ndarray) -> list[list[str]]:
        weight = self.manifest.get("defaultPopularityWeight", 0.0)
        scores = self._logits(factors, bias) + weight * self._array("item_log_popularity")[:-1]
        offsets, rated = self._array("rated.offsets"), self._array("rated.item_rows")
        for user, (start, end) in enumerate(itertools.pairwise(offsets)):
            scores[user, rated[start:end]] = -np.inf
        return [[self.item_ids[row] for row in np.argsort(-one, kind="stable")[:PAGE_SIZE]] for one in scores]

    def draft(self, folder: Path, version: str) -> None:
        """Write a version's files into a folder, the manifest last."""
        shutil.copytree(self.source, folder, ignore=shutil.ignore_patterns("manifest.*", "tables.bin"))
        body = self._bodies[self.variant_of(version)]
        write_in_steps(folder / "tables.bin", body)
        manifest = {**self.manifest, "version": version, "files": [dict(f) for f in self.manifest["files"]]}
        for file in manifest["files"]:
            if file["path"] == "tables.bin":
                file["sha256"] = hashlib.sha256(body).hexdigest()
        seal(folder, json.dumps(manifest))

    def publish(self, version: str) -> Path:
        """Publish a version as the trainer does: under another name first, then by one rename."""
        target = self.models / self.name / version
        temporary = target.with_name(f".{version}.draft")
        self.draft(temporary, version)
        temporary.rename(target)
        return target


def seal(folder: Path, manifest: str) -> None:
    """Write a manifest and its checksum."""
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    write_in_steps(folder / "manifest.sha256", f"{digest}  manifest.json\n".encode())
    write_in_steps(folder / "manifest.json", manifest.encode())


def write_in_steps(path: Path, content: bytes) -> None:
    """Write a file in two goes, so that a publisher can be killed between them."""
    path.write_bytes(content[: len(content) // 2])
    with path.open("ab") as file:
        file.write(content[len(content) // 2 :])


class ServerProcess:
    """cofactor-serve in a process of its own."""

    def __init__(
        self,
        models: Path,
        log: Path,
        *flags: str,
        port: int = 0,
        program: tuple[object, ...] = ("-m", "cofactor_server"),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        self.models = models
        command = [sys.executable, *map(str, program), "--models", str(models), "--port", str(port)]
        with log.open("ab") as output:
            self._offset = output.tell()
            self.process = subprocess.Popen(
                [*command, "--provider", "cpu", *flags],
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.port = port
        self._ready = "workers listening" if "--workers" in flags else "listening"
        self.wait_until_listening()

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")

    def wait_until_listening(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(rf"{self._ready} on \S+ port (\d+)", self.text())
            if found:
                self.port = int(found[1])
                return
            assert self.process.poll() is None, f"the server ended: {self.text()}"
            assert time.monotonic() < deadline, f"the server does not come up: {self.text()}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Signal it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}


def connect(target: str, *, retries: bool = True, balanced: bool = True) -> grpc.Channel:
    """A channel of its own connection, with the service config of the shipped client or parts of it."""
    config = dict(SERVICE_CONFIG)
    if not retries:
        del config["methodConfig"]
    if not balanced:
        config = {}
    return grpc.insecure_channel(
        target,
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.service_config", json.dumps(config)),
            ("grpc.enable_retries", int(retries)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )


@dataclass
class Outcome:
    """What the clients saw.

    codes: how often each gRPC code. wrong: answers that are not those of the version they claim. versions: how often
    each version answered. seconds: latencies of answers that were OK. ok_times: when they came, by time.monotonic().
    failed_times: when the others did.
    """

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    ok_times: list[float] = field(default_factory=list)
    failed_times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def n_ok(self) -> int:
        return self.codes["OK"]

    @property
    def n_failed(self) -> int:
        return sum(self.codes.values()) - self.n_ok

    @property
    def rate(self) -> float:
        return self.n_ok / self.elapsed_s

    def longest_gap_s(self) -> float:
        """The longest time in which nobody got an answer."""
        times = sorted(self.ok_times)
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


class Clients:
    """Threads, each with a connection of its own, that call as fast as they may and check what they get."""

    def __init__(
        self,
        versions: Versions,
        make_channel: Callable[[], grpc.Channel],
        n_clients: int = 16,
        rate: float = 0.0,
        timeout_s: float = 10.0,
        check: Callable[[Versions, recommender_pb2.RecommendResponse, int], str] | None = None,
    ) -> None:
        """`rate` in calls per second over all clients; 0: as fast as they get answers."""
        self.outcome = Outcome()
        self._versions = versions
        self._make_channel = make_channel
        self._pause = n_clients / rate if rate else 0.0
        self._timeout_s = timeout_s
        self._check = check or check_recommendation
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(n_clients)]

    def __enter__(self) -> Clients:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self.outcome.elapsed_s = time.monotonic() - self._started

    def _run(self, number: int) -> None:
        random = np.random.default_rng([SEED, number])
        mine = Outcome()
        with self._make_channel() as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            due = time.monotonic() + random.random() * self._pause
            while not self._stopping.is_set():
                if self._pause:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due += self._pause
                self._call(stub, int(random.integers(len(self._versions.user_ids))), mine)
        with self._lock:
            _merge(self.outcome, mine)

    def _call(self, stub: recommender_pb2_grpc.RecommenderServiceStub, user: int, mine: Outcome) -> None:
        request = recommender_pb2.RecommendRequest(
            user=recommender_pb2.User(user_id=self._versions.user_ids[user]), page_size=PAGE_SIZE
        )
        started = time.monotonic()
        try:
            response = stub.Recommend(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            mine.codes[error.code().name] += 1
            mine.failed_times.append(time.monotonic())
            mine.errors.append(f"{error.code().name}: {error.details()}")
            return
        ended = time.monotonic()
        mine.codes["OK"] += 1
        mine.seconds.append(ended - started)
        mine.ok_times.append(ended)
        mine.versions[response.model.version] += 1
        problem = self._check(self._versions, response, user)
        if problem:
            mine.wrong.append(problem)


def check_recommendation(versions: Versions, response: recommender_pb2.RecommendResponse, user: int) -> str:
    """Why an answer is not that of the version it claims; empty when it is."""
    variant = versions.variant_of(response.model.version)
    found = [result.item_id for result in response.results]
    expected = versions.recommended[variant][user]
    if found != expected:
        return f"version {response.model.version}: {found}, not {expected}"
    rows = [versions.item_ids.index(item_id) for item_id in found]
    ratings = [result.predicted_rating for result in response.results]
    if not np.allclose(ratings, versions.ratings[variant][user, rows], atol=1e-4):
        return f"version {response.model.version}: ratings {ratings}"
    return ""


def _merge(all_of_them: Outcome, one: Outcome) -> None:
    all_of_them.codes += one.codes
    all_of_them.wrong += one.wrong
    all_of_them.versions += one.versions
    all_of_them.seconds += one.seconds
    all_of_them.ok_times += one.ok_times
    all_of_them.failed_times += one.failed_times
    all_of_them.errors += one.errors


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def current_version(channel: grpc.Channel) -> str:
    """The version that answers now."""
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    return stub.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until a condition holds; returns how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - started


@contextlib.contextmanager
def figures(name: str, **values: object) -> Iterator[dict[str, object]]:
    """Collects a test's figures; with FAULTS_FIGURES=FILE they are appended there, one JSON object a line."""
    found: dict[str, object] = {"test": name, "seed": SEED, "full": FULL, **values}
    yield found
    print(json.dumps(found))
    path = os.environ.get("FAULTS_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
