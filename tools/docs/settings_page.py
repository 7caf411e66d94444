"""docs/settings.md, made from the configuration: `python -m tools.docs.settings_page` prints it."""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any

from cofactor_server.config import ServerConfig, flag_of, variable_of

_HEAD = """# Settings

<!-- Written by `python -m tools.docs.settings_page`; a test compares. -->

Every setting of `cofactor-serve` can be given as a flag, as an environment variable, or under its key in a TOML file
named by `--config` or `COFACTOR_CONFIG`. A flag wins over the environment, and the environment over the file. Keys that
do not exist are refused. `cofactor-serve --print-config` prints the settings in force as such a file.
[operations.md](operations.md) says what they are for.
"""
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def documentation() -> str:
    """The page, a table of all settings in the order of the configuration."""
    hints = typing.get_type_hints(ServerConfig)
    rows = [_row(each, hints[each.name]) for each in dataclasses.fields(ServerConfig)]
    table = ["| flag | variable | key | type | default | meaning |", "|---|---|---|---|---|---|", *rows]
    return "\n".join([_HEAD, *table, ""])


def _row(each: dataclasses.Field[Any], hint: Any) -> str:
    flag = flag_of(each.name)
    if hint is bool:
        flag = flag.replace("--", "--[no-]", 1)
    cells = [f"`{flag}`", f"`{variable_of(each.name)}`", f"`{each.name}`", _type(each, hint), _default(each)]
    return "| " + " | ".join([*cells, each.metadata["about"].replace("<", "&lt;")]) + " |"


def _type(each: dataclasses.Field[Any], hint: Any) -> str:
    choices = typing.get_args(hint)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low, high = each.metadata["low"], each.metadata["high"]
    if high is not None:
        return f"{_KINDS[hint]}, {low:,} to {high:,}"
    return f"{_KINDS[hint]}, at least {low:,}" if low is not None else _KINDS[hint]


def _default(each: dataclasses.Field[Any]) -> str:
    if each.default is dataclasses.MISSING:
        return "required"
    if isinstance(each.default, bool):
        return f"`{str(each.default).lower()}`"
    return f"`{each.default}`" if each.default != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write(documentation())
