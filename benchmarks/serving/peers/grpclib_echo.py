"""The bare echo on grpclib, gRPC in pure Python."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

ANSWER = Path(os.environ["ANSWER"]).read_bytes()


class BytesCodec(CodecBase):
    """Passes messages through as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's signature
        """As it is."""
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's signature
        """As it is."""
        return data


class Echo:
    """RecommenderService with one method."""

    async def recommend(self, stream: Stream[bytes, bytes]) -> None:
        """Read, and answer with the constant."""
        await stream.recv_message()
        await stream.send_message(ANSWER)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/cofactor.v1.RecommenderService/Recommend": Handler(self.recommend, Cardinality.UNARY_UNARY, bytes, bytes)
        }


async def main() -> None:
    """Serve until killed."""
    server = Server([Echo()], codec=BytesCodec())
    await server.start("127.0.0.1", int(os.environ["PORT"]))
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
