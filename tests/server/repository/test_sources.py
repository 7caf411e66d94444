"""Model repositories at fsspec addresses, on a real S3-compatible server."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest

from cofactor.v1 import catalog_pb2
from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.sources import LocalSource, RemoteSource, open_source


@pytest.fixture
def s3(monkeypatch):
    """Empty bucket on a moto server: its file system and its name."""
    moto_server = pytest.importorskip("moto.server", reason="needs moto[server]")
    s3fs = pytest.importorskip("s3fs")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    bucket = f"bucket-{uuid.uuid4().hex}"  # moto's buckets live as long as this process
    files.mkdir(bucket)
    yield SimpleNamespace(files=files, bucket=bucket)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def upload(files, version, address):
    """Upload a version as a publisher does, the manifest last."""
    names = sorted((path.name for path in version.iterdir()), key=lambda name: (name == "manifest.json", name))
    for name in names:
        files.put_file(str(version / name), f"{address}/{version.parent.name}/{version.name}/{name}")


def test_a_server_follows_a_bucket(s3, dot_version, versions, serve, tmp_path) -> None:
    first = versions.copy(dot_version, tmp_path, version="1")
    second = versions.copy(dot_version, tmp_path, version="2")
    address = f"{s3.bucket}/models"
    upload(s3.files, first, address)
    api = serve(f"s3://{s3.bucket}/models", poll_interval_s=0)
    watcher = api.server._live.watcher

    def current():
        return api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version

    assert current() == "1"
    for name in ("tables.bin", "predict.onnx"):
        s3.files.put_file(str(second / name), f"{address}/dot/2/{name}")
    watcher.poll()
    assert current() == "1", "an upload without its manifest is not served"
    upload(s3.files, second, address)
    watcher.poll()
    assert current() == "2"
    s3.files.pipe_file(f"{address}/dot/serving.json", b'{"labels": {"stable": "1"}}')
    watcher.poll()
    assert current() == "1"
    s3.files.pipe_file(f"{address}/dot/1/tables.bin", b"damaged")
    watcher.poll()
    assert current() == "1"
    assert "tables.bin" in watcher.snapshot["dot"].refused["1"].reason


def test_a_lost_bucket_is_reported_and_the_loaded_version_is_still_served(s3, dot_version, serve) -> None:
    upload(s3.files, dot_version, f"{s3.bucket}/models")
    api = serve(f"s3://{s3.bucket}/models", poll_interval_s=0)
    s3.files.rm(f"{s3.bucket}/models", recursive=True)
    api.server._live.watcher.poll()
    assert api.server._live.watcher.repository_error
    assert api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version == "1"


RECORD_IDS = ["20261126T181500123456Z-1a2b3c4d", "20261126T181500123457Z-00000000"]


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
def test_every_erasure_is_a_file_of_its_own(kind, tmp_path, request) -> None:
    addresses = {"local": str(tmp_path), "memory": f"memory://{uuid.uuid4().hex}"}
    address = addresses.get(kind) or f"s3://{request.getfixturevalue('s3').bucket}/models"
    source = open_source(address)
    assert source.list_erasures() == []
    for record_id in reversed(RECORD_IDS):
        source.add_erasure(record_id, f"text of {record_id}")
    other = open_source(address)
    if kind != "local":
        other._filesystem.pipe_file(f"{other._root}/.erasures/notes.txt", b"no record")
        other._filesystem.invalidate_cache()
    assert other.list_erasures() == RECORD_IDS
    assert [other.read_erasure(record_id) for record_id in RECORD_IDS] == [f"text of {name}" for name in RECORD_IDS]


def test_paths_and_addresses_open_the_right_source(tmp_path) -> None:
    assert isinstance(open_source(str(tmp_path)), LocalSource)
    assert isinstance(open_source("memory://models"), RemoteSource)
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_source(str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="not an address that fsspec knows"):
        open_source("nonsense://models")
