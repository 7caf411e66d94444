"""Entry point of the `cofactor` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cofactor_client._cli import batch_commands
from cofactor_client._cli.completion import completion_script
from cofactor_client._cli.connection_failure import explain_failure
from cofactor_client._cli.core_log import without_core_log
from cofactor_client._cli.options import UsageError, tls_settings
from cofactor_client._cli.parser import build_parser
from cofactor_client._cli.title_lookup import UnknownNameError
from cofactor_client.errors import RpcError, UnavailableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Returns 0 on success, 1 if the call failed, 2 for wrong arguments."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in batch_commands.COMMANDS:
        return batch_commands.run(words)
    parser = build_parser()
    parsed = parser.parse_args(words)
    if parsed.command == "completion":
        print(completion_script(parser, parsed.shell))
        return 0
    try:
        client = parsed.connect(parsed)
    except (ValueError, OSError) as error:
        return _fail(2, str(error))
    try:
        with without_core_log(), client:
            parsed.run(client, parsed).show(as_json=parsed.json)
        sys.stdout.flush()
    except (UnknownNameError, UsageError) as error:
        return _fail(2, str(error))
    except RpcError as error:
        return _fail(1, _describe(error, parsed))
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; point stdout elsewhere for the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def _describe(error: RpcError, parsed: argparse.Namespace) -> str:
    if isinstance(error, UnavailableError) and not error.reason:
        return explain_failure(parsed.address, tls_settings(parsed), error.message)
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{error.status.name}: {error.message}{request}"


def _fail(status: int, message: str) -> int:
    print(f"cofactor: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
