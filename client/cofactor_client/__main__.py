"""The `cofactor` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cofactor_client._cli import completion as _completion
from cofactor_client._cli import parser as _arguments
from cofactor_client._cli import tables as _tables
from cofactor_client._cli.title_lookup import UnknownTitleError
from cofactor_client.errors import RpcError, UnavailableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand; 0: answered, 1: the call failed, 2: wrong arguments."""
    parser = _arguments.parser()
    parsed = parser.parse_args(arguments)
    if parsed.command == "completion":
        print(_completion.script(parser, parsed.shell))
        return 0
    try:
        client = parsed.connect(parsed)
    except (ValueError, OSError) as error:
        return _fail(2, str(error))
    try:
        with client:
            report = parsed.run(client, parsed)
            if parsed.json:
                print(_tables.as_json(report.answer))
            else:
                _tables.console().print(*report.tables(), sep="\n")
        sys.stdout.flush()
    except UnknownTitleError as error:
        return _fail(2, str(error))
    except RpcError as error:
        return _fail(1, _explained(error, parsed.address))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def _explained(error: RpcError, address: str) -> str:
    if isinstance(error, UnavailableError) and not error.reason:
        return f"no server answers at {address}; start one with cofactor-serve, or name another with --address"
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{error.status.name}: {error.message}{request}"


def _fail(status: int, message: str) -> int:
    print(f"cofactor: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
