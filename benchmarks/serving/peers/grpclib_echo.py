"""Serve the bare echo with grpclib, gRPC in pure Python."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

RESPONSE = Path(os.environ["RESPONSE"]).read_bytes()


class BytesCodec(CodecBase):
    """Passes messages through as bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's signature
        """Return the message unchanged."""
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's signature
        """Return the bytes unchanged."""
        return data


class Echo:
    """RecommenderService with one method."""

    async def recommend(self, stream: Stream[bytes, bytes]) -> None:
        """Read the request and send the constant response."""
        await stream.recv_message()
        await stream.send_message(RESPONSE)

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
