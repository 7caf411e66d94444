"""The page's files, the documentation of the API, and the routes that the page needs."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

from cofactor_web.rpcs import api_rpcs
from cofactor_web.server_metrics import quantile
from tests.server.conftest import copy_version
from tests.support.server_process import free_port
from tests.support.web import run_gateway

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


class Addresses(HTMLParser):
    """Collects what a page loads and refers to, and whether it has script or style of its own."""

    def __init__(self, html):
        super().__init__()
        self.found, self.inline, self.ids = [], [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.found += [named[name] for name in ("src", "href") if name in named]
        self.ids |= {named["id"]} if "id" in named else set()
        if tag == "style" or (tag == "script" and "src" not in named) or "style" in named:
            self.inline.append(tag)
        self.inline += [name for name in named if name.startswith("on")]


@pytest.mark.parametrize("path", ["/", "/docs", "/docs.css", "/static/index.html", "/openapi.json", "/nothing"])
def test_every_response_is_bound_to_its_own_site(path, gateway):
    headers = gateway.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers
    assert "server" not in headers


def test_a_file_that_has_not_changed_is_not_sent_again(gateway):
    first = gateway.get("/")
    assert (first.status, first.headers["cache-control"]) == (200, "no-cache")
    again = gateway.get("/", if_none_match=first.headers["etag"])
    static = gateway.get("/static/index.html")
    assert gateway.get("/static/index.html", if_none_match=static.headers["etag"]).status == 304
    assert again.status in (200, 304)


def test_text_is_compressed(gateway):
    plain, packed = gateway.get("/openapi.json"), gateway.get("/openapi.json", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json == plain.json


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static//etc/passwd"])
def test_no_file_outside_the_page_is_served(path, gateway):
    assert gateway.get(path).status == 404


def test_the_documentation_shows_every_route_and_loads_nothing_from_elsewhere(gateway):
    html = gateway.get("/docs").body.decode()
    page = Addresses(html)
    assert page.inline == []
    assert all(address.startswith(("/", "#")) for address in page.found)
    assert {address[1:] for address in page.found if address.startswith("#")} <= page.ids
    for rpc in api_rpcs():
        assert f"POST {rpc.path}</code>" in html
    assert gateway.get("/docs.css").headers["content-type"].startswith("text/css")


def test_health_says_what_the_gateway_offers(gateway):
    assert gateway.get("/api/health").json == {"server": "SERVING", "operator": False, "metrics": False}
    assert gateway.get("/healthz").json == {"status": "ok"}


def test_the_routes_of_operators_are_absent_by_default(gateway):
    for path in ("/admin/v1/list-versions", "/admin/v1/reload"):
        assert gateway.post(path, {}).json["reason"] == "ROUTE_NOT_FOUND"
    assert gateway.get("/api/operator/metrics").status == 404


@pytest.fixture(scope="module")
def operated(dot_version, tmp_path_factory):
    """A gateway to a server with the admin API and metrics."""
    models = tmp_path_factory.mktemp("operated")
    shutil.copytree(dot_version, models / "dot" / "1")
    with operate(models) as gateway:
        yield gateway


@contextmanager
def operate(models):
    from cofactor_server.config import ServerConfig
    from cofactor_server.observability.prometheus import MetricsEndpoint
    from cofactor_server.server import create_server

    config = ServerConfig(models=models, port=0, provider="cpu", threads=4, admin_port=free_port())
    with create_server(config) as server:
        endpoint = MetricsEndpoint(lambda: [server.reporter.report()], "127.0.0.1", 0)
        addresses = {
            "admin_target": f"127.0.0.1:{config.admin_port}",
            "metrics_url": f"http://127.0.0.1:{endpoint.port}/metrics",
        }
        with run_gateway(f"127.0.0.1:{server.port}", **addresses) as gateway:
            yield gateway
        endpoint.close()


def test_operators_list_promote_and_reload_versions(operated):
    assert operated.get("/api/health").json == {"server": "SERVING", "operator": True, "metrics": True}
    (model,) = operated.post("/admin/v1/list-versions", {}).json["models"]
    assert [(v["version"], v["state"], v["isCurrent"]) for v in model["versions"]] == [("1", "STATE_READY", True)]
    promoted = operated.post("/admin/v1/promote", {"name": "dot", "version": "1", "label": "blessed"})
    assert promoted.json["policy"]["labels"] == {"blessed": "1"}
    assert operated.post("/admin/v1/reload", {}).json["models"][0]["versions"][0]["labels"] == ["blessed"]
    absent = operated.post("/admin/v1/promote", {"name": "dot", "version": "9"})
    assert absent.status == 404
    assert "/admin/v1/promote" in operated.get("/openapi.json").json["paths"]


def test_a_page_of_another_site_cannot_make_an_operators_call(operated):
    """A browser asks before it sends application/json to another site, and the gateway allows nobody."""
    assert operated.post("/admin/v1/reload").status == 415
    asked = operated.request("OPTIONS", "/admin/v1/reload", origin="http://other", access_control_request_method="POST")
    assert asked.status == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_the_digest_of_the_metrics_counts_calls_and_estimates_their_time(operated):

    def recommended():
        digest = operated.get("/api/operator/metrics").json
        named = {entry["method"]: entry for entry in digest["methods"]}
        return digest, named.get("Recommend", {"codes": {}})

    _, before = recommended()
    for user in ("u001", "u002", "nobody"):
        operated.post("/v1/recommend", {"user": {"userId": user}})
    digest, after = recommended()
    assert after["codes"]["OK"] - before["codes"].get("OK", 0) == 2
    assert after["codes"]["NOT_FOUND"] - before["codes"].get("NOT_FOUND", 0) == 1
    times = after["latencySeconds"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"] < 10
    assert [(v["model"], v["version"], v["isCurrent"]) for v in digest["versions"]] == [("dot", "1", True)]
    assert digest["memoryBytes"] > 0
    assert digest["shadow"] == []


@pytest.fixture(scope="module")
def divided(dot_version, tmp_path_factory):
    """A gateway to a server whose version 2 is the canary of 40 % of the users."""
    models = tmp_path_factory.mktemp("divided")
    for version in ("1", "2"):
        copy_version(dot_version, models, version=version)
    policy = {"labels": {"stable": "1", "canary": "2"}, "canary_percent": {"canary": 40}}
    (models / "dot" / "serving.json").write_text(json.dumps(policy))
    with operate(models) as gateway:
        yield gateway


def test_the_digest_counts_a_canary_beside_the_current_version(divided):
    assert divided.get("/api/operator/metrics").json["canaries"] == []
    served = []
    for number in range(30):
        answer = divided.post("/v1/recommend", {"user": {"userId": f"u{number:03d}"}})
        served.append(answer.json["model"]["version"])
    divided.post("/v1/recommend", {"user": {"userId": "nobody"}})  # some version refuses this user
    divided.post("/v1/recommend", {"user": {"history": {}}})
    found = {share["role"]: share for share in divided.get("/api/operator/metrics").json["canaries"]}
    assert {role: (share["model"], share["version"]) for role, share in found.items()} == {
        "current": ("dot", "1"),
        "canary": ("dot", "2"),
    }
    assert 0 < served.count("2") < 30
    assert [found[role]["codes"]["OK"] for role in ("current", "canary")] == [served.count("1"), served.count("2")]
    assert sum(share["codes"].get("NOT_FOUND", 0) for share in found.values()) == 1
    for share in found.values():
        times = share["latencySeconds"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] < 10


def test_metrics_that_cannot_be_read_are_a_problem(server_address):
    with run_gateway(server_address, metrics_url=f"http://127.0.0.1:{free_port()}/metrics") as gateway:
        answer = gateway.get("/api/operator/metrics")
        assert (answer.status, answer.json["reason"]) == (503, "METRICS_UNREADABLE")


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 1.0), (0.25, 0.5), (0.75, 2.0), (0.99, 3.0)],
)
def test_a_quantile_lies_evenly_within_its_bucket(share, expected):
    buckets = {1.0: 50.0, 3.0: 100.0, float("inf"): 100.0} if share <= 0.75 else {3.0: 10.0, float("inf"): 100.0}
    assert quantile(buckets, share) == pytest.approx(expected)


def test_an_empty_histogram_has_no_quantile():
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None
