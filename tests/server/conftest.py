"""Run a real server on versions whose contents are known by construction, and make stubs to call it."""

from __future__ import annotations

import hashlib
import io
import shutil
from contextlib import contextmanager
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
    """Write the manifest with the present checksums of the files; `extra_files` may lie outside the directory."""
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
    """Copy a version under another name, so that a test can change it."""
    target = models / (name or source.parent.name) / (version or source.name)
    shutil.copytree(source, target)
    manifest = read_manifest(target)
    manifest.name, manifest.version = target.parent.name, target.name
    write_manifest(target, manifest)
    return target


def drop_graph(version, name):
    """Remove a graph and its golden cases from a version."""
    manifest = read_manifest(version)
    graphs = [graph for graph in manifest.graphs if graph.name != name]
    del manifest.graphs[:]
    manifest.graphs.extend(graphs)
    (version / f"{name}.onnx").unlink()
    with np.load(version / "golden.npz") as golden:
        remaining = {key: golden[key] for key in golden.files if not key.startswith(f"{name}/")}
    buffer = io.BytesIO()
    np.savez(buffer, **remaining)
    (version / "golden.npz").write_bytes(buffer.getvalue())
    write_manifest(version, manifest)


def lengthen_titles(version, length):
    """Give every item of a version a title of "film" and this many characters."""
    manifest = read_manifest(version)
    title = b"film " + b"x" * (length - 5)
    content = bytearray((version / "tables.bin").read_bytes())
    for table in manifest.tables:
        if not table.name.startswith("item_titles."):
            continue
        is_text = table.name.endswith(".bytes")
        offsets = np.arange(manifest.item_count + 1, dtype="<i8") * length
        array = title * manifest.item_count if is_text else offsets.tobytes()
        content += bytes(-len(content) % 4096)
        table.offset = len(content)
        table.shape[:] = [len(array)] if is_text else [len(offsets)]
        content += array
    (version / "tables.bin").write_bytes(content)
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
    """Return functions that copy and change version directories."""
    return SimpleNamespace(
        copy=copy_version,
        read=read_manifest,
        write=write_manifest,
        drop_graph=drop_graph,
        drop_table=drop_table,
        lengthen_titles=lengthen_titles,
    )


@pytest.fixture(scope="session")
def served_models(dot_version, net_version, hybrid_version, tmp_path_factory):
    """Return the folder of the shared server: three architectures, one that only ranks, one without fold-in and map."""
    models = tmp_path_factory.mktemp("served")
    for version in (dot_version, net_version, hybrid_version):
        copy_version(version, models)
    ranker = copy_version(dot_version, models, "ranker")
    manifest = read_manifest(ranker)
    manifest.objective = "ranking"
    manifest.default_popularity_weight = 0
    write_manifest(ranker, manifest)
    nofold = copy_version(dot_version, models, "nofold")
    drop_graph(nofold, "embed_user")
    for table in ("item_map", "item_map.rows"):
        drop_table(nofold, table)
    return models


def connect(server):
    """Connect to a running server; return its stubs."""
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])
    return SimpleNamespace(
        server=server,
        channel=channel,
        recommender=recommender_pb2_grpc.RecommenderServiceStub(channel),
        catalog=catalog_pb2_grpc.CatalogServiceStub(channel),
    )


@pytest.fixture
def serve():
    """Return a function that starts a server with the test's own settings; it stops after the test."""
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


@contextmanager
def serve_shared(models, **settings):
    """Run a server that several tests share; yield its stubs."""
    config = ServerConfig(models=models, port=0, provider="cpu", drain_delay_s=0, grace_s=2, threads=8, **settings)
    with create_server(config) as server:
        connection = connect(server)
        yield connection
        connection.channel.close()


@pytest.fixture(scope="session")
def connect_to():
    """Return serve_shared(), for fixtures of a whole module."""
    return serve_shared


@pytest.fixture(scope="session")
def api(served_models):
    """Return the stubs of one server that all tests share; its default model is `dot`."""
    with serve_shared(served_models) as connection:
        yield connection


@pytest.fixture(params=list(ARCHITECTURES))
def name(request):
    """Return the name of a model of `api` that rates, one for every architecture."""
    return request.param
