"""Calls over one channel: deadlines, metadata, errors as exceptions, concurrent calls and streams."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from cofactor.v1 import catalog_pb2_grpc, feedback_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from cofactor_client._channel import Connection
from cofactor_client.errors import ResourceExhaustedError, RpcError, UnavailableError, rpc_error

CONCURRENT_CALLS = 4
"""Predict calls in flight at once. Enough to keep client and server busy, and few enough for any server's queue."""

BUSY_ATTEMPTS = 5
"""Attempts of one of those calls, if the server is over its limit and asks to retry later."""

STREAM_WINDOW = 256
"""Requests of a stream that may be sent before their responses have arrived."""


class Transport:
    """The channel of a Client and its stubs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.open()
        self.recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self.feedback = feedback_pb2_grpc.FeedbackServiceStub(self._channel)

    def close(self) -> None:
        """Cancel the calls in flight and close the connections."""
        self._channel.close()

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until a server is reachable and healthy. Raises UnavailableError after `timeout` seconds."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout)
        except grpc.FutureTimeoutError:
            raise UnavailableError(
                f"no server at {self._connection.target} was ready within {timeout:g} s", grpc.StatusCode.UNAVAILABLE
            ) from None

    def call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """Send one request and return its response. Raises RpcError."""
        try:
            return method(request, timeout=self._deadline(timeout), metadata=self._connection.metadata())
        except grpc.RpcError as error:
            raise _to_rpc_error(error) from None

    def call_many(
        self, method: Any, requests: Iterable[tuple[int, Any]], timeout: float | None
    ) -> Iterator[tuple[int, Any]]:
        """Send numbered requests, CONCURRENT_CALLS at a time, and yield (number, response) in their order."""
        pending: deque[tuple[int, Any, Any]] = deque()
        try:
            for number, request in requests:
                if len(pending) >= CONCURRENT_CALLS:
                    yield self._finish(method, *pending.popleft(), timeout)
                pending.append((number, request, self._start(method, request, timeout)))
            while pending:
                yield self._finish(method, *pending.popleft(), timeout)
        finally:
            for _, _, call in pending:
                call.cancel()

    def stream_recommend(
        self, requests: Iterator[recommender_pb2.StreamRecommendRequest], timeout: float | None
    ) -> Iterator[recommender_pb2.StreamRecommendResponse]:
        """Yield the responses of one stream as they arrive.

        Reads at most STREAM_WINDOW requests ahead of the responses. Close the iterator to cancel the stream; `requests`
        is not read any further then.
        """
        window = threading.Semaphore(STREAM_WINDOW)
        closed = threading.Event()
        failures: list[Exception] = []

        def paced() -> Iterator[recommender_pb2.StreamRecommendRequest]:  # gRPC reads this in a thread of its own
            try:
                for request in requests:
                    window.acquire()
                    if closed.is_set():
                        return
                    yield request
            except Exception as error:  # raised by the caller's iterable: end the stream, then raise it to the caller
                failures.append(error)

        call = self.recommender.StreamRecommend(paced(), timeout=timeout, metadata=self._connection.metadata())
        try:
            for response in call:
                window.release()
                yield response
        except grpc.RpcError as error:
            raise _to_rpc_error(error) from None
        finally:
            closed.set()
            window.release()
            call.cancel()
        if failures:
            raise failures[0]

    def _start(self, method: Any, request: Any, timeout: float | None) -> Any:
        return method.future(request, timeout=self._deadline(timeout), metadata=self._connection.metadata())

    def _finish(self, method: Any, number: int, request: Any, call: Any, timeout: float | None) -> tuple[int, Any]:
        """Wait for a call, and retry it after the delay that a server over its limit asks for."""
        for attempt in range(BUSY_ATTEMPTS):
            try:
                return number, call.result()
            except grpc.RpcError as error:
                failure = _to_rpc_error(error)
            if failure.retry_delay is None or not isinstance(failure, ResourceExhaustedError):
                break
            if attempt < BUSY_ATTEMPTS - 1:
                time.sleep(failure.retry_delay)
                call = self._start(method, request, timeout)
        raise failure

    def _deadline(self, timeout: float | None) -> float | None:
        return self._connection.timeout if timeout is None else timeout


def iterate_pages(fetch: Callable[[str], Any]) -> Iterator[Any]:
    """Yield the entries of every page. `fetch` gets a page by its token, "" for the first page."""
    token = ""
    while True:
        page = fetch(token)
        yield from page
        token = page.next_page_token
        if not token:
            return


def _to_rpc_error(error: Any) -> RpcError:
    return rpc_error(error.code(), error.details(), error.trailing_metadata())
