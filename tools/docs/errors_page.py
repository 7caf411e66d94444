"""docs/errors.md, made from the error classes: `python -m tools.docs.errors_page` prints it."""

from __future__ import annotations

import sys

from cofactor_server.errors import DOMAIN, REQUEST_ERRORS

_HEAD = f"""# Errors

<!-- Written by `python -m tools.docs.errors_page`; a test compares. -->

Every error carries, in `grpc-status-details-bin`, a `google.rpc.Status` with `ErrorInfo` (the reason
below, domain "{DOMAIN}"), `RequestInfo` (the request id: the caller's `x-request-id`, or one made by
the server, also in the trailing metadata), `BadRequest` where a field is at fault, and `RetryInfo` where
a retry may help. `EntryError` (partial success, batches and streams) has the same reason and message.
"""
_FOOT = """
gRPC itself answers `UNIMPLEMENTED` to a method that does not exist, and `RESOURCE_EXHAUSTED` to a
message over the size limit, without these details.
"""


def documentation() -> str:
    """The page, a table of all errors that a request can get."""
    rows = [f"| `{e.code}` | `{e.reason}` | {e.meaning} | {e.remedy} |" for e in REQUEST_ERRORS]
    return "\n".join([_HEAD, "| gRPC status | reason | meaning | remedy |", "|---|---|---|---|", *rows, _FOOT])


if __name__ == "__main__":
    sys.stdout.write(documentation())
