"""As `_transport`, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from cofactor.v1 import catalog_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from cofactor_client._bulk import BUSY_ATTEMPTS, IN_FLIGHT, STREAM_WINDOW
from cofactor_client._channel import Connection
from cofactor_client.errors import ResourceExhaustedError, RpcError, UnavailableError, rpc_error


class AsyncTransport:
    """The channel of an AsyncClient and its two stubs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        if connection.tls is None:
            self._channel = grpc.aio.insecure_channel(connection.target, connection.options)
        else:
            self._channel = grpc.aio.secure_channel(connection.target, connection.tls.credentials(), connection.options)
        self.recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the calls under way and closes the connections."""
        await self._channel.close()

    async def wait_until_ready(self, timeout: float) -> None:
        """Returns when a server is reachable and healthy; UnavailableError after `timeout` seconds."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), timeout)
        except TimeoutError:
            raise UnavailableError(
                f"no server at {self._connection.target} was ready within {timeout:g} s", grpc.StatusCode.UNAVAILABLE
            ) from None

    async def call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """The answer to one request."""
        try:
            return await method(request, timeout=self._timeout(timeout), metadata=self._connection.metadata())
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None

    async def calls(
        self, method: Any, requests: Iterable[tuple[int, Any]], timeout: float | None
    ) -> AsyncIterator[tuple[int, Any]]:
        """Answers in the order of the requests, IN_FLIGHT calls ahead, each with its request's number."""
        pending: deque[tuple[int, asyncio.Task[Any]]] = deque()
        try:
            for number, request in requests:
                if len(pending) >= IN_FLIGHT:
                    number_done, task = pending.popleft()
                    yield number_done, await task
                pending.append((number, asyncio.create_task(self._patient_call(method, request, timeout))))
            while pending:
                number_done, task = pending.popleft()
                yield number_done, await task
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)

    async def stream(
        self, requests: AsyncIterator[recommender_pb2.StreamRecommendRequest], timeout: float | None
    ) -> AsyncIterator[recommender_pb2.StreamRecommendResponse]:
        """Answers as they arrive, at most STREAM_WINDOW requests ahead; stops reading `requests` when closed."""
        window = asyncio.Semaphore(STREAM_WINDOW)
        failures: list[Exception] = []

        async def paced() -> AsyncIterator[recommender_pb2.StreamRecommendRequest]:
            try:
                async for request in requests:
                    await window.acquire()
                    yield request
            except Exception as error:  # the caller's iterable failed: end the stream, raise it where it is read
                failures.append(error)

        call = self.recommender.StreamRecommend(paced(), timeout=timeout, metadata=self._connection.metadata())
        try:
            async for response in call:
                window.release()
                yield response
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None
        finally:
            call.cancel()
        if failures:
            raise failures[0]

    async def _patient_call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """The answer; where the server is at its limit and says for how long, tried again after that."""
        for _ in range(BUSY_ATTEMPTS - 1):
            try:
                return await self.call(method, request, timeout)
            except ResourceExhaustedError as error:
                if error.retry_delay is None:
                    raise
                await asyncio.sleep(error.retry_delay)
        return await self.call(method, request, timeout)

    def _timeout(self, timeout: float | None) -> float | None:
        return self._connection.timeout if timeout is None else timeout


async def over_pages(fetch: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Any]:
    """The entries of every page; `fetch` takes a page token, "" for the first."""
    token = ""
    while True:
        page = await fetch(token)
        for entry in page:
            yield entry
        token = page.next_page_token
        if not token:
            return


def _translated(error: grpc.aio.AioRpcError) -> RpcError:
    return rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata()))
