"""The image of the gateway beside that of the server, both run with a read-only root."""

from __future__ import annotations

import re
import signal

import pytest

from tests.support.images import buildah, running_server
from tests.support.waiting import until
from tests.support.web import RunningGateway

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]


def test_the_gateway_answers_from_a_server_and_stops_when_asked(read_only, models, tmp_path) -> None:
    image, log = read_only("web"), tmp_path / "web"
    with running_server(read_only("server"), models, tmp_path / "server") as (_, port):
        gateway = image.start(*image.entry_point, "--port", "0", "--target", f"127.0.0.1:{port}", log=log)
        try:
            until(lambda: "page at" in log.read_text(encoding="utf-8") or gateway.poll() is not None, 60)
            web_port = re.search(r"page at http://\S+:(\d+)/", log.read_text(encoding="utf-8"))[1]
            web = RunningGateway(f"http://127.0.0.1:{web_port}")
            page = web.get("/")
            assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert b"<title>" in page.body
            assert web.get("/static/js/main.js").status == 200
            answer = web.post("/v1/recommend", {"user": {"history": {}}, "pageSize": 3})
            assert (answer.status, len(answer.json["results"])) == (200, 3)
            assert web.get("/api/health").json["server"] == "SERVING"
            health = [part.replace(":8080/", f":{web_port}/") for part in image.health_command]
            assert health != image.health_command, "8080 is the port by default"
            assert image.run(*health, log=tmp_path / "health")[0] == 0
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(60) == 0, log.read_text(encoding="utf-8")
            assert image.run(*health, log=tmp_path / "health")[0] != 0
        finally:
            gateway.kill()
            gateway.wait()


def test_the_gateway_has_no_package_of_the_server(container) -> None:
    script = (
        "import importlib.util as u; print([m for m in ('numpy', 'onnxruntime', 'torch', 'pandas') if u.find_spec(m)])"
    )
    assert buildah("run", container("web"), "--", "python3", "-c", script) == "[]"
