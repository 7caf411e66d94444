"""Implement FeedbackService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from cofactor.v1 import feedback_pb2, feedback_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.errors import FeedbackLogOff
from cofactor_server.feedback.log import FeedbackLog
from cofactor_server.services.parsing.feedback import FeedbackParser
from cofactor_server.serving.registry import ModelRegistry


class FeedbackServicer(feedback_pb2_grpc.FeedbackServiceServicer):  # type: ignore[misc] # generated without annotations
    """Serve FeedbackService; without a log it refuses every call."""

    def __init__(self, registry: Callable[[], ModelRegistry], config: ServerConfig, log: FeedbackLog | None) -> None:
        self._registry = registry
        self._parser = FeedbackParser(config)
        self._log = log

    def RecordEvents(  # noqa: N802 (gRPC's name)
        self, request: feedback_pb2.RecordEventsRequest, _context: grpc.ServicerContext
    ) -> feedback_pb2.RecordEventsResponse:
        """See feedback.proto."""
        if self._log is None:
            raise FeedbackLogOff
        model = self._registry().model_name(request.model_name)
        rows = self._parser.parse(model, request.events)
        n_recorded = self._log.record(rows)
        return feedback_pb2.RecordEventsResponse(recorded_count=n_recorded, duplicate_count=len(rows) - n_recorded)
