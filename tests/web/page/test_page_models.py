"""Check that the page asks for what the model needs: events in place of stars, and questions about a person."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.server_process import ServerProcess
from tests.support.web import run_gateway
from tests.support.web.browser import cards, open_page, painted, wait_for_cards, wait_for_new_list

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def shop_and_profile(shop_version, profile_version, tmp_path_factory):
    """A gateway to a server with a model of events, shop, and one with questions, profile."""
    folder = tmp_path_factory.mktemp("shop-and-profile")
    for version in (shop_version, profile_version):
        shutil.copytree(version, folder / "models" / version.parent.name / version.name)
    with (
        ServerProcess(folder / "models", folder / "log", "--model", "shop") as server,
        run_gateway(f"127.0.0.1:{server.port}") as gateway,
    ):
        yield gateway


def test_a_model_of_events_asks_what_a_person_did(browser, shop_and_profile) -> None:
    with open_page(browser, shop_and_profile.url) as page:
        wait_for_cards(page)
        assert page.locator(".star").count() == 0
        before = painted(page)
        item = page.locator(".front").get_attribute("data-item")
        page.locator(".front").get_by_role("button", name="I bought this").click()
        wait_for_new_list(page, before)
        page.get_by_text("From 1 item that you chose").wait_for()
        kind = item.rstrip("0123456789")
        assert all(found.startswith(kind) and found != item for found in cards(page)[:5])
        before = painted(page)
        page.get_by_role("button", name=f"I returned this: {item}").click()
        wait_for_new_list(page, before)
        page.get_by_role("button", name="Why?").first.click()
        page.locator("dialog .lead").wait_for()


def test_a_model_with_questions_uses_the_answers_and_says_which_it_does_not_know(browser, shop_and_profile) -> None:
    with open_page(browser, f"{shop_and_profile.url}", view="for-you") as page:
        page.get_by_label("Model", exact=True).select_option("profile")
        page.get_by_role("heading", name="About you").wait_for()
        before = painted(page)
        page.get_by_label("Mood", exact=True).fill("no such mood")
        page.get_by_label("Mood", exact=True).press("Enter")
        page.get_by_text("The model does not know this answer: Mood.").wait_for()
        page.get_by_label("Age", exact=True).fill("61")
        with page.expect_request("**/v1/recommend") as request:
            page.get_by_label("Age", exact=True).press("Enter")
        sent = json.loads(request.value.post_data)
        assert sent["user"]["history"]["profile"] == {"age": "61", "mood": "no such mood"}
        wait_for_new_list(page, before)
