"""Argument parser of the `cofactor` command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple, get_args

from cofactor_client._channel import installed_version
from cofactor_client._cli import batch_commands, commands, models_command, options
from cofactor_client._cli.completion import SHELLS
from cofactor_client._cli.output import Output
from cofactor_client._client import Client
from cofactor_client._request_types import Order

_EPILOG = """environment:
  COFACTOR_ADDRESS        default of --address
  COFACTOR_ADMIN_ADDRESS  default of --address of the models subcommand
  COFACTOR_TIMEOUT        default of --timeout
  COFACTOR_TLS_CA         default of --ca, or "system" for --tls; the models subcommand ignores it, because the admin
                          port speaks plain text
  COFACTOR_TOKEN          bearer token; requires --tls or --ca, unless the server is on this machine

exit status: 0 success, 1 the call failed, 2 wrong arguments"""


class _Subcommand(NamedTuple):
    """A subcommand that calls a server.

    Attributes:
        name: the word on the command line.
        help: one line for --help.
        add_arguments: adds its own arguments.
        run: makes the calls.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Client, argparse.Namespace], Output]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all subcommands and their options."""
    parser = argparse.ArgumentParser(
        prog="cofactor",
        description="Get ratings and recommendations from a Cofactor server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cofactor {installed_version()}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    connection = options.connection_options()
    for name, help, add_arguments, run in _SUBCOMMANDS:
        description = f"{help[0].upper()}{help[1:]}."
        subparser = subparsers.add_parser(name, help=help, description=description, parents=[connection])
        add_arguments(subparser)
        subparser.set_defaults(connect=options.connect, run=run)
    models_command.add_parser(subparsers)
    batch_commands.add_parsers(subparsers)
    completion = subparsers.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    _add_user(parser)
    parser.add_argument("items", metavar="ITEM", nargs="+", help='item ids or titles, such as 1 or "Toy Story"')


def _recommend_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", nargs="?", help="user id; leave it out for a new user with --event")
    options.add_event_option(parser)
    options.add_count_option(parser)
    options.add_filter_options(parser)
    options.add_ranking_options(parser)


def _similar_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("items", metavar="ITEM", nargs="+", help="item ids or titles")
    options.add_count_option(parser)
    options.add_filter_options(parser)


def _embed_arguments(parser: argparse.ArgumentParser) -> None:
    rating_help = 'such as "Toy Story=5" or 1=5; may be repeated'
    parser.add_argument(
        "--rate", metavar="ITEM=RATING", action="append", type=options.item_rating, default=[], help=rating_help
    )
    options.add_event_option(parser)
    profile_help = "a sign-up answer, such as age=24; may be repeated"
    parser.add_argument(
        "--profile", metavar="KEY=ANSWER", action="append", type=options.profile_entry, default=[], help=profile_help
    )
    parser.add_argument("--recommend", metavar="K", type=options.positive_integer, help="also recommend K items")


def _search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="WORD", nargs="+", help="words or beginnings of words; a title must have all")
    options.add_count_option(parser)


def _top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--order", choices=get_args(Order), default="highest-bias", help="default: %(default)s")
    options.add_count_option(parser)


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    _add_user(parser)
    parser.add_argument("item", metavar="ITEM", help="item id or title")
    options.add_count_option(parser, default=5)
    options.add_score_options(parser)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="list all loaded model versions")


def _load_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("users", metavar="USER", nargs="+", help="user ids, called in turn")
    parser.add_argument(
        "--seconds", type=options.positive_number, default=10.0, help="how long to start calls (default: %(default)s)"
    )
    parser.add_argument(
        "--in-flight",
        metavar="N",
        type=options.positive_integer,
        default=8,
        help="number of concurrent calls (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", metavar="R", type=options.positive_number, help="calls per second; default: as fast as possible"
    )
    options.add_count_option(parser)


def _health_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: --address and --timeout are all it takes."""


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="user id")


_SUBCOMMANDS = (
    _Subcommand("predict", "predict a user's ratings of items", _predict_arguments, commands.predict),
    _Subcommand("recommend", "recommend items to a user", _recommend_arguments, commands.recommend),
    _Subcommand("similar", "find items similar to one item or several", _similar_arguments, commands.similar),
    _Subcommand("embed", "embed a new user from ratings or events, without training", _embed_arguments, commands.embed),
    _Subcommand("search", "find items by words of their title", _search_arguments, commands.search),
    _Subcommand("top", "list the best, worst or most rated items", _top_arguments, commands.top),
    _Subcommand(
        "explain",
        "show how rated items add up to a prediction and a place in the list",
        _explain_arguments,
        commands.explain,
    ),
    _Subcommand("model", "describe the served model", _model_arguments, commands.model),
    _Subcommand("load", "measure throughput and latency of Recommend under load", _load_arguments, commands.load),
    _Subcommand("health", "exit with 0 if the server is serving, for probes", _health_arguments, commands.health),
)
