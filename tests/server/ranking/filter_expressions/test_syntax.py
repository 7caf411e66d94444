"""Mistakes in filter expressions are named with their position, and with what was probably meant."""

from __future__ import annotations

import pytest

from cofactor_server.errors import InvalidFilterExpression
from cofactor_server.ranking.filter_expressions import compile_expression

SCHEMA = {
    "title": "text",
    "genres": "texts",
    "brand": "text",
    "price": "number",
    "in_stock": "boolean",
    "tags": "texts",
    "added": "time",
    "größe": "number",
}


@pytest.mark.parametrize(
    "expression",
    [
        'brand = "Acme" AND price < 50 AND NOT tags:"sale"',
        "brand in [\"Acme\", 'Bolt'] or (in_stock and not price:*)",
        "NOT (NOT NOT in_stock = FALSE)",
        "größe>=-1.5e3AND price:*",
        'added >= "2024-05-17" AND added != "2024-05-17T12:30:00.25+02:00"',
        r'brand = "\"\\\*\'" AND tags in ["a"]',
        "\n( price<1 )\t",
    ],
)
def test_expressions_without_mistakes_compile(expression):
    assert compile_expression(expression, SCHEMA).text == expression


# expression -> position of the mistake, part of the message, suggestion.
MISTAKES = {
    "": (1, "the expression ends, but a condition must follow", ""),
    "price <": (8, "the expression ends, but a value must follow", ""),
    "(price < 5": (11, "the expression ends, but AND, OR or \\) must follow", ""),
    "price < 5)": (10, 'there is "\\)", but AND, OR or the end must follow', ""),
    "price < 5 in_stock": (11, "but AND, OR or the end must follow", ""),
    "price 5": (7, "but an operator must follow", ""),
    "AND": (1, 'there is "AND", but a condition must follow', ""),
    "price in 5": (10, "but a list such as \\[1, 2\\] must follow", ""),
    "price in []": (11, "but a value must follow", ""),
    "price in [1 2]": (13, "but a comma or \\] must follow", ""),
    "price = 5 AND in_stock OR in_stock": (24, "AND and OR are mixed; put parentheses", ""),
    "in_stock OR in_stock AND price = 5": (22, "AND and OR are mixed; put parentheses", ""),
    "price == 5": (7, "== is not an operator; did you mean =\\?", "="),
    "price <> 5": (7, "did you mean !=\\?", "!="),
    "in_stock && in_stock": (10, "did you mean AND\\?", "AND"),
    "in_stock || in_stock": (10, "did you mean OR\\?", "OR"),
    "!in_stock": (1, "did you mean NOT\\?", "NOT"),
    "brand = Acme": (9, 'texts stand in quotes: "Acme"', '"Acme"'),
    'brand = "Acme': (9, "a text begins that has no closing quote", ""),
    "price = €5": (9, '"€" has no meaning here', ""),
    'brand = "a\\n"': (11, "is not an escape", "\\\\"),
    'brand = "a*b"': (9, "a \\* may stand at the beginning and the end", ""),
    "prize < 5": (1, '"prize" is not an attribute of the model; did you mean price\\?', "price"),
    "Price < 5": (1, "did you mean price\\?", "price"),
    "in_stock AND colour:*": (14, "the model has title, genres, brand, price", ""),
    'price = "5"': (9, '"5" is not a number, and price must be compared with one, as in price < 5', ""),
    "price = true": (9, "true is not a number", ""),
    "price < 1e999": (9, "the number is too large", ""),
    'price:"5"': (1, "price is a number; compare it", "price < 5"),
    "price": (1, "price is a number; compare it", "price < 5"),
    'price in [1, "2"]': (14, '"2" is not a number', ""),
    "brand = 5": (9, '5 is not a text, and brand must be compared with one; did you mean "5"\\?', '"5"'),
    "brand = true": (9, 'did you mean "true"\\?', '"true"'),
    'tags = "sale"': (1, 'tags is several texts; ask for one of them, as in tags:"…"', ""),
    "tags:5": (6, "5 is not a text", '"5"'),
    "in_stock = 1": (12, "1 is not true or false", ""),
    "in_stock < true": (1, "in_stock is true or false; use = or !=", "in_stock = true"),
    "in_stock in [true]": (1, "use = instead of in", "in_stock = true"),
    "added > 2024": (9, '2024 is not a time, .*did you mean "2025-01-31"\\?', '"2025-01-31"'),
    'added > "2024-02-30"': (9, '"2024-02-30" is not a time; write "2025-01-31" or', ""),
    'added > "20240230"': (9, "is not a time", ""),
    'added > "2024-01-01T25:00"': (9, "is not a time", ""),
}


@pytest.mark.parametrize("expression", MISTAKES)
def test_a_mistake_is_named_with_its_position_and_a_suggestion(expression):
    position, said, suggestion = MISTAKES[expression]
    with pytest.raises(
        InvalidFilterExpression, match=f"^filter.expression: at character {position}, .*{said}"
    ) as error:
        compile_expression(expression, SCHEMA)
    assert (error.value.position, error.value.suggestion) == (position, suggestion)
    assert error.value.metadata == {"position": str(position)} | ({"suggestion": suggestion} if suggestion else {})


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("price < 5" + " " * 10_000, "goes on to 10009 characters; send at most 10000"),
        (" OR ".join(["price < 5"] * 101), "a condition too many; use at most 100"),
        ("NOT " * 101 + "in_stock", "a NOT too many; use at most 100"),
        ("(" * 33 + "in_stock" + ")" * 33, "nested deeper than 32 levels"),
        (" OR ".join(['brand:"a"'] * 11), "a search in texts too many; use at most 10"),
        (" OR ".join(['brand = "*a"'] * 11), "a search in texts too many"),
        (" OR ".join(['title = "a"'] * 11), "a search in texts too many"),
        (" OR ".join(['title in ["a"]'] * 11), "a search in texts too many"),
    ],
)
def test_expressions_that_cost_too_much_are_refused(expression, said):
    with pytest.raises(InvalidFilterExpression, match=said):
        compile_expression(expression, SCHEMA)


@pytest.mark.parametrize(
    "expression",
    [
        " OR ".join(["price < 5"] * 100),
        "(" * 32 + "in_stock" + ")" * 32,
        "(NOT " * 32 + "NOT " * 68 + "in_stock" + ")" * 32,
        " OR ".join(['brand = "a*"'] * 100),
        'brand in ["' + '", "'.join(["abc"] * 1_400) + '"]',
    ],
)
def test_large_expressions_compile(expression):
    assert compile_expression(expression, SCHEMA).text == expression


def test_the_error_can_name_another_field():
    with pytest.raises(InvalidFilterExpression) as error:
        compile_expression("price", SCHEMA)
    error.value.rename_field("rules[2].condition")
    assert str(error.value).startswith("rules[2].condition: at character 1, price is a number")
