"""mosec: a Rust HTTP front, Python workers. MessagePack bodies, which its own mixin offers, cost less than JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine import Engine
from mosec import Server, Worker
from mosec.mixin import MsgpackMixin


class Recommend(MsgpackMixin, Worker):
    """One user per call; mosec calls forward with a list of them when it batches."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = Engine(Path(os.environ["VERSION_DIR"]))

    def forward(self, data: Any) -> Any:
        """{"user_id", "k"} -> {"item_ids", "scores"}, or lists of both."""
        if isinstance(data, list):
            answers = self._engine.recommend([each["user_id"] for each in data], data[0]["k"])
            return [{"item_ids": item_ids, "scores": scores} for item_ids, scores in answers]
        [(item_ids, scores)] = self._engine.recommend([data["user_id"]], data["k"])
        return {"item_ids": item_ids, "scores": scores}


if __name__ == "__main__":
    server = Server()
    batch = int(os.environ.get("MOSEC_BATCH", "1"))
    wait = {"max_wait_time": int(os.environ["MOSEC_WAIT_MS"])} if batch > 1 else {}
    server.append_worker(Recommend, num=1, max_batch_size=batch, **wait)
    server.run()
