"""The Open Inference Protocol on the models served: `<model>.predict` and `<model>.recommend`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest, RecommendResponse, User
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField, ModelNotFound, NotServing, RequestError, quoted
from cofactor_server.observability.counters import Metrics
from cofactor_server.services.open_inference.messages import PACKAGE, SERVICE, message_type
from cofactor_server.services.open_inference.tensors import BYTES, FP32, INT64, add_output, read_inputs, whole_numbers
from cofactor_server.services.predict import predict
from cofactor_server.services.recommend import Recommendations
from cofactor_server.services.request_parsing import DEFAULT_PAGE_SIZE, RequestReader
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

PLATFORM = "onnxruntime_onnx"
_TRITON_TYPES = {INT64: 9, FP32: 11, BYTES: 13}
_NO_ID = -1
_NAN = float("nan")


@dataclass(frozen=True)
class Graph:
    """What a model takes and gives: (name, datatype, shape), -1 for a free dimension."""

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]


# Ids may be sent as INT64 too; ids in an answer have the datatype of user_id in the question.
GRAPHS = {
    "predict": Graph((("user_id", BYTES, (-1,)), ("item_id", BYTES, (-1,))), (("rating", FP32, (-1,)),)),
    "recommend": Graph(
        (("user_id", BYTES, (-1,)), ("k", INT64, (1,))),
        (("item_id", BYTES, (-1, -1)), ("score", FP32, (-1, -1)), ("rating", FP32, (-1, -1))),
    ),
}


class OpenInferenceServicer:
    """Answers the protocol's seven methods from the repository of the moment."""

    def __init__(
        self, repository: Callable[[], ModelRegistry], config: ServerConfig, metrics: Metrics, version: str
    ) -> None:
        self._repository = repository
        self._reader = RequestReader(config)
        self._recommendations = Recommendations(self._reader, metrics)
        self._max_users = config.max_requests_per_batch
        self._version = version

    def handler(self) -> grpc.GenericRpcHandler:
        """For grpc.Server.add_generic_rpc_handlers."""
        methods = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "ModelConfig": self._model_config,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                method, message_type(f"{name}Request").FromString, message_type(f"{name}Response").SerializeToString
            )
            for name, method in methods.items()
        }
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", handlers)

    def _server_live(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerLiveResponse")(live=True)

    def _server_ready(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerReadyResponse")(ready=bool(self._repository().versions))

    def _model_ready(self, request: Any, _context: grpc.ServicerContext) -> Any:
        try:
            self._resolve(request.name, request.version)
        except (ModelNotFound, NotServing):
            return message_type("ModelReadyResponse")(ready=False)
        return message_type("ModelReadyResponse")(ready=True)

    def _server_metadata(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerMetadataResponse")(name="cofactor", version=self._version)

    def _model_metadata(self, request: Any, _context: grpc.ServicerContext) -> Any:
        version, graph = self._resolve(request.name, request.version)
        held = self._repository().versions[version.manifest.name]
        response = message_type("ModelMetadataResponse")(
            name=request.name, versions=[each.manifest.version for each in held], platform=PLATFORM
        )
        for tensors, described in ((GRAPHS[graph].inputs, response.inputs), (GRAPHS[graph].outputs, response.outputs)):
            for name, datatype, shape in tensors:
                described.add(name=name, datatype=datatype, shape=shape)
        return response

    def _model_config(self, request: Any, _context: grpc.ServicerContext) -> Any:
        _, graph = self._resolve(request.name, request.version)
        response = message_type("ModelConfigResponse")()
        config = response.config
        config.name, config.platform, config.backend = request.name, PLATFORM, "onnxruntime"
        for tensors, described in ((GRAPHS[graph].inputs, config.input), (GRAPHS[graph].outputs, config.output)):
            for name, datatype, shape in tensors:
                described.add(name=name, data_type=_TRITON_TYPES[datatype], dims=shape)
        return response

    def _model_infer(self, request: Any, _context: grpc.ServicerContext) -> Any:
        version, graph = self._resolve(request.model_name, request.model_version)
        names = [name for name, _, _ in GRAPHS[graph].outputs]
        for index, output in enumerate(request.outputs):
            if output.name not in names:
                raise InvalidField(f"outputs[{index}].name", f"{quoted(output.name)} is not one of {', '.join(names)}")
        wanted = {output.name for output in request.outputs} or set(names)
        response = message_type("ModelInferResponse")(
            model_name=request.model_name, model_version=version.manifest.version, id=request.id
        )
        infer = self._predict if graph == "predict" else self._recommend
        for name, datatype, shape, values in infer(version, request):
            if name in wanted:
                add_output(response, name, datatype, shape, values, raw=bool(request.raw_input_contents))
        return response

    def _resolve(self, name: str, version: str) -> tuple[LoadedVersion, str]:
        model, _, graph = name.rpartition(".")
        if not model or graph not in GRAPHS:
            raise ModelNotFound(f"no model is called {quoted(name)}: names end in .predict or .recommend")
        ref = ModelRef(name=model, version=version) if version else ModelRef(name=model)
        return self._repository().resolve(ref), graph

    def _predict(self, version: LoadedVersion, request: Any) -> list[tuple[str, str, list[int], list[Any]]]:
        found = read_inputs(request, ("user_id", "item_id"))
        answer = predict(
            self._repository(),
            self._reader,
            PredictRequest(
                model=_ref(version), user_ids=map(str, found["user_id"]), item_ids=map(str, found["item_id"])
            ),
        )
        return [("rating", FP32, [len(answer.ratings)], list(answer.ratings))]

    def _recommend(self, version: LoadedVersion, request: Any) -> list[tuple[str, str, list[int], list[Any]]]:
        found = read_inputs(request, ("user_id",), ("k",))
        users, k = found["user_id"], _k(found.get("k", [DEFAULT_PAGE_SIZE]))
        if not 1 <= len(users) <= self._max_users:
            raise InvalidField("inputs", f"has {len(users)} users; send between 1 and {self._max_users}")
        requests = [RecommendRequest(model=_ref(version), user=User(user_id=str(user)), page_size=k) for user in users]
        answered = self._recommendations.answer_each(self._repository(), requests, with_model=False)
        answers = [_answer(each) for each in answered]
        shape = [len(answers), max(len(answer.results) for answer in answers)]
        ids, scores, ratings = _columns(answers, shape[1])
        as_numbers = isinstance(users[0], int)
        return [
            ("item_id", INT64, shape, whole_numbers(ids, _NO_ID)) if as_numbers else ("item_id", BYTES, shape, ids),
            ("score", FP32, shape, scores),
            ("rating", FP32, shape, ratings),
        ]


def _ref(version: LoadedVersion) -> ModelRef:
    return ModelRef(name=version.manifest.name, version=version.manifest.version)


def _k(values: list[Any]) -> int:
    if len(values) != 1 or not isinstance(values[0], int) or not 1 <= values[0] < 2**31:
        raise InvalidField("inputs", "k must be one INT64 of at least 1")
    return values[0]


def _answer(answer: bytes | RequestError) -> RecommendResponse:
    if isinstance(answer, RequestError):
        raise answer
    return RecommendResponse.FromString(answer)


def _columns(answers: list[RecommendResponse], width: int) -> tuple[list[str], list[float], list[float]]:
    """Ids, scores and ratings, row-major; rows with fewer results end in "" and NaN."""
    ids: list[str] = []
    scores: list[float] = []
    ratings: list[float] = []
    for answer in answers:
        n_missing = width - len(answer.results)
        ids += [*(result.item_id for result in answer.results), *[""] * n_missing]
        scores += [*(result.score for result in answer.results), *[_NAN] * n_missing]
        rated = (r.predicted_rating if r.HasField("predicted_rating") else _NAN for r in answer.results)
        ratings += [*rated, *[_NAN] * n_missing]
    return ids, scores, ratings
