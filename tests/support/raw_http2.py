"""Open gRPC calls by hand over HTTP/2, to send what no gRPC library would: bodies that never end, and no credit."""

from __future__ import annotations

import contextlib
import select
import socket
import struct

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_LARGEST_FRAME = 16_384
_FIRST_WINDOW = 65_535


def _header(name: str, value: str) -> bytes:
    """Encode a header as HPACK literal without indexing; both texts must be short."""
    assert max(len(name), len(value)) < 127
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


class RawConnection:
    """A connection to a server on this machine.

    Attributes:
        unsent: bytes of each open call that wait for the server's flow control.
        n_responses: messages that have come, by call.
        ended: calls that the server has ended.
        is_closed: True once the server has closed the connection.
    """

    def __init__(self, port: int, receive_window: int = _FIRST_WINDOW) -> None:
        """`receive_window`: bytes that the server may send in a call; with 0 its messages stay on its side."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._received = b""
        self._window, self._windows, self._first_window = _FIRST_WINDOW, {}, _FIRST_WINDOW
        self._n_pongs = 0
        self._next_call = 1
        self._heads: dict[int, bytes] = {}
        self.unsent: dict[int, int] = {}
        self.n_responses: dict[int, int] = {}
        self.ended: set[int] = set()
        self.is_closed = False
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(_SETTINGS, 0, 0, struct.pack(">HI", 4, receive_window))

    def open_call(self, method: str, size: int = 0, n_missing: int = 0, deadline: str = "") -> int:
        """Open a call and queue its request, `size` zero bytes less the last `n_missing`; return its number.

        The call stays open. `deadline` is sent and not watched here, such as 300m for 300 milliseconds.
        """
        number, self._next_call = self._next_call, self._next_call + 2
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
            **({"grpc-timeout": deadline} if deadline else {}),
        }
        self._send(_HEADERS, _END_HEADERS, number, b"".join(_header(*field) for field in fields.items()))
        self._windows[number] = self._first_window
        self._heads[number] = struct.pack(">BI", 0, size)
        self.unsent[number] = 5 + size - n_missing
        return number

    def finish(self, number: int, n_missing: int) -> None:
        """Queue the last bytes of a request, and wait until they are out."""
        self.unsent[number] = self.unsent.get(number, 0) + n_missing
        while number in self.unsent and not self.is_closed:
            self.pump()

    def pump(self) -> None:
        """Send what the server's flow control allows, and read what has come; wait 50 ms at most for the latter."""
        for number in list(self.unsent):
            while size := max(0, min(self.unsent[number], self._windows[number], self._window, _LARGEST_FRAME)):
                head = self._heads[number]
                self._send(_DATA, 0, number, head[:size].ljust(size, b"\0"))
                self._heads[number] = head[size:]
                self.unsent[number] -= size
                self._windows[number] -= size
                self._window -= size
            if not self.unsent[number]:
                del self.unsent[number]
        while select.select([self._socket], [], [], 0.05 if not self._received else 0)[0]:
            try:
                chunk = self._socket.recv(1 << 20)
            except ConnectionError:
                chunk = b""
            self.is_closed = self.is_closed or not chunk
            self._received += chunk
            if not self._take_frames() or self.is_closed:
                break

    def ping(self) -> None:
        """Wait until the server has read everything that was sent."""
        wanted = self._n_pongs + 1
        self._send(_PING, 0, 0, bytes(8))
        while self._n_pongs < wanted and not self.is_closed:
            self.pump()

    def close(self) -> None:
        """Close the connection without a word."""
        self._socket.close()

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        header = struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number)
        with contextlib.suppress(ConnectionError):  # then the next read finds the connection closed
            self._socket.sendall(header + payload)

    def _take_frames(self) -> bool:
        """Handle the frames that have come; return False if none was complete."""
        is_any = False
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + size:
                break
            kind, flags, number = struct.unpack(">BBI", self._received[3:9])
            payload, self._received = self._received[9 : 9 + size], self._received[9 + size :]
            self._handle(kind, flags, number, payload)
            is_any = True
        return is_any

    def _handle(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == 4:
                    for call in self._windows:
                        self._windows[call] += value - self._first_window
                    self._first_window = value
            self._send(_SETTINGS, _ACK, 0, b"")
        elif kind == _WINDOW_UPDATE:
            credit = int.from_bytes(payload, "big")
            if number == 0:
                self._window += credit
            elif number in self._windows:
                self._windows[number] += credit
        elif kind == _PING:
            if flags & _ACK:
                self._n_pongs += 1
            else:
                self._send(_PING, _ACK, 0, payload)
        elif kind == _DATA:
            self.n_responses[number] = self.n_responses.get(number, 0) + 1
        if kind == _RST_STREAM or (kind in (_HEADERS, _DATA) and flags & _END_STREAM):
            self.ended.add(number)
            self.unsent.pop(number, None)
