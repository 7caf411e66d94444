"""`cofactor models`: versions and labels, over a server's admin API (cofactor-serve --admin-port)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import json_format
from rich.table import Table

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor_client._channel import Connection
from cofactor_client._cli import options as _tls_options
from cofactor_client._cli.commands import Report
from cofactor_client.errors import RpcError, rpc_error

_STATES = {
    admin_pb2.Version.STATE_AVAILABLE: "available",
    admin_pb2.Version.STATE_READY: "ready",
    admin_pb2.Version.STATE_REFUSED: "refused",
}


def add_parser(commands: Any) -> None:
    """Declare `models` and its three sub-commands."""
    models = commands.add_parser("models", help="list versions and move labels, through the admin API")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)
    address = os.environ.get("COFACTOR_ADMIN_ADDRESS") or "localhost:50052"
    common.add_argument("--address", metavar="HOST:PORT", default=address, help="admin port (default: %(default)s)")
    common.add_argument("--json", action="store_true", help="print JSON instead of tables")
    # Not what COFACTOR_TLS_CA says: TLS is only where something in front of the admin port, which has none, ends it.
    _tls_options.add_tls_options(common, authorities=None)
    models.set_defaults(connect=AdminClient, run=run)
    actions.add_parser("ls", help="every version, with its labels and why it is refused", parents=[common])
    promote = actions.add_parser("promote", help="put a label on a version", parents=[common])
    promote.add_argument("name", metavar="MODEL")
    promote.add_argument("version", metavar="VERSION")
    rollback = actions.add_parser("rollback", help="put a label back where it was", parents=[common])
    rollback.add_argument("name", metavar="MODEL")
    for action in (promote, rollback):
        action.add_argument("--label", default="stable", help="default: %(default)s")


class AdminClient:
    """The admin API of one server, for as long as its context lasts."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Raises ValueError naming the option that is wrong, also where a token would travel in plain text."""
        self._connection = Connection(
            arguments.address, timeout=60, tls=_tls_options.tls(arguments), token=_tls_options.token()
        )
        self._channel = self._connection.open()
        self.stub = admin_pb2_grpc.AdminServiceStub(self._channel)

    def call(self, method: Any, request: Any) -> Any:
        """The answer to one request. Raises RpcError."""
        try:
            return method(request, metadata=self._connection.metadata(), timeout=self._connection.timeout)
        except grpc.RpcError as error:
            raise _failure(error) from None

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def run(admin: AdminClient, arguments: argparse.Namespace) -> Report:
    """Does what is asked and lists the versions then. Raises RpcError."""
    if arguments.action == "promote":
        request = admin_pb2.PromoteRequest(name=arguments.name, version=arguments.version, label=arguments.label)
        admin.call(admin.stub.Promote, request)
    elif arguments.action == "rollback":
        admin.call(admin.stub.Rollback, admin_pb2.RollbackRequest(name=arguments.name, label=arguments.label))
    listed = admin.call(admin.stub.ListVersions, admin_pb2.ListVersionsRequest())

    def tables() -> Iterator[Table]:
        yield from map(_table, listed.models)

    return Report(json_format.MessageToDict(listed, preserving_proto_field_name=True), tables)


def _failure(error: Any) -> RpcError:
    return rpc_error(error.code(), error.details() or "", error.trailing_metadata())


def _table(model: admin_pb2.ModelVersions) -> Table:
    table = Table("version", "state", "labels", "", title=model.name, title_justify="left")
    for version in model.versions:
        notes = ["current"] if version.is_current else []
        for shares, about in ((model.policy.canary_percent, ""), (model.policy.shadow_percent, "shadow of ")):
            notes += [f"{about}{shares[label]:g} % of users" for label in version.labels if label in shares]
        table.add_row(
            version.version,
            _STATES.get(version.state, "unknown"),
            ", ".join(version.labels),
            version.state_message or ", ".join(notes),
        )
    return table
