"""Frames over two descriptors: the reading and writing that protocol.py leaves out."""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from bilin_engine.protocol import FrameBuffer, FrameError, encode_frame

_READ_BYTES = 256 * 1024

Incoming = TypeVar("Incoming")


class Channel(Generic[Incoming]):
    """One end of a conversation. One thread receives; any thread sends."""

    def __init__(self, read_fd: int, write_fd: int, decode: Callable[[bytes], Incoming]) -> None:
        """Owns neither descriptor. `decode`: one of protocol's `decode_…` functions."""
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._decode = decode
        self._buffer = FrameBuffer()
        self._bodies: deque[bytes] = deque()
        self._broken: FrameError | None = None
        self._send_lock = threading.Lock()

    def receive(self) -> Incoming | None:
        """The next message; blocks. None at the end of the stream.

        Raises FrameError for bytes that are no message, and for a stream that ends in a frame.
        """
        while not self._bodies:
            if self._broken is not None:
                raise self._broken
            data = os.read(self._read_fd, _READ_BYTES)
            if not data:
                if self._buffer.has_partial_frame:
                    raise FrameError("the stream ended in the middle of a frame")
                return None
            try:
                self._bodies.extend(self._buffer.feed(data))
            except FrameError as error:
                self._broken = error  # after the whole frames that came before it
        return self._decode(self._bodies.popleft())

    def send(self, message: msgspec.Struct) -> None:
        """Writes one frame, whole; blocks while the peer does not read.

        Raises OSError (BrokenPipeError) when the peer is gone, FrameError when it is too large.
        """
        frame = memoryview(encode_frame(message))
        with self._send_lock:
            while frame:
                frame = frame[os.write(self._write_fd, frame) :]
