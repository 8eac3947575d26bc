"""What a worker and a child process say to each other: messages of bytes, each behind its length, over a socket."""

from __future__ import annotations

import select
import socket
import struct
import threading

_LENGTH = struct.Struct("!I")
_ROOM = 1 << 20  # for the largest payload: it is sent while a child that is frozen does not read


class Wire:
    """One end. Any thread may send, one receives."""

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self._socket = end
        self._sending = threading.Lock()

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the other end is gone.
        """
        with self._sending:
            self._socket.sendall(_LENGTH.pack(len(message)) + message)

    def try_to_send(self, message: bytes) -> bool:
        """Send a short message, unless another one is on its way, or the other end has not read what was sent.

        Returns:
            Whether it was sent. Not, too, where the other end is gone.
        """
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if not self._has_room():
                return False
            self._socket.sendall(_LENGTH.pack(len(message)) + message)
        except (OSError, ValueError):  # ValueError: closed meanwhile
            return False
        finally:
            self._sending.release()
        return True

    def receive(self) -> bytes:
        """Wait for a message.

        Raises:
            EOFError: the other end is gone, or this one is shut.
        """
        try:
            (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
            return self._exactly(length)
        except OSError as error:
            raise EOFError from error

    def shut(self) -> None:
        """Let nothing through any more: who waits to receive, on either end, gets EOFError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end was quicker
            return

    def close(self) -> None:
        """Give the socket back. Nobody may be receiving."""
        self._socket.close()

    def _has_room(self) -> bool:
        if not hasattr(select, "poll"):
            return bool(select.select([], [self._socket], [], 0)[1])
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(0))

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), 1 << 16))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)
