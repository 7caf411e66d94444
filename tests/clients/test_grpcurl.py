"""grpcurl works through reflection, and with the descriptor set that `make protoset` writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
RECOMMEND = "cofactor.v1.RecommenderService/Recommend"


@pytest.fixture(scope="session")
def grpcurl():
    if shutil.which("go") is None:
        pytest.skip("grpcurl is built with Go, which is not installed")
    path = ROOT / ".bootstrap" / "bin" / "grpcurl"
    subprocess.run(["make", "--no-print-directory", str(path.relative_to(ROOT)), "protoset"], cwd=ROOT, check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(path), "-plaintext", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    return run


def documents(text: str) -> list[dict]:
    """Parse the JSON objects that grpcurl prints one after another for a stream."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def test_lists_services_by_reflection(grpcurl, server):
    assert {"cofactor.v1.CatalogService", "cofactor.v1.RecommenderService", "grpc.health.v1.Health"} <= set(
        grpcurl(server, "list").stdout.split()
    )


def test_describes_a_request_by_reflection(grpcurl, server):
    described = grpcurl(server, "describe", "cofactor.v1.RecommendRequest").stdout
    assert "int32 page_size = 3;" in described


def test_recommends_by_reflection(grpcurl, server, expected):
    request = {"user": {"user_id": "u001"}, "page_size": 3, "return_items": True}
    response = json.loads(grpcurl("-d", json.dumps(request), server, RECOMMEND).stdout)
    titles = [result["item"]["title"] for result in response["results"]]
    lines = [line for line in expected.splitlines() if line.startswith("recommend ")]
    assert [line.split(" ", 4)[4] for line in lines] == titles


def test_streams_by_reflection(grpcurl, server):
    requests = [{"request_id": n, "request": {"user": {"user_id": n}, "page_size": 1}} for n in ("u001", "u002", "no")]
    method = "cofactor.v1.RecommenderService/StreamRecommend"
    done = grpcurl("-d", "\n".join(map(json.dumps, requests)), server, method)
    responses = {response["request_id"]: response for response in documents(done.stdout)}
    assert responses["no"]["error"]["reason"] == "USER_NOT_FOUND"
    for user_id in ("u001", "u002"):
        assert len(responses[user_id]["response"]["results"]) == 1


def test_shows_the_details_of_an_error(grpcurl, server):
    done = grpcurl("-d", '{"user": {"user_id": "u001"}, "page_size": -1}', server, RECOMMEND)
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert '"field": "page_size"' in done.stderr
    assert '"@type": "type.googleapis.com/google.rpc.ErrorInfo"' in done.stderr


def test_works_with_the_descriptor_set_without_reflection(grpcurl, proxy):
    address = f"127.0.0.1:{proxy.port}"
    method = "cofactor.v1.CatalogService/GetModel"
    assert grpcurl(address, method).returncode != 0
    done = grpcurl("-protoset", "dist/cofactor.binpb", address, method)
    assert json.loads(done.stdout)["model"]["name"] == "dot"


def test_describes_a_method_by_reflection(grpcurl, server):
    described = grpcurl(server, "describe", RECOMMEND.replace("/", ".")).stdout
    assert "rpc Recommend ( .cofactor.v1.RecommendRequest ) returns ( .cofactor.v1.RecommendResponse );" in described


def test_lists_both_versions_of_reflection(grpcurl, server):
    services = grpcurl(server, "list").stdout.split()
    assert {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"} <= set(services)
