"""The command line of `cofactor`."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import get_args

from cofactor_client._cli import commands as _commands
from cofactor_client._cli import models_command as _operations
from cofactor_client._cli import options as _tls_options
from cofactor_client._cli.completion import SHELLS
from cofactor_client._client import Client
from cofactor_client._request_types import ModelRef, Order, Ranking

_ENVIRONMENT = """environment:
  COFACTOR_ADDRESS        default of --address
  COFACTOR_ADMIN_ADDRESS  default of --address of models
  COFACTOR_TIMEOUT        default of --timeout
  COFACTOR_TLS_CA         default of --ca, "system": as --tls; not for models: an admin port speaks plain text
  COFACTOR_TOKEN          bearer token; needs --tls or --ca unless the server is on this machine

exit status: 0 answered, 1 the call failed, 2 wrong arguments"""


def parser() -> argparse.ArgumentParser:
    """Every subcommand with its options."""
    top_level = argparse.ArgumentParser(
        prog="cofactor",
        description="Asks a Cofactor server for ratings and recommendations.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top_level.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common_options()

    def add(
        name: str, help: str, run: Callable[[Client, argparse.Namespace], _commands.Report]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", parents=[common])
        command.set_defaults(connect=client, run=run)
        return command

    predict = add("predict", "predict what a user would rate items", _commands.predict)
    predict.add_argument("user", metavar="USER", help="user id")
    predict.add_argument("items", metavar="ITEM", nargs="+", help='item ids or titles, such as 1 or "Toy Story"')

    recommend = add("recommend", "recommend items to a user", _commands.recommend)
    recommend.add_argument("user", metavar="USER", help="user id")
    _add_count(recommend)
    _add_filter(recommend)
    _add_ranking(recommend)

    similar = add("similar", "find items similar to one or several", _commands.similar)
    similar.add_argument("items", metavar="ITEM", nargs="+", help="item ids or titles")
    _add_count(similar)
    _add_filter(similar)

    embed = add("embed", "embed a new user from ratings, without training", _commands.embed)
    embed.add_argument(
        "--rate", metavar="ITEM=RATING", action="append", type=_rating, default=[], help='such as "Toy Story=5" or 1=5'
    )
    embed.add_argument(
        "--profile", metavar="KEY=ANSWER", action="append", type=_answer, default=[], help="such as age=24"
    )
    embed.add_argument("--recommend", metavar="K", type=_positive, help="also recommend K items")

    search = add("search", "find items by words of their title", _commands.search)
    search.add_argument("words", metavar="WORD", nargs="+", help="words or beginnings of words; all must occur")
    _add_count(search)

    top = add("top", "list the best, worst or most rated items", _commands.top)
    top.add_argument("--order", choices=get_args(Order), default="highest-bias", help="default: %(default)s")
    _add_count(top)

    explain = add("explain", "say which rated items make a prediction", _commands.explain)
    explain.add_argument("user", metavar="USER", help="user id")
    explain.add_argument("item", metavar="ITEM", help="item id or title")
    _add_count(explain, default=5)

    model = add("model", "describe what is served", _commands.model)
    model.add_argument("--list", action="store_true", help="every model version that the server holds")

    load = add("load", "measure how Recommend answers under load", _commands.load)
    load.add_argument("users", metavar="USER", nargs="+", help="user ids, asked for in turn")
    load.add_argument("--seconds", type=_positive_number, default=10.0, help="during which calls begin (%(default)s)")
    load.add_argument("--in-flight", metavar="N", type=_positive, default=8, help="calls at once (%(default)s)")
    load.add_argument("--rate", metavar="R", type=_positive_number, help="calls a second; default: as fast as answered")
    _add_count(load)

    _operations.add_parser(commands)

    completion = commands.add_parser("completion", help="print a shell's completion script")
    completion.add_argument("shell", choices=SHELLS)
    return top_level


def client(arguments: argparse.Namespace) -> Client:
    """The client that the common options describe; ValueError naming the option that is wrong."""
    return Client(
        arguments.address,
        model=ModelRef(arguments.model, version=arguments.model_version, label=arguments.label),
        timeout=arguments.timeout,
        tls=_tls_options.tls(arguments),
        token=_tls_options.token(),
    )


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("server and output")
    address = os.environ.get("COFACTOR_ADDRESS") or "localhost:50051"
    timeout = os.environ.get("COFACTOR_TIMEOUT") or "10"
    authorities = os.environ.get("COFACTOR_TLS_CA") or None
    group.add_argument("--address", metavar="HOST:PORT", default=address, help="default: %(default)s")
    group.add_argument(
        "--timeout", metavar="SECONDS", type=_positive_number, default=timeout, help="default: %(default)s"
    )
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--model", metavar="NAME", default="", help="default: the server's own")
    group.add_argument("--model-version", metavar="VERSION", help="default: its current one")
    group.add_argument("--label", metavar="LABEL", help='a label on a version, such as "canary"')
    _tls_options.add_tls_options(group, authorities)
    return common


def _add_count(command: argparse.ArgumentParser, default: int = 10) -> None:
    command.add_argument("-k", type=_positive, default=default, help="how many to show (default: %(default)s)")


def _add_filter(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("which items")
    group.add_argument("--genre", action="append", default=[], help="with this genre; may be repeated")
    group.add_argument("--without-genre", metavar="GENRE", action="append", default=[], help="without this genre")
    group.add_argument("--from-year", metavar="YEAR", type=int, help="released then or later")
    group.add_argument("--to-year", metavar="YEAR", type=int, help="released then or earlier")
    group.add_argument("--min-count", metavar="N", type=int, default=0, help="rated at least N times")


def _add_ranking(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("ranking")
    group.add_argument("--ranking", choices=get_args(Ranking), help="default: as the model was made for")
    group.add_argument("--diversity", metavar="0..1", type=float, default=0.0, help="make results differ more")
    group.add_argument("--popularity-penalty", metavar="0..10", type=float, default=0.0, help="prefer rarer items")
    group.add_argument("--min-rating", metavar="R", type=float, help="leave out lower predicted ratings")
    group.add_argument("--include-rated", action="store_true", help="also what the user has rated")
    group.add_argument("--popular-if-unknown", action="store_true", help="answer for the average user if unknown")


def _pair(text: str, form: str) -> tuple[str, str]:
    name, separator, value = text.rpartition("=")
    if not (separator and name.strip() and value.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return name.strip(), value.strip()


def _rating(text: str) -> tuple[str, float]:
    name, value = _pair(text, 'ITEM=RATING, such as "Toy Story=5"')
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is not a number") from None


def _answer(text: str) -> tuple[str, str]:
    return _pair(text, "KEY=ANSWER, such as age=24")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number
