"""The page for operators, with and without the admin port."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from cofactor_server.repository.serving_policy import make_routing, parse_policy
from tests.support.web.browser import open_page, screenshot
from tests.support.web.invented_catalogue import user_id
from tests.support.web.page_server import run_page

pytestmark = pytest.mark.web
TOKEN = "t" * 40


def version(page, name):
    return page.locator(f".version[data-version='{name}']")


def test_labels_move_and_move_back(browser, own_books, tmp_path) -> None:
    with (
        run_page(own_books, tmp_path / "log") as (_, gateway),
        open_page(browser, gateway.url, view="operator") as page,
    ):
        version(page, "1").get_by_text("stable", exact=True).wait_for()
        assert version(page, "1").get_by_text("current", exact=True).is_visible()
        assert version(page, "1").get_by_text("CPU, all graphs").is_visible()
        version(page, "2").get_by_role("button", name="Promote to stable").click()
        page.get_by_role("dialog").get_by_role("button", name="Promote to stable").click()
        version(page, "2").get_by_text("current", exact=True).wait_for()
        answer = gateway.post("/v1/recommend", {"user": {"history": {}}})
        assert answer.json["model"]["version"] == "2"
        version(page, "2").get_by_role("button", name="Roll back stable").click()
        page.get_by_role("dialog").get_by_role("button", name="Roll back stable").click()
        version(page, "1").get_by_text("current", exact=True).wait_for()


def test_traffic_and_two_versions_are_shown(open_at, gateway, screenshots) -> None:
    with open_at("operator") as page:
        page.locator(".tile").first.wait_for()
        calls = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Recommend", exact=True))
        before = int(calls.get_by_role("cell").first.inner_text())
        for _ in range(20):
            gateway.post("/v1/recommend", {"user": {"history": {}}})
        page.wait_for_function(
            """least => [...document.querySelectorAll(".operator tbody tr")].some((row) =>
              row.firstChild.textContent === "Recommend" && Number(row.children[1].textContent) >= least)""",
            arg=before + 20,
        )
        page.get_by_text("10 items of 10 in both lists").wait_for()
        page.get_by_role("button", name="Try both on sample profiles").click()
        page.get_by_text("Agreement: 100 % of the first 10 items, over 7 sample profiles").wait_for()
        trial = page.locator(".trial tbody tr")
        assert [trial.nth(i).locator("td").nth(0).inner_text() for i in (0, 1)] == ["21", "21"]
        assert [trial.nth(i).locator("td").nth(1).inner_text() for i in (0, 1)] == ["0", "0"]
        screenshot(page, screenshots, "operator-desktop-light")


def test_a_canary_is_shown_beside_the_current_version(browser, books, tmp_path, screenshots) -> None:
    models = Path(shutil.copytree(books, tmp_path / "models"))
    labels = {"stable": "1", "canary": "2"}
    policy = {"latest": 2, "labels": labels, "canary_percent": {"canary": 30}, "shadow_percent": {"canary": 100}}
    (models / "books" / "serving.json").write_text(json.dumps(policy))
    routing = make_routing(parse_policy(json.dumps(policy)), ["1", "2"])
    lost = [f"nobody-{n}" for n in range(50) if routing.version_for(f"nobody-{n}") == "2"][:3]
    with (
        run_page(models, tmp_path / "log") as (_, gateway),
        open_page(browser, gateway.url, view="operator") as page,
    ):
        page.locator(".tile").first.wait_for()
        assert not page.get_by_role("heading", name="Canaries beside the current version").is_visible()
        served = [gateway.post("/v1/recommend", {"user": {"userId": user_id(row)}}) for row in range(60)]
        for absent in lost:
            assert gateway.post("/v1/recommend", {"user": {"userId": absent}}).status == 404
        n_canary = sum(answer.json["model"]["version"] == "2" for answer in served)
        region = page.get_by_role("region", name="Canaries beside the current version")
        rows = [region.locator("tbody tr").nth(n) for n in (0, 1)]
        page.wait_for_function(
            "n => [...document.querySelectorAll('.canaries tbody tr:nth-child(2) td')][0]?.textContent === String(n)",
            arg=n_canary + len(lost),
        )
        assert [row.get_by_role("rowheader").inner_text() for row in rows] == ["books / 1 current", "books / 2 canary"]
        current, canary = ([cell.inner_text() for cell in row.get_by_role("cell").all()] for row in rows)
        assert current[:3] == [str(len(served) - n_canary), "0", "0 %"]
        assert canary[:2] == [str(n_canary + len(lost)), "3"]
        assert float(canary[2].removesuffix(" %")) == pytest.approx(100 * 3 / (n_canary + 3), rel=0.05)
        assert all(re.fullmatch(r"[\d.]+ (µs|ms)", text) for text in current[3:6] + canary[3:6])
        assert current[6] != canary[6] == "100 %", "version 2 is a twin of version 1, and has the only shadow"
        region.scroll_into_view_if_needed()
        screenshot(page, screenshots, "operator-canary-desktop-light")


def test_without_the_admin_port_nothing_can_be_moved(browser, gateway, books, tmp_path) -> None:
    with (
        run_page(books, tmp_path / "log", admin_target=None, metrics_url=None) as (_, plain),
        open_page(browser, plain.url, view="operator") as page,
    ):
        page.get_by_text("Read-only: this gateway has no admin port").wait_for()
        version(page, "1").get_by_text("ready", exact=True).wait_for()
        assert page.get_by_role("button", name="Promote").count() == 0
        assert page.get_by_role("button", name="Roll back").count() == 0
        assert page.get_by_label("Admin token").count() == 0 or not page.get_by_label("Admin token").is_visible()
        assert not page.get_by_role("heading", name="Traffic").is_visible()


def test_an_admin_port_that_wants_a_token_gets_it_from_the_operator(browser, books, tmp_path) -> None:
    """One server is public; the admin port of the gateway is that of another one, which asks for tokens."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[clients.operator]\nsha256 = "{digest}"\nmethods = ["cofactor.admin.v1.AdminService/*"]\n')
    with (
        run_page(books, tmp_path / "guarded", "--tokens", str(tokens)) as (guarded, _),
        run_page(books, tmp_path / "open", admin_target=guarded.admin_target) as (_, gateway),
        open_page(browser, gateway.url, view="operator") as page,
    ):
        page.get_by_text("without a valid one, this is read-only").wait_for()
        page.get_by_text("The metrics want the admin token.").wait_for()
        assert page.get_by_role("button", name="Promote").count() == 0
        page.get_by_label("Admin token").fill(TOKEN)
        page.get_by_role("button", name="Use token").click()
        version(page, "2").get_by_role("button", name="Promote to stable").wait_for()
        assert TOKEN not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
