"""SCTP on aiortc's association: its own handshake and control chunks, our transfer of data.

Decides how packets are made and taken apart. aiortc builds, sends and acknowledges one packet at a time, walks all
that is under way on every acknowledgement and rescans on reassembly. Here one turn of the loop takes many packets and
answers with one SACK; `webrtc_sctp_send` and `webrtc_sctp_receive` do the bookkeeping. The wire format stays the same:
it talks to stock aiortc. Uses private parts of aiortc 1.16, guarded by contract tests.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    Chunk,
    CookieEchoChunk,
    DataChunk,
    SackChunk,
)
from google_crc32c import extend, value

from node.adapters.webrtc_dtls import RunDtlsTransport
from node.adapters.webrtc_sctp_receive import WINDOW, MessageTooLong, Receiver
from node.adapters.webrtc_sctp_send import MAX_TIMEOUTS, RTO_INITIAL, Sender

logger = logging.getLogger(__name__)

SCTP_PORT: Final = 5000
"""What everybody uses over DTLS (RFC 8841 section 5.2 gives no other reason)."""
CHANNEL: Final = 0
"""The one data channel, negotiated out of band: both sides know it, so opening it costs no round trip."""
MAX_EARLY: Final = 16
"""Packets kept for an association that has not begun: an INIT and its repeats. UNSOURCED."""
MAX_HELD: Final = 2 * 1_048_576
"""Bytes of messages kept until the channel is taken: the streams' initial window and as much again."""
_CHUNK: Final = struct.Struct("!BBH")
_DATA: Final = struct.Struct("!BBHLHHL")
_SACK: Final = struct.Struct("!BBHLLHH")
_CHECKSUM: Final = struct.Struct("<L")


def run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits: aiortc's handlers are coroutines, but nothing under ours suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waited where nothing may wait")


class RunSctpTransport(RTCSctpTransport):
    """An association whose data goes through `Sender` and `Receiver`."""

    def __init__(self, dtls: RunDtlsTransport) -> None:
        super().__init__(dtls, SCTP_PORT)
        self.on_message: Callable[[bytes], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_state: Callable[[], None] | None = None
        self.sender = Sender()
        self.receiver = Receiver(self._deliver)
        self.bad_packets = 0
        self._dtls = dtls
        self._clock = asyncio.get_running_loop()
        self._rto = RTO_INITIAL
        # We never abandon a message; saying so spares the peer the question.
        self._local_partial_reliability = False
        self._advertised_rwnd = WINDOW
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._head = b""
        self._head_crc = 0
        self._input_tag = struct.pack("!L", self._local_verification_tag)
        self._established = False
        self._over = False
        self._begun = False
        self._early: list[bytes] = []
        self._held: list[bytes] = []
        dtls.on_packet = self.packet_received
        dtls.on_turn = self.turn_done
        # The peer may finish the DTLS handshake first: what it says before `start` is kept, not lost.
        dtls._register_data_receiver(self)

    async def start(self, remoteCaps: Any = None, remotePort: int = SCTP_PORT) -> None:
        """Begin the association."""
        self._dtls._unregister_data_receiver(self)
        await super().start(remoteCaps, remotePort)
        self._begun = True
        early, self._early = self._early, []
        for packet in early:
            self.packet_received(packet)

    def release(self, on_message: Callable[[bytes], None]) -> None:
        """Hand messages to `on_message` from now on, those first that came before anybody was there to take them."""
        self.on_message = on_message
        held, self._held = self._held, []
        for message in held:
            on_message(message)

    def send_message(self, message: bytes) -> None:
        """Queue one message on the channel and send what the window allows."""
        self.sender.queue_message(CHANNEL, WEBRTC_BINARY, message)
        self._send_chunks()

    def packet_received(self, packet: bytes) -> None:
        """Take one decrypted packet. Never raises: a peer's bad bytes are counted and dropped."""
        if not self._begun:
            if len(self._early) < MAX_EARLY:
                self._early.append(packet)
            return
        if not self._established or len(packet) < 16 or packet[4:8] != self._input_tag:
            self._control_packet(packet)
            return
        if extend(value(packet[:8] + b"\0\0\0\0"), packet[12:]) != _CHECKSUM.unpack_from(packet, 8)[0]:
            self.bad_packets += 1
            return
        at, end = 12, len(packet)
        if packet[at] not in (0, 3):
            self._control_packet(packet)
            return
        try:
            while at + 4 <= end:
                kind, flags, length = _CHUNK.unpack_from(packet, at)
                if length < 4 or at + length > end:
                    self.bad_packets += 1
                    return
                if kind == 0 and length > 16:
                    _, _, _, tsn, stream, _, protocol = _DATA.unpack_from(packet, at)
                    self.receiver.data(tsn, flags, stream, protocol, packet[at + 16 : at + length])
                elif kind == 3 and length >= 16:
                    self._take_sack(packet, at, length)
                else:
                    self._control_packet(_with_only(packet, at, length))
                at += length + (-length & 3)
        except MessageTooLong as error:
            logger.info("the peer's message is too long: %s", error)
            run_now(self._abort())
            self._set_state(self.State.CLOSED)

    def turn_done(self) -> None:
        """Everything that had arrived was taken: acknowledge once, send on."""
        if not self._established or self._over:
            return
        if self.receiver.sack_due:
            self._send_bodies([self.receiver.sack()])
        self._send_chunks()
        if self.on_drained is not None:
            self.on_drained()

    def _send_chunks(self) -> None:
        if not self._established or self._over:
            return
        now = time.monotonic()
        bodies = self.sender.chunks_to_send(now)
        if bodies:
            self._send_bodies(bodies)
        self._set_timer(now)

    def _send_bodies(self, bodies: list[bytes]) -> None:
        head, head_crc, pack = self._head, self._head_crc, _CHECKSUM.pack
        try:
            self._dtls.send_packets([head + pack(extend(head_crc, body)) + body for body in bodies])
        except ConnectionError:
            logger.debug("the path is gone, %d chunks stay unsent", len(bodies))

    def _take_sack(self, packet: bytes, at: int, length: int) -> None:
        _, _, _, cumulative, window, gap_count, _ = _SACK.unpack_from(packet, at)
        if 16 + 4 * gap_count > length:
            self.bad_packets += 1
            return
        gaps: list[tuple[int, int]] = []
        if gap_count:
            flat = struct.unpack_from(f"!{2 * gap_count}H", packet, at + 16)
            gaps = list(zip(flat[::2], flat[1::2], strict=True))
        if not self.sender.sack(cumulative, window, gaps, time.monotonic()):
            self.bad_packets += 1

    def _control_packet(self, packet: bytes) -> None:
        if self._established:
            self._last_received_tsn = self.receiver.cumulative
        try:
            run_now(super()._handle_data(packet))
        except ConnectionError:
            logger.debug("the path went while answering a control chunk")
        except Exception:  # aiortc's parsers raise whatever they meet on bad bytes.
            self.bad_packets += 1

    def _deliver(self, stream: int, protocol: int, message: bytes) -> None:
        if stream != CHANNEL or protocol != WEBRTC_BINARY:
            return
        if self.on_message is not None:
            self.on_message(message)
            return
        # Our side learns that the association is up a turn after the peer may already send on it.
        self._held.append(message)
        if sum(map(len, self._held)) > MAX_HELD:
            raise MessageTooLong("more than any window allows before the channel was taken")

    # Timer.

    def _set_timer(self, now: float) -> None:
        deadline = self.sender.deadline
        if deadline is None:
            return
        # Acknowledgements push the deadline all the time: one timer is left to run and looks again when it fires.
        if self._timer is None or deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            # Not the loop's own clock: uvloop's counts whole milliseconds, a loopback round trip takes a tenth of one.
            self._timer = self._clock.call_later(max(deadline - now, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        deadline = self.sender.deadline
        if deadline is None or self._over:
            return
        now = time.monotonic()
        if now >= deadline:
            self.sender.handle_timeout(now)
            if self.sender.timeouts > MAX_TIMEOUTS:
                self._set_state(self.State.CLOSED)
                return
            self._send_chunks()
        self._set_timer(now)

    # What aiortc calls.

    async def _handle_data(self, data: bytes) -> None:
        self.packet_received(data)

    async def _receive_chunk(self, chunk: Chunk) -> None:
        if isinstance(chunk, (DataChunk, SackChunk)):
            # They come through `packet_received`, or too early to be of use.
            return
        if isinstance(chunk, CookieEchoChunk) and self._remote_verification_tag == 0:
            return
        await super()._receive_chunk(chunk)

    async def _send_sack(self) -> None:
        self._sack_needed = False

    async def _transmit(self) -> None:
        self._send_chunks()

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        if state == self.State.ESTABLISHED and not self._established:
            self._head = struct.pack("!HHL", self._local_port, self._remote_port, self._remote_verification_tag)
            self._head_crc = value(self._head + b"\0\0\0\0")
            self.sender.start(self._local_tsn)
            self.receiver.start(self._last_received_tsn or 0)
            self._established = True
        elif state == self.State.CLOSED:
            self._over = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        super()._set_state(state)
        if self.on_state is not None:
            self.on_state()


def _with_only(packet: bytes, at: int, length: int) -> bytes:
    """Return a packet of the same head with one chunk, its checksum made right for aiortc's parser."""
    head, chunk = packet[:8], packet[at : at + length]
    return head + _CHECKSUM.pack(value(head + b"\0\0\0\0" + chunk)) + chunk
