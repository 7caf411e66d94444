"""Print docs/errors.md, made from the error classes: `python -m tools.docs.errors_page > docs/errors.md`."""

from __future__ import annotations

import sys

from cofactor_server.errors import DOMAIN, REQUEST_ERRORS, RequestError

_HEAD = f"""# Errors

<!-- Written by `python -m tools.docs.errors_page`; a test compares the two. -->

Every error carries a `google.rpc.Status` in the trailing metadata `grpc-status-details-bin`, with these details:
- `ErrorInfo`: the reason of the table below, and the domain "{DOMAIN}".
- `RequestInfo`: the request id. It is the caller's `x-request-id` or, without one, an id that the server made. The
  trailing metadata has it too.
- `BadRequest`: the field at fault, if there is one.
- `RetryInfo`: the time to wait, if a retry may help.

`EntryError` (partial success, batches and streams) has the same reason and message.
"""
_FOOT = """
gRPC itself returns `UNIMPLEMENTED` for a method that does not exist, and `RESOURCE_EXHAUSTED` for a message over the
size limit. These errors carry no details.
"""


def documentation() -> str:
    """Return the page: a table of every error that a request can get."""
    rows = [f"| `{e.code}` | `{e.reason}` | {_meaning(e)} | {e.remedy} |" for e in REQUEST_ERRORS]
    return "\n".join([_HEAD, "| gRPC status | reason | meaning | remedy |", "|---|---|---|---|", *rows, _FOOT])


def _meaning(error: type[RequestError]) -> str:
    """Return the docstring in one line, for a cell of the table."""
    return " ".join((error.__doc__ or "").split())


if __name__ == "__main__":
    sys.stdout.write(documentation())
