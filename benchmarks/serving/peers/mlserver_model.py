"""Serve recommendations with MLServer: a custom runtime behind the Open Inference Protocol over gRPC."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from engine import Engine
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

K = 10


class Recommend(MLModel):
    """Recommends for one user: input user_id (1,), outputs item_ids (k,) and scores (k,)."""

    async def load(self) -> bool:
        """Load the graph."""
        self._engine = Engine(Path(os.environ["VERSION_DIR"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Recommend for the user of the request."""
        user_ids = StringCodec.decode_input(payload.inputs[0])
        [(item_ids, scores)] = self._engine.recommend(user_ids, K)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("item_ids", item_ids),
                NumpyCodec.encode_output("scores", np.array(scores, dtype=np.float32)),
            ],
        )
