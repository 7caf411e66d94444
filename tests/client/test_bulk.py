"""Calls on whole columns give the same results as single calls."""

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
    """A frame of more than four chunks of the server's 500 pairs. Its index does not equal the row positions."""
    random = np.random.default_rng(0)
    columns = {"user_id": random.choice(USERS, 2700), "item_id": random.choice(ITEMS, 2700)}
    return pd.DataFrame(columns, index=np.arange(2700)[::-1] * 2)


def test_predict_frame_gives_the_ratings_of_single_calls_on_the_frames_index(client, pairs):
    predicted = client.predict_frame(pairs)
    assert predicted.dtype == np.float32
    assert predicted.index.equals(pairs.index)
    for position in (0, 1, 499, 500, 1234, 2699):
        user, item = pairs.iloc[position]
        assert predicted.iloc[position] == pytest.approx(client.predict(user, [item]).ratings[0], abs=1e-6)


def test_lists_tuples_arrays_and_categories_work_as_columns(client, pairs):
    wanted = client.predict_frame(pairs).to_numpy()
    users, items = pairs["user_id"], pairs["item_id"]
    for convert in (list, tuple, lambda c: c.to_numpy(), lambda c: c.to_numpy().astype("U"), lambda c: c):
        assert np.array_equal(client.predict_arrays(convert(users), convert(items)), wanted)
    assert np.array_equal(client.predict_frame(pairs.astype("category")).to_numpy(), wanted)


def test_predict_frame_takes_column_names_and_a_model(client, pairs):
    renamed = pairs.rename(columns={"user_id": "who", "item_id": "what"})
    predicted = client.predict_frame(renamed, user_column="who", item_column="what", model="net")
    assert predicted.iloc[0] == pytest.approx(
        client.predict(pairs.iloc[0, 0], [pairs.iloc[0, 1]], model="net").ratings[0]
    )
    with pytest.raises(KeyError, match="no column 'user_id'; the frame has 'who', 'what'"):
        client.predict_frame(renamed)


def test_an_unknown_id_raises_or_gives_nan(client, pairs):
    pairs.iloc[1300, 0] = "nobody"
    with pytest.raises(errors.UserNotFoundError, match="nobody"):
        client.predict_frame(pairs)
    predicted = client.predict_frame(pairs, allow_partial_success=True)
    assert np.flatnonzero(predicted.isna()).tolist() == [1300]


def test_an_empty_frame_gives_an_empty_series(client):
    assert client.predict_frame(pd.DataFrame({"user_id": [], "item_id": []}, dtype=str)).shape == (0,)


@pytest.mark.parametrize(
    ("users", "items", "error", "message"),
    [
        (["u000"], ["i000", "i001"], ValueError, "1 against 2"),
        ([1.0, 2.0], [1, 2], TypeError, "user ids: must not be floating-point numbers"),
        (["u000", None], ["i000", "i001"], ValueError, "user ids: row 1 is missing"),
    ],
)
def test_columns_that_cannot_hold_ids_are_refused_by_name(client, users, items, error, message):
    with pytest.raises(error, match=message):
        client.predict_arrays(pd.Series(users), pd.Series(items))


def test_progress_is_drawn_on_standard_error(client, pairs, capsys):
    client.predict_frame(pairs, progress=True)
    captured = capsys.readouterr()
    assert "2700/2700" in captured.err
    assert not captured.out


def test_recommend_frame_has_one_row_per_user_and_item(client):
    frame = client.recommend_frame(USERS, k=4)
    assert frame.columns.tolist() == ["user_id", "rank", "item_id", "title", "score", "predicted_rating"]
    assert frame["user_id"].tolist() == [user for user in USERS for _ in range(4)]
    assert frame["rank"].tolist() == [1, 2, 3, 4] * len(USERS)
    single = client.recommend(USERS[7], k=4)
    assert frame[frame["user_id"] == USERS[7]]["item_id"].tolist() == [scored.item_id for scored in single]


def test_an_unknown_user_raises_unless_the_popular_items_are_wanted(client):
    with pytest.raises(errors.UserNotFoundError, match="nobody"):
        client.recommend_frame([USERS[0], "nobody"])
    assert len(client.recommend_frame([USERS[0], "nobody"], k=3, unknown_user="popular")) == 6


@pytest.mark.parametrize("wrong", [{"k": -1}, {"k": 3, "diversity": float("nan")}])
def test_a_failed_entry_raises_the_exception_of_a_single_call(client, wrong):
    with pytest.raises(errors.InvalidArgumentError) as single:
        client.recommend(USERS[0], **wrong)
    with pytest.raises(errors.InvalidArgumentError) as in_frame:
        client.recommend_frame(USERS, **wrong)
    for attribute in ("status", "reason", "message"):
        assert getattr(in_frame.value, attribute) == getattr(single.value, attribute)


@pytest.mark.parametrize("server_error", REQUEST_ERRORS, ids=lambda server_error: server_error.reason)
def test_a_failed_entry_has_the_class_and_status_of_a_failed_call(server_error):
    code = grpc.StatusCode[server_error.code]
    info = error_details_pb2.ErrorInfo(reason=server_error.reason, domain="cofactor")
    packed = any_pb2.Any()
    packed.Pack(info)
    details = status_pb2.Status(code=code.value[0], message="why", details=[packed]).SerializeToString()
    failed_call = errors.rpc_error(code, "why", [("grpc-status-details-bin", details)])
    entry = errors.entry_exception(server_error.reason, "why")
    assert type(entry) is type(failed_call) is not errors.RpcError
    for attribute in ("status", "reason", "message"):
        assert getattr(entry, attribute) == getattr(failed_call, attribute)


def test_client_and_server_have_the_same_reasons():
    assert errors._STATUS_OF_REASON.keys() == {error.reason for error in REQUEST_ERRORS}


def test_a_reason_of_a_newer_server_gives_an_error_with_status_unknown():
    error = errors.entry_exception("SOMETHING_NEW", "why")
    assert type(error) is errors.RpcError
    assert (error.status, error.reason) == (grpc.StatusCode.UNKNOWN, "SOMETHING_NEW")
