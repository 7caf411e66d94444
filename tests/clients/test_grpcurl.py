"""The real grpcurl, through reflection and with the descriptor set that `make protoset` writes."""

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
        pytest.skip("grpcurl is built with Go, which is not here")
    path = ROOT / ".bootstrap" / "bin" / "grpcurl"
    subprocess.run(["make", "--no-print-directory", str(path.relative_to(ROOT)), "protoset"], cwd=ROOT, check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(path), "-plaintext", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    return run


def documents(text: str) -> list[dict]:
    """JSON objects one after another, as grpcurl prints a stream."""
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
    answer = json.loads(grpcurl("-d", json.dumps(request), server, RECOMMEND).stdout)
    titles = [result["item"]["title"] for result in answer["results"]]
    lines = [line for line in expected.splitlines() if line.startswith("recommend ")]
    assert [line.split(" ", 4)[4] for line in lines] == titles


def test_streams_by_reflection(grpcurl, server):
    requests = [{"request_id": n, "request": {"user": {"user_id": n}, "page_size": 1}} for n in ("u001", "u002", "no")]
    method = "cofactor.v1.RecommenderService/StreamRecommend"
    done = grpcurl("-d", "\n".join(map(json.dumps, requests)), server, method)
    answers = {answer["request_id"]: answer for answer in documents(done.stdout)}
    assert answers["no"]["error"]["reason"] == "USER_NOT_FOUND"
    assert len(answers["u001"]["response"]["results"]) == len(answers["u002"]["response"]["results"]) == 1


def test_shows_what_was_wrong(grpcurl, server):
    done = grpcurl("-d", '{"user": {"user_id": "u001"}, "page_size": -1}', server, RECOMMEND)
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert '"field": "page_size"' in done.stderr
    assert '"@type": "type.googleapis.com/google.rpc.ErrorInfo"' in done.stderr


def test_needs_the_descriptor_set_where_there_is_no_reflection(grpcurl, proxy):
    address = f"127.0.0.1:{proxy.port}"
    method = "cofactor.v1.CatalogService/GetModel"
    assert grpcurl(address, method).returncode != 0
    done = grpcurl("-protoset", "dist/cofactor.binpb", address, method)
    assert json.loads(done.stdout)["model"]["name"] == "dot"
