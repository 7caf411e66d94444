"""A real server on versions built by construction, and stubs to call it."""

from __future__ import annotations

import hashlib
import io
import shutil
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from cofactor.v1 import catalog_pb2_grpc, manifest_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from tests.support.expected import ARCHITECTURES


def read_manifest(version):
    return json_format.Parse((version / "manifest.json").read_text(), manifest_pb2.Manifest())


def write_manifest(version, manifest, extra_files=()):
    """Writes the manifest with the checksums of the files as they are now, those outside the directory too."""
    del manifest.files[:]
    for path in sorted(version.iterdir()):
        if path.name not in ("manifest.json", "manifest.sha256"):
            content = path.read_bytes()
            manifest.files.add(path=path.name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    for name in extra_files:
        content = (version / name).read_bytes()
        manifest.files.add(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    content = json_format.MessageToJson(manifest)
    (version / "manifest.sha256").write_text(f"{hashlib.sha256(content.encode()).hexdigest()}  manifest.json\n")
    (version / "manifest.json").write_text(content)


def copy_version(source, models, name=None, version=None):
    """A copy of a version under another name: every test may do to it what it likes."""
    target = models / (name or source.parent.name) / (version or source.name)
    shutil.copytree(source, target)
    manifest = read_manifest(target)
    manifest.name, manifest.version = target.parent.name, target.name
    write_manifest(target, manifest)
    return target


def drop_graph(version, name):
    """Takes a graph and its golden cases out of a version."""
    manifest = read_manifest(version)
    graphs = [graph for graph in manifest.graphs if graph.name != name]
    del manifest.graphs[:]
    manifest.graphs.extend(graphs)
    (version / f"{name}.onnx").unlink()
    with np.load(version / "golden.npz") as golden:
        kept = {key: golden[key] for key in golden.files if not key.startswith(f"{name}/")}
    buffer = io.BytesIO()
    np.savez(buffer, **kept)
    (version / "golden.npz").write_bytes(buffer.getvalue())
    write_manifest(version, manifest)


def drop_table(version, name):
    """Take a table out of a manifest, as if an older release had written it. Its bytes stay in tables.bin."""
    manifest = read_manifest(version)
    tables = [table for table in manifest.tables if table.name != name]
    del manifest.tables[:]
    manifest.tables.extend(tables)
    write_manifest(version, manifest)


@pytest.fixture(scope="session")
def versions():
    """What tests do to version directories."""
    return SimpleNamespace(
        copy=copy_version, read=read_manifest, write=write_manifest, drop_graph=drop_graph, drop_table=drop_table
    )


@pytest.fixture(scope="session")
def served_models(dot_version, net_version, hybrid_version, tmp_path_factory):
    """The folder that the shared server serves: three architectures, one that only ranks, one without fold-in."""
    models = tmp_path_factory.mktemp("served")
    for version in (dot_version, net_version, hybrid_version):
        copy_version(version, models)
    ranker = copy_version(dot_version, models, "ranker")
    manifest = read_manifest(ranker)
    manifest.objective = "ranking"
    manifest.default_popularity_weight = 0
    write_manifest(ranker, manifest)
    drop_graph(copy_version(dot_version, models, "nofold"), "embed_user")
    return models


def connect(server):
    """Stubs of a running server."""
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])
    return SimpleNamespace(
        server=server,
        channel=channel,
        recommender=recommender_pb2_grpc.RecommenderServiceStub(channel),
        catalog=catalog_pb2_grpc.CatalogServiceStub(channel),
    )


@pytest.fixture
def serve():
    """Starts servers with settings of a test's own, and stops them after it."""
    running = []

    def start(models, **settings):
        settings = {"port": 0, "provider": "cpu", "drain_delay_s": 0, "grace_s": 2, **settings}
        server = create_server(ServerConfig(models=models, **settings))
        connection = connect(server)
        running.append(connection)
        return connection

    yield start
    for connection in running:
        connection.channel.close()
        connection.server.stop()


@pytest.fixture(scope="session")
def api(served_models):
    """Stubs of one server that all tests share; its default model is `dot`."""
    config = ServerConfig(models=served_models, port=0, provider="cpu", drain_delay_s=0, grace_s=2, threads=8)
    with create_server(config) as server:
        connection = connect(server)
        yield connection
        connection.channel.close()


@pytest.fixture(params=list(ARCHITECTURES))
def name(request):
    """Each model of `api` that rates, one of every architecture."""
    return request.param
