"""The server goes away, comes back, or asks for patience, while the page is open."""

from __future__ import annotations

import pytest

from tests.support.server_process import ServerProcess
from tests.support.web import run_gateway
from tests.support.web.browser import cards, open_page, painted, wait_for_cards, wait_for_new_list

pytestmark = pytest.mark.web


def test_the_page_waits_for_a_server_that_stops_and_goes_on_when_it_is_back(browser, books, tmp_path) -> None:
    server = ServerProcess(books, tmp_path / "log")
    try:
        with run_gateway(f"127.0.0.1:{server.port}") as gateway, open_page(browser, gateway.url) as page:
            popular = cards(page)
            server.stop()
            page.keyboard.press("5")
            page.get_by_role("alert").get_by_text("The server is away.").wait_for()
            assert page.locator("#connection").inner_text() == "Server away"
            assert cards(page) == popular
            page.get_by_role("heading", name="Your ratings (1)").wait_for()
            before = painted(page)
            server = ServerProcess(books, tmp_path / "log", port=server.port)
            wait_for_new_list(page, before)
            assert page.get_by_role("alert").count() == 0
            assert page.locator("#connection").inner_text() == "Connected"
            page.get_by_text("From 1 rating").wait_for()
            assert cards(page) != popular
    finally:
        server.stop()


def test_a_page_that_is_opened_while_the_server_is_away_starts_when_it_is_there(browser, books, tmp_path) -> None:
    with ServerProcess(books, tmp_path / "log") as server:
        port = server.port
    with run_gateway(f"127.0.0.1:{port}") as gateway, open_page(browser, gateway.url) as page:
        page.get_by_role("main").get_by_text("The server is away").wait_for()
        with ServerProcess(books, tmp_path / "log", port=port):
            wait_for_cards(page)


# Notes every text of the banner, which may be gone by the time a test looks.
_NOTE_BANNERS = """() => {
  window.banners = [];
  const banner = document.getElementById("banner");
  new MutationObserver(() => window.banners.push(banner.textContent)).observe(banner, { childList: true });
}"""


def test_a_rate_limit_is_told_kindly_and_waited_out(browser, books, tmp_path) -> None:
    """A token comes every five seconds, and opening the page takes most of the first ones."""
    with (
        ServerProcess(books, tmp_path / "log", "--rate-limit", "0.2", "--rate-burst", "7") as server,
        run_gateway(f"127.0.0.1:{server.port}") as gateway,
        open_page(browser, gateway.url) as page,
    ):
        wait_for_cards(page)
        page.evaluate(_NOTE_BANNERS)
        for n in range(1, 9):
            page.keyboard.press("4")
            page.get_by_role("heading", name=f"Your ratings ({n})").wait_for()
        page.get_by_text("From 8 ratings").wait_for()
        assert any("The server asks for a pause" in text for text in page.evaluate("banners"))
