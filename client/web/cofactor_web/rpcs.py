"""The RPCs that the gateway serves, read from the service descriptors, so that a new RPC has its route at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cofactor.admin.v1 import admin_pb2
from cofactor.v1 import catalog_pb2, feedback_pb2, recommender_pb2
from cofactor_web.json_decoding import MessageDecoders
from cofactor_web.json_encoding import MessageEncoders

API_FILES = (recommender_pb2.DESCRIPTOR, catalog_pb2.DESCRIPTOR, feedback_pb2.DESCRIPTOR)
ADMIN_FILES = (admin_pb2.DESCRIPTOR,)


@dataclass(frozen=True)
class Rpc:
    """A unary RPC and its route.

    Attributes:
        method: its descriptor.
        path: route of the gateway, "/v1/list-top-items".
        grpc_path: what gRPC calls, "/cofactor.v1.CatalogService/ListTopItems".
        request_class: class of its requests.
        response_class: class of its responses.
        decode: fills a request from what JSON expressed.
        encode: turns a response into what JSON can express.
    """

    method: MethodDescriptor
    path: str
    grpc_path: str
    request_class: type[Message]
    response_class: type[Message]
    decode: Callable[[Message, Any], None]
    encode: Callable[[Message], Any]


def api_rpcs() -> tuple[Rpc, ...]:
    """Return the RPCs for everybody, under /v1."""
    return tuple(_rpcs(API_FILES, "/v1"))


def admin_rpcs() -> tuple[Rpc, ...]:
    """Return the RPCs for operators, under /admin/v1."""
    return tuple(_rpcs(ADMIN_FILES, "/admin/v1"))


def _rpcs(files: tuple[FileDescriptor, ...], prefix: str) -> Iterator[Rpc]:
    decoders, encoders = MessageDecoders(), MessageEncoders()
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                if method.client_streaming or method.server_streaming:
                    continue  # JSON over HTTP has no streams; BatchRecommend serves the same need
                yield Rpc(
                    method,
                    f"{prefix}/{kebab_case(method.name)}",
                    f"/{service.full_name}/{method.name}",
                    GetMessageClass(method.input_type),
                    GetMessageClass(method.output_type),
                    decoders.decoder(method.input_type),
                    encoders.encoder(method.output_type),
                )


def kebab_case(name: str) -> str:
    """Return the name of an RPC as part of a route.

    >>> kebab_case("ListTopItems")
    'list-top-items'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
