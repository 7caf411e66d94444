"""Check that the page asks for what the model needs: events in place of stars, and questions about a person."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.server_process import ServerProcess
from tests.support.web import run_gateway
from tests.support.web.browser import cards, open_page, painted, screenshot, wait_for_cards, wait_for_new_list

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


def open_questions(page, gateway):
    """Choose the model with questions; return the question of GetModel that is a number."""
    page.get_by_label("Model", exact=True).select_option("profile")
    page.get_by_role("heading", name="About you").wait_for()
    answer = gateway.post("/v1/get-model", {"model": {"name": "profile"}}).json
    questions = {question["key"]: question for question in answer["model"]["profileQuestions"]}
    assert questions["mood"]["choice"] == {"answers": ["generous", "strict"]}
    return questions["age"]["number"]


def test_a_model_with_questions_offers_its_answers_and_uses_them(browser, shop_and_profile, screenshots) -> None:
    with open_page(browser, shop_and_profile.url, view="for-you") as page:
        usual = open_questions(page, shop_and_profile)
        mood, age = page.get_by_label("Mood", exact=True), page.get_by_label("Age", exact=True)
        assert mood.locator("option").all_inner_texts()[1:] == ["generous", "strict"], "the first one is no answer"
        assert age.get_attribute("placeholder") == f"{usual['lowest']:g} to {usual['highest']:g}"
        before = painted(page)
        mood.select_option("strict")
        wait_for_new_list(page, before)
        age.fill(f"{usual['lowest']:g}")
        with page.expect_request("**/v1/recommend") as request:
            age.press("Enter")
        sent = json.loads(request.value.post_data)
        assert sent["user"]["history"]["profile"] == {"age": f"{usual['lowest']:g}", "mood": "strict"}
        screenshot(page, screenshots, "questions-desktop-light")
        page.reload()
        page.get_by_role("heading", name="About you").wait_for()
        assert page.get_by_label("Mood", exact=True).input_value() == "strict"


def test_an_answer_that_the_model_cannot_use_is_explained_and_changes_nothing(browser, shop_and_profile) -> None:
    with open_page(browser, shop_and_profile.url, view="for-you") as page:
        usual = open_questions(page, shop_and_profile)
        age = page.get_by_label("Age", exact=True)
        age.fill("1e30")
        age.press("Enter")
        page.get_by_text("must be a number within 100 standard deviations").wait_for()
        assert page.evaluate("localStorage.getItem('cofactor:profile:profile')?.includes('1e30')") in (False, None)
        age.fill("")
        age.press_sequentially("1-1")
        age.press("Enter")
        page.get_by_text("Age is a number.").wait_for()
        age.fill(f"{usual['highest'] + 1:g}")
        age.press("Enter")
        page.get_by_text("Age: the model knows few people who are not between").wait_for()
        stored = f'"age":"{usual["highest"] + 1:g}"'
        page.wait_for_function("text => localStorage.getItem('cofactor:profile:profile')?.includes(text)", arg=stored)
