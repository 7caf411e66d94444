"""Simulate a bad network as an application sees it: a TCP proxy that delays, slows, stalls and resets connections.

python link.py PORT SEED [HOST] listens on a free port of HOST, which it prints, and forwards to PORT of this machine.
It reads commands, one per line, and prints "done" after every command:

delay S SPREAD: bytes arrive after S seconds, plus or minus SPREAD, in the order in which they were sent.
rate BYTES: every connection carries so many bytes per second in either direction.
stall: no more bytes arrive, on open connections and on new ones; neither side is told.
reset: every open connection ends with a reset.
heal: the network is good again; bytes that were stalled arrive.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys


class Link:
    """Proxy whose faults apply to all connections alike."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._flowing = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.heal()

    def heal(self) -> None:
        self._delay_s, self._spread_s, self._rate = 0.0, 0.0, float("inf")
        self._flowing.set()

    def run_command(self, command: str) -> None:
        name, *values = command.split()
        if name == "delay":
            self._delay_s, self._spread_s = map(float, values)
        elif name == "rate":
            self._rate = float(values[0])
        elif name == "stall":
            self._flowing.clear()
        elif name == "reset":
            for writer in list(self._open):
                _reset(writer)
        elif name == "heal":
            self.heal()
        else:
            raise ValueError(command)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, server_writer}
        try:
            await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))
        finally:
            self._open -= {writer, server_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction of one connection."""
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(in_flight, writer))
        arrives = 0.0
        try:
            content = b"-"
            while content:
                content = await reader.read(65536)
                delay = self._delay_s + self._chance.uniform(-self._spread_s, self._spread_s)
                # After the bytes that are in flight already, and no faster than the rate.
                begins = max(arrives, asyncio.get_running_loop().time() + delay)
                arrives = begins + len(content) / self._rate
                in_flight.put_nowait((arrives, content))
            await delivering
        except OSError:
            _reset(writer)
        finally:
            delivering.cancel()

    async def _deliver(self, in_flight: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            arrives, content = await in_flight.get()
            await asyncio.sleep(max(0.0, arrives - asyncio.get_running_loop().time()))
            await self._flowing.wait()
            if not content:
                writer.close()
                return
            writer.write(content)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main(port: int, seed: int, host: str = "127.0.0.1") -> None:
    link = Link(port, seed)
    server = await asyncio.start_server(link.accept, host, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := await commands.readline():  # until the test ends
        link.run_command(command.decode())
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
