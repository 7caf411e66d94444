"""The subcommand `cofactor models`: list versions, move labels, change overlays and erase users, by the admin API."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from rich.table import Table
from rich.text import Text

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1.overlay_pb2 import AddedItem
from cofactor_client._channel import Connection
from cofactor_client._cli import erasures, options
from cofactor_client._cli.output import Output
from cofactor_client.errors import rpc_error

_STATES = {
    admin_pb2.Version.STATE_AVAILABLE: "available",
    admin_pb2.Version.STATE_READY: "ready",
    admin_pb2.Version.STATE_REFUSED: "refused",
}


def add_parser(subparsers: Any) -> None:
    """Add the subcommand and its actions ls, promote, rollback, overlay, erase-user and erasures."""
    summary = "list versions, move labels, change items, erase users, through the admin API"
    models = subparsers.add_parser("models", help=summary)
    models.set_defaults(connect=AdminClient, run=run)
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    connection = argparse.ArgumentParser(add_help=False)
    address = os.environ.get("COFACTOR_ADMIN_ADDRESS") or "localhost:50052"
    connection.add_argument("--address", metavar="HOST:PORT", default=address, help="admin port (default: %(default)s)")
    connection.add_argument("--json", action="store_true", help="print JSON instead of tables")
    # COFACTOR_TLS_CA is not the default here: the admin port has no TLS, unless a proxy in front of it adds TLS.
    options.add_tls_options(connection, authorities=None)
    actions.add_parser("ls", help="list all versions with their states and labels", parents=[connection])
    promote = actions.add_parser("promote", help="put a label on a version", parents=[connection])
    promote.add_argument("name", metavar="MODEL", help="name of the model")
    promote.add_argument("version", metavar="VERSION", help="version that gets the label")
    rollback = actions.add_parser("rollback", help="move a label back to its previous version", parents=[connection])
    rollback.add_argument("name", metavar="MODEL", help="name of the model")
    for action in (promote, rollback):
        action.add_argument("--label", default="stable", help="default: %(default)s")
    overlay = actions.add_parser("overlay", help="add items to a version or remove some", parents=[connection])
    _add_overlay_arguments(overlay)
    erasures.add_actions(actions, connection)


def _add_overlay_arguments(overlay: argparse.ArgumentParser) -> None:
    overlay.add_argument("name", metavar="MODEL", help="name of the model")
    overlay.add_argument("--version", metavar="VERSION", default="", help="default: the current version")
    overlay.add_argument(
        "--add",
        metavar="FILE",
        help='JSON list of items to add, each {"item": {…}, "embedding": {…}} as EmbedNewItem fills it',
    )
    for word, help in (("remove", "id of an item to remove"), ("restore", "id of a removed item to serve again")):
        overlay.add_argument(f"--{word}", metavar="ID", action="append", default=[], help=f"{help}; may be repeated")
    overlay.add_argument("--reset", action="store_true", help="forget all items that were added and removed before")


class AdminClient:
    """Client of a server's admin API. Use it as a context manager."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Open a channel. Raises ValueError for a wrong option, or if a token would be sent in plain text."""
        self._connection = Connection(
            arguments.address,
            timeout=60,
            tls=options.tls_settings(arguments),
            token=options.token(),
            channel_options=[("grpc.service_config", "{}")],  # the admin port has no health service to watch
        )
        self._channel = self._connection.open()
        self.stub = admin_pb2_grpc.AdminServiceStub(self._channel)

    def call(self, method: Any, request: Any) -> Any:
        """Send one request and return its response. Raises RpcError."""
        try:
            return method(request, metadata=self._connection.metadata(), timeout=self._connection.timeout)
        except grpc.RpcError as error:
            failure: Any = error  # grpc's type lacks the methods of a failed call
            raise rpc_error(failure.code(), failure.details() or "", failure.trailing_metadata()) from None

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def run(admin: AdminClient, arguments: argparse.Namespace) -> Output:
    """Run the action; unless it is about erasures, list the versions then. Raises RpcError, or ValueError."""
    if arguments.action in erasures.ACTIONS:
        return erasures.run(admin.stub, admin.call, arguments)
    if arguments.action == "promote":
        request = admin_pb2.PromoteRequest(name=arguments.name, version=arguments.version, label=arguments.label)
        admin.call(admin.stub.Promote, request)
    elif arguments.action == "rollback":
        admin.call(admin.stub.Rollback, admin_pb2.RollbackRequest(name=arguments.name, label=arguments.label))
    elif arguments.action == "overlay":
        return _change_overlay(admin, arguments)
    response = admin.call(admin.stub.ListVersions, admin_pb2.ListVersionsRequest())

    def tables() -> Iterator[Table]:
        yield from map(_table, response.models)

    return Output(json_format.MessageToDict(response, preserving_proto_field_name=True), tables)


def _change_overlay(admin: AdminClient, arguments: argparse.Namespace) -> Output:
    """Run `cofactor models overlay`. Raises UsageError for options that ask for no change or a file that is wrong."""
    added = read_added_items(Path(arguments.add)) if arguments.add else []
    if not (added or arguments.remove or arguments.restore or arguments.reset):
        raise options.UsageError("nothing to change; give --add, --remove, --restore or --reset")
    request = admin_pb2.UpdateOverlayRequest(
        name=arguments.name,
        version=arguments.version,
        added_items=added,
        removed_item_ids=arguments.remove,
        restored_item_ids=arguments.restore,
        reset=arguments.reset,
    )
    response = admin.call(admin.stub.UpdateOverlay, request)
    counts = f"adds {response.added_count} items and removes {response.removed_count}"
    text = f"{arguments.name}/{response.version}: overlay {response.sequence} {counts}"
    return Output(json_format.MessageToDict(response, preserving_proto_field_name=True), lambda: iter([Text(text)]))


def read_added_items(path: Path) -> list[AddedItem]:
    """Return the items in a JSON file. Raises UsageError that names the file and the item at fault."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise options.UsageError(f"--add {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise options.UsageError(f"--add {path}: is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise options.UsageError(f"--add {path}: must be a list of items, each with item and embedding")
    items = []
    for index, entry in enumerate(entries):
        try:
            items.append(json_format.ParseDict(entry, AddedItem()))
        except (json_format.ParseError, AttributeError, TypeError) as error:
            raise options.UsageError(f"--add {path}: item {index}: {' '.join(str(error).split())}") from None
    return items


def _table(model: admin_pb2.ModelVersions) -> Table:
    table = Table("version", "state", "labels", "", title=model.name, title_justify="left")
    for version in model.versions:
        state, labels = _STATES.get(version.state, "unknown"), ", ".join(version.labels)
        table.add_row(version.version, state, labels, version.state_message or _roles(model, version))
    return table


def _roles(model: admin_pb2.ModelVersions, version: admin_pb2.Version) -> str:
    """Describe the traffic that a version gets: current version, canary or shadow."""
    roles = ["current"] if version.is_current else []
    for percent_of, prefix in ((model.policy.canary_percent, ""), (model.policy.shadow_percent, "shadow of ")):
        roles += [f"{prefix}{percent_of[label]:g} % of users" for label in version.labels if label in percent_of]
    return ", ".join(roles)
