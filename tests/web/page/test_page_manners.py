"""Every view in light and dark, on a desktop and on a phone: accessible, within the window, from one host, small."""

from __future__ import annotations

import re

import pytest

from cofactor_web.settings import PAGE
from tests.support.web.browser import DESKTOP, PHONE, screenshot, wait_for_cards

pytestmark = pytest.mark.web
# A selector of each view that is there when it has its data.
READY = {
    "for-you": ".cards[aria-busy=false] .card",
    "map": "canvas",
    "tastes": ".taste:last-child .row[data-item]",
    "operator": ".version",
}
MOST_SCRIPT_BYTES = 150_000


def rules_broken(page):
    """Return the rules of WCAG 2.2 A and AA, and of good practice, that axe-core finds broken."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    results = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": tags})
    return [
        (found["id"], found["impact"], [node["target"] for node in found["nodes"][:3]])
        for found in results.response["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_views_are_accessible_and_fit_the_window(open_at, screenshots, size, scheme) -> None:
    device = "phone" if size == PHONE else "desktop"
    with open_at(size=size, scheme=scheme) as page:
        wait_for_cards(page)
        for key in "515":
            page.keyboard.press(key)
        page.get_by_text("From 3 ratings").wait_for()
        for view, selector in READY.items():
            page.evaluate("view => { location.hash = `#/${view}`; }", view)
            page.locator(selector).first.wait_for()
            page.evaluate("document.querySelector('#toasts').replaceChildren()")
            assert rules_broken(page) == [], (view, device, scheme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, device)
            screenshot(page, screenshots, f"{view}-{device}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_messages_are_accessible(open_at, scheme) -> None:
    with open_at(scheme=scheme) as page:
        wait_for_cards(page)
        page.keyboard.press("5")
        page.locator("summary", has_text="Filters").click()
        assert rules_broken(page) == []
        for button in ("Why?", "More like this"):
            page.get_by_role("button", name=button).first.click()
            page.locator("dialog .row[data-item], dialog .bar").first.wait_for()
            assert rules_broken(page) == []
            page.keyboard.press("Escape")


def test_the_theme_can_be_changed_and_stays_so(open_at) -> None:
    with open_at() as page:
        wait_for_cards(page)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Change between dark and light").click()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != ground
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_the_page_has_a_strict_policy_and_every_file_that_it_names(gateway) -> None:
    index = gateway.get("/")
    policy = index.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', index.body.decode()):
        assert gateway.get(path).status == 200
    text = index.body.decode()
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", text)


def test_all_scripts_together_are_small() -> None:
    assert sum(path.stat().st_size for path in PAGE.rglob("*.js")) < MOST_SCRIPT_BYTES


def test_no_script_makes_markup_of_text() -> None:
    for path in PAGE.rglob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()), path
