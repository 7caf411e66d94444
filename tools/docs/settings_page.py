"""Write docs/settings.md from the configuration: `python -m tools.docs.settings_page` prints it."""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any

from cofactor_server.config import ServerConfig, environment_variable_of, flag_of

_HEAD = """# Settings

<!-- Written by `python -m tools.docs.settings_page`; a test compares. -->

Every setting of `cofactor-serve` can be given as a flag, as an environment variable, or under its key in a TOML file
named by `--config` or `COFACTOR_CONFIG`. A flag overrides the environment, and the environment overrides the file.
Unknown keys are refused. `cofactor-serve --print-config` prints the current settings as such a file.
[operations.md](operations.md) explains how to use them.
"""
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def documentation() -> str:
    """Return the page: a table of all settings in the order of the configuration."""
    hints = typing.get_type_hints(ServerConfig)
    rows = [_row(setting, hints[setting.name]) for setting in dataclasses.fields(ServerConfig)]
    table = ["| flag | variable | key | type | default | meaning |", "|---|---|---|---|---|---|", *rows]
    return "\n".join([_HEAD, *table, ""])


def _row(setting: dataclasses.Field[Any], hint: Any) -> str:
    flag = flag_of(setting.name)
    if hint is bool:
        flag = flag.replace("--", "--[no-]", 1)
    names = [f"`{name}`" for name in (flag, environment_variable_of(setting.name), setting.name)]
    meaning = setting.metadata["help"].replace("<", "&lt;")
    return "| " + " | ".join([*names, _type(setting, hint), _default(setting), meaning]) + " |"


def _type(setting: dataclasses.Field[Any], hint: Any) -> str:
    choices = typing.get_args(hint)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low, high = setting.metadata["low"], setting.metadata["high"]
    if high is not None:
        return f"{_KINDS[hint]}, {low:,} to {high:,}"
    return f"{_KINDS[hint]}, at least {low:,}" if low is not None else _KINDS[hint]


def _default(setting: dataclasses.Field[Any]) -> str:
    if setting.default is dataclasses.MISSING:
        return "required"
    if isinstance(setting.default, bool):
        return f"`{str(setting.default).lower()}`"
    return f"`{setting.default}`" if setting.default != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write(documentation())
