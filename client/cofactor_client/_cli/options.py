"""Options that subcommands share, and the types of their arguments."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import get_args

from google.protobuf import json_format

from cofactor.v1 import recommender_pb2
from cofactor_client._channel import Tls
from cofactor_client._client import Client
from cofactor_client._filter_types import ItemFilter
from cofactor_client._request_types import ModelRef, Ranking, RecommendOptions


class UsageError(ValueError):
    """Options are missing or contradict each other. The message says what to do."""


def connection_options() -> argparse.ArgumentParser:
    """Create the parent parser of all subcommands that call a server."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("server and output")
    address = os.environ.get("COFACTOR_ADDRESS") or "localhost:50051"
    timeout = os.environ.get("COFACTOR_TIMEOUT") or "10"
    group.add_argument("--address", metavar="HOST:PORT", default=address, help="default: %(default)s")
    group.add_argument(
        "--timeout", metavar="SECONDS", type=positive_number, default=timeout, help="default: %(default)s"
    )
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--model", metavar="NAME", default="", help="default: the server's default model")
    group.add_argument("--model-version", metavar="VERSION", help="default: the model's current version")
    group.add_argument("--label", metavar="LABEL", help='use the version with this label, such as "canary"')
    add_tls_options(group, os.environ.get("COFACTOR_TLS_CA") or None)
    return parent


def connect(arguments: argparse.Namespace) -> Client:
    """Create the client that the connection options describe. Raises ValueError that names the wrong option."""
    return Client(
        arguments.address,
        model=ModelRef(arguments.model, version=arguments.model_version, label=arguments.label),
        timeout=arguments.timeout,
        tls=tls_settings(arguments),
        token=token(),
    )


def add_tls_options(options: argparse._ActionsContainer, authorities: str | None) -> None:
    """Add the TLS options. `authorities` is the default of --ca, or "system" to make --tls the default."""
    trusts_system = authorities == "system"
    options.add_argument(
        "--tls", action="store_true", default=trusts_system, help="use TLS and trust the well-known authorities"
    )
    ca = None if trusts_system else authorities
    options.add_argument("--ca", metavar="FILE", default=ca, help="use TLS and trust these authorities (PEM)")
    options.add_argument("--cert", metavar="FILE", help="the client's own certificate (PEM); requires --key")
    options.add_argument("--key", metavar="FILE", help="private key of --cert (PEM)")
    options.add_argument(
        "--server-name", metavar="NAME", help="name in the server's certificate, if it differs from the address"
    )


def tls_settings(arguments: argparse.Namespace) -> Tls | None:
    """Return the TLS settings of the options, or None for plain text. Raises ValueError for half a key pair."""
    files = arguments.ca, arguments.cert, arguments.key
    return Tls(*files, server_name=arguments.server_name) if arguments.tls or any(files) else None


def token() -> str | None:
    """Return the bearer token in COFACTOR_TOKEN."""
    return os.environ.get("COFACTOR_TOKEN") or None


def add_count_option(parser: argparse.ArgumentParser, default: int = 10) -> None:
    """Add -k."""
    parser.add_argument("-k", type=positive_integer, default=default, help="number of results (default: %(default)s)")


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that restrict which items are returned."""
    group = parser.add_argument_group("filter")
    group.add_argument("--genre", action="append", default=[], help="only items with this genre; may be repeated")
    group.add_argument(
        "--without-genre",
        metavar="GENRE",
        action="append",
        default=[],
        help="only items without this genre; may be repeated",
    )
    group.add_argument("--from-year", metavar="YEAR", type=int, help="only items released in this year or later")
    group.add_argument("--to-year", metavar="YEAR", type=int, help="only items released in this year or earlier")
    group.add_argument("--min-count", metavar="N", type=int, default=0, help="only items rated at least N times")
    group.add_argument(
        "--filter",
        metavar="EXPRESSION",
        default="",
        help="only items for which this is true, such as 'price < 50 AND NOT tags:\"sale\"'; `cofactor model` lists "
        "the attributes",
    )


def item_filter(arguments: argparse.Namespace) -> ItemFilter:
    """Return the filter of the options."""
    return ItemFilter(
        any_genres=tuple(arguments.genre),
        excluded_genres=tuple(arguments.without_genre),
        min_release_year=arguments.from_year,
        max_release_year=arguments.to_year,
        min_rating_count=arguments.min_count,
        expression=arguments.filter,
    )


def add_score_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that change the score by which recommendations are ranked. Returns their group."""
    group = parser.add_argument_group("ranking")
    group.add_argument("--ranking", choices=get_args(Ranking), help="default: the model's own")
    group.add_argument("--popularity-penalty", metavar="0..10", type=float, default=0.0, help="prefer rarer items")
    return group


def add_ranking_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change how recommendations are ranked."""
    group = add_score_options(parser)
    group.add_argument("--diversity", metavar="0..1", type=float, default=0.0, help="make results differ more")
    group.add_argument("--min-rating", metavar="R", type=float, help="leave out items with a lower predicted rating")
    group.add_argument("--include-rated", action="store_true", help="return items that the user has rated, too")
    group.add_argument(
        "--explore", metavar="0..1", type=float, default=0.0, help="share of the places for items of an overlay"
    )
    group.add_argument(
        "--popular-if-unknown", action="store_true", help="recommend for the average user if the user is unknown"
    )
    group.add_argument(
        "--probabilities", action="store_true", help="say how probable it is that the user has an event of each item"
    )
    rules = group.add_mutually_exclusive_group()
    rules.add_argument("--rule-set", metavar="NAME", help="rank by this rule set of the model")
    rules.add_argument("--rules", metavar="FILE", help="rank by the rules in this file (a RuleSet in ProtoJSON)")
    group.add_argument(
        "--explain-rules", action="store_true", help="say which rules had a say in the place of each item"
    )


def recommend_options(arguments: argparse.Namespace) -> RecommendOptions:
    """Return the filter and ranking of the options."""
    options = RecommendOptions(
        filter=item_filter(arguments),
        include_rated=arguments.include_rated,
        diversity=arguments.diversity,
        popularity_penalty=arguments.popularity_penalty,
        unknown_user="popular" if arguments.popular_if_unknown else "error",
        exploration_share=arguments.explore,
        return_probabilities=arguments.probabilities,
    )
    if arguments.ranking is not None:
        options["ranking"] = arguments.ranking
    if arguments.min_rating is not None:
        options["min_predicted_rating"] = arguments.min_rating
    if arguments.rule_set is not None:
        options["rule_set"] = arguments.rule_set
    if arguments.rules is not None:
        options["rules"] = read_rules(arguments.rules)
    if arguments.explain_rules:
        options["explain_rules"] = True
    return options


def read_rules(path: str) -> recommender_pb2.RuleSet:
    """Read a RuleSet in ProtoJSON. Raises UsageError naming the file and the mistake."""
    try:
        return json_format.Parse(Path(path).read_text(encoding="utf-8"), recommender_pb2.RuleSet())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise UsageError(f"--rules {path}: {error}") from None


def item_rating(text: str) -> tuple[str, float]:
    """Parse ITEM=RATING."""
    item, value = _split_pair(text, 'ITEM=RATING, such as "Toy Story=5"')
    try:
        return item, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is not a number") from None


def event(text: str) -> tuple[str, str, float]:
    """Parse ITEM, ITEM=COUNT, ITEM=TYPE or ITEM=TYPE:COUNT -> item, type and count."""
    if "=" not in text:
        if not text.strip():
            raise argparse.ArgumentTypeError(f"{text!r} is not an item")
        return text.strip(), "", 1.0
    item, value = _split_pair(text, 'ITEM, ITEM=COUNT, ITEM=TYPE or ITEM=TYPE:COUNT, such as "Toy Story=view:2"')
    event_type, separator, count = value.rpartition(":")
    if separator:
        return item, event_type.strip(), positive_number(count)
    try:
        float(value)
    except ValueError:
        return item, value, 1.0
    return item, "", positive_number(value)


def add_event_option(parser: argparse.ArgumentParser) -> None:
    """Add --event."""
    parser.add_argument(
        "--event",
        metavar="ITEM[=[TYPE:]COUNT]",
        action="append",
        type=event,
        default=[],
        help='an event of a new user, for models that learnt from events, such as 1, 1=3, 1=purchase or "Toy Story='
        'view:2"; may be repeated',
    )


def profile_entry(text: str) -> tuple[str, str]:
    """Parse KEY=ANSWER."""
    return _split_pair(text, "KEY=ANSWER, such as age=24")


def positive_integer(text: str) -> int:
    """Parse an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _split_pair(text: str, form: str) -> tuple[str, str]:
    name, separator, value = text.rpartition("=")
    if not (separator and name.strip() and value.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return name.strip(), value.strip()
