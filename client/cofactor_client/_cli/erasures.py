"""The actions `erase-user` and `erasures` of `cofactor models`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from rich.table import Table

from cofactor.admin.v1 import admin_pb2
from cofactor_client._cli.options import UsageError
from cofactor_client._cli.output import Output, print_note

ACTIONS = frozenset({"erase-user", "erasures"})
_HASH_DIGITS = 12
_PAGE_SIZE = 1000

# Sends one request to a method of the admin API and returns its response.
Call = Callable[[Any, Any], Any]


def add_actions(actions: Any, connection: argparse.ArgumentParser) -> None:
    """Add the two actions to `cofactor models`."""
    erase = actions.add_parser(
        "erase-user",
        help="make a user unknown for good, on every replica and in the next training",
        description="Make a user unknown for good. This cannot be undone.",
        parents=[connection],
    )
    erase.add_argument(
        "user_id",
        metavar="USER_ID",
        help="id of the user; - reads it from standard input, which keeps it out of the list of processes and of the "
        "history of the shell",
    )
    erase.add_argument("--model", default="", metavar="MODEL", help="erase from this model only (default: all models)")
    listed = actions.add_parser("erasures", help="list the erasures, oldest first", parents=[connection])
    listed.add_argument(
        "--output", type=Path, metavar="FILE", help="also write the records to a file for cofactor-train --erasures"
    )


def run(stub: Any, call: Call, arguments: argparse.Namespace) -> Output:
    """Run one of the actions. Raises RpcError, or UsageError."""
    if arguments.action == "erase-user":
        request = admin_pb2.EraseUserRequest(user_id=_read_user_id(arguments.user_id), name=arguments.model)
        erasure = call(stub.EraseUser, request).erasure
        if not erasure.versions_with_traces:
            print_note("no loaded version knew this user; the erasure is recorded, and holds for later versions")
        return _output([erasure])
    erasures = list(_list(stub, call))
    if arguments.output is not None:
        _write_records(erasures, arguments.output)
    return _output(erasures)


def _read_user_id(argument: str) -> str:
    if argument != "-":
        return argument
    user_id = sys.stdin.readline().rstrip("\r\n")
    if not user_id:
        raise UsageError("standard input has no user id; write the id, or leave out the -")
    return user_id


def _list(stub: Any, call: Call) -> Iterator[admin_pb2.Erasure]:
    token = ""
    while True:
        page = call(stub.ListErasures, admin_pb2.ListErasuresRequest(page_size=_PAGE_SIZE, page_token=token))
        yield from page.erasures
        token = page.next_page_token
        if not token:
            return


def _write_records(erasures: list[admin_pb2.Erasure], path: Path) -> None:
    """Write one record a line, in JSON."""
    lines = (
        json_format.MessageToJson(erasure.record, preserving_proto_field_name=True, indent=None) for erasure in erasures
    )
    try:
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    except OSError as error:
        raise UsageError(f"--output: cannot write {path}: {error.strerror}") from None


def _output(erasures: list[admin_pb2.Erasure]) -> Output:
    def tables() -> Iterator[Table]:
        table = Table("time", "user hash", "models", "requested by", "request", "traces remain in")
        for erasure in erasures:
            record = erasure.record
            table.add_row(
                f"{record.erase_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC",
                record.user_hash[:_HASH_DIGITS],
                record.model_name or "all",
                record.requested_by,
                record.request_id,
                ", ".join(erasure.versions_with_traces) or "no loaded version",
            )
        yield table

    listed = admin_pb2.ListErasuresResponse(erasures=erasures)
    return Output(json_format.MessageToDict(listed, preserving_proto_field_name=True), tables)
