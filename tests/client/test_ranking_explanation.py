"""Clients and the `cofactor` command explain the place in the list, on a server of a version with a ranking part."""

import json
import shutil

import pytest

from cofactor.v1.recommender_pb2 import ExplainResponse
from cofactor_client import Client, _response_parsing
from cofactor_client.__main__ import main
from cofactor_client._cli import tables
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from tests.client.conftest import BlockingAsyncClient
from tests.support import synthetic
from tests.support.expected import ITEM_IDS, USER

MODEL = synthetic.make_two_part_model()
USER_ID = synthetic.make_dataset().user_ids[USER]
ITEM_ROW = 50
ITEM = ITEM_IDS[ITEM_ROW]
HISTORY = {f"i{row:03}": 1.0 + row % 5 for row in range(0, 60, 5)}
ORDERS = [
    {},
    {"popularity_penalty": 0.5},
    {"ranking": "predicted-rating"},
    {"ranking": "popularity-corrected", "popularity_penalty": 2.0},
]


@pytest.fixture(scope="module")
def two_part_address(tmp_path_factory, two_part_version, dot_version):
    """Return the address of a server with a version that has a ranking part, and with one that has none."""
    models = tmp_path_factory.mktemp("two-part-for-clients")
    for version in (two_part_version, dot_version):
        shutil.copytree(version, models / version.parent.name / version.name)
    with create_server(ServerConfig(models=models, model="two-part", port=0, provider="cpu")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module", params=[Client, BlockingAsyncClient], ids=["sync", "asyncio"])
def ranker(request, two_part_address):
    """Return the synchronous client and the asyncio one."""
    client = request.param(two_part_address)
    yield client
    client.close()


@pytest.fixture
def explain_command(two_part_address, capsys):
    """Return a function that runs `cofactor explain` -> standard output."""

    def run_command(*arguments):
        assert main(["explain", "--address", two_part_address, USER_ID, ITEM, *arguments]) == 0
        return capsys.readouterr().out

    return run_command


def score_in_list(client, user, **order):
    page = client.recommend(user, len(ITEM_IDS), include_rated=True, **order)
    return next(scored.score for scored in page if scored.item_id == ITEM)


@pytest.mark.parametrize("user", [USER_ID, HISTORY], ids=["known", "history"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_parts_add_up_to_the_score_in_the_list(ranker, user, order):
    why = ranker.explain(user, ITEM, max_contributions=3, **order)
    ranking = why.ranking
    listed = score_in_list(ranker, user, **order)
    assert why.ranking_score == pytest.approx(listed, abs=2e-4)
    reasons = sum(reason.contribution for reason in ranking.reasons)
    parts = ranking.item_part + ranking.user_part + reasons + ranking.other_part + ranking.unexplained
    assert parts == pytest.approx(listed, abs=1e-3)
    weighted = ranking.rating_weight * why.score + ranking.ranking_weight * ranking.ranking_logit
    assert weighted + why.popularity == pytest.approx(listed, abs=2e-4)


def test_the_ranking_logit_and_its_weights_are_those_of_the_model(ranker):
    ranking = ranker.explain(USER_ID, ITEM).ranking
    n = MODEL.n_ranking_factors
    expected = MODEL.item_factors[ITEM_ROW, -n:] @ MODEL.user_factors[USER, -n:]
    assert ranking.ranking_logit == pytest.approx(float(expected), abs=1e-4)
    assert (ranking.rating_weight, ranking.ranking_weight) == (MODEL.order.rating_weight, MODEL.order.ranking_weight)


def test_reasons_and_other_ratings_count_every_rating_once(ranker):
    ranking = ranker.explain(HISTORY, ITEM, max_contributions=2).ranking
    assert len(ranking.reasons) == 2
    for reason in ranking.reasons:
        assert reason.rating == HISTORY[reason.item_id]
        assert abs(reason.contribution) >= abs(reason.own_contribution)
        assert reason.contribution * reason.own_contribution > 0
    grouped = sum(1 + reason.similar_rating_count for reason in ranking.reasons)
    assert grouped + ranking.other_rating_count == len(HISTORY)


def test_a_wrong_ranking_is_refused_by_name(ranker):
    with pytest.raises(ValueError, match="ranking: must be one of"):
        ranker.explain(USER_ID, ITEM, ranking="best")


def test_the_model_says_if_it_has_a_ranking_part(ranker):
    assert ranker.get_model().model.has_ranking_part
    assert not ranker.get_model(model="dot").model.has_ranking_part
    assert {model.name: model.has_ranking_part for model in ranker.iter_models()} == {"dot": False, "two-part": True}


def test_a_response_without_parts_of_the_ranking_score_has_none_and_no_row_for_it():
    why = _response_parsing.explanation(ExplainResponse(score=0.5, global_bias=0.5))
    assert why.ranking is None
    assert list(tables.explanation_table(why, {}).columns[0].cells)[-1] == "score"


def rows_of(out):
    """Return the rows of the tables in the output: first column and last column."""
    lines = [line.split("  ") for line in out.splitlines() if line.strip() and "  " in line.strip()]
    return [(cells[0].strip(), cells[-1].strip()) for cells in lines]


@pytest.mark.parametrize(
    ("options", "order"),
    [([], {}), (["--ranking", "predicted-rating", "--popularity-penalty", "0.5"], {**ORDERS[1], **ORDERS[2]})],
    ids=["default", "chosen"],
)
def test_the_command_shows_the_place_in_the_list_before_the_prediction(
    explain_command, two_part_address, options, order
):
    rows = rows_of(explain_command("-k", "2", *options))
    with Client(two_part_address) as client:
        why = client.explain(USER_ID, ITEM, max_contributions=2, **order)
    place = [name for name, _ in rows].index("place in the list")
    prediction = [name for name, _ in rows].index("part")
    assert place < prediction
    first, second = rows[place + 1 : prediction], rows[prediction + 1 :]
    assert first[0][1] == f"{why.ranking.item_part:+.3f}"
    assert first[1][1] == f"{why.ranking.user_part:+.3f}"
    for reason, (name, adds) in zip(why.ranking.reasons, first[2:], strict=False):
        similar = f" and {reason.similar_rating_count} similar" if reason.similar_rating_count else ""
        assert name == f"because of The Film of {ITEM_IDS.index(reason.item_id)}{similar}"
        assert adds == f"{reason.contribution:+.3f}"
    total = ("ranking score", f"{why.ranking_score:+.3f}")
    assert first[-1] == second[-1] == total
    assert sum(float(adds) for _, adds in first[:-1]) == pytest.approx(why.ranking_score, abs=0.01)
    after_score = second[[name for name, _ in second].index("score") + 1 : -1]
    if order:  # by the predicted rating: the score counts in full, and the ranking part does not
        after_score.append(("score", f"{why.score:+.3f}"))
    assert sum(float(adds) for _, adds in after_score) == pytest.approx(why.ranking_score, abs=0.01)


def test_the_json_of_the_command_has_the_parts_and_the_reasons(explain_command, two_part_address):
    response = json.loads(explain_command("-k", "1", "--json"))
    with Client(two_part_address) as client:
        why = client.explain(USER_ID, ITEM, max_contributions=1)
    assert response["ranking"]["item_part"] == pytest.approx(why.ranking.item_part)
    assert [reason["item_id"] for reason in response["ranking"]["reasons"]] == [why.ranking.reasons[0].item_id]
