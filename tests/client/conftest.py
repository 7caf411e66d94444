"""A real server of synthetic models, and both clients to call it."""

import asyncio
import inspect
import shutil

import pytest

from cofactor_client import Client
from cofactor_client.aio import AsyncClient


class BlockingAsyncClient:
    """AsyncClient with the interface of Client, so that the same tests run on both."""

    def __init__(self, address, **options):
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._open(address, options))

    @staticmethod
    async def _open(address, options):
        return AsyncClient(address, **options)

    def __getattr__(self, name):
        method = getattr(self._client, name)

        def call(*arguments, **options):
            result = method(*arguments, **options)
            if inspect.isasyncgen(result):
                return self._iterate(result)
            return self._loop.run_until_complete(result)

        return call

    def _iterate(self, results):
        while True:
            try:
                yield self._loop.run_until_complete(anext(results))
            except StopAsyncIteration:
                return

    def close(self):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory, dot_version, net_version):
    """A running server with the models dot (the default) and net, and no other model."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    models = tmp_path_factory.mktemp("served-to-clients")
    for version in (dot_version, net_version):
        shutil.copytree(version, models / version.parent.name / version.name)
    config = ServerConfig(models=models, model="dot", port=0, provider="cpu", max_items_per_request=500)
    with create_server(config) as server:
        yield server


@pytest.fixture(scope="session")
def address(served):
    return f"127.0.0.1:{served.port}"


@pytest.fixture(scope="module", params=[Client, BlockingAsyncClient], ids=["sync", "asyncio"])
def client(request, address):
    """The synchronous client and the asyncio one."""
    client = request.param(address)
    yield client
    client.close()
