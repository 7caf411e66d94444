"""A bad network as far as an application can see one: a TCP proxy that delays, slows, stalls and resets.

python link.py PORT SEED listens on a free port, which it prints, and forwards to PORT of this machine. It reads
commands, one a line, and prints "done" after each:

delay S SPREAD: what is sent arrives after S seconds, give or take SPREAD; order is kept, as TCP keeps it.
rate BYTES: so many bytes a second each way of each connection.
stall: nothing arrives any more on open connections and on new ones; nobody is told.
reset: every open connection ends with a reset.
heal: as at the beginning; what was held back arrives.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys


class Link:
    """What happens to bytes on their way, to all connections alike."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._flowing = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.heal()

    def heal(self) -> None:
        self._delay_s, self._spread_s, self._rate = 0.0, 0.0, float("inf")
        self._flowing.set()

    def obey(self, command: str) -> None:
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
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        finally:
            self._open -= {writer, there_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction of one connection."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(under_way, writer))
        arrives = 0.0
        try:
            content = b"-"
            while content:
                content = await reader.read(65536)
                delay = self._delay_s + self._chance.uniform(-self._spread_s, self._spread_s)
                # Behind what is under way already, and no faster than the rate.
                begins = max(arrives, asyncio.get_running_loop().time() + delay)
                arrives = begins + len(content) / self._rate
                under_way.put_nowait((arrives, content))
            await delivering
        except OSError:
            _reset(writer)
        finally:
            delivering.cancel()

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            arrives, content = await under_way.get()
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


async def main(port: int, seed: int) -> None:
    link = Link(port, seed)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := await commands.readline():  # until the test has gone
        link.obey(command.decode())
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
