"""Serve recommendations with LitServe: FastAPI in front of worker processes, JSON bodies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import litserve
from engine import Engine


class Recommend(litserve.LitAPI):
    """Recommends for one user per call."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it by name
        """Load the graph."""
        self._engine = Engine(Path(os.environ["VERSION_DIR"]))

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Recommend: {"user_id", "k"} -> {"item_ids", "scores"}."""
        [(item_ids, scores)] = self._engine.recommend([request["user_id"]], request["k"])
        return {"item_ids": item_ids, "scores": scores}


if __name__ == "__main__":
    server = litserve.LitServer(Recommend(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error")
