"""Filter expressions: conditions on the attributes of items, written as text (docs/filters.md).

    schema = catalogue.attributes.schema
    cheap = compile_expression('category = "shoes" AND price < 50', schema)
    cheap.mask(catalogue)  # (n_items,), True for items that meet it

A mistake in the text raises `cofactor_server.errors.InvalidFilterExpression`; its rename_field() names another field
than filter.expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cofactor_server.arrays import BoolArray
from cofactor_server.ranking.filter_expressions.compilation import Schema, compile_node
from cofactor_server.ranking.filter_expressions.conditions import Condition
from cofactor_server.ranking.filter_expressions.grammar import parse

if TYPE_CHECKING:
    from cofactor_server.ranking.catalogue import Catalogue

__all__ = ["CompiledFilter", "Schema", "compile_expression"]


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A filter expression that is checked and ready to be evaluated.

    Attributes:
        text: the expression.
        condition: what it states.
    """

    text: str
    condition: Condition

    def mask(self, catalogue: Catalogue) -> BoolArray:
        """Return (n_items,), True for items that meet the expression; the caller may change the array.

        The catalogue must have the schema that the expression was compiled for.
        """
        return self.condition.mask(catalogue.attributes)


def compile_expression(text: str, schema: Schema) -> CompiledFilter:
    """Compile an expression for catalogues whose attributes have these names and types.

    Raises:
        InvalidFilterExpression: the expression has a mistake, whose position the message names, or is too large.
    """
    return CompiledFilter(text, compile_node(parse(text), schema))
