"""The whole way in one program: train, export, serve, and call every method. `make demo` and `make serve` run it.

What it makes stays in .demo/ beside the Makefile; a second run finds it there, checks it and starts at once.
"""

from __future__ import annotations

import argparse
import signal
import sys

from rich.text import Text

from cofactor_client import Client, RpcError
from examples.demo.display import console, heading
from examples.demo.server import free_port, serving, stay_up
from examples.demo.state import STATE
from examples.demo.tour import more_to_try, tour
from examples.demo.training import RECIPES, hold_out, train


def main() -> int:
    """Everything, in order; 0 when every call was answered."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    STATE.mkdir(exist_ok=True)
    heading("1. Train and export")
    for name, recipe in RECIPES.items():
        train(name, recipe)
    held_out = hold_out()
    heading("2. Serve")
    port = arguments.port or (50051 if arguments.serve else free_port())
    with serving(port) as (server, address):
        try:
            for name in RECIPES:
                heading(f"3. Ask the {name} model")
                with Client(address, model=name) as client:
                    tour(client, held_out)
        except RpcError as error:
            console.print(Text(f"a call failed: {error.status.name}: {error.message}", style="red"))
            return 1
        if arguments.serve:
            heading("4. Try it")
            more_to_try(address)
            stay_up(server)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train on MovieLens, export, serve, and call every method.")
    parser.add_argument("--serve", action="store_true", help="keep the server up afterwards")
    parser.add_argument("--port", type=int, help="default: 50051 with --serve, else any free one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
