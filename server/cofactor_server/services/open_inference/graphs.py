"""Offer a model as the two graphs `<model>.predict` and `<model>.recommend` of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest, RecommendResponse, User
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField, ModelNotFound, NotServing, RequestError, quoted
from cofactor_server.observability.counters import Metrics
from cofactor_server.services.open_inference.caller_fields import CallerFields
from cofactor_server.services.open_inference.messages import InferRequest
from cofactor_server.services.open_inference.tensors import Datatype, OutputTensor, ids_as_numbers, read_inputs
from cofactor_server.services.parsing.requests import DEFAULT_PAGE_SIZE, RequestParser
from cofactor_server.services.predict import predict
from cofactor_server.services.recommend import RecommendPipeline
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

_NO_ID = -1
_NAN = float("nan")


@dataclass(frozen=True)
class TensorSpec:
    """The name, datatype and shape of an input or output; -1 is a dimension of any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """The inputs and outputs of a graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


# Ids may also be sent as INT64. The ids of recommend's response have the datatype of the request's user_id.
PREDICT = Graph(
    (TensorSpec("user_id", "BYTES", (-1,)), TensorSpec("item_id", "BYTES", (-1,))),
    (TensorSpec("rating", "FP32", (-1,)),),
)
RECOMMEND = Graph(
    (TensorSpec("user_id", "BYTES", (-1,)), TensorSpec("k", "INT64", (1,))),
    (
        TensorSpec("item_id", "BYTES", (-1, -1)),
        TensorSpec("score", "FP32", (-1, -1)),
        TensorSpec("rating", "FP32", (-1, -1)),
    ),
)
_GRAPHS = {"predict": PREDICT, "recommend": RECOMMEND}


def resolve_graph(registry: ModelRegistry, name: str, version: str, prefix: str = "") -> tuple[LoadedVersion, Graph]:
    """Return the version and the graph that a name such as "films.predict" means; raises ModelNotFound.

    An empty `version` means the current one. The request has the two as `<prefix>name` and `<prefix>version`.
    """
    model, _, graph = name.rpartition(".")
    try:
        if not model or graph not in _GRAPHS:
            raise ModelNotFound(f"no model is called {quoted(name)}: names end in .predict or .recommend")
        ref = ModelRef(name=model, version=version) if version else ModelRef(name=model)
        return registry.resolve(ref), _GRAPHS[graph]
    except ModelNotFound as error:
        error.rename_field(f"{prefix}version" if version and model in registry.versions else f"{prefix}name")
        raise


def is_ready(registry: ModelRegistry, name: str, version: str) -> bool:
    """Return True if resolve_graph() finds the graph."""
    try:
        resolve_graph(registry, name, version)
    except (ModelNotFound, NotServing):
        return False
    return True


def requested_outputs(graph: Graph, request: InferRequest) -> set[str]:
    """Return the names of the outputs that a request asks for: all of them unless it names some."""
    names = [spec.name for spec in graph.outputs]
    for index, output in enumerate(request.outputs):
        if output.name not in names:
            raise InvalidField(f"outputs[{index}].name", f"{quoted(output.name)} is not one of {', '.join(names)}")
    return {output.name for output in request.outputs} or set(names)


class GraphRunner:
    """Run the two graphs through the same code as Predict and Recommend."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._parser = RequestParser(config)
        self._pipeline = RecommendPipeline(self._parser, metrics)
        self._max_users = config.max_requests_per_batch

    def run(
        self, registry: ModelRegistry, version: LoadedVersion, graph: Graph, request: InferRequest
    ) -> list[OutputTensor]:
        """Return all outputs of a graph."""
        ref = ModelRef(name=version.manifest.name, version=version.manifest.version)
        if graph is PREDICT:
            return self._predict(registry, ref, request)
        return self._recommend(registry, version, ref, request)

    def _predict(self, registry: ModelRegistry, ref: ModelRef, request: InferRequest) -> list[OutputTensor]:
        inputs, fields = read_inputs(request, ("user_id", "item_id")), CallerFields(request)
        users, items = inputs["user_id"], inputs["item_id"]
        if users and len(users) != len(items):
            problem = f"has {len(users)} elements, and item_id has {len(items)}; send one user for every item"
            raise InvalidField(fields.tensor("user_id"), problem)
        with fields.renamed({"user": "user_id", "user_ids": "user_id", "item_ids": "item_id"}):
            pairs = PredictRequest(model=ref, user_ids=map(str, users), item_ids=map(str, items))
            ratings = predict(registry, self._parser, pairs).ratings
        return [OutputTensor("rating", "FP32", [len(ratings)], ratings)]

    def _recommend(
        self, registry: ModelRegistry, version: LoadedVersion, ref: ModelRef, request: InferRequest
    ) -> list[OutputTensor]:
        inputs, fields = read_inputs(request, ("user_id",), ("k",)), CallerFields(request)
        users = inputs["user_id"]
        k = _parse_k(inputs.get("k", [DEFAULT_PAGE_SIZE]), fields.tensor("k"))
        if not 1 <= len(users) <= self._max_users:
            raise InvalidField(
                fields.tensor("user_id"), f"has {len(users)} users; send between 1 and {self._max_users}"
            )
        version.response_sizes.check_all([(k, False, False)] * len(users), fields.tensor("user_id"))
        requests = [RecommendRequest(model=ref, user=User(user_id=str(user)), page_size=k) for user in users]
        responses = []
        for index, result in enumerate(self._pipeline.run_many(registry, requests, with_model=False)):
            if isinstance(result, RequestError):
                if result.field == "user.user_id":
                    result.rename_field(fields.element("user_id", index))
                fields.rename(result, {"page_size": "k"})
                raise result
            responses.append(RecommendResponse.FromString(result))
        try:
            return _recommend_outputs(responses, as_numbers=isinstance(users[0], int))
        except InvalidField as error:
            error.rename_field(f"{fields.tensor('user_id')}.datatype")
            raise


def _parse_k(values: Sequence[int] | Sequence[str], field: str) -> int:
    if len(values) != 1 or not isinstance(values[0], int) or not 1 <= values[0] < 2**31:
        raise InvalidField(field, "k must be one INT64 of at least 1")
    return values[0]


def _recommend_outputs(responses: Sequence[RecommendResponse], *, as_numbers: bool) -> list[OutputTensor]:
    """Return the outputs of shape (users, longest response); shorter responses are padded with no id and NaN."""
    width = max(len(response.results) for response in responses)
    ids: list[str] = []
    scores: list[float] = []
    ratings: list[float] = []
    for response in responses:
        n_missing = width - len(response.results)
        for result in response.results:
            ids.append(result.item_id)
            scores.append(result.score)
            ratings.append(result.predicted_rating if result.HasField("predicted_rating") else _NAN)
        ids += [""] * n_missing
        scores += [_NAN] * n_missing
        ratings += [_NAN] * n_missing
    shape = [len(responses), width]
    return [
        OutputTensor("item_id", "INT64", shape, ids_as_numbers(ids, _NO_ID))
        if as_numbers
        else OutputTensor("item_id", "BYTES", shape, ids),
        OutputTensor("score", "FP32", shape, scores),
        OutputTensor("rating", "FP32", shape, ratings),
    ]
