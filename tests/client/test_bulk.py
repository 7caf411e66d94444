"""Whole columns: the same answers as single calls, whatever the chunks."""

import grpc
import numpy as np
import pandas as pd
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from cofactor_client import errors
from cofactor_server.errors import REQUEST_ERRORS
from tests.support import synthetic

DATASET = synthetic.make_dataset()
USERS, ITEMS = DATASET.user_ids, DATASET.catalogue.item_ids


@pytest.fixture
def pairs():
    """More than four chunks of the server's 500 pairs, with an index of its own."""
    random = np.random.default_rng(0)
    columns = {"user_id": random.choice(USERS, 2700), "item_id": random.choice(ITEMS, 2700)}
    return pd.DataFrame(columns, index=np.arange(2700)[::-1] * 2)


def test_a_frame_gets_the_ratings_of_single_calls_on_its_own_index(client, pairs):
    predicted = client.predict_frame(pairs)
    assert predicted.dtype == np.float32
    assert predicted.index.equals(pairs.index)
    for position in (0, 1, 499, 500, 1234, 2699):
        user, item = pairs.iloc[position]
        assert predicted.iloc[position] == pytest.approx(client.predict(user, [item]).ratings[0], abs=1e-6)


def test_arrays_lists_and_categories_are_columns_too(client, pairs):
    wanted = client.predict_frame(pairs).to_numpy()
    users, items = pairs["user_id"], pairs["item_id"]
    for convert in (list, tuple, lambda c: c.to_numpy(), lambda c: c.to_numpy().astype("U"), lambda c: c):
        assert np.array_equal(client.predict_arrays(convert(users), convert(items)), wanted)
    assert np.array_equal(client.predict_frame(pairs.astype("category")).to_numpy(), wanted)


def test_other_column_names_and_a_model(client, pairs):
    renamed = pairs.rename(columns={"user_id": "who", "item_id": "what"})
    predicted = client.predict_frame(renamed, user_column="who", item_column="what", model="net")
    assert predicted.iloc[0] == pytest.approx(
        client.predict(pairs.iloc[0, 0], [pairs.iloc[0, 1]], model="net").ratings[0]
    )
    with pytest.raises(KeyError, match="no column 'user_id'; the frame has 'who', 'what'"):
        client.predict_frame(renamed)


def test_an_unknown_id_fails_the_whole_or_becomes_nan(client, pairs):
    pairs.iloc[1300, 0] = "nobody"
    with pytest.raises(errors.UserNotFoundError, match="nobody"):
        client.predict_frame(pairs)
    predicted = client.predict_frame(pairs, allow_partial_success=True)
    assert np.flatnonzero(predicted.isna()).tolist() == [1300]


def test_nothing_in_nothing_out(client):
    assert client.predict_frame(pd.DataFrame({"user_id": [], "item_id": []}, dtype=str)).shape == (0,)


@pytest.mark.parametrize(
    ("users", "items", "error", "message"),
    [
        (["u000"], ["i000", "i001"], ValueError, "1 against 2"),
        ([1.0, 2.0], [1, 2], TypeError, "user ids: a column of floating-point numbers"),
        (["u000", None], ["i000", "i001"], ValueError, "user ids: row 1 is missing"),
    ],
)
def test_columns_that_cannot_be_ids_are_refused_by_name(client, users, items, error, message):
    with pytest.raises(error, match=message):
        client.predict_arrays(pd.Series(users), pd.Series(items))


def test_progress_is_drawn_on_standard_error(client, pairs, capsys):
    client.predict_frame(pairs, progress=True)
    captured = capsys.readouterr()
    assert "2700/2700" in captured.err
    assert not captured.out


def test_recommendations_of_many_users_are_one_frame(client):
    frame = client.recommend_frame(USERS, k=4)
    assert frame.columns.tolist() == ["user_id", "rank", "item_id", "title", "score", "predicted_rating"]
    assert frame["user_id"].tolist() == [user for user in USERS for _ in range(4)]
    assert frame["rank"].tolist() == [1, 2, 3, 4] * len(USERS)
    alone = client.recommend(USERS[7], k=4)
    assert frame[frame["user_id"] == USERS[7]]["item_id"].tolist() == [scored.item_id for scored in alone]


def test_an_unknown_user_fails_the_frame_unless_the_average_will_do(client):
    with pytest.raises(errors.UserNotFoundError, match="nobody"):
        client.recommend_frame([USERS[0], "nobody"])
    assert len(client.recommend_frame([USERS[0], "nobody"], k=3, unknown_user="popular")) == 6


@pytest.mark.parametrize("wrong", [{"k": -1}, {"k": 3, "diversity": float("nan")}])
def test_a_failed_entry_of_a_frame_is_raised_as_the_call_alone_would_be(client, wrong):
    with pytest.raises(errors.InvalidArgumentError) as alone:
        client.recommend(USERS[0], **wrong)
    with pytest.raises(errors.InvalidArgumentError) as one_of_many:
        client.recommend_frame(USERS, **wrong)
    for attribute in ("status", "reason", "message"):
        assert getattr(one_of_many.value, attribute) == getattr(alone.value, attribute)


@pytest.mark.parametrize("known", REQUEST_ERRORS, ids=lambda known: known.reason)
def test_the_client_knows_the_status_and_the_class_of_every_reason(known):
    code = grpc.StatusCode[known.code]
    info = error_details_pb2.ErrorInfo(reason=known.reason, domain="cofactor")
    packed = any_pb2.Any()
    packed.Pack(info)
    details = status_pb2.Status(code=code.value[0], message="why", details=[packed]).SerializeToString()
    alone = errors.rpc_error(code, "why", [("grpc-status-details-bin", details)])
    entry = errors.entry_exception(known.reason, "why")
    assert type(entry) is type(alone) is not errors.RpcError
    assert (entry.status, entry.reason, entry.message) == (alone.status, alone.reason, alone.message)


def test_the_client_lists_no_reason_that_the_server_does_not_have():
    assert errors._STATUS_OF_REASON.keys() == {known.reason for known in REQUEST_ERRORS}


def test_a_reason_of_a_later_server_is_an_error_of_unknown_status():
    error = errors.entry_exception("SOMETHING_NEW", "why")
    assert type(error) is errors.RpcError
    assert (error.status, error.reason) == (grpc.StatusCode.UNKNOWN, "SOMETHING_NEW")
