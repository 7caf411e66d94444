"""Drive the page in a real browser, and note whatever a good page must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = (1440, 900), (390, 844)
TIMEOUT_MS = 15_000


def browser_problem() -> str:
    """Return why no browser can be driven, with the remedy; empty if one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright"
    if browser_path() is None:
        return f"none of {', '.join(NAMES)} is installed: apt-get install chromium"
    return ""


def browser_path() -> str | None:
    """Return the first of the known browsers that is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def launch_browser() -> Iterator[Any]:
    """Start a headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs rights that containers do not give to root.
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Faults:
    """Collect what went wrong in a page: errors of its scripts, breaches of its policy, requests to other hosts."""

    errors: list[str] = field(default_factory=list)
    other_hosts: list[str] = field(default_factory=list)


@contextmanager
def open_page(
    browser: Any, url: str, *, size: tuple[int, int] = DESKTOP, scheme: str = "light", view: str = "for-you"
) -> Iterator[Any]:
    """Open the page in a fresh profile, and fail at the end if it broke a rule.

    Failed requests are no fault: a test that stops the server causes them.
    """
    is_phone = size[0] < 600
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, has_touch=is_phone, reduced_motion="reduce"
    )
    context.set_default_timeout(TIMEOUT_MS)
    faults = Faults()
    page = context.new_page()
    page.on("pageerror", lambda error: faults.errors.append(str(error)))
    page.on("console", lambda message: _note(faults, message))
    page.on("request", lambda request: request.url.startswith(url) or faults.other_hosts.append(request.url))
    page.goto(f"{url}/#/{view}")
    try:
        yield page
    finally:
        context.close()
    assert faults == Faults()


def _note(faults: Faults, message: Any) -> None:
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        faults.errors.append(message.text)


def wait_for_cards(page: Any) -> None:
    """Wait until the list of recommendations is there and no newer one is on its way."""
    page.wait_for_selector(".cards[aria-busy=false] .card")


def cards(page: Any) -> list[str]:
    """Return the item ids of the recommendations, best first."""
    wait_for_cards(page)
    found: list[str] = page.eval_on_selector_all(".card", "nodes => nodes.map((node) => node.dataset.item)")
    return found


def painted(page: Any) -> int:
    """Return how many lists the page has painted so far."""
    return int(page.locator(".recommendations").get_attribute("data-painted") or 0)


def wait_for_new_list(page: Any, before: int) -> None:
    """Wait until a list is painted after `before` of them."""
    page.wait_for_function(
        "before => Number(document.querySelector('.recommendations').dataset.painted ?? 0) > before", arg=before
    )
    wait_for_cards(page)


def search_for(page: Any, words: str) -> Any:
    """Type into the search box and return the locator of the results."""
    page.get_by_role("searchbox", name="Search by title").fill(words)
    results = page.locator("#search-results > .row")
    results.first.wait_for()
    return results


def screenshot(page: Any, folder: Path, name: str) -> None:
    """Keep a screenshot, as an artefact for people."""
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
