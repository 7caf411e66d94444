"""The map of the catalogue, the best and worst liked items, and two tastes side by side."""

from __future__ import annotations

import pytest

from tests.support.web.browser import screenshot, wait_for_cards
from tests.support.web.invented_catalogue import item_id

pytestmark = pytest.mark.web


def n_colours(page):
    """Return how many different colours were drawn on the canvas."""
    return page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] > 200) seen.add(`${data[i] >> 5},${data[i + 1] >> 5},${data[i + 2] >> 5}`);
          }
          return seen.size;
        }"""
    )


def test_the_map_is_drawn_and_an_item_can_be_chosen_and_rated(open_at, catalogue, screenshots) -> None:
    with open_at("for-you") as page:
        wait_for_cards(page)
        for key in "5151":
            page.keyboard.press(key)
        page.get_by_text("From 4 ratings").wait_for()
        page.get_by_role("link", name="Map").click()
        page.locator("canvas").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.ranked .row[data-item]').length === 20")
        assert n_colours(page) >= 5
        screenshot(page, screenshots, "map-desktop-light")
        page.locator("canvas").focus()
        page.keyboard.press("+")
        page.keyboard.press("Enter")
        detail = page.locator(".map-detail")
        title = detail.get_by_role("heading").inner_text()
        assert title in catalogue.titles
        detail.get_by_role("button", name=f"Rate {title} 5 of 5").click()
        page.get_by_text(f"{title}: 5 of 5").wait_for()


def test_best_and_worst_liked_are_those_of_the_api_and_are_found_on_the_map(open_at, gateway) -> None:
    with open_at("map") as page:
        page.locator("canvas").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.ranked .row[data-item]').length === 20")
        for place, order in enumerate(("ORDER_HIGHEST_BIAS", "ORDER_LOWEST_BIAS")):
            rows = page.locator(".ranked").nth(place).locator(".row")
            expected = gateway.post("/v1/list-top-items", {"order": order, "pageSize": 10}).json["items"]
            assert rows.evaluate_all("nodes => nodes.map((node) => node.dataset.item)") == [
                item["itemId"] for item in expected
            ]
            rows.first.get_by_role("button").click()
            page.locator(".map-detail").get_by_role("heading", name=expected[0]["title"]).wait_for()


def test_two_fans_get_what_they_like(open_at, catalogue, screenshots) -> None:
    with open_at("tastes") as page:
        page.wait_for_function("() => document.querySelectorAll('.taste .row[data-item]').length === 20")
        for side, genre in enumerate(("Science fiction", "Romance")):
            assert page.locator(".taste select").nth(side).input_value() == genre
            found = (
                page.locator(".taste")
                .nth(side)
                .locator(".row")
                .evaluate_all("nodes => nodes.map((node) => node.dataset.item)")
            )
            liked = {item_id(row) for row, genres in enumerate(catalogue.item_genres) if genre in genres}
            assert len(liked & set(found)) >= 6
        screenshot(page, screenshots, "tastes-desktop-light")
        page.get_by_role("combobox", name="Second profile").select_option("Science fiction")
        page.get_by_text("10 items of 10 in both lists").wait_for()
