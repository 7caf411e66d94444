"""Check a filter expression against the types of the attributes, and turn it into conditions on columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NoReturn, TypeAlias, cast

from cofactor_server.arrays import BoolArray
from cofactor_server.errors import InvalidFilterExpression, quoted
from cofactor_server.ranking.attribute_columns.column import AttributeType, Column, to_microseconds
from cofactor_server.ranking.attribute_columns.numbers import BooleanColumn, NumberColumn
from cofactor_server.ranking.attribute_columns.texts import TextColumn, TextsColumn
from cofactor_server.ranking.filter_expressions.conditions import AllOf, AnyOf, Condition, IsKnown, Not, Test
from cofactor_server.ranking.filter_expressions.syntax import (
    Clause,
    Comparison,
    Conjunction,
    Disjunction,
    Flag,
    Literal,
    Membership,
    Name,
    Negation,
    Node,
    Presence,
)

Schema: TypeAlias = Mapping[str, AttributeType]
ColumnTest: TypeAlias = Callable[[Column], BoolArray]

# Conditions that read texts one by one: searches, and all on attributes in which every item has its own text.
MOST_TEXT_SEARCHES = 10
_MOST_LISTED = 10
_OWN_TEXTS = frozenset(("title",))
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?")
_WITH_ARTICLE = {
    "text": "a text",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time",
    "texts": "several texts",
}
_EXAMPLES = {
    "text": '{0} = "…"',
    "number": "{0} < 5",
    "boolean": "{0} = true",
    "time": '{0} > "2025-01-31"',
    "texts": '{0}:"…"',
}


def compile_node(node: Node, schema: Schema) -> Condition:
    """Return the condition that a syntax tree states; raises InvalidFilterExpression."""
    compiler = _Compiler(schema)
    return compiler.condition(node)


@dataclass
class _Compiler:
    schema: Schema
    n_searches: int = 0

    def condition(self, node: Node) -> Condition:
        """Return the condition of a node."""
        if isinstance(node, Conjunction):
            return AllOf(tuple(self.condition(part) for part in node.parts))
        if isinstance(node, Disjunction):
            return AnyOf(tuple(self.condition(part) for part in node.parts))
        if isinstance(node, Negation):
            return Not(self.condition(node.part))
        return self._clause(node)

    def _clause(self, clause: Clause) -> Condition:
        kind = self._type_of(clause.name)
        if isinstance(clause, Presence):
            return IsKnown(clause.name.text)
        if isinstance(clause, Flag):
            if kind != "boolean":
                _refuse(clause.name, kind, "compare it")
            return Test(clause.name.text, _equals(True))
        if isinstance(clause, Membership):
            return Test(clause.name.text, self._membership(clause, kind))
        return Test(clause.name.text, self._comparison(clause, kind))

    def _type_of(self, name: Name) -> AttributeType:
        kind = self.schema.get(name.text)
        if kind is not None:
            return kind
        by_lower = {known.lower(): known for known in self.schema}
        near = get_close_matches(name.text.lower(), by_lower, n=1, cutoff=0.6)
        suggestion = by_lower[near[0]] if near else ""
        listed = ", ".join([*list(self.schema)[:_MOST_LISTED], *(["…"] if len(self.schema) > _MOST_LISTED else [])])
        hint = f"did you mean {suggestion}?" if near else f"the model has {listed}"
        raise InvalidFilterExpression(
            f"{quoted(name.text)} is not an attribute of the model; {hint}", name.position, suggestion
        )

    def _comparison(self, clause: Comparison, kind: AttributeType) -> ColumnTest:
        operator, value = clause.operator, clause.value
        if kind == "texts":
            if operator != ":":
                _refuse(clause.name, kind, "ask for one of them")
            return _has_any([_text(value, clause.name, kind)])
        if operator == ":" and kind != "text":
            _refuse(clause.name, kind, "compare it")
        if kind == "text":
            return self._text_comparison(operator, value, clause.name)
        if kind == "boolean":
            if operator not in ("=", "!="):
                _refuse(clause.name, kind, "use = or !=")
            return _equals(_boolean(value, clause.name) == (operator == "="))
        number = _number(value, clause.name) if kind == "number" else _time(value, clause.name)
        return _compare(operator, number)

    def _text_comparison(self, operator: str, value: Literal, name: Name) -> ColumnTest:
        text = _text(value, name, "text")
        if operator == ":" or name.text in _OWN_TEXTS or (operator in ("=", "!=") and 0 in value.stars):
            self._count_search(name)
        if operator == ":":
            wanted = text.casefold()
            return _select(lambda other: wanted in other.casefold())
        if operator not in ("=", "!=") or not value.stars:
            return _compare_text(operator, text)
        matches = _pattern(value, text)
        return matches if operator == "=" else lambda column: column.is_known() & ~matches(column)

    def _count_search(self, name: Name) -> None:
        self.n_searches += 1
        if self.n_searches > MOST_TEXT_SEARCHES:
            raise InvalidFilterExpression(
                f"there is a search in texts too many; use at most {MOST_TEXT_SEARCHES} conditions on titles, "
                "with : or with a * at the beginning",
                name.position,
            )

    def _membership(self, clause: Membership, kind: AttributeType) -> ColumnTest:
        name, values = clause.name, clause.values
        if kind == "boolean":
            _refuse(name, kind, "use = instead of in")
        if kind in ("number", "time"):
            read = _number if kind == "number" else _time
            return _is_in([read(value, name) for value in values])
        texts = [_text(value, name, kind) for value in values]
        if name.text in _OWN_TEXTS:
            self._count_search(name)
        return _has_any(texts) if kind == "texts" else _text_is_in(texts)


def _pattern(value: Literal, text: str) -> ColumnTest:
    """Return the condition of a text with a * at one of its ends or at both."""
    last = len(text) - 1
    if any(0 < star < last for star in value.stars):
        raise InvalidFilterExpression(
            "a * may stand at the beginning and the end of a text only; write \\* for the character", value.position
        )
    is_open_left, is_open_right = 0 in value.stars, last > 0 and last in value.stars
    inner = text[int(is_open_left) : len(text) - int(is_open_right)]
    if not inner:
        return lambda column: column.is_known()
    if not is_open_left:
        return lambda column: cast("TextColumn", column).has_prefix(inner)
    return _select(lambda other: inner in other) if is_open_right else _select(lambda other: other.endswith(inner))


def _compare(operator: str, number: float) -> ColumnTest:
    return lambda column: cast("NumberColumn", column).compare(operator, number)


def _compare_text(operator: str, text: str) -> ColumnTest:
    return lambda column: cast("TextColumn", column).compare(operator, text)


def _is_in(numbers: list[float]) -> ColumnTest:
    return lambda column: cast("NumberColumn", column).is_in(numbers)


def _text_is_in(texts: list[str]) -> ColumnTest:
    return lambda column: cast("TextColumn", column).is_in(texts)


def _has_any(texts: list[str]) -> ColumnTest:
    return lambda column: cast("TextsColumn", column).has_any(texts)


def _equals(value: bool) -> ColumnTest:
    return lambda column: cast("BooleanColumn", column).equals(value)


def _select(condition: Callable[[str], bool]) -> ColumnTest:
    return lambda column: cast("TextColumn", column).select(condition)


def _text(value: Literal, name: Name, kind: AttributeType) -> str:
    if not isinstance(value.value, str):
        _mismatch(value, name, kind, f'"{_shown(value.value)}"')
    return value.value


def _number(value: Literal, name: Name) -> float:
    if isinstance(value.value, bool | str):
        _mismatch(value, name, "number")
    return value.value


def _boolean(value: Literal, name: Name) -> bool:
    if not isinstance(value.value, bool):
        _mismatch(value, name, "boolean")
    return value.value


def _time(value: Literal, name: Name) -> int:
    """Return a date or a time in microseconds since 1970; without a zone it is in UTC."""
    text = value.value
    if not isinstance(text, str):
        _mismatch(value, name, "time", '"2025-01-31"')
    try:
        if not _RFC_3339.fullmatch(text):
            raise ValueError
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFilterExpression(
            f'{quoted(text)} is not a time; write "2025-01-31" or "2025-01-31T12:30:00Z"', value.position
        ) from None
    return to_microseconds(time if time.tzinfo else time.replace(tzinfo=UTC))


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _mismatch(value: Literal, name: Name, kind: AttributeType, suggestion: str = "") -> NoReturn:
    given = quoted(value.value) if isinstance(value.value, str) else _shown(value.value)
    hint = f"; did you mean {suggestion}?" if suggestion else f", as in {_EXAMPLES[kind].format(name.text)}"
    raise InvalidFilterExpression(
        f"{given} is not {_WITH_ARTICLE[kind] if kind != 'texts' else 'a text'}, and {name.text} must be compared with "
        f"one{hint}",
        value.position,
        suggestion,
    )


def _refuse(name: Name, kind: AttributeType, remedy: str) -> NoReturn:
    example = _EXAMPLES[kind].format(name.text)
    raise InvalidFilterExpression(
        f"{name.text} is {_WITH_ARTICLE[kind]}; {remedy}, as in {example}",
        name.position,
        example if "…" not in example else "",
    )
