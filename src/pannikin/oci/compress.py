"""Compression of layers: one pass hashes, compresses on all cores and writes. Bytes depend on the input alone.

gzip is made of blocks of 1 MiB, each primed with the last 32 KiB of the one before (as pigz does), so that
blocks are compressed side by side while the result is one ordinary gzip member, the same for any number of
cores. zlib-ng is pinned by the requirements: unlike ISA-L's, its output does not vary with the processor.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from pannikin.errors import Corrupt
from pannikin.oci.digest import Digest
from pannikin.oci.model import LAYER, LAYER_GZIP, LAYER_ZSTD

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Compression = Literal["gzip", "zstd", "none"]
MEDIA_TYPES: dict[Compression, str] = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "none": LAYER}
LEVELS: dict[Compression, int] = {"gzip": 6, "zstd": 3, "none": 0}

BLOCK = 1 << 20
_WINDOW = 32 << 10
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Writable(Protocol):
    """Where compressed bytes go."""

    def write(self, data: bytes, /) -> object: ...


@cache
def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="compress")


class Compressor:
    """Takes the plain bytes of a layer, writes the compressed ones, and knows the digests of both.

    `plain` and `size` are the digest and length (bytes) of what went in, `packed` and `written` of what came
    out; all are final after `close`.
    """

    def __init__(self, out: Writable, kind: Compression = "gzip", level: int | None = None) -> None:
        self.kind: Compression = kind
        self.level = LEVELS[kind] if level is None else level
        self.size = 0
        self.written = 0
        self._out = out
        self._in = hashlib.sha256()
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._pending: deque[Future[bytes]] = deque()
        self._tail = b""
        self._crc = 0
        self._zstd = None
        if kind == "gzip":
            self._emit(_HEADER)
        elif kind == "zstd":
            import zstandard

            # The number of workers does not change the bytes, but one worker and none do.
            self._zstd = zstandard.ZstdCompressor(level=self.level, threads=max(1, os.cpu_count() or 1)).compressobj()

    def write(self, data: bytes) -> None:
        """Take plain bytes in; blocks only when all cores are behind."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= BLOCK:
            block = bytes(memoryview(buffer)[:BLOCK])
            del buffer[:BLOCK]
            self._block(block, last=False)

    def close(self) -> None:
        """Write what is left. Nothing may be written after it."""
        self._block(bytes(self._buffer), last=True)
        self._buffer.clear()
        while self._pending:
            self._emit(self._pending.popleft().result())
        if self._zstd is not None:
            self._emit(self._zstd.flush())
        if self.kind == "gzip":
            self._emit(self._crc.to_bytes(4, "little") + (self.size & 0xFFFFFFFF).to_bytes(4, "little"))

    @property
    def plain(self) -> Digest:
        return Digest(f"sha256:{self._in.hexdigest()}")

    @property
    def packed(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def _block(self, block: bytes, last: bool) -> None:
        if self.kind == "gzip":
            if last and not self._pending and not self._tail:
                self._emit(_deflate(block, b"", self.level, True))  # one small block: no thread needed
            else:
                self._pending.append(_pool().submit(_deflate, block, self._tail, self.level, last))
            self._tail = block[-_WINDOW:]
        elif self._zstd is not None:
            self._emit(self._zstd.compress(block))
        else:
            self._emit(block)
        self._in.update(block)
        self.size += len(block)
        if self.kind == "gzip":
            from zlib_ng import zlib_ng

            self._crc = zlib_ng.crc32(block, self._crc)
        while len(self._pending) > 2 * (os.cpu_count() or 1) or (self._pending and self._pending[0].done()):
            self._emit(self._pending.popleft().result())

    def _emit(self, data: bytes) -> None:
        self._hash.update(data)
        self.written += len(data)
        self._out.write(data)


def _deflate(block: bytes, dictionary: bytes, level: int, last: bool) -> bytes:
    from zlib_ng import zlib_ng

    options = (level, zlib_ng.DEFLATED, -15, 8, zlib_ng.Z_DEFAULT_STRATEGY)
    stream = zlib_ng.compressobj(*options, dictionary) if dictionary else zlib_ng.compressobj(*options)
    head = stream.compress(block)
    return bytes(head + stream.flush(zlib_ng.Z_FINISH if last else zlib_ng.Z_SYNC_FLUSH))


class Decompressed:
    """A readable stream of a blob's plain bytes, whatever it is packed with (gzip, zstd or nothing).

    Reading raises `Corrupt` where the stream is damaged or ends early. With `hashed`, every plain byte that is
    read is also fed to that hash (the diff ID's).
    """

    def __init__(self, stream: BinaryIO, hashed: hashlib._Hash | None = None, what: str = "a layer") -> None:
        self._stream = stream
        self._what = what
        self._hashed = hashed
        self._buffer = bytearray()
        self._at = 0
        self._ended = False
        head = stream.read(4)
        while len(head) < 4 and (more := stream.read(4 - len(head))):
            head += more
        self._waiting = head
        self._decoder: _Decoder = _decoder(head)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` plain bytes; fewer only at the end."""
        buffer = self._buffer
        while (size < 0 or len(buffer) - self._at < size) and not self._ended:
            self._fill()
        end = len(buffer) if size < 0 else min(len(buffer), self._at + size)
        out = bytes(memoryview(buffer)[self._at : end])
        self._at = end
        if self._at > 4 * BLOCK or self._at == len(buffer):
            del buffer[: self._at]
            self._at = 0
        return out

    def drain(self) -> None:
        """Read to the end, so that the whole blob is hashed and checked."""
        while self.read(BLOCK):
            pass

    def _fill(self) -> None:
        waiting = self._waiting or self._stream.read(64 << 10)
        chunk, self._waiting = waiting[: self._decoder.step], waiting[self._decoder.step :]
        try:
            plain = self._decoder.decode(chunk)
        except EOFError as error:
            raise Corrupt(f"{self._what} ends early", why=str(error)) from None
        except Exception as error:  # zlib.error, ZstdError: each library has its own
            raise Corrupt(f"{self._what} can't be decompressed", why=str(error)) from None
        self._ended = not chunk
        if self._hashed is not None:
            self._hashed.update(plain)
        self._buffer += plain


class _Decoder(Protocol):
    step: int
    """Packed bytes to give it at once: what they can grow to is held in memory."""

    def decode(self, chunk: bytes) -> bytes:
        """Plain bytes of the next chunk; an empty one is the end, EOFError where that comes too early."""


class _Plain:
    step = 64 << 10

    def decode(self, chunk: bytes) -> bytes:
        return chunk


class _Gzip:
    """Any number of gzip members, one after the other (what estargz and pigz may write)."""

    step = 16 << 10  # at most 16 MiB

    def __init__(self) -> None:
        from zlib_ng import zlib_ng

        self._new: Callable[[], Any] = lambda: zlib_ng.decompressobj(31)
        self._stream = self._new()
        self._started = False

    def decode(self, chunk: bytes) -> bytes:
        if not chunk:
            if self._started and not self._stream.eof:
                raise EOFError("its gzip stream is not complete")
            return b""
        parts = []
        while chunk:
            if self._stream.eof:
                if not chunk.strip(b"\0"):
                    break
                self._stream = self._new()
            self._started = True
            parts.append(self._stream.decompress(chunk))
            chunk = self._stream.unused_data if self._stream.eof else b""
        return b"".join(parts)


class _Zstd:
    step = 2 << 10  # at most 64 MiB: four bytes can stand for 128 KiB

    def __init__(self) -> None:
        import zstandard

        self._new: Callable[[], Any] = lambda: zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj()
        self._stream = self._new()
        self._fresh = True

    def decode(self, chunk: bytes) -> bytes:
        if not chunk:
            if not self._fresh and not self._stream.eof:
                raise EOFError("its zstd stream is not complete")
            return b""
        parts = []
        while chunk:
            if self._stream.eof:
                self._stream = self._new()
            self._fresh = False
            parts.append(self._stream.decompress(chunk))
            chunk = self._stream.unused_data if self._stream.eof else b""
        return b"".join(parts)


def _decoder(head: bytes) -> _Decoder:
    if head[:2] == b"\x1f\x8b":
        return _Gzip()
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return _Zstd()
    return _Plain()
