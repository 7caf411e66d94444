"""Serve recommendations with mosec: a Rust HTTP front, Python workers and MessagePack bodies, cheaper than JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine import Engine
from mosec import Server, Worker
from mosec.mixin import MsgpackMixin


class Recommend(MsgpackMixin, Worker):
    """Recommends for one user per call; when mosec batches, it passes `forward` a list of requests."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = Engine(Path(os.environ["VERSION_DIR"]))

    def forward(self, data: Any) -> Any:
        """Recommend: {"user_id", "k"} -> {"item_ids", "scores"}, or lists of both."""
        if isinstance(data, list):
            found = self._engine.recommend([request["user_id"] for request in data], data[0]["k"])
            return [{"item_ids": item_ids, "scores": scores} for item_ids, scores in found]
        [(item_ids, scores)] = self._engine.recommend([data["user_id"]], data["k"])
        return {"item_ids": item_ids, "scores": scores}


if __name__ == "__main__":
    server = Server()
    batch = int(os.environ.get("MOSEC_BATCH", "1"))
    wait = {"max_wait_time": int(os.environ["MOSEC_WAIT_MS"])} if batch > 1 else {}
    server.append_worker(Recommend, num=1, max_batch_size=batch, **wait)
    server.run()
