"""Rate, search, filter and undo in a real browser, against a real server."""

from __future__ import annotations

import pytest

from tests.support.web.browser import cards, painted, screenshot, search_for, wait_for_cards, wait_for_new_list
from tests.support.web.invented_catalogue import HOSTILE_TITLE, N_ITEMS, item_id, user_id

pytestmark = pytest.mark.web
LIKED, DISLIKED = "Science fiction", "Romance"


def rate_in_search(page, title, rating):
    before = painted(page)
    search_for(page, title).first.get_by_role("button", name=f"Rate {title} {rating} of 5").click()
    wait_for_new_list(page, before)


def become_a_fan(page, catalogue):
    """Rate three items of one genre 5 and two of another 1, by search, and return their rows."""
    liked, disliked = catalogue.items_of(LIKED)[:3], catalogue.items_of(DISLIKED)[:2]
    wait_for_cards(page)
    for row in liked:
        rate_in_search(page, catalogue.titles[row], 5)
    for row in disliked:
        rate_in_search(page, catalogue.titles[row], 1)
    page.get_by_role("searchbox").fill("")
    return liked + disliked


def history_of(rows):
    return {"ratings": [{"itemId": item_id(row), "rating": 5 if place < 3 else 1} for place, row in enumerate(rows)]}


def recommended(gateway, user, **fields):
    answer = gateway.post("/v1/recommend", {"user": user, "pageSize": 12, **fields})
    assert answer.status == 200, answer.json
    return [result["itemId"] for result in answer.json["results"]]


def test_five_ratings_by_stars_make_a_list_of_one_s_own(open_at, screenshots) -> None:
    with open_at() as page:
        popular = cards(page)
        for place in (4, 0, 4, 1, 4):
            before = painted(page)
            page.locator(".front .star").nth(place).click()
            wait_for_new_list(page, before)
        assert "From 5 ratings" in page.locator(".recommendations").inner_text()
        assert len(cards(page)) >= 10
        assert cards(page) != popular
        assert page.locator(".card .card-score").count() == len(cards(page))
        screenshot(page, screenshots, "for-you-desktop-light")


def test_the_list_is_the_one_that_the_api_returns_for_the_same_ratings(open_at, catalogue, gateway) -> None:
    with open_at() as page:
        rated = become_a_fan(page, catalogue)
        assert cards(page) == recommended(gateway, {"history": history_of(rated)})
        of_genre = [LIKED in catalogue.item_genres[int(found[-3:])] for found in cards(page)]
        assert sum(of_genre) > len(of_genre) / 2
        page.get_by_role("button", name="Show more").click()
        page.wait_for_function("() => document.querySelectorAll('.card').length === 24")


def test_ratings_outlive_the_page_and_start_over_takes_them_back(open_at, catalogue) -> None:
    with open_at() as page:
        become_a_fan(page, catalogue)
        own = cards(page)
        page.reload()
        assert cards(page) == own
        assert page.get_by_role("heading", name="Your ratings (5)").is_visible()
        before = painted(page)
        page.get_by_role("button", name="Start over").click()
        wait_for_new_list(page, before)
        assert "Liked by most" in page.locator(".recommendations").inner_text()
        page.get_by_role("button", name="Undo").last.click()
        page.wait_for_selector("text=Your ratings (5)")


def test_why_names_the_rating_that_moved_the_item_up(open_at, catalogue) -> None:
    with open_at() as page:
        rated = become_a_fan(page, catalogue)
        page.get_by_role("button", name="Why?").first.click()
        dialog = page.get_by_role("dialog")
        dialog.locator(".bar.up").first.wait_for()
        names = {catalogue.titles[row] for row in rated}
        first = dialog.locator(".bar-name").first.inner_text()
        assert any(first.startswith(name) for name in names)
        page.keyboard.press("Escape")
        assert dialog.count() == 0
        assert page.evaluate("document.activeElement.textContent") == "Why?"


def test_more_like_this_lists_the_items_of_the_api(open_at, gateway) -> None:
    with open_at() as page:
        first = cards(page)[0]
        page.get_by_role("button", name="More like this").first.click()
        page.locator("dialog .row[data-item]").first.wait_for()
        shown = page.eval_on_selector_all("dialog .row[data-item]", "nodes => nodes.map((node) => node.dataset.item)")
        answer = gateway.post("/v1/similar-items", {"itemIds": [first], "pageSize": 12})
        assert shown == [result["itemId"] for result in answer.json["results"]]


def test_not_interested_leaves_the_item_out_until_it_is_undone(open_at) -> None:
    with open_at() as page:
        first = cards(page)[0]
        before = painted(page)
        page.get_by_role("button", name="Not interested").first.click()
        wait_for_new_list(page, before)
        assert first not in cards(page)
        page.keyboard.press("u")
        wait_for_new_list(page, before + 1)
        assert cards(page)[0] == first


def test_not_seen_brings_the_next_item_and_changes_no_list(open_at) -> None:
    with open_at() as page:
        before = cards(page)
        title = page.locator(".front-title").inner_text()
        page.get_by_role("button", name="Not seen").click()
        assert page.locator(".front-title").inner_text() != title
        assert cards(page) == before


def test_the_page_says_how_far_off_the_model_is_after_so_many_ratings(open_at, gateway) -> None:
    metrics = gateway.post("/v1/get-model").json["model"]["metrics"]
    with open_at() as page:
        wait_for_cards(page)
        page.get_by_text(
            f"After 0 ratings, predictions for new users were {metrics['new_user_rmse@0']:.2f} off"
        ).wait_for()
        page.keyboard.press("4")
        one, two = (f"{metrics[f'new_user_rmse@{n}']:.2f}" for n in (1, 2))
        page.get_by_text(
            f"After 1 rating, predictions for new users were {one} off on average (RMSE); after 2, {two}."
        ).wait_for()


def test_filters_and_sliders_reach_the_server(open_at, catalogue, gateway) -> None:
    with open_at() as page:
        wait_for_cards(page)
        page.locator("summary", has_text="Filters").click()
        before = painted(page)
        page.get_by_role("button", name="Crime: no filter").click()
        wait_for_new_list(page, before)
        page.get_by_label("From year").fill("1990")
        page.get_by_label("From year").press("Enter")
        wait_for_new_list(page, before + 1)
        rows = [int(found[-3:]) for found in cards(page)]
        assert all("Crime" in catalogue.item_genres[row] and catalogue.years[row] >= 1990 for row in rows)
        page.get_by_role("button", name="Crime: only these").click()
        wait_for_new_list(page, before + 2)
        assert all("Crime" not in catalogue.item_genres[int(found[-3:])] for found in cards(page))
        page.get_by_role("button", name="Remove all").click()
        wait_for_new_list(page, before + 3)
        page.get_by_label("Popularity").fill("3")
        wait_for_new_list(page, before + 4)
        assert cards(page) == recommended(gateway, {"history": {}}, popularityPenalty=3)


def test_a_filter_that_leaves_nothing_says_so(open_at) -> None:
    with open_at() as page:
        wait_for_cards(page)
        page.locator("summary", has_text="Filters").click()
        page.get_by_label("From year").fill("2900")
        page.get_by_label("From year").press("Enter")
        page.get_by_text("Nothing is left").wait_for()
        page.get_by_role("button", name="Remove the filters").click()
        wait_for_cards(page)


def test_an_existing_user_sees_what_they_rated_and_would_get(open_at, catalogue, gateway) -> None:
    user = user_id(7)
    rated = sorted(rating for reader, _, rating in catalogue.ratings if reader == 7)
    with open_at() as page:
        wait_for_cards(page)
        page.get_by_label("User id").fill("nobody")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("The model does not know the user nobody.").wait_for()
        before = painted(page)
        page.get_by_label("User id").fill(user)
        page.get_by_role("button", name="Sign in").click()
        wait_for_new_list(page, before)
        page.get_by_role("heading", name=f"What {user} rated").wait_for()
        assert cards(page) == recommended(gateway, {"userId": user})
        page.wait_for_selector(".history .row-side")
        shown = page.eval_on_selector_all(".history .row-side", "nodes => nodes.map((node) => node.textContent)")
        assert sorted(int(text.removeprefix("★ ")) for text in shown) == rated
        assert page.locator(".card .star").count() == 0
        page.get_by_role("button", name="Be yourself again").click()
        page.wait_for_selector(".card .star")


def test_a_hostile_title_is_shown_as_text(open_at) -> None:
    with open_at() as page:
        found = search_for(page, "onerror")
        assert found.locator(".row-title").inner_text() == HOSTILE_TITLE
        rate = found.get_by_role("button", name=f"Rate {HOSTILE_TITLE} 5 of 5")
        rate.click()
        page.get_by_text(f"{HOSTILE_TITLE}: 5 of 5").wait_for()
        assert page.locator("main img, main script").count() == 0
        assert page.title() == "For you · Cofactor"


def test_everything_works_with_the_keyboard_alone(open_at) -> None:
    with open_at() as page:
        wait_for_cards(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        wait_for_cards(page)
        title = page.locator(".front-title").inner_text()
        before = painted(page)
        page.keyboard.press("4")
        wait_for_new_list(page, before)
        page.get_by_role("group", name=f"Your rating of {title}").wait_for()
        page.keyboard.press("n")
        page.keyboard.press("u")
        page.keyboard.press("u")
        wait_for_new_list(page, before + 1)
        assert page.locator(".front-title").inner_text() == title
        page.locator(".front .star").first.focus()
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        page.get_by_text(f"{title}: 3 of 5").wait_for()
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"


def test_fast_ratings_end_with_the_list_of_the_last_one(open_at, gateway) -> None:
    with open_at() as page:
        wait_for_cards(page)
        rated = []
        for digit in "54152":
            rated.append((page.locator(".front").get_attribute("data-item"), int(digit)))
            page.keyboard.press(digit)
        history = {"ratings": [{"itemId": found, "rating": rating} for found, rating in rated]}
        page.get_by_text("From 5 ratings").wait_for()
        assert cards(page) == recommended(gateway, {"history": history})


def test_ratings_of_items_that_are_gone_are_left_out(open_at) -> None:
    gone = item_id(N_ITEMS + 5)
    with open_at() as page:
        wait_for_cards(page)
        page.keyboard.press("5")
        page.get_by_text("From 1 rating").wait_for()
        page.evaluate(
            """gone => {
              const profile = JSON.parse(localStorage["cofactor:books:profile"]);
              profile.ratings[gone] = {rating: 1, item: {itemId: gone, title: "", genres: [], releaseYear: 0}, at: 0};
              localStorage["cofactor:books:profile"] = JSON.stringify(profile);
            }""",
            gone,
        )
        page.reload()
        wait_for_cards(page)
        page.get_by_role("heading", name="Your ratings (1)").wait_for()


def test_a_damaged_store_does_not_stop_the_page(open_at) -> None:
    with open_at() as page:
        wait_for_cards(page)
        page.evaluate(
            '() => { localStorage[\'cofactor:books:profile\'] = \'{"ratings": 7, "events": null, "skipped": {}}\'; }'
        )
        page.reload()
        wait_for_cards(page)
        page.keyboard.press("5")
        page.get_by_text("From 1 rating").wait_for()
