"""Parse filter expressions: the syntax of Google's AIP-160, with `in [...]` (decision 0014)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NoReturn, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from cofactor_server.errors import InvalidFilterExpression, quoted
from cofactor_server.ranking.filter_expressions.syntax import (
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

LONGEST_EXPRESSION = 10_000
MOST_CLAUSES = 100
MOST_LEVELS = 32

# AND and OR of one level need parentheses: in AIP-160 OR binds tighter, and almost everywhere else AND does.
_GRAMMAR = r"""
    ?expression: conjunction | disjunction | _term
    conjunction: _term (AND _term)+
    disjunction: _term (OR _term)+
    _term: negation | _group | _clause
    negation: NOT _term
    _group: "(" expression ")"
    _clause: comparison | presence | membership | flag
    comparison: NAME (COMPARISON | COLON) _value
    presence: NAME COLON STAR
    membership: NAME IN "[" _value ("," _value)* "]"
    flag: NAME
    _value: TEXT | NUMBER | BOOLEAN

    COMPARISON: /==|!=|<>|<=|>=|=|<|>/
    COLON: ":"
    STAR: "*"
    TEXT: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
    NUMBER: /-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/
    NAME: /[^\W\d]\w*/
    %declare AND OR NOT IN BOOLEAN
    %import common.WS
    %ignore WS
"""
_KEYWORDS = {"and": "AND", "or": "OR", "not": "NOT", "in": "IN", "true": "BOOLEAN", "false": "BOOLEAN"}
_WRONG_COMPARISONS = {"==": "=", "<>": "!="}
_WRONG_OPERATORS = {"&&": "AND", "||": "OR", "!": "NOT", "&": "AND", "|": "OR"}
_ESCAPED = frozenset("\\\"'*")


def parse(text: str) -> Node:
    """Parse an expression.

    Raises InvalidFilterExpression with the position of the first mistake, also if the expression is too long, has too
    many clauses or too many levels of parentheses and NOT.
    """
    if len(text) > LONGEST_EXPRESSION:
        raise InvalidFilterExpression(
            f"the expression goes on to {len(text)} characters; send at most {LONGEST_EXPRESSION}",
            LONGEST_EXPRESSION + 1,
        )
    try:
        return cast("Node", _parser().parse(text))
    except UnexpectedCharacters as error:
        _explain_characters(text, error.pos_in_stream or 0)
    except UnexpectedToken as error:
        _explain_token(text, error)


@cache
def _parser() -> Lark:
    return Lark(
        _GRAMMAR,
        parser="lalr",
        lexer="basic",
        start="expression",
        transformer=_SyntaxTree(),
        postlex=_Keywords(),
        maybe_placeholders=False,
    )


class _Keywords:
    """Turn names into keywords, whatever their case, and refuse expressions that are too large, as tokens pass by."""

    always_accept = ()

    def process(self, tokens: Iterator[Token]) -> Iterator[Token]:
        """Yield the tokens of one expression."""
        levels = 0
        counts = {"NAME": 0, "NOT": 0}
        for token in tokens:
            if token.type == "NAME":
                token.type = _KEYWORDS.get(token.lower(), "NAME")
            levels += {"LPAR": 1, "RPAR": -1}.get(token.type, 0)
            if levels > MOST_LEVELS:
                _fail(f"parentheses are nested deeper than {MOST_LEVELS} levels; simplify the expression", token)
            if token.type in counts:
                counts[token.type] += 1
                if counts[token.type] > MOST_CLAUSES:
                    what = "condition" if token.type == "NAME" else "NOT"
                    _fail(f"there is a {what} too many; use at most {MOST_CLAUSES}, and `in [...]` for values", token)
            yield token


def _fail(problem: str, token: Token, suggestion: str = "") -> NoReturn:
    raise InvalidFilterExpression(problem, _position(token), suggestion)


def _position(token: Token) -> int:
    return (token.start_pos or 0) + 1


@v_args(inline=True)
class _SyntaxTree(Transformer[Token, Node]):
    """Build the syntax tree while the parser runs, without recursion."""

    def conjunction(self, first: Node, *rest: Any) -> Node:
        return Conjunction((first, *rest[1::2]))

    def disjunction(self, first: Node, *rest: Any) -> Node:
        return Disjunction((first, *rest[1::2]))

    def negation(self, _not: Token, part: Node) -> Node:
        return Negation(part)

    def comparison(self, name: Token, operator: Token, value: Token) -> Node:
        if operator in _WRONG_COMPARISONS:
            right = _WRONG_COMPARISONS[operator]
            _fail(f"{operator} is not an operator; did you mean {right}?", operator, right)
        return Comparison(_name(name), str(operator), _literal(value))

    def presence(self, name: Token, _colon: Token, _star: Token) -> Node:
        return Presence(_name(name))

    def membership(self, name: Token, _in: Token, *values: Token) -> Node:
        return Membership(_name(name), tuple(map(_literal, values)))

    def flag(self, name: Token) -> Node:
        return Flag(_name(name))


def _name(token: Token) -> Name:
    return Name(str(token), _position(token))


def _literal(token: Token) -> Literal:
    position = _position(token)
    if token.type == "BOOLEAN":
        return Literal(token.lower() == "true", position)
    if token.type == "NUMBER":
        number = float(token)
        if number in (float("inf"), float("-inf")):
            _fail("the number is too large", token)
        return Literal(number, position)
    return _text_literal(token, position)


def _text_literal(token: Token, position: int) -> Literal:
    """Return a text without its quotes, its escapes and the * at its ends."""
    characters: list[str] = []
    stars: list[int] = []
    content = iter(enumerate(token[1:-1], start=position + 1))
    for place, character in content:
        if character == "\\":
            character = next(content)[1]
            if character not in _ESCAPED:
                raise InvalidFilterExpression(
                    f"\\{character} is not an escape; write \\\\, \\\", \\' or \\*", place, "\\\\"
                )
        elif character == "*":
            stars.append(len(characters))
        characters.append(character)
    return Literal("".join(characters), position, tuple(stars))


def _explain_characters(text: str, start: int) -> NoReturn:
    """Raise the error for characters that begin no token."""
    for wrong, right in _WRONG_OPERATORS.items():
        if text.startswith(wrong, start):
            raise InvalidFilterExpression(f"{wrong} is not an operator; did you mean {right}?", start + 1, right)
    if text[start] in "\"'":
        raise InvalidFilterExpression("a text begins that has no closing quote", start + 1)
    raise InvalidFilterExpression(f"{quoted(text[start])} has no meaning here; texts stand in quotes", start + 1)


def _explain_token(text: str, error: UnexpectedToken) -> NoReturn:
    """Raise the error for a token in a place where it must not stand."""
    token, expected = error.token, error.accepts
    is_end = token.type == "$END"
    position = len(text) + 1 if is_end else _position(token)
    found = "the expression ends" if is_end else f"there is {quoted(str(token))}"
    if token.type in ("AND", "OR") and expected & {"AND", "OR"}:
        problem, suggestion = "AND and OR are mixed; put parentheses around the one that binds tighter", ""
    elif "TEXT" in expected and token.type == "NAME":
        suggestion = f'"{token}"'
        problem = f"there is {quoted(str(token))}, but a value must follow; texts stand in quotes: {suggestion}"
    elif "TEXT" in expected:
        problem, suggestion = f"{found}, but a value must follow: a text in quotes, a number, true or false", ""
    elif "COMPARISON" in expected:
        problem, suggestion = f"{found}, but an operator must follow: =, !=, <, <=, >, >=, : or in", ""
    elif "NAME" in expected:
        problem, suggestion = f"{found}, but a condition must follow, such as rating_count > 5", ""
    else:
        problem, suggestion = f"{found}, but {_closing(expected)} must follow", ""
    raise InvalidFilterExpression(problem, position, suggestion)


def _closing(expected: Collection[str]) -> str:
    """Say what may follow a complete condition or value."""
    if "LSQB" in expected:
        return "a list such as [1, 2]"
    if "RSQB" in expected:
        return "a comma or ]"
    return "AND, OR or )" if "RPAR" in expected else "AND, OR or the end"
