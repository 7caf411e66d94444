"""The syntax tree of a filter expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Name:
    """Name of an attribute; positions in an expression count from 1."""

    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number or a boolean.

    Attributes:
        value: the text without quotes and escapes; the number; the boolean.
        position: where it begins.
        stars: places in the text of every * that is not escaped.
    """

    value: str | float | bool
    position: int
    stars: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute, an operator (=, !=, <, <=, >, >= or :) and a value."""

    name: Name
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """An attribute that is one of several values."""

    name: Name
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """An attribute whose value is known."""

    name: Name


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean attribute alone."""

    name: Name


@dataclass(frozen=True, slots=True)
class Negation:
    """An expression that must not be true."""

    part: Node


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Expressions that must all be true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Expressions of which one must be true."""

    parts: tuple[Node, ...]


Clause: TypeAlias = Comparison | Membership | Presence | Flag
Node: TypeAlias = Clause | Negation | Conjunction | Disjunction
