"""Serve gRPC's reflection service, by which tools such as grpcurl and ghz find the services and their messages.

grpcio-reflection has only version v1alpha of the service. Version v1 has the same messages in another package, so its
calls go to the same servicer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_SERVICE = "grpc.reflection.v1.ServerReflection"

Pool = descriptor_pool.DescriptorPool
Found = TypeVar("Found")


class _Descriptors:
    """Several descriptor pools, read as one; it has the methods of a pool that the servicer calls.

    All of them raise KeyError if no pool knows the name.
    """

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = tuple(pools)

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802
        """Return a file by its path."""
        return self._first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        """Return the file of a service, method, message, field or enum."""
        try:
            return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))
        except KeyError:  # Python's pools do not find methods, which tools ask for by name
            service, _, method = symbol.rpartition(".")
            return (
                self._first(lambda pool: pool.FindServiceByName(service))
                .methods_by_name[method]
                .containing_service.file
            )

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        """Return a message by its full name."""
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802
        """Return an extension of a message."""
        return message.file.pool.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:  # noqa: N802
        """Return all extensions of a message."""
        return message.file.pool.FindAllExtensions(message)

    def _first(self, find: Callable[[Pool], Found]) -> Found:
        for pool in self._pools:
            with contextlib.suppress(KeyError):
                return find(pool)
        raise KeyError


def _v1_pool() -> Pool:
    """Return a pool with version v1 of the reflection service, made from version v1alpha."""
    v1alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    text = text_format.MessageToString(v1alpha).replace("v1alpha", "v1")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()))
    return pool


def add_reflection(server: grpc.Server, services: Sequence[str], private_pools: Sequence[Pool] = ()) -> None:
    """Let tools list the services, and find their methods and messages.

    Args:
        server: the server of the services.
        services: their full names.
        private_pools: descriptor pools of services that are not in the default pool.
    """
    names = (*services, reflection.SERVICE_NAME, V1_SERVICE)
    # Private pools first: another library of the process may have other messages of the same names in the default pool.
    pools = _Descriptors((*private_pools, descriptor_pool.Default(), _v1_pool()))
    servicer = reflection.ReflectionServicer(names, pool=pools)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1_SERVICE):
        methods = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((methods,))
