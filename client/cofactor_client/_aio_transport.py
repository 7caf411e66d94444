"""The asyncio twin of `_transport`, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from cofactor.v1 import catalog_pb2_grpc, feedback_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from cofactor_client._channel import Connection, Tls
from cofactor_client._transport import BUSY_ATTEMPTS, CONCURRENT_CALLS, STREAM_WINDOW
from cofactor_client.errors import ResourceExhaustedError, RpcError, UnavailableError, rpc_error


class AsyncTransport:
    """The channel of an AsyncClient and its stubs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = _open(connection)
        self.recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self.feedback = feedback_pb2_grpc.FeedbackServiceStub(self._channel)

    async def close(self) -> None:
        """Cancel the calls in flight and close the connections."""
        await self._channel.close()

    async def wait_until_ready(self, timeout: float) -> None:
        """Wait until a server is reachable and healthy. Raises UnavailableError after `timeout` seconds."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), timeout)
        except TimeoutError:
            raise UnavailableError(
                f"no server at {self._connection.target} was ready within {timeout:g} s", grpc.StatusCode.UNAVAILABLE
            ) from None

    async def call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """Send one request and return its response. Raises RpcError."""
        try:
            return await method(request, timeout=self._deadline(timeout), metadata=self._connection.metadata())
        except grpc.aio.AioRpcError as error:
            raise to_rpc_error(error) from None

    async def call_many(
        self, method: Any, requests: Iterable[tuple[int, Any]], timeout: float | None
    ) -> AsyncIterator[tuple[int, Any]]:
        """Send numbered requests, CONCURRENT_CALLS at a time, and yield (number, response) in their order."""
        pending: deque[tuple[int, asyncio.Task[Any]]] = deque()
        try:
            for number, request in requests:
                if len(pending) >= CONCURRENT_CALLS:
                    first, task = pending.popleft()
                    yield first, await task
                pending.append((number, asyncio.create_task(self._call_with_retries(method, request, timeout))))
            while pending:
                first, task = pending.popleft()
                yield first, await task
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)

    async def stream_recommend(
        self, requests: AsyncIterator[recommender_pb2.StreamRecommendRequest], timeout: float | None
    ) -> AsyncIterator[recommender_pb2.StreamRecommendResponse]:
        """Yield the responses of one stream as they arrive.

        Reads at most STREAM_WINDOW requests ahead of the responses. Close the iterator to cancel the stream; `requests`
        is not read any further then.
        """
        window = asyncio.Semaphore(STREAM_WINDOW)
        failures: list[Exception] = []

        async def paced() -> AsyncIterator[recommender_pb2.StreamRecommendRequest]:
            try:
                async for request in requests:
                    await window.acquire()
                    yield request
            except Exception as error:  # raised by the caller's iterable: end the stream, then raise it to the caller
                failures.append(error)

        call = self.recommender.StreamRecommend(paced(), timeout=timeout, metadata=self._connection.metadata())
        try:
            async for response in call:
                window.release()
                yield response
        except grpc.aio.AioRpcError as error:
            raise to_rpc_error(error) from None
        finally:
            call.cancel()
        if failures:
            raise failures[0]

    async def _call_with_retries(self, method: Any, request: Any, timeout: float | None) -> Any:
        """Send one request, and retry it after the delay that a server over its limit asks for."""
        for _ in range(BUSY_ATTEMPTS - 1):
            try:
                return await self.call(method, request, timeout)
            except ResourceExhaustedError as error:
                if error.retry_delay is None:
                    raise
                await asyncio.sleep(error.retry_delay)
        return await self.call(method, request, timeout)

    def _deadline(self, timeout: float | None) -> float | None:
        return self._connection.timeout if timeout is None else timeout


def open_channel(
    address: str | Sequence[str],
    *,
    tls: Tls | None = None,
    max_message_bytes: int = 16 * 2**20,
    channel_options: Sequence[tuple[str, Any]] = (),
) -> grpc.aio.Channel:
    """Open a channel with the settings of AsyncClient, for callers that send protobuf messages themselves.

    The arguments are those of AsyncClient. Must be called in the event loop that uses the channel. Raises OSError if a
    file of `tls` cannot be read.
    """
    return _open(Connection(address, None, tls, None, max_message_bytes, tuple(channel_options)))


def _open(connection: Connection) -> grpc.aio.Channel:
    if connection.tls is None:
        return grpc.aio.insecure_channel(connection.target, connection.options)
    return grpc.aio.secure_channel(connection.target, connection.tls.credentials(), connection.options)


async def iterate_pages(fetch: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Any]:
    """Yield the entries of every page. `fetch` gets a page by its token, "" for the first page."""
    token = ""
    while True:
        page = await fetch(token)
        for entry in page:
            yield entry
        token = page.next_page_token
        if not token:
            return


def to_rpc_error(error: grpc.aio.AioRpcError) -> RpcError:
    """Return the exception of this package for a failed call, with the details that the server sent."""
    return rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata()))
