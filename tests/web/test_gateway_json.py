"""Both directions of the gateway's JSON equal google.protobuf.json_format, on random messages of every type."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.v1 import recommender_pb2
from cofactor_web.json_decoding import FieldError, MessageDecoders
from cofactor_web.json_encoding import MessageEncoders, encode_float
from cofactor_web.rpcs import admin_rpcs, api_rpcs

KINDS = ("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32")
KINDS += ("sfixed32", "sfixed64", "sint32", "sint64")


def make_all_kinds():
    """Return a message type with fields of every kind: one, optional, in a oneof, repeated, and in maps."""
    file = descriptor_pb2.FileDescriptorProto(name="test/all_kinds.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    enum = file.enum_type.add(name="Colour")
    for number, name in enumerate(("NONE", "RED", "GREEN")):
        enum.value.add(name=name, number=number)
    message = file.message_type.add(name="AllKinds")
    message.oneof_decl.add(name="choice")
    types = {kind: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}") for kind in KINDS}
    named = {"enum": ".test.Colour", "message": ".test.AllKinds", "time": ".google.protobuf.Timestamp"}
    field_types = {**types, "enum": 14, "message": 11, "time": 11}

    def add(name, kind, **more):
        field = message.field.add(name=name, number=len(message.field) + 1, type=field_types[kind], **more)
        if kind in named:
            field.type_name = named[kind]

    for kind in field_types:
        add(f"one_{kind}", kind, label=1)
        add(f"many_{kind}", kind, label=3)
        add(f"chosen_{kind}", kind, label=1, oneof_index=0)
    for kind in ("float", "enum", "string"):
        message.oneof_decl.add(name=f"_maybe_{kind}")
        add(f"maybe_{kind}", kind, label=1, proto3_optional=True, oneof_index=len(message.oneof_decl) - 1)
    maps = {"string": "float", "int32": "message", "bool": "int64", "uint64": "enum", "int64": "string"}
    for key, value in maps.items():
        entry = message.nested_type.add(name=f"By{key.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=field_types[key])
        entry_value = entry.field.add(name="value", number=2, label=1, type=field_types[value])
        if value in named:
            entry_value.type_name = named[value]
        field = message.field.add(name=f"by_{key}", number=len(message.field) + 1, label=3, type=11)
        field.type_name = f".test.AllKinds.{entry.name}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.AllKinds"))


ALL_KINDS = make_all_kinds()
REQUESTS = {rpc.request_class for rpc in (*api_rpcs(), *admin_rpcs())}
RESPONSES = {rpc.response_class for rpc in (*api_rpcs(), *admin_rpcs())}
TYPES = [ALL_KINDS, *sorted(REQUESTS | RESPONSES, key=lambda kind: kind.DESCRIPTOR.full_name)]


def values(field, depth):
    """Return a strategy for one value of a field."""
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return st.builds(
                lambda s, n: field.message_type._concrete_class(seconds=s, nanos=n),
                st.integers(-(10**9), 10**10),
                st.sampled_from([0, 5 * 10**8, 1]),
            )
        return messages(field.message_type, depth - 1)
    if field.enum_type is not None:
        return st.sampled_from([*field.enum_type.values_by_number, 77])
    return {
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
        FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32).filter(json_format_reads),
        FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
        FieldDescriptor.CPPTYPE_STRING: st.binary() if field.type == field.TYPE_BYTES else st.text(max_size=8),
    }[field.cpp_type]


def json_format_reads(value):
    """Return False for the largest floats: json_format refuses the shortest decimal number that it writes for them."""
    return not 3.40282e38 < abs(value) < math.inf


@st.composite
def messages(draw, descriptor, depth=2):
    """Draw a message with some of its fields set, at most 6."""
    message = message_factory.GetMessageClass(descriptor)()
    fields = [field for field in descriptor.fields if depth > 0 or field.message_type is None]
    if not fields:
        return message
    for field in draw(st.lists(st.sampled_from(fields), max_size=6, unique_by=lambda field: field.number)):
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            if depth == 1 and value.message_type is not None:
                continue
            entries = draw(st.dictionaries(values(key, depth), values(value, depth), max_size=2))
            for name, content in entries.items():
                if value.message_type is not None:
                    getattr(message, field.name)[name].CopyFrom(content)
                else:
                    getattr(message, field.name)[name] = content
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(values(field, depth), max_size=2)))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(values(field, depth)))
        else:
            setattr(message, field.name, draw(values(field, depth)))
    return message


def decode(kind, value):
    message = kind()
    MessageDecoders().decoder(kind.DESCRIPTOR)(message, value)
    return message


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.DESCRIPTOR.name)
def test_both_directions_equal_json_format(kind):
    encode = MessageEncoders().encoder(kind.DESCRIPTOR)

    @settings(max_examples=60 if kind is ALL_KINDS else 8, deadline=None, database=None)
    @given(messages(kind.DESCRIPTOR))
    def check(message):
        expected = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
        assert json.loads(orjson.dumps(encode(message))) == json.loads(json.dumps(expected))
        for original_names in (False, True):
            text = json_format.MessageToJson(message, preserving_proto_field_name=original_names)
            wire = json_format.Parse(text, kind()).SerializeToString(deterministic=True)
            assert decode(kind, orjson.loads(text)).SerializeToString(deterministic=True) == wire

    check()


@settings(max_examples=400, deadline=None, database=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_has_the_shortest_number_of_digits(value):
    rating = json_format.MessageToDict(recommender_pb2.Rating(rating=value), always_print_fields_with_no_presence=True)
    assert encode_float(value) == rating["rating"]


@pytest.mark.parametrize("value", [3.4028234663852886e38, 1e-45, -1.1754943508222875e-38, 16777216.0, 0.1, -0.0])
def test_floats_at_the_ends_of_the_range_keep_their_value(value):
    message = recommender_pb2.Rating(rating=value)
    assert decode(recommender_pb2.Rating, {"rating": encode_float(message.rating)}).rating == message.rating


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"usre": {}}, "usre", "there is no such field; the fields are model, user"),
        (
            {"user": {"history": {"ratings": [{"itemId": "1"}, {"stars": 3}]}}},
            "user.history.ratings[1].stars",
            "no such",
        ),
        ({"user": {"history": {"profile": {"age": 24}}}}, 'user.history.profile["age"]', "a string, not a number"),
        ({"user": {"userId": "1", "history": {}}}, "user.history", "cannot be set together with user_id"),
        ({"user": {"userId": 7}}, "user.user_id", "must be a string, not a number"),
        ({"pageSize": 10, "page_size": 10}, "page_size", "is given twice"),
        ({"pageSize": 1.5}, "page_size", "whole number"),
        ({"pageSize": True}, "page_size", "whole number, not a boolean"),
        ({"pageSize": "1_0"}, "page_size", "whole number"),
        ({"pageSize": 2**31}, "page_size", "from -2147483648 to 2147483647"),
        ({"diversity": 1e39}, "diversity", "too large for a 32-bit float"),
        ({"diversity": "1e400"}, "diversity", "too large"),
        ({"diversity": "nan"}, "diversity", '"NaN"'),
        ({"ranking": "RANKING_BEST"}, "ranking", "must be one of RANKING_UNSPECIFIED, "),
        ({"includeRated": 1}, "include_rated", "true or false"),
        ({"filter": []}, "filter", "must be an object, not a list"),
        ({"filter": {"anyGenres": "Drama"}}, "filter.any_genres", "must be a list, not a string"),
        ({"filter": {"anyGenres": [None]}}, "filter.any_genres[0]", "must be a string, not null"),
        ({"user": {"history": {"events": [{"time": "yesterday"}]}}}, "user.history.events[0].time", "2026-01-31"),
        ([], "", "must be an object, not a list"),
    ],
)
def test_an_error_names_the_field_and_what_is_accepted(body, field, problem):
    with pytest.raises(FieldError) as caught:
        decode(recommender_pb2.RecommendRequest, body)
    assert caught.value.field == field
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"pageSize": "10", "diversity": "0.5"}, {"page_size": 10, "diversity": 0.5}),
        ({"pageSize": 10.0, "ranking": 2}, {"page_size": 10, "ranking": 2}),
        ({"pageSize": None, "user": None, "filter": {"minRatingCount": "20"}}, {"filter": {"min_rating_count": 20}}),
    ],
)
def test_other_spellings_of_protojson_are_accepted(body, expected):
    assert decode(recommender_pb2.RecommendRequest, body) == recommender_pb2.RecommendRequest(**expected)
