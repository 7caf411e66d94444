"""Both clients and the command on a model that learnt from the events of a shop."""

from __future__ import annotations

import datetime
import json

import pytest

from cofactor_client import Client, Event, RatingHistory, errors
from cofactor_client.__main__ import main
from tests.client.conftest import BlockingAsyncClient
from tests.support import shop

YESTERDAY = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
BOUGHT = Event("tea03", "purchase")


@pytest.fixture(scope="module")
def address(shop_version):
    """Address of a server of the shop's model."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    with create_server(ServerConfig(models=shop_version.parents[1], port=0, provider="cpu")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module", params=[Client, BlockingAsyncClient], ids=["sync", "asyncio"])
def client(request, address):
    """The synchronous client and the asyncio one."""
    client = request.param(address)
    yield client
    client.close()


def ids(results):
    return {result.item_id for result in results}


def test_a_new_user_is_embedded_by_events(client):
    events = [BOUGHT, Event("tea04", "view", 2, YESTERDAY), Event("tool01", "return")]
    new_user = client.embed_new_user(events=events)
    assert (new_user.used_event_count, new_user.used_rating_count) == (3, 0)
    assert new_user.embedding.rated_item_ids == ("tea03", "tea04", "tool01")
    found = ids(client.recommend(new_user.embedding, 100))
    assert found == {*shop.TEA, *shop.TOOLS} - {"tea03", "tea04", "tool01"}
    assert ids(client.recommend(RatingHistory(events=events), 5)) == ids(client.recommend(new_user.embedding, 5))


def test_times_and_counts_reach_the_server(client):
    def factors(*events):
        return client.embed_new_user(events=events).embedding.factors

    year_ago = YESTERDAY.replace(year=2025)
    assert factors(Event("tea03", "view", 2), BOUGHT) == factors(Event("tea03", "view"), Event("tea03", "view"), BOUGHT)
    recent, old = (factors(Event("tea04", "view", 1, time), Event("tool01", "view")) for time in (YESTERDAY, year_ago))
    assert recent == pytest.approx(old, abs=1e-6)  # the newest event of the request has no age
    mixed = factors(Event("tea04", "view", 1, year_ago), Event("tool01", "view", 1, YESTERDAY))
    assert mixed != pytest.approx(recent, abs=1e-3)
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert mixed == factors(Event("tea04", "view", 1, year_ago.astimezone(zone)), Event("tool01", "view", 1, YESTERDAY))


def test_batch_and_stream_take_histories_of_events(client):
    users = [RatingHistory(events=[BOUGHT]), "c01"]
    expected = [ids(client.recommend(user, 5)) for user in users]
    assert [ids(page) for page in client.batch_recommend(users, 5)] == expected
    assert [ids(page) for _, page in sorted(client.stream_recommend(users, 5), key=lambda entry: entry[0])] == expected


def test_an_explanation_names_the_events(client):
    explanation = client.explain(RatingHistory(events=[BOUGHT]), "tea05")
    assert [(part.item_id, part.rating) for part in explanation.contributions] == [("tea03", 3)]
    assert [(reason.item_id, reason.rating) for reason in explanation.ranking.reasons] == [("tea03", 3)]


def test_a_model_says_what_it_learnt_from(client):
    model = client.get_model().model
    assert [(kind.name, kind.weight, kind.negative) for kind in model.events.types] == [
        ("purchase", 3, False), ("return", 0, True), ("view", 1, False),
    ]  # fmt: skip
    assert model.events.types[0].event_count == 6 * shop.N_CUSTOMERS
    assert (model.events.half_life_seconds, model.events.newest_event_time.tzinfo) == (90 * shop.DAY, datetime.UTC)
    assert model.events.newest_event_time.year == 2024


def test_an_unknown_type_and_ratings_are_refused_by_the_server(client):
    with pytest.raises(errors.InvalidArgumentError, match=r'"gift" is not one of the types .* "purchase"') as caught:
        client.embed_new_user(events=[Event("tea03", "gift")])
    assert [violation.field for violation in caught.value.field_violations] == ["events[0].event_type"]
    with pytest.raises(errors.InvalidArgumentError, match="learnt from events; send `events`"):
        client.embed_new_user({"tea03": 5.0})
    with pytest.raises(errors.InvalidArgumentError, match="event_type: is empty; name one of"):
        client.embed_new_user(events=["tea03"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RatingHistory(events="tea03"), TypeError, r"events: must be a list .*\['tea03'\]"),
        (lambda: RatingHistory(events=BOUGHT), TypeError, r"not Event; write \[event\]"),
        (lambda: RatingHistory(events={"tea03": 2}), TypeError, r"not dict; write \[Event\(item_id, count=count\)"),
        (lambda: RatingHistory(events=["tea03", 7]), TypeError, r"events\[1\]: must be an item id as a string"),
        (lambda: Event(7), TypeError, "item_id: must be an id as a string, not int"),
        (lambda: Event("tea03", count=0), ValueError, "count: must be above 0, not 0"),
        (lambda: Event("tea03", count=float("nan")), ValueError, "count: must be above 0, not nan"),
        (lambda: Event("tea03", time=1_700_000_000), TypeError, "time: must be a datetime, not int"),
        (lambda: Event("tea03", time=datetime.datetime(2026, 1, 1)), ValueError, "time: has no time zone"),
    ],
)  # fmt: skip
def test_events_of_the_wrong_kind_are_refused_before_anything_is_sent(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("events", ["tea03", BOUGHT, {"tea03": 2}, ["tea03", None]])
def test_embed_new_user_refuses_what_is_no_list_of_events(client, events):
    with pytest.raises(TypeError, match=r"^events(\[1\])?: must be"):
        client.embed_new_user(events=events)


@pytest.fixture
def run(address, capsys):
    """Return a function that runs the command in this process -> exit status, standard output, standard error."""

    def run_command(*arguments):
        try:
            status = main([arguments[0], "--address", address, *arguments[1:]])
        except SystemExit as exit:  # raised by argparse
            status = exit.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


def test_embed_takes_events_with_types_and_counts(run):
    words = ("embed", "--event", "tea03=purchase", "--event", "tea04=view:2", "--event", "tool01=return")
    status, out, _ = run(*words, "--recommend", "4", "--json")
    response = json.loads(out)
    assert (status, response["new_user"]["used_event_count"]) == (0, 3)
    recommended = {result["item_id"] for result in response["recommendations"]["results"]}
    assert recommended < set(shop.TEA) - {"tea03", "tea04"}
    status, out, _ = run(*words)
    assert (status, "from 3 events" in out, "2  view  tea04" in out) == (0, True, True)


def test_recommend_takes_events_in_place_of_a_user(run):
    status, out, _ = run("recommend", "--event", "tool03=purchase", "-k", "4", "--json")
    assert status == 0
    assert {result["item_id"] for result in json.loads(out)["results"]} < set(shop.TOOLS) - {"tool03"}
    for words, problem in ((("c01", "--event", "tool03=purchase"), "only one of them"), ((), "USER, or --event ITEM")):
        status, _, err = run("recommend", *words)
        assert (status, problem in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tea03=view:-1", "not a positive number"),
        ("tea03=0", "not a positive number"),
        ("=2", "is not ITEM"),
        (" ", "is not an item"),
    ],
)
def test_events_that_make_no_sense_are_usage_errors(run, text, problem):
    status, out, err = run("embed", "--event", text)
    assert (status, out, problem in err) == (2, "", True)


def test_the_tables_of_a_model_show_its_events_and_no_rating_scale(run):
    _, out, _ = run("model")
    assert "360 purchase (weight 3), 60 return (negative)" in out
    assert "half-life 90 days, at most 3" in out
    assert "rating scale" not in out
    _, out, _ = run("model", "--list")
    assert ("ranking" in out, "purchase, return, view" in out) == (True, True)


def test_the_tables_of_an_explanation_show_weights(run):
    _, out, _ = run("explain", "c04", "tea02")
    assert ("weight" in out, "rated" in out, "because of tea" in out, "other items" in out) == (True, False, True, True)
