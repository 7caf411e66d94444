"""Train two models, export and serve them, and call every RPC. `make demo`, `make serve` and `make web` run this.

Models and logs stay in .demo/ beside the Makefile. A second run verifies the models there and starts at once.
"""

from __future__ import annotations

import argparse
import signal
import sys

from rich.text import Text

from cofactor_client import Client, RpcError
from examples.demo.display import console, heading
from examples.demo.paths import FOLDER
from examples.demo.server import free_port, running_server, wait_until_interrupted
from examples.demo.tour import suggest_commands, tour
from examples.demo.training import RECIPES, ensure_model, load_held_out
from examples.demo.web import run_page


def main() -> int:
    """Run the demo. Returns 0 if every call succeeded."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit through `running_server`, which stops the server
    FOLDER.mkdir(exist_ok=True)
    heading("1. Train and export")
    for name, recipe in RECIPES.items():
        ensure_model(name, recipe)
    held_out = load_held_out()
    heading("2. Serve")
    if arguments.web:
        return run_page(arguments.port or free_port())
    port = arguments.port or (50051 if arguments.serve else free_port())
    with running_server(port) as (server, address):
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
            suggest_commands(address)
            wait_until_interrupted(server)
    if not arguments.serve:
        console.print("\nNext: `make web` shows the same models on a page in your browser.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="Train on MovieLens, export, serve, and call every RPC."
    )
    parser.add_argument("--serve", action="store_true", help="keep the server running afterwards")
    parser.add_argument("--web", action="store_true", help="serve the page and the JSON API instead of calling RPCs")
    parser.add_argument("--port", type=int, help="port of the server; default: 50051 with --serve, else any free port")
    return parser


if __name__ == "__main__":
    sys.exit(main())
