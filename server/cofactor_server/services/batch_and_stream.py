"""Run many Recommend requests together: those of one BatchRecommend, or those that arrive over a stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    BatchRecommendResponse,
    RecommendRequest,
    StreamRecommendRequest,
    StreamRecommendResponse,
)
from cofactor_server.errors import InvalidField, RequestError
from cofactor_server.services.parsing.requests import DEFAULT_PAGE_SIZE
from cofactor_server.services.recommend import RecommendPipeline
from cofactor_server.services.response_messages import entry_error_message
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry
from cofactor_server.serving.response_encoder import batch_response, stream_response

_PAGE_SIZE = attrgetter("page_size")


def batch_recommend(
    registry: ModelRegistry, pipeline: RecommendPipeline, request: BatchRecommendRequest, limit: int
) -> bytes:
    """Return an encoded BatchRecommendResponse, ranked in as few runs of the engine as possible.

    Raises InvalidField for more than `limit` requests, for none, or if the response may be too large.
    """
    if not 1 <= len(request.requests) <= limit:
        raise InvalidField("requests", f"has {len(request.requests)} entries; send between 1 and {limit}")
    version = registry.resolve(request.model)
    requests = list(request.requests)  # indexing a list is faster than indexing the message
    _check_response_size(version, requests)
    results: dict[int, bytes | RequestError] = {}
    for index, entry in enumerate(requests):
        error = _entry_problem(entry)
        if error is not None:
            results[index] = error
        elif request.HasField("model"):
            # Makes the response's page token valid in Recommend with this model.
            entry.model.CopyFrom(request.model)
    valid = [index for index in range(len(requests)) if index not in results]
    responses = pipeline.run_many(registry, [requests[index] for index in valid], with_model=False)
    results.update(zip(valid, responses, strict=True))
    return batch_response(
        [_entry_message(index, results[index]) for index in range(len(requests))], version.served_model
    )


def _check_response_size(version: LoadedVersion, requests: Sequence[RecommendRequest]) -> None:
    largest = max(DEFAULT_PAGE_SIZE, *map(_PAGE_SIZE, requests))
    if not version.response_sizes.always_fit(len(requests), largest):
        pages = (
            (max(entry.page_size, 0) or DEFAULT_PAGE_SIZE, entry.return_items, entry.return_probabilities)
            for entry in requests
        )
        version.response_sizes.check_all(pages, "requests")


def _entry_problem(entry: RecommendRequest) -> RequestError | None:
    if entry.HasField("model"):
        return InvalidField("model", "must be unset in an entry; set it on the batch")
    if entry.page_token:
        return InvalidField("page_token", "must be empty in an entry; ask for further pages with Recommend")
    return None


def _entry_message(index: int, result: bytes | RequestError) -> bytes | BatchRecommendResponse.Entry:
    if isinstance(result, RequestError):
        return BatchRecommendResponse.Entry(error=entry_error_message(index, result))
    return result


def stream_recommend(
    registry: Callable[[], ModelRegistry],
    pipeline: RecommendPipeline,
    requests: Iterator[StreamRecommendRequest],
    limit: int,
) -> Iterator[StreamRecommendResponse | bytes]:
    """Yield the response or error of every request; up to `limit` of them run together, on the version current then."""
    for batch in StreamReader(requests, limit).batches():
        responses = pipeline.run_many(registry(), [message.request for message in batch], with_model=True)
        for message, response in zip(batch, responses, strict=True):
            if isinstance(response, RequestError):
                error = entry_error_message(0, response)
                yield StreamRecommendResponse(request_id=message.request_id, error=error)
            else:
                yield stream_response(message.request_id, response)


@dataclass(frozen=True)
class _End:
    """The end of a stream, with the error that ended it or None."""

    error: Exception | None


class StreamReader:
    """Read a stream ahead in a thread, so that requests that arrive while the engine works run together.

    At most `limit` requests wait. Beyond that the thread stops reading, and HTTP/2 flow control holds the client back.
    A SimpleQueue and one event per batch cost less than the locks that a bounded queue.Queue takes per message.
    """

    def __init__(self, requests: Iterator[StreamRecommendRequest], limit: int) -> None:
        self._requests = requests
        self._limit = limit
        self._waiting: queue.SimpleQueue[StreamRecommendRequest | _End] = queue.SimpleQueue()
        self._has_room = threading.Event()
        self._is_closed = False
        threading.Thread(target=self._read, name="stream-reader", daemon=True).start()

    def batches(self) -> Iterator[list[StreamRecommendRequest]]:
        """Yield the waiting requests, 1 to `limit` at a time, until the stream ends; raise the error that ended it."""
        try:
            end: _End | None = None
            while end is None:
                batch, end = self._next_batch()
                self._has_room.set()
                if batch:
                    yield batch
            if end.error is not None:
                raise end.error
        finally:
            self._is_closed = True
            self._has_room.set()

    def _next_batch(self) -> tuple[list[StreamRecommendRequest], _End | None]:
        """Wait for a request; return all that wait, and the end of the stream if it is reached."""
        batch: list[StreamRecommendRequest] = []
        message = self._waiting.get()
        while not isinstance(message, _End):
            batch.append(message)
            if len(batch) == self._limit:
                return batch, None
            try:
                message = self._waiting.get_nowait()
            except queue.Empty:
                return batch, None
        return batch, message

    def _read(self) -> None:
        end = _End(None)
        try:
            for request in self._requests:
                self._wait_for_room()
                if self._is_closed:
                    return
                self._waiting.put(request)
        except Exception as error:  # batches() raises it in the thread that serves the stream
            end = _End(error)
        self._waiting.put(end)

    def _wait_for_room(self) -> None:
        while self._waiting.qsize() >= self._limit and not self._is_closed:
            self._has_room.clear()
            # If room was made just before clear(), this second check sees it; if later, the event is set again.
            if self._waiting.qsize() >= self._limit and not self._is_closed:
                self._has_room.wait()
