"""Implement the Open Inference Protocol: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.services.open_inference.graphs import GraphRunner, is_ready, requested_outputs, resolve_graph
from cofactor_server.services.open_inference.messages import PACKAGE, SERVICE, InferRequest, ModelRequest, message_type
from cofactor_server.services.open_inference.tensors import add_output
from cofactor_server.serving.registry import ModelRegistry

PLATFORM = "onnxruntime_onnx"
_TRITON_TYPES = {"INT64": 9, "FP32": 11, "BYTES": 13}


class OpenInferenceServicer:
    """Serve the seven methods of the protocol from the registry that is current when a call begins.

    The message classes are made at run time, so the methods return Any.
    """

    def __init__(
        self, registry: Callable[[], ModelRegistry], config: ServerConfig, metrics: Metrics, version: str
    ) -> None:
        """`version` is the version of the server itself."""
        self._registry = registry
        self._runner = GraphRunner(config, metrics)
        self._version = version

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler for grpc.Server.add_generic_rpc_handlers."""
        methods: dict[str, Callable[..., Any]] = {
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

    def _server_live(self, _request: object, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerLiveResponse")(live=True)

    def _server_ready(self, _request: object, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerReadyResponse")(ready=bool(self._registry().versions))

    def _model_ready(self, request: ModelRequest, _context: grpc.ServicerContext) -> Any:
        return message_type("ModelReadyResponse")(ready=is_ready(self._registry(), request.name, request.version))

    def _server_metadata(self, _request: object, _context: grpc.ServicerContext) -> Any:
        return message_type("ServerMetadataResponse")(name="cofactor", version=self._version)

    def _model_metadata(self, request: ModelRequest, _context: grpc.ServicerContext) -> Any:
        registry = self._registry()
        version, graph = resolve_graph(registry, request.name, request.version)
        loaded = registry.versions[version.manifest.name]
        response = message_type("ModelMetadataResponse")(
            name=request.name, versions=[version.manifest.version for version in loaded], platform=PLATFORM
        )
        for specs, tensors in ((graph.inputs, response.inputs), (graph.outputs, response.outputs)):
            for spec in specs:
                tensors.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return response

    def _model_config(self, request: ModelRequest, _context: grpc.ServicerContext) -> Any:
        _, graph = resolve_graph(self._registry(), request.name, request.version)
        response = message_type("ModelConfigResponse")()
        config = response.config
        config.name, config.platform, config.backend = request.name, PLATFORM, "onnxruntime"
        for specs, tensors in ((graph.inputs, config.input), (graph.outputs, config.output)):
            for spec in specs:
                tensors.add(name=spec.name, data_type=_TRITON_TYPES[spec.datatype], dims=spec.shape)
        return response

    def _model_infer(self, request: InferRequest, _context: grpc.ServicerContext) -> Any:
        registry = self._registry()
        version, graph = resolve_graph(registry, request.model_name, request.model_version, "model_")
        names = requested_outputs(graph, request)
        outputs = self._runner.run(registry, version, graph, request)
        response = message_type("ModelInferResponse")(
            model_name=request.model_name, model_version=version.manifest.version, id=request.id
        )
        for output in outputs:
            if output.name in names:
                add_output(response, output, raw=bool(request.raw_input_contents))
        return response
