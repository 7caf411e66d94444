"""Calls over one channel: deadlines, metadata, errors as exceptions, several calls ahead, paced streams."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from cofactor.v1 import catalog_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from cofactor_client._bulk import BUSY_ATTEMPTS, IN_FLIGHT, STREAM_WINDOW
from cofactor_client._channel import Connection
from cofactor_client.errors import ResourceExhaustedError, RpcError, UnavailableError, rpc_error


class Transport:
    """The channel of a Client and its two stubs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.open()
        self.recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)

    def close(self) -> None:
        """Ends the calls under way and closes the connections."""
        self._channel.close()

    def wait_until_ready(self, timeout: float) -> None:
        """Returns when a server is reachable and healthy; UnavailableError after `timeout` seconds."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout)
        except grpc.FutureTimeoutError:
            raise UnavailableError(
                f"no server at {self._connection.target} was ready within {timeout:g} s", grpc.StatusCode.UNAVAILABLE
            ) from None

    def call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """The answer to one request."""
        try:
            return method(request, timeout=self._timeout(timeout), metadata=self._connection.metadata())
        except grpc.RpcError as error:
            raise _translated(error) from None

    def calls(
        self, method: Any, requests: Iterable[tuple[int, Any]], timeout: float | None
    ) -> Iterator[tuple[int, Any]]:
        """Answers in the order of the requests, IN_FLIGHT calls ahead, each with its request's number."""
        pending: deque[tuple[int, Any, Any]] = deque()
        try:
            for number, request in requests:
                if len(pending) >= IN_FLIGHT:
                    yield self._finished(method, *pending.popleft(), timeout)
                pending.append((number, request, self._begun(method, request, timeout)))
            while pending:
                yield self._finished(method, *pending.popleft(), timeout)
        finally:
            for _, _, call in pending:
                call.cancel()

    def stream(
        self, requests: Iterator[recommender_pb2.StreamRecommendRequest], timeout: float | None
    ) -> Iterator[recommender_pb2.StreamRecommendResponse]:
        """Answers as they arrive, at most STREAM_WINDOW requests ahead; stops reading `requests` when closed."""
        window = threading.Semaphore(STREAM_WINDOW)
        closed = threading.Event()
        failures: list[Exception] = []

        def paced() -> Iterator[recommender_pb2.StreamRecommendRequest]:  # runs in a thread of gRPC's
            try:
                for request in requests:
                    window.acquire()
                    if closed.is_set():
                        return
                    yield request
            except Exception as error:  # the caller's iterable failed: end the stream, raise it where it is read
                failures.append(error)

        call = self.recommender.StreamRecommend(paced(), timeout=timeout, metadata=self._connection.metadata())
        try:
            for response in call:
                window.release()
                yield response
        except grpc.RpcError as error:
            raise _translated(error) from None
        finally:
            closed.set()
            window.release()
            call.cancel()
        if failures:
            raise failures[0]

    def _begun(self, method: Any, request: Any, timeout: float | None) -> Any:
        return method.future(request, timeout=self._timeout(timeout), metadata=self._connection.metadata())

    def _finished(self, method: Any, number: int, request: Any, call: Any, timeout: float | None) -> tuple[int, Any]:
        """The answer; where the server is at its limit and says for how long, tried again after that."""
        for attempt in range(BUSY_ATTEMPTS):
            try:
                return number, call.result()
            except grpc.RpcError as error:
                failure = _translated(error)
            if failure.retry_delay is None or not isinstance(failure, ResourceExhaustedError):
                break
            if attempt < BUSY_ATTEMPTS - 1:
                time.sleep(failure.retry_delay)
                call = self._begun(method, request, timeout)
        raise failure

    def _timeout(self, timeout: float | None) -> float | None:
        return self._connection.timeout if timeout is None else timeout


def over_pages(fetch: Callable[[str], Any]) -> Iterator[Any]:
    """The entries of every page; `fetch` takes a page token, "" for the first."""
    token = ""
    while True:
        page = fetch(token)
        yield from page
        token = page.next_page_token
        if not token:
            return


def _translated(error: Any) -> RpcError:
    return rpc_error(error.code(), error.details(), error.trailing_metadata())
