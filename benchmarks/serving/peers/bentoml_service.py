"""Serve recommendations with BentoML: an ASGI service with JSON bodies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from engine import Engine


@bentoml.service(workers=1)
class Recommend:
    """Recommends for one user per call."""

    def __init__(self) -> None:
        self._engine = Engine(Path(os.environ["VERSION_DIR"]))

    @bentoml.api
    def recommend(self, user_id: str, k: int) -> dict[str, Any]:
        """Return item_ids and scores."""
        [(item_ids, scores)] = self._engine.recommend([user_id], k)
        return {"item_ids": item_ids, "scores": scores}
