"""Send every kind of bad input to a real server, and check the status, reason, field and message of the error."""

from __future__ import annotations

import math
import re

import grpc
import pytest

from cofactor.v1.catalog_pb2 import (
    GetItemMapRequest,
    GetModelRequest,
    ListModelsRequest,
    ListTopItemsRequest,
    SearchItemsRequest,
)
from cofactor.v1.model_pb2 import AttributeValue, Item, ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewItemRequest,
    EmbedNewUserRequest,
    ExplainRequest,
    ItemEvent,
    ItemFilter,
    ItemRating,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    SimilarItemsRequest,
    User,
    UserEmbedding,
)
from cofactor_server.errors import REQUEST_ERRORS
from tests.support.calls import call, details_of

NAN, INF = math.nan, math.inf
KNOWN = User(user_id="u003")
LONG = "x" * 5000
TOO_MANY = ["i001"] * 10_001


def embedding(space, factors=None, **fields):
    return User(embedding=UserEmbedding(factors=factors or [0.1] * 8, embedding_space=space, **fields))


def history(*ratings, **profile):
    pairs = [Rating(item_id=item, rating=rating) for item, rating in ratings]
    return User(history=RatingHistory(ratings=pairs, profile=profile))


def case(method, request, code, reason, field="", text=""):
    name = f"{method}-{reason}-{field}-{text}"[:90]
    return pytest.param(method, request, code, reason, field, text, id=re.sub(r"[^\w.\[\]-]", "_", name))


def invalid(method, request, field, text=""):
    return case(method, request, "INVALID_ARGUMENT", "INVALID_FIELD", field, text)


def for_user(user):
    """Yield a request with this user for every method that takes one."""
    yield "Predict", PredictRequest(user=user, item_ids=["i001"])
    yield "Recommend", RecommendRequest(user=user)
    if user.WhichOneof("identity") != "embedding":
        yield "Explain", ExplainRequest(user=user, item_id="i001")


def users():
    bad = [
        (User(), "user", "exactly one of"),
        (User(user_id=""), "user.user_id", "is empty"),
        (embedding("SPACE", [0.1] * 7), "user.embedding.factors", "has 7 numbers; this model takes 8"),
        (embedding("SPACE", [0.1] * 3 + [NAN] + [0.1] * 4), "user.embedding.factors[3]", "nan"),
        (embedding("SPACE", [INF] + [0.1] * 7), "user.embedding.factors[0]", "inf"),
        (embedding("SPACE", bias=-INF), "user.embedding.bias", "-inf"),
        (embedding("SPACE", bias=2e6), "user.embedding.bias", "between -1e+06 and 1e+06"),
        (embedding("SPACE", rated_item_ids=TOO_MANY), "user.embedding.rated_item_ids", "at most 10000"),
        (embedding("SPACE", rated_item_ids=["i001", ""]), "user.embedding.rated_item_ids[1]", "is empty"),
        (history(("", 3)), "user.history.ratings[0].item_id", "is empty"),
        (history(("i001", 3), ("i002", 5.5)), "user.history.ratings[1].rating", "between 0.5 and 5, not 5.5"),
        (history(("i001", NAN)), "user.history.ratings[0].rating", "not nan"),
        (history(("i001", -INF)), "user.history.ratings[0].rating", "not -inf"),
        (history(("i001", 3), ("i002", 3), ("i001", 4)), "user.history.ratings[2].rating", "user.history.ratings[0]"),
        (history(*[("i001", 3)] * 10_001), "user.history.ratings", "at most 10000"),
        (history(**{f"key{n}": "1" for n in range(101)}), "user.history.profile", "at most 100"),
    ]
    for user, field, text in bad:
        for method, request in for_user(user):
            yield invalid(method, request, field, text)
    for method, request in for_user(User(user_id="nobody")):
        yield case(method, request, "NOT_FOUND", "USER_NOT_FOUND", "user.user_id", '"nobody"')
    for method, request in for_user(history(("nothing", 3))):
        yield case(method, request, "NOT_FOUND", "ITEM_NOT_FOUND", "user.history.ratings[0].item_id", '"nothing"')
    for method, request in for_user(embedding("another")):
        yield case(method, request, "FAILED_PRECONDITION", "EMBEDDING_SPACE_MISMATCH", "user.embedding.embedding_space")
    yield invalid("Explain", ExplainRequest(user=embedding("SPACE"), item_id="i001"), "user.embedding")


def on_model(ref):
    """Yield a request on this model for every method that takes one."""
    yield "Predict", PredictRequest(model=ref, user=KNOWN, item_ids=["i001"])
    yield "Recommend", RecommendRequest(model=ref, user=KNOWN)
    yield "SimilarItems", SimilarItemsRequest(model=ref, item_ids=["i001"])
    yield "EmbedNewUser", EmbedNewUserRequest(model=ref)
    yield "EmbedNewItem", EmbedNewItemRequest(model=ref)
    yield "BatchRecommend", BatchRecommendRequest(model=ref, requests=[RecommendRequest(user=KNOWN)])
    yield "Explain", ExplainRequest(model=ref, user=KNOWN, item_id="i001")
    yield "GetModel", GetModelRequest(model=ref)
    yield "SearchItems", SearchItemsRequest(model=ref, query="film")
    yield "ListTopItems", ListTopItemsRequest(model=ref)
    yield "GetItemMap", GetItemMapRequest(model=ref)


def models():
    for ref in (ModelRef(name="absent"), ModelRef(version="99"), ModelRef(label="canary"), ModelRef(name="../etc")):
        for method, request in on_model(ref):
            yield case(method, request, "NOT_FOUND", "MODEL_NOT_FOUND", "model", "ListModels lists what is served")


def paged(**fields):
    """Yield a request with these fields for every method with pages."""
    yield "Recommend", RecommendRequest(user=KNOWN, **fields)
    yield "SimilarItems", SimilarItemsRequest(item_ids=["i001"], **fields)
    yield "SearchItems", SearchItemsRequest(query="film", **fields)
    yield "ListTopItems", ListTopItemsRequest(**fields)
    yield "ListModels", ListModelsRequest(**fields)


def pages():
    for size in (-1, 1001, -(2**31)):
        for method, request in paged(page_size=size):
            yield invalid(method, request, "page_size", f"between 0 (for 10) and 1000, not {size}")
    for token in ("broken", "AQAAAAN4JqDejTsFMGRvdC8xvwMF3am1", "é" * 40, LONG):
        for method, request in paged(page_token=token):
            yield case(method, request, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", "page_token", "not a token")


def filtered(item_filter):
    yield "Recommend", RecommendRequest(user=KNOWN, filter=item_filter)
    yield "SimilarItems", SimilarItemsRequest(item_ids=["i001"], filter=item_filter)


def filters():
    bad = [
        (ItemFilter(candidate_item_ids=TOO_MANY), "filter.candidate_item_ids", "at most 10000"),
        (ItemFilter(candidate_item_ids=["i001", ""]), "filter.candidate_item_ids[1]", "is empty"),
        (ItemFilter(excluded_item_ids=TOO_MANY), "filter.excluded_item_ids", "at most 10000"),
        (ItemFilter(excluded_item_ids=[""]), "filter.excluded_item_ids[0]", "is empty"),
        (ItemFilter(any_genres=["Drama", ""]), "filter.any_genres[1]", "is empty"),
        (ItemFilter(excluded_genres=["Drama"] * 101), "filter.excluded_genres", "at most 100"),
        (ItemFilter(min_release_year=-5), "filter.min_release_year", "at least 1, not -5"),
        (ItemFilter(max_release_year=0), "filter.max_release_year", "at least 1, not 0"),
        (ItemFilter(min_release_year=2000, max_release_year=1990), "filter.min_release_year", "is 2000, after"),
        (ItemFilter(min_rating_count=-1), "filter.min_rating_count", "0 or more, not -1"),
    ]
    expressions = [
        ('brnd = "Acme"', 'at character 1, "brnd" is not an attribute of the model; did you mean brand?'),
        ('brand = "Acme" AND price = "5"', 'at character 28, "5" is not a number'),
        ("price <", "at character 8, the expression ends"),
        ("x" * 10_001, "send at most 10000"),
    ]
    for expression, text in expressions:
        for method, request in filtered(ItemFilter(expression=expression)):
            yield case(method, request, "INVALID_ARGUMENT", "INVALID_FILTER_EXPRESSION", "filter.expression", text)
    for item_filter, field, text in bad:
        for method, request in filtered(item_filter):
            yield invalid(method, request, field, text)


def singles():
    nofold, ranker = ModelRef(name="nofold"), ModelRef(name="ranker")
    yield invalid("Predict", PredictRequest(item_ids=["i001"]), "user", "exactly one")
    both = PredictRequest(user=KNOWN, user_ids=["u001"], item_ids=["i001"])
    yield invalid("Predict", both, "user", "exactly one")
    yield invalid("Predict", PredictRequest(user=KNOWN), "item_ids", "is empty")
    yield invalid("Predict", PredictRequest(user=KNOWN, item_ids=TOO_MANY), "item_ids", "10001 entries")
    yield invalid("Predict", PredictRequest(user=KNOWN, item_ids=["i001", ""]), "item_ids[1]", "is empty")
    yield invalid(
        "Predict", PredictRequest(user_ids=["u001"], item_ids=["i001"] * 2), "user_ids", "1 entries and item_ids 2"
    )
    yield invalid("Predict", PredictRequest(user_ids=["u001", ""], item_ids=["i001"] * 2), "user_ids[1]", "is empty")
    unknown_item = PredictRequest(user=KNOWN, item_ids=["i001", LONG])
    yield case("Predict", unknown_item, "NOT_FOUND", "ITEM_NOT_FOUND", "item_ids[1]", "x" * 63 + "…")
    unknown_user = PredictRequest(user_ids=["u001", "nobody"], item_ids=["i001"] * 2)
    yield case("Predict", unknown_user, "NOT_FOUND", "USER_NOT_FOUND", "user_ids[1]", '"nobody"')
    ranked = PredictRequest(model=ranker, user=KNOWN, item_ids=["i001"])
    yield case("Predict", ranked, "FAILED_PRECONDITION", "RATINGS_UNSUPPORTED", "model", "rating model")

    for field, value in [("diversity", NAN), ("diversity", -0.1), ("diversity", 1.5), ("diversity", INF)]:
        yield invalid("Recommend", RecommendRequest(user=KNOWN, diversity=value), field, "between 0 and 1")
    for value in (NAN, -1, 10.5):
        request = RecommendRequest(user=KNOWN, popularity_penalty=value)
        yield invalid("Recommend", request, "popularity_penalty", "between 0 and 10")
    for value in (NAN, 0.0, 5.1):
        request = RecommendRequest(user=KNOWN, min_predicted_rating=value)
        yield invalid("Recommend", request, "min_predicted_rating", "between 0.5 and 5")
    floor = RecommendRequest(model=ranker, user=KNOWN, min_predicted_rating=3)
    yield case("Recommend", floor, "FAILED_PRECONDITION", "RATINGS_UNSUPPORTED", "min_predicted_rating")
    asking = RecommendRequest(user=KNOWN, return_probabilities=True)
    yield case(
        "Recommend",
        asking,
        "FAILED_PRECONDITION",
        "PROBABILITIES_UNSUPPORTED",
        "return_probabilities",
        "train it from events",
    )
    yield invalid("Recommend", RecommendRequest(user=KNOWN, ranking=99), "ranking", "99")
    policy = RecommendRequest(user=User(user_id="nobody"), unknown_user_policy=99)
    yield invalid("Recommend", policy, "unknown_user_policy", "99")

    yield invalid("SimilarItems", SimilarItemsRequest(), "item_ids", "is empty")
    yield invalid("SimilarItems", SimilarItemsRequest(item_ids=TOO_MANY), "item_ids", "at most 10000")
    yield invalid("SimilarItems", SimilarItemsRequest(item_ids=[""]), "item_ids[0]", "is empty")
    unknown = SimilarItemsRequest(item_ids=["i001", "nothing"])
    yield case("SimilarItems", unknown, "NOT_FOUND", "ITEM_NOT_FOUND", "item_ids[1]", '"nothing"')

    yield from new_users()
    for model in (nofold,):
        for user in (history(("i001", 3)), history()):
            request = RecommendRequest(model=model, user=user)
            yield case("Recommend", request, "UNIMPLEMENTED", "NEW_USERS_UNSUPPORTED", "", "supports_new_users")
        yield case("EmbedNewUser", EmbedNewUserRequest(model=model), "UNIMPLEMENTED", "NEW_USERS_UNSUPPORTED")
        yield case("GetItemMap", GetItemMapRequest(model=model), "UNIMPLEMENTED", "ITEM_MAP_UNSUPPORTED", "", "no map")

    yield from new_items()
    yield invalid("BatchRecommend", BatchRecommendRequest(), "requests", "between 1 and 256")
    many = BatchRecommendRequest(requests=[RecommendRequest(user=KNOWN)] * 257)
    yield invalid("BatchRecommend", many, "requests", "has 257 entries")
    yield invalid("Explain", ExplainRequest(user=KNOWN), "item_id", "is empty")
    yield invalid("Explain", ExplainRequest(user=KNOWN, item_id="i001", max_contributions=-2), "max_contributions")
    yield invalid("Explain", ExplainRequest(user=KNOWN, item_id="i001", max_contributions=1001), "max_contributions")
    unknown = ExplainRequest(user=KNOWN, item_id="nothing")
    yield case("Explain", unknown, "NOT_FOUND", "ITEM_NOT_FOUND", "item_id", '"nothing"')
    yield invalid("SearchItems", SearchItemsRequest(), "query", "is empty")
    yield invalid("SearchItems", SearchItemsRequest(query="  "), "query", "is empty")
    yield invalid("SearchItems", SearchItemsRequest(query="x" * 257), "query", "has 257 characters")
    yield invalid("ListTopItems", ListTopItemsRequest(order=99), "order", "99")
    yield invalid("GetItemMap", GetItemMapRequest(max_items=-1), "max_items", "from 0")
    yield invalid("GetItemMap", GetItemMapRequest(max_items=10_001), "max_items", "10000")


def new_users():
    def embed(*ratings, **fields):
        return EmbedNewUserRequest(ratings=[Rating(item_id=item, rating=value) for item, value in ratings], **fields)

    method = "EmbedNewUser"
    yield invalid(method, embed(("", 3)), "ratings[0].item_id", "is empty")
    yield invalid(method, embed(("i001", 3), ("i002", 0.4)), "ratings[1].rating", "between 0.5 and 5")
    yield invalid(method, embed(("i001", NAN)), "ratings[0].rating", "not nan")
    yield invalid(method, embed(("i001", INF)), "ratings[0].rating", "not inf")
    yield invalid(method, embed(("i001", 3), ("i001", 4)), "ratings[1].rating", "ratings[0]")
    yield invalid(method, embed(("gone", 3), ("gone", 4), skip_unknown_items=True), "ratings[1].rating", "ratings[0]")
    yield invalid(method, embed(*[("i001", 3)] * 10_001), "ratings", "at most 10000")
    yield case(method, embed(("nothing", 3)), "NOT_FOUND", "ITEM_NOT_FOUND", "ratings[0].item_id", '"nothing"')
    nothing = embed(("nothing", 3), ("nil", 4), skip_unknown_items=True)
    yield case(method, nothing, "FAILED_PRECONDITION", "NO_KNOWN_ITEMS", "ratings", "none of the rated items")


def new_items():
    def embed(*ratings, **fields):
        return EmbedNewItemRequest(
            ratings=[ItemRating(user_id=user, rating=value) for user, value in ratings], **fields
        )

    method, network = "EmbedNewItem", ModelRef(name="net")
    yield case(method, embed(model=network), "UNIMPLEMENTED", "NEW_ITEMS_UNSUPPORTED", "", "supports_new_items")
    yield invalid(method, embed(("", 3)), "ratings[0].user_id", "is empty")
    yield invalid(method, embed(("u001", 3), ("u002", 0.4)), "ratings[1].rating", "between 0.5 and 5")
    yield invalid(method, embed(("u001", NAN)), "ratings[0].rating", "not nan")
    yield invalid(method, embed(("u001", 3), ("u001", 4)), "ratings[1].rating", "ratings[0]")
    yield invalid(method, embed(*[("u001", 3)] * 10_001), "ratings", "at most 10000")
    yield case(method, embed(("nobody", 3)), "NOT_FOUND", "USER_NOT_FOUND", "ratings[0].user_id", "skip_unknown_users")
    yield invalid(method, embed(item=Item(release_year=10_000)), "item.release_year", "0 to 9999")
    many = Item(attributes={str(number): AttributeValue(number=number) for number in range(101)})
    yield invalid(method, embed(item=many), "item.attributes", "at most 100")
    yield invalid(method, EmbedNewItemRequest(events=[ItemEvent(user_id="u001")]), "events", "send `ratings`")


TABLE = [*users(), *models(), *pages(), *filters(), *singles()]


def with_real_space(request, space):
    """Replace the placeholder SPACE by the embedding space of the served model."""
    if "user" in request.DESCRIPTOR.fields_by_name and request.HasField("user"):
        found = request.user
        if found.WhichOneof("identity") == "embedding" and found.embedding.embedding_space == "SPACE":
            found.embedding.embedding_space = space
    return request


@pytest.mark.parametrize(("method", "request_message", "code", "reason", "field", "text"), TABLE)
def test_bad_input_gets_its_status_reason_field_and_remedy(api, method, request_message, code, reason, field, text):
    message = type(request_message).FromString(request_message.SerializeToString())
    message = with_real_space(message, api.server.repository.versions["dot"][0].manifest.embedding_space)
    with pytest.raises(grpc.RpcError) as caught:
        call(api, method, message, metadata=[("x-request-id", "test-42")])
    error = caught.value
    details = details_of(error)
    assert error.code().name == code
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "cofactor")
    assert details["RequestInfo"].request_id == details["metadata"]["x-request-id"] == "test-42"
    violations = [v.field for v in details["BadRequest"].field_violations] if "BadRequest" in details else [""]
    assert violations == [field]
    assert text in error.details()
    assert len(error.details()) < 300
    assert "x" * 64 not in error.details()
    assert "/" not in error.details().replace("and/or", "") or "etc" in error.details()


def test_every_reason_that_a_request_can_cause_is_in_the_table():
    elsewhere = {  # tests of their own bring a server into the state
        "INTERNAL", "QUEUE_FULL", "DEADLINE_EXCEEDED", "NOT_SERVING", "PAGE_TOKEN_EXPIRED", "MALFORMED_REQUEST",
        "UNAUTHENTICATED", "PERMISSION_DENIED", "RATE_LIMITED", "REPOSITORY_READ_ONLY", "DEVICE_FAILED",
        "RULE_SET_NOT_FOUND", "RULE_SET_MISMATCH", "ERASURE_UNAVAILABLE",
        "FEEDBACK_LOG_OFF", "FEEDBACK_QUEUE_FULL", "FEEDBACK_LOG_UNAVAILABLE",
    }  # fmt: skip
    assert {row.values[3] for row in TABLE} == {error.reason for error in REQUEST_ERRORS} - elsewhere
