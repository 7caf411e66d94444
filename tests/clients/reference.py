"""Reference client: calls every RPC with the raw Python stubs and prints the lines that every example client prints.

docs/clients.md specifies the format. The example clients in client/ print the same lines.
"""

import math
import os
import sys
from collections.abc import Iterator

import grpc
from google.rpc import error_details_pb2, status_pb2

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, model_pb2, recommender_pb2, recommender_pb2_grpc

USAGE = "usage: reference.py [USER_ID [SEARCH_WORDS]]"


def number(value: float) -> str:
    """Format a number with two decimals, rounded the same in every language: floor(100 x + 0.5) / 100."""
    return f"{math.floor(100 * value + 0.5) / 100:.2f}"


def connect() -> grpc.Channel:
    target = os.environ.get("COFACTOR_ADDRESS", "localhost:50051")
    return grpc.insecure_channel(target)


def scored_lines(label: str, results: list[recommender_pb2.ScoredItem]) -> Iterator[str]:
    for rank, result in enumerate(results, start=1):
        yield f"{label} {rank} {result.item_id} {number(result.predicted_rating)} {result.item.title}"


def result_lines(label: str, result: object) -> Iterator[str]:
    """Format an entry of BatchRecommend or a response of StreamRecommend. Both hold a response or an error."""
    if result.WhichOneof("result") == "error":
        yield f"{label} error {result.error.reason}"
    else:
        yield from scored_lines(label, result.response.results)


def error_lines(error: grpc.RpcError) -> Iterator[str]:
    yield f"error {error.code().value[0]} {error.details()}"
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                yield f"reason {info.reason} {info.domain}"
            elif detail.Unpack(bad_request):
                for violation in bad_request.field_violations:
                    yield f"violation {violation.field} {violation.description}"


def catalogue(
    stub: catalog_pb2_grpc.CatalogServiceStub, words: str, timeout: float
) -> tuple[list[str], model_pb2.Model, list[model_pb2.Item]]:
    described = stub.GetModel(catalog_pb2.GetModelRequest(), timeout=timeout)
    model, limits = described.model, described.limits
    lines = [
        f"model {model.name} {model.architecture} {model.objective} {model.user_count} {model.item_count}"
        f" {model.factor_count} {number(model.rating_min)} {number(model.rating_max)}",
        f"limits {limits.max_page_size} {limits.max_items_per_request} {limits.max_requests_per_batch}"
        f" {limits.max_queue_size}",
    ]
    for kind in model.events.types:
        sign = "negative" if kind.negative else "positive"
        lines.append(f"event {number(kind.weight)} {kind.event_count} {sign} {kind.name}")
    models = stub.ListModels(catalog_pb2.ListModelsRequest(page_size=10), timeout=timeout).models
    lines += [f"listed {listed.name} {model_pb2.Model.State.Name(listed.state)}" for listed in models]
    found = stub.SearchItems(catalog_pb2.SearchItemsRequest(query=words, page_size=3), timeout=timeout).items
    for rank, item in enumerate(found, start=1):
        lines.append(f"search {rank} {item.item_id} {item.release_year} {'|'.join(item.genres)} {item.title}")
    request = catalog_pb2.ListTopItemsRequest(order=catalog_pb2.ListTopItemsRequest.ORDER_MOST_RATED, page_size=3)
    top = stub.ListTopItems(request, timeout=timeout).items
    for rank, item in enumerate(top, start=1):
        lines.append(f"top {rank} {item.item_id} {item.rating_count} {number(item.bias)} {item.title}")
    for rank, point in enumerate(
        stub.GetItemMap(catalog_pb2.GetItemMapRequest(max_items=3), timeout=timeout).points, 1
    ):
        lines.append(f"map {rank} {point.item_id} {number(point.x)} {number(point.y)} {point.title}")
    return lines, model, list(top)


def new_user(model: model_pb2.Model, item_ids: list[str]) -> recommender_pb2.EmbedNewUserRequest:
    """Build a request with three ratings; with three events if the model learnt from events."""
    request = recommender_pb2.EmbedNewUserRequest()
    positive = [kind.name for kind in model.events.types if not kind.negative]
    newest = model.events.newest_event_time if model.events.HasField("newest_event_time") else None
    for index, item_id in enumerate(item_ids):
        if positive:
            request.events.add(item_id=item_id, event_type=positive[0], count=2 if index < 2 else 1, time=newest)
        else:
            request.ratings.add(item_id=item_id, rating=model.rating_max if index < 2 else model.rating_min)
    return request


def new_item(
    new_user_request: recommender_pb2.EmbedNewUserRequest, user_id: str
) -> recommender_pb2.EmbedNewItemRequest:
    """Build a request with the first rating or event of the new user, as one of a known user of a new item."""
    request = recommender_pb2.EmbedNewItemRequest(item=model_pb2.Item(genres=["Drama"], release_year=2000))
    for rating in new_user_request.ratings[:1]:
        request.ratings.add(user_id=user_id, rating=rating.rating)
    for event in new_user_request.events[:1]:
        time = event.time if event.HasField("time") else None
        request.events.add(user_id=user_id, event_type=event.event_type, count=event.count, time=time)
    return request


def explain_lines(e: recommender_pb2.ExplainResponse, item_id: str) -> Iterator[str]:
    parts = (e.score, e.global_bias, e.user_bias, e.item_bias, e.interaction, e.remainder, e.predicted_rating)
    yield f"explain {item_id} {' '.join(map(number, parts))}"
    for part in e.contributions:
        yield f"because {part.item_id} {number(part.rating)} {number(part.contribution)}"
    r = e.ranking
    parts = (e.ranking_score, r.item_part, r.user_part, r.other_part, r.unexplained)
    yield f"ranking {' '.join(map(number, parts))}"
    for reason in r.reasons:
        similar = reason.similar_rating_count
        yield f"moved {reason.item_id} {number(reason.rating)} {number(reason.contribution)} {similar}"


def tour(channel: grpc.Channel, user_id: str, words: str, timeout: float) -> Iterator[str]:
    """Call every RPC once, then make one call that must fail. Yields the lines to print."""
    stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
    lines, model, top = catalogue(catalog_pb2_grpc.CatalogServiceStub(channel), words, timeout)
    yield from lines
    user = recommender_pb2.User(user_id=user_id)
    item_ids = [item.item_id for item in top]

    if model.objective == "rating":
        predicted = stub.Predict(recommender_pb2.PredictRequest(user=user, item_ids=item_ids), timeout=timeout)
        for item_id, rating in zip(item_ids, predicted.ratings, strict=True):
            yield f"predict {user_id} {item_id} {number(rating)}"
    request = recommender_pb2.RecommendRequest(user=user, page_size=3, return_items=True)
    recommended = stub.Recommend(request, timeout=timeout).results
    yield from scored_lines("recommend", recommended)
    similar_request = recommender_pb2.SimilarItemsRequest(item_ids=item_ids[:1], page_size=3, return_items=True)
    for rank, result in enumerate(stub.SimilarItems(similar_request, timeout=timeout).results, start=1):
        yield f"similar {rank} {result.item_id} {number(result.score)} {result.item.title}"
    new_user_request = new_user(model, item_ids)
    embedded = stub.EmbedNewUser(new_user_request, timeout=timeout)
    embedding = embedded.embedding
    yield (
        f"embed {len(embedding.factors)} {number(embedding.bias)} {number(embedded.fit_rmse)}"
        f" {embedded.used_rating_count + embedded.used_event_count}"
    )
    if model.supports_new_items:
        arrived = stub.EmbedNewItem(new_item(new_user_request, user_id), timeout=timeout)
        yield (
            f"new-item {len(arrived.embedding.factors)} {number(arrived.embedding.bias)} {number(arrived.fit_rmse)}"
            f" {arrived.used_rating_count + arrived.used_event_count}"
        )
    users = {
        "known": user,
        "new": recommender_pb2.User(embedding=embedding),
        "unknown": recommender_pb2.User(user_id="nobody"),
    }
    requests = {
        name: recommender_pb2.RecommendRequest(user=identity, page_size=2, return_items=True)
        for name, identity in users.items()
    }
    batch_request = recommender_pb2.BatchRecommendRequest(requests=requests.values())
    for index, entry in enumerate(stub.BatchRecommend(batch_request, timeout=timeout).entries):
        yield from result_lines(f"batch {index}", entry)
    messages = [recommender_pb2.StreamRecommendRequest(request_id=name, request=r) for name, r in requests.items()]
    responses = sorted(stub.StreamRecommend(iter(messages), timeout=timeout), key=lambda response: response.request_id)
    for response in responses:
        yield from result_lines(f"stream {response.request_id}", response)
    explain_request = recommender_pb2.ExplainRequest(user=user, item_id=recommended[0].item_id, max_contributions=3)
    yield from explain_lines(stub.Explain(explain_request, timeout=timeout), explain_request.item_id)
    try:
        stub.Recommend(recommender_pb2.RecommendRequest(user=user, page_size=-1), timeout=timeout)
    except grpc.RpcError as error:
        yield from error_lines(error)


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) > 2:
        sys.exit(USAGE)
    user_id, words = (arguments + ["1", "star wars"][len(arguments) :])[:2]
    with connect() as channel:
        for line in tour(channel, user_id, words, float(os.environ.get("COFACTOR_TIMEOUT", "5"))):
            print(line)


if __name__ == "__main__":
    main()
