"""Publish versions whose responses are known beforehand."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np

from tests.support.figures import SEED

PAGE_SIZE = 10
# Files that every version writes anew.
WRITTEN = ("tables.bin", "golden.npz")


class Versions:
    """Publishes versions of one model with different users, so that a response shows which version it comes from.

    The user tables are part of the graph embed_item only. It is left out; then the golden cases stay right whatever the
    users are.

    Attributes:
        ratings: predicted ratings of every variant, (n_users, n_items).
        recommended: ids of the PAGE_SIZE best items of every user, by variant.
    """

    def __init__(self, source: Path, models: Path, n_variants: int = 4) -> None:
        self.source = source
        self.models = models
        self.name = source.parent.name
        self.manifest = json.loads((source / "manifest.json").read_text("utf-8"))
        self._tables = {table["name"]: table for table in self.manifest["tables"]}
        self.manifest["graphs"] = [graph for graph in self.manifest["graphs"] if graph["name"] != "embed_item"]
        self.manifest["files"] = [file for file in self.manifest["files"] if file["path"] != "embed_item.onnx"]
        self._golden = _golden_without_new_items(source / "golden.npz")
        self._content = (source / "tables.bin").read_bytes()
        self.user_ids = self._strings("user_ids")
        self.item_ids = self._strings("item_ids")
        self._users = [self._make_users(variant) for variant in range(n_variants)]
        self._variant_tables = [self._make_tables(variant) for variant in range(n_variants)]
        self.ratings = [self._rate(*users) for users in self._users]
        self.recommended = [self._recommend(*users) for users in self._users]

    def variant_of(self, version: str) -> int:
        """Return the variant of a version; its number decides."""
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

    def _make_tables(self, variant: int) -> bytes:
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
        scale = (self.manifest.get(end, 0.0) for end in ("ratingMin", "ratingMax"))
        return (low + (high - low) / (1 + np.exp(-self._logits(factors, bias)))).clip(*scale)

    def _recommend(self, factors: np.ndarray, bias: np.ndarray) -> list[list[str]]:
        weight = self.manifest.get("defaultPopularityWeight", 0.0)
        scores = self._logits(factors, bias) + weight * self._array("item_log_popularity")[:-1]
        offsets, rated = self._array("rated.offsets"), self._array("rated.item_rows")
        for user, (start, end) in enumerate(itertools.pairwise(offsets)):
            scores[user, rated[start:end]] = -np.inf
        return [
            [self.item_ids[row] for row in best] for best in np.argsort(-scores, axis=1, kind="stable")[:, :PAGE_SIZE]
        ]

    def write(self, folder: Path, version: str) -> None:
        """Write the files of a version into a folder, the manifest last."""
        shutil.copytree(self.source, folder, ignore=shutil.ignore_patterns("manifest.*", "embed_item.onnx", *WRITTEN))
        changed = {"tables.bin": self._variant_tables[self.variant_of(version)], "golden.npz": self._golden}
        for name, content in changed.items():
            write_in_steps(folder / name, content)
        manifest = {**self.manifest, "version": version, "files": [dict(f) for f in self.manifest["files"]]}
        for file in manifest["files"]:
            if file["path"] in changed:
                content = changed[file["path"]]
                file.update(size=str(len(content)), sha256=hashlib.sha256(content).hexdigest())
        seal(folder, json.dumps(manifest))

    def publish(self, version: str) -> Path:
        """Publish a version as the trainer does: write it under another name, then rename it."""
        target = self.models / self.name / version
        temporary = target.with_name(f".{version}.tmp")
        self.write(temporary, version)
        temporary.rename(target)
        return target


def _golden_without_new_items(path: Path) -> bytes:
    with np.load(path) as golden:
        cases = {name: golden[name] for name in golden.files if not name.startswith("embed_item/")}
    content = io.BytesIO()
    np.savez(content, **cases)
    return content.getvalue()


def seal(folder: Path, manifest: str) -> None:
    """Write a manifest and its checksum."""
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    write_in_steps(folder / "manifest.sha256", f"{digest}  manifest.json\n".encode())
    write_in_steps(folder / "manifest.json", manifest.encode())


def write_in_steps(path: Path, content: bytes) -> None:
    """Write a file in two steps, so that a publisher can be killed between them."""
    path.write_bytes(content[: len(content) // 2])
    with path.open("ab") as file:
        file.write(content[len(content) // 2 :])
