"""DTLS on aiortc's transport, moving records in runs.

Decides how packets of the layer above become records and back: all packets of a turn are encrypted into one buffer
and leave in one system call; a run of received records enters OpenSSL at once. Stock aiortc pays several calls, an
exception and a task switch for each packet. The handshake is aiortc's own. Uses private parts of aiortc 1.16 and
pyOpenSSL, guarded by contract tests.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsParameters, State
from OpenSSL import SSL
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib

from node.adapters.webrtc_ice import DirectConnection

logger = logging.getLogger(__name__)

DTLS_1_2: Final = 0xFEFD
"""RFC 6347 section 4.1: the version field of records. Their headers are what runs are cut by."""
RECORD_HEADER: Final = 13
"""RFC 6347 section 4.1."""
READ_BUFFER: Final = 16_384
"""OpenSSL reads that much of its memory buffer at once and takes it for one datagram; a longer run would be cut."""
WRITE_BUFFER: Final = 262_144
"""Room for the records of one turn; more leave in several system calls."""
MAX_RECORD: Final = 2048
"""Longest record expected: an Ethernet frame and some."""


class _Shared(threading.local):
    """Buffers for all transports of a thread: each is emptied before anybody else gets to use it."""

    def __init__(self) -> None:
        self.write = _ffi.new("char[]", WRITE_BUFFER)
        self.read = _ffi.new("char[]", MAX_RECORD)
        self.write_view = memoryview(_ffi.buffer(self.write))


_shared: Final = _Shared()


class RunCertificate(RTCCertificate):
    """A certificate whose connections stay with DTLS 1.2, whose record headers are readable."""

    def _create_ssl_context(self, srtp_profiles: list[Any]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_max_proto_version(DTLS_1_2)
        return context

    def sha256(self) -> bytes:
        """Return the 32 bytes the other side must find."""
        for fingerprint in self.getFingerprints():
            if fingerprint.algorithm == "sha-256":
                return bytes.fromhex(fingerprint.value.replace(":", ""))
        raise LookupError("aiortc gives no SHA-256 fingerprint")


class RunDtlsTransport(RTCDtlsTransport):
    """DTLS whose application data goes straight between socket and association."""

    def __init__(self, transport: RTCIceTransport, certificate: RTCCertificate, *, client: bool) -> None:
        super().__init__(transport, [certificate])
        self._set_role("client" if client else "server")
        self.mismatched = False
        self.dropped = 0
        self.on_packet: Callable[[bytes], None] | None = None
        self.on_turn: Callable[[], None] | None = None
        self.on_state: Callable[[], None] | None = None
        self._write_buffer = _shared.write
        self._read_buffer = _shared.read
        self._write_view = _shared.write_view

    @property
    def _ice(self) -> DirectConnection:
        connection = self.transport._connection
        assert isinstance(connection, DirectConnection)
        return connection

    def send_packets(self, packets: Sequence[bytes]) -> None:
        """Encrypt and send. Raises `ConnectionError` when the path is gone."""
        if self._state is not State.CONNECTED:
            raise ConnectionError("DTLS is not connected")
        ssl = self._ssl._ssl  # type: ignore[union-attr]
        write = _lib.SSL_write
        queued = 0
        for packet in packets:
            size = len(packet)
            if queued + size + 128 > WRITE_BUFFER:
                self._flush_records()
                queued = 0
            if write(ssl, packet, size) != size:
                # Only a dead connection refuses: a memory buffer always has room.
                raise ConnectionError("OpenSSL took no more data")
            queued += size + 64
        self._flush_records()

    def close_notify(self) -> None:
        """Tell the other side that we are leaving, so that it need not find out."""
        if self._ssl is None:
            return
        try:
            self._ssl.shutdown()
            self._flush_records()
        except (SSL.Error, ConnectionError):
            logger.debug("no close_notify could be sent")

    def _flush_records(self) -> None:
        count = _lib.BIO_read(self._ssl._from_ssl, self._write_buffer, WRITE_BUFFER)  # type: ignore[union-attr]
        if count <= 0:
            return
        view = self._write_view[:count]
        ice = self._ice
        at = 0
        while at < count:
            size = RECORD_HEADER + (view[at + 11] << 8 | view[at + 12])
            end = at + size
            # Equal records go together, and one shorter may end the run: so the kernel cuts it (udp(7), UDP_SEGMENT).
            while end < count:
                following = RECORD_HEADER + (view[end + 11] << 8 | view[end + 12])
                if following > size:
                    break
                end += following
                if following < size:
                    break
            ice.send_run(view[at:end], size)
            at = end

    def _run_received(self, data: memoryview, size: int) -> None:
        if not 19 < data[0] < 64:
            self.dropped += 1
            return
        into, on_packet = self._ssl._into_ssl, self.on_packet  # type: ignore[union-attr]
        ssl, buffer, read = self._ssl._ssl, self._read_buffer, _lib.SSL_read  # type: ignore[union-attr]
        unpack = _ffi.buffer
        total = len(data)
        step = max(READ_BUFFER // size, 1) * size
        for start in range(0, total, step):
            piece = data[start : start + step]
            length = len(piece)
            _lib.BIO_write(into, _ffi.from_buffer(piece), length)
            for _ in range((length + size - 1) // size):
                count = read(ssl, buffer, MAX_RECORD)
                if count <= 0:
                    self._on_no_data(count)
                    break
                if on_packet is not None:
                    on_packet(unpack(buffer, count)[:])

    def _on_no_data(self, result: int) -> None:
        # Alerts and repeated handshake messages carry no data but may want an answer.
        connection = self._ssl
        assert connection is not None
        try:
            connection._raise_ssl_error(connection._ssl, result)
        except SSL.ZeroReturnError:
            self._ice.end_data()
        except SSL.Error:
            self.dropped += 1
        try:
            self._flush_records()
        except ConnectionError:
            logger.debug("the path went while answering a handshake message")

    def _turn_done(self) -> None:
        if self.on_turn is not None:
            self.on_turn()

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        if self.on_state is not None:
            self.on_state()

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        super()._validate_peer_identity(remoteParameters)
        if self._state is State.FAILED:
            self.mismatched = True
            self.close_notify()

    async def _RTCDtlsTransport__run(self) -> None:
        """Replaces aiortc's pump: data comes in by the sink; what is queued here came in before, or is the end."""
        ice = self._ice
        try:
            while not ice._queue.empty():
                queued = ice._queue.get_nowait()
                if queued is None:
                    raise ConnectionError("the path is gone")
                self._run_received(memoryview(queued[0]), len(queued[0]))
            ice.data_sink = self._run_received
            ice.wakeup_sink = self._turn_done
            self._turn_done()
            while True:
                data = await self.transport._recv()
                self._run_received(memoryview(data), len(data))
                self._turn_done()
        except ConnectionError:
            logger.debug("the DTLS connection has ended")
        finally:
            ice.data_sink = ice.wakeup_sink = None
            self._set_state(State.CLOSED)


async def stop_quietly(transport: RTCDtlsTransport) -> None:
    """Stop a transport and wait until its pump has ended."""
    task = transport._task
    await transport.stop()
    if task is not None:
        await asyncio.wait([task])
