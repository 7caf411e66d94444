"""Read the values of an attribute item by item, in a form that is quick to compare."""

from __future__ import annotations

from cofactor_server.ranking.attribute_columns.column import Column
from cofactor_server.ranking.attribute_columns.texts import CodedTextColumn, TextsColumn
from cofactor_server.ranking.rules.rule_set import Values, ValuesOfItem


def values_of(column: Column) -> ValuesOfItem:
    """Return a function from the row of an item to the different values that it has in a column.

    The code of a text stands for it.
    """
    if isinstance(column, TextsColumn):
        return _TextCodes(column)
    if isinstance(column, CodedTextColumn):
        codes = column.codes

        def code_of_item(row: int) -> Values:
            code = int(codes[row])
            return (code,) if code >= 0 else ()

        return code_of_item

    def value_of_item(row: int) -> Values:
        value = column.value(row)
        if isinstance(value, tuple):  # the texts of a version and its overlay have no codes in common
            return tuple(dict.fromkeys(value))
        return () if value is None else (value,)

    return value_of_item


class _TextCodes:
    """Returns the codes of the texts of an item."""

    def __init__(self, column: TextsColumn) -> None:
        self._codes = column.codes
        self._offsets = column.offsets

    def __call__(self, row: int) -> Values:
        """Return the different codes."""
        return tuple(dict.fromkeys(self._codes[self._offsets[row] : self._offsets[row + 1]].tolist()))
