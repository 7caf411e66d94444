"""Pack attributes of items into messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1.model_pb2 import AttributeValue, ItemAttribute, TextList
from cofactor_server.ranking.attribute_columns.column import AttributeType, Value
from cofactor_server.ranking.attributes import AttributeSummary

_TYPES: dict[AttributeType, ItemAttribute.Type] = {
    "text": ItemAttribute.TYPE_TEXT,
    "number": ItemAttribute.TYPE_NUMBER,
    "boolean": ItemAttribute.TYPE_BOOLEAN,
    "time": ItemAttribute.TYPE_TIME,
    "texts": ItemAttribute.TYPE_TEXTS,
}


def attribute_value(value: Value) -> AttributeValue:
    """Pack the value of an attribute."""
    if isinstance(value, bool):
        return AttributeValue(boolean=value)
    if isinstance(value, str):
        return AttributeValue(text=value)
    if isinstance(value, tuple):
        return AttributeValue(texts=TextList(values=value))
    if isinstance(value, datetime):
        time = Timestamp()
        time.FromDatetime(value)
        return AttributeValue(time=time)
    return AttributeValue(number=value)


def attribute_message(summary: AttributeSummary) -> ItemAttribute:
    """Pack the description of an attribute."""
    lowest, highest = summary.bounds or (None, None)
    return ItemAttribute(
        name=summary.name,
        type=_TYPES[summary.type],
        built_in=summary.is_built_in,
        item_count=summary.n_known,
        distinct_count=summary.n_distinct,
        lowest=None if lowest is None else attribute_value(lowest),
        highest=None if highest is None else attribute_value(highest),
        examples=summary.examples,
    )
