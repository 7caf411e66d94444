"""T11: any body gets a response or a documented error, never UNKNOWN or INTERNAL."""

from __future__ import annotations

import random
import string
from collections import Counter

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cofactor.v1 import catalog_pb2, recommender_pb2
from tests.support.checking_clients import connect
from tests.support.figures import FULL, SEED, figures
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (recommender_pb2.DESCRIPTOR, catalog_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
NUMBERS = (0, 1, -1, 7, 2**31 - 1, -(2**31))
REALS = (0.0, -1.0, 3.5, 1e38, float("nan"), float("inf"), -0.0)


class Bodies:
    """Random bodies for one message type: noise, messages with random fields, and such messages with flipped bits."""

    def __init__(self, descriptor: Descriptor, chance: random.Random, ids: list[str]) -> None:
        self._type = GetMessageClass(descriptor)
        self._chance = chance
        self._ids = ids

    def next(self) -> bytes:
        kind = self._chance.random()
        if kind < 0.25:
            return self._chance.randbytes(self._chance.choice((0, 1, 3, 20, 300)))
        body = bytearray(self._message(self._type(), 0).SerializeToString())
        if kind < 0.6 and body:
            for _ in range(self._chance.randint(1, 4)):
                body[self._chance.randrange(len(body))] ^= 1 << self._chance.randrange(8)
        return bytes(body)

    def _message(self, message: Message, depth: int) -> Message:
        for field in message.DESCRIPTOR.fields:
            if self._chance.random() < 0.5 and depth < 5:
                self._fill(message, field, depth)
        return message

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            values = getattr(message, field.name)
            if kind.fields_by_name["value"].message_type is not None:
                self._message(values[self._text()], depth + 1)
            else:
                values[self._text()] = self._text()
        elif field.is_repeated:
            for _ in range(self._chance.choice((0, 1, 2, 5))):
                if kind is not None:
                    self._message(getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(self._value(field))
        elif kind is not None:
            getattr(message, field.name).SetInParent()
            self._message(getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> object:
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._text()
        if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return self._chance.choice(REALS)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self._chance.choice((0, 1, 2, 99))
        return self._chance.choice(NUMBERS)

    def _text(self) -> str:
        return self._chance.choice(
            (
                "",
                self._chance.choice(self._ids),
                "".join(self._chance.choices(string.printable, k=20)),
                "\N{GREEK SMALL LETTER ALPHA}" * 70,
            )
        )


def call(channel: grpc.Channel, name: str, streams: bool, body: bytes) -> tuple[str, str]:
    """Call a method with a body; return the code and the message of its status."""
    try:
        if streams:
            for _ in channel.stream_stream(name)(iter([body]), timeout=20):
                pass
        else:
            channel.unary_unary(name)(body, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def test_t11_random_bodies_never_get_unknown_or_internal(versions, tmp_path) -> None:
    n_bodies = 10_000 if FULL else 200
    codes: Counter[str] = Counter()
    bad: list[str] = []
    with (
        figures("T11", bodies_per_method=n_bodies, methods=len(METHODS)) as found,
        ServerProcess(versions.models, tmp_path / "log", "--poll-interval-s", "0") as server,
        connect(f"127.0.0.1:{server.port}", retries=False) as channel,
    ):
        for name, method in METHODS.items():
            random_bodies = Bodies(
                method.input_type, random.Random(f"{SEED}{name}"), versions.user_ids + versions.item_ids
            )
            for _ in range(n_bodies):
                body = random_bodies.next()
                code, message = call(channel, name, name.endswith("StreamRecommend"), body)
                codes[code] += 1
                if code in ("UNKNOWN", "INTERNAL"):
                    bad.append(f"{name} {code} {message!r} {body!r}")
        found.update(codes=dict(codes))
    assert bad == []
    assert codes["OK"] > 0 < codes["INVALID_ARGUMENT"]
    assert "Traceback" not in server.text()


def test_t11_control_a_bug_is_an_internal_error(versions) -> None:
    """The check above would notice a bug: the caller gets INTERNAL, without the message of the exception."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    config = ServerConfig(models=str(versions.models), port=0, provider="cpu", drain_delay_s=0)
    with create_server(config) as server, connect(f"127.0.0.1:{server.port}", retries=False) as channel:
        version = next(iter(server.repository.versions.values()))[0]
        version.ranker.rank = lambda query: 1 / 0
        body = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]))
        code, message = call(channel, "/cofactor.v1.RecommenderService/Recommend", False, body.SerializeToString())
    assert (code, message) == ("INTERNAL", "internal error")
