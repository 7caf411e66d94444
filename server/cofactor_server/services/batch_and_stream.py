"""Many Recommend requests at once: as one message, or over a stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    BatchRecommendResponse,
    RecommendRequest,
    StreamRecommendRequest,
    StreamRecommendResponse,
)
from cofactor_server.errors import InvalidField, RequestError
from cofactor_server.services.recommend import Recommendations
from cofactor_server.services.response_messages import entry_error
from cofactor_server.serving.registry import ModelRegistry
from cofactor_server.serving.response_encoder import batch_response, stream_response


def batch_recommend(
    repository: ModelRegistry, recommendations: Recommendations, request: BatchRecommendRequest, limit: int
) -> bytes:
    """Answers BatchRecommend, an encoded BatchRecommendResponse, in as few runs of the engine as possible."""
    if not 1 <= len(request.requests) <= limit:
        raise InvalidField("requests", f"has {len(request.requests)} entries; send between 1 and {limit}")
    version = repository.resolve(request.model)
    each = list(request.requests)  # an index into the message costs more than one into a list
    wrong = {index: error for index, entry in enumerate(each) if (error := _problem(entry)) is not None}
    good = [index for index in range(len(each)) if index not in wrong]
    if request.HasField("model"):
        for index in good:
            # A page token in the answer then serves in Recommend, with this model.
            each[index].model.CopyFrom(request.model)
    answers = recommendations.answer_each(repository, [each[index] for index in good], with_model=False)
    entries = {**wrong, **dict(zip(good, answers, strict=True))}
    return batch_response([_entry(index, entries[index]) for index in range(len(entries))], version.served_model)


def _entry(index: int, answer: bytes | RequestError) -> bytes | BatchRecommendResponse.Entry:
    if isinstance(answer, RequestError):
        return BatchRecommendResponse.Entry(error=entry_error(index, answer))
    return answer


def _problem(entry: RecommendRequest) -> RequestError | None:
    if entry.HasField("model"):
        return InvalidField("model", "must be unset in an entry; set it on the batch")
    if entry.page_token:
        return InvalidField("page_token", "must be empty in an entry; ask for further pages with Recommend")
    return None


_END = object()


class RequestStream:
    """Reads a stream ahead, in a thread of its own, until `limit` requests wait.

    While the engine works, requests gather and then run together. When as many wait as may, nothing more is read, and
    HTTP/2's flow control holds the client back. A SimpleQueue and one event for each batch cost less than the locks
    that a bounded queue.Queue takes for each message.
    """

    def __init__(self, requests: Iterator[StreamRecommendRequest], limit: int) -> None:
        self._requests = requests
        self._waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._limit = limit
        self._closed = False
        self._room = threading.Event()
        self._reader = threading.Thread(target=self._read, name="stream-reader", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        last: object = _END
        try:
            for request in self._requests:
                self._await_room()
                if self._closed:
                    return
                self._waiting.put(request)
        except Exception as error:  # handed to the thread that answers the stream, which raises it
            last = error
        self._waiting.put(last)

    def _await_room(self) -> None:
        while self._waiting.qsize() >= self._limit and not self._closed:
            self._room.clear()
            # Room made before the event was cleared is seen here, room made later sets it.
            if self._waiting.qsize() >= self._limit and not self._closed:
                self._room.wait()

    def batches(self) -> Iterator[list[StreamRecommendRequest]]:
        """What has gathered, again and again until the client ends the stream; raises what ended it otherwise."""
        try:
            last: object = None
            while last is None:
                batch: list[StreamRecommendRequest] = []
                each = self._waiting.get()
                while isinstance(each, StreamRecommendRequest):
                    batch.append(each)
                    if len(batch) == self._limit:
                        break
                    try:
                        each = self._waiting.get_nowait()
                    except queue.Empty:
                        break
                else:
                    last = each
                self._room.set()
                if batch:
                    yield batch
            if isinstance(last, Exception):
                raise last
        finally:
            self._closed = True
            self._room.set()


def stream_recommend(
    repository: Callable[[], ModelRegistry],
    recommendations: Recommendations,
    requests: Iterator[StreamRecommendRequest],
    limit: int,
) -> Iterator[StreamRecommendResponse | bytes]:
    """Answers StreamRecommend, up to `limit` requests per run, each run on the version of its moment."""
    for batch in RequestStream(requests, limit).batches():
        held = repository()
        answers = recommendations.answer_each(held, [each.request for each in batch], with_model=True)
        for each, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RequestError):
                yield StreamRecommendResponse(request_id=each.request_id, error=entry_error(0, answer))
            else:
                yield stream_response(each.request_id, answer)
