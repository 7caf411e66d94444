"""Take the screenshots of docs/images: the page with the invented catalogue, which may be shown anywhere.

    python -m tools.docs.page_screenshots docs/images

Needs Chromium and the web extra.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cofactor_trainer.__main__ import main as train
from tests.support.web.browser import PHONE, browser_problem, launch_browser, open_page, wait_for_cards
from tests.support.web.invented_catalogue import InventedCatalogue
from tests.support.web.page_server import run_page

_RATINGS = "525154"


def take_screenshots(url: str, output: Path) -> None:
    """Rate a few items on a desktop and on a phone, and keep pictures of the list and of the map."""
    output.mkdir(parents=True, exist_ok=True)
    with launch_browser() as browser:
        with open_page(browser, url) as page:
            _rate(page)
            page.screenshot(path=output / "page-for-you.png")
            page.get_by_role("link", name="Map").click()
            page.locator("canvas").wait_for()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=output / "page-map.png")
        with open_page(browser, url, size=PHONE, scheme="dark") as page:
            _rate(page)
            page.locator(".recommendations").scroll_into_view_if_needed()
            page.screenshot(path=output / "page-phone.png")


def _rate(page: Any) -> None:
    wait_for_cards(page)
    page.locator(".front").wait_for()
    for key in _RATINGS:
        page.keyboard.press(key)
    page.get_by_text(f"From {len(_RATINGS)} ratings").wait_for()
    wait_for_cards(page)
    page.evaluate("document.querySelector('#toasts').replaceChildren()")


def main(arguments: Sequence[str]) -> int:
    """Train, serve, and write the pictures to the folder that is named."""
    problem = browser_problem() if len(arguments) == 1 else "usage: python -m tools.docs.page_screenshots FOLDER"
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        InventedCatalogue(is_hostile=False).write(folder)
        (folder / "ratings.csv").rename(folder / "invented-library.csv")
        files = ["--dataset", str(folder / "invented-library.csv"), "--items", str(folder / "items.csv")]
        if train(["train", *files, "--output", str(folder / "models"), "--name", "library", "--version", "1"]) != 0:
            return 1
        with run_page(folder / "models", folder / "log") as (_, gateway):
            take_screenshots(gateway.url, Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
