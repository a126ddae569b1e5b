"""The private parts of aiortc 1.16, aioice 0.13 and pyOpenSSL our WebRTC adapter leans on.

Each test fails when the part it names has moved or means something else, before a link does in some subtler way.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from importlib.metadata import version

import pytest
from aioice import Connection, stun
from aioice.ice import ICE_COMPLETED, ICE_FAILED, ConnectionClosed, StunProtocol
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport, RTCSctpTransport
from aiortc import rtcsctptransport as sctp
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from node.adapters.webrtc_dtls import RunCertificate
from node.adapters.webrtc_ice import DirectConnection
from node.adapters.webrtc_sctp import run_now
from node.adapters.webrtc_sctp_receive import MAX_MESSAGE
from node.adapters.webrtc_sctp_send import PAYLOAD


def test_the_versions_these_parts_were_read_in() -> None:
    assert version("aiortc").startswith("1.16.")
    assert version("aioice").startswith("0.13.")


async def test_a_transaction_keeps_its_pause_and_repeat_where_we_change_them() -> None:
    sent: list[bytes] = []

    class Sender:
        def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
            sent.append(bytes(message))

    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    transaction = stun.Transaction(request, ("192.0.2.1", 1), Sender(), retransmissions=3)
    assert transaction._Transaction__timeout_delay == stun.RETRY_RTO == 0.5  # type: ignore[attr-defined]
    running = asyncio.create_task(transaction.run())
    await asyncio.sleep(0)
    assert len(sent) == 1
    assert transaction._Transaction__timeout_delay == 1.0  # type: ignore[attr-defined]
    transaction._Transaction__retry()  # type: ignore[attr-defined]
    assert len(sent) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    transaction._Transaction__timeout_handle.cancel()  # type: ignore[attr-defined]


async def test_an_ice_connection_has_the_parts_our_gathering_and_connecting_replace() -> None:
    connection = Connection(ice_controlling=True)
    for name in (
        "_local_candidates_start", "_local_candidates_end", "_local_candidates", "_remote_candidates", "_protocols",
        "_check_list", "_check_list_state", "_check_list_done", "_early_checks", "_early_checks_done", "_nominated",
        "_query_consent_task", "_queue", "remote_username", "remote_password",
    ):  # fmt: skip
        assert hasattr(connection, name), name
    for name in ("_pair_remote_candidate", "sort_check_list", "_unfreeze_initial", "check_incoming", "_check_periodic"):
        assert callable(getattr(connection, name)), name
    assert inspect.iscoroutinefunction(connection.query_consent)
    assert (ICE_COMPLETED, ICE_FAILED) == (1, 2)
    assert "retransmissions=0" in inspect.getsource(Connection.query_consent), "consent is told from checks by this"
    assert list(inspect.signature(StunProtocol.request).parameters)[1:] == [
        "request", "addr", "integrity_key", "retransmissions",
    ]  # fmt: skip
    await connection.close()


async def test_a_closed_connection_has_no_event_in_stock_and_its_end_in_ours() -> None:
    """aiortc's monitor asks for events until the end comes: at None, without a pause, and for ever."""
    stock, ours = Connection(ice_controlling=True), DirectConnection(controlling=True)
    for connection in (stock, ours):
        await connection.close()
    assert await stock.get_event() is None
    assert isinstance(await ours.get_event(), ConnectionClosed)


async def test_the_gatherer_and_transport_share_the_connection_we_put_in() -> None:
    gatherer = RTCIceGatherer([])
    mine = Connection(ice_controlling=True)
    gatherer._connection = mine
    transport = RTCIceTransport(gatherer)
    assert transport._connection is mine
    assert transport._recv == mine.recv
    assert transport.role == "controlling"


async def test_the_dtls_transport_runs_the_pump_we_replace() -> None:
    ice = RTCIceTransport(RTCIceGatherer([]))
    dtls = RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])
    assert inspect.iscoroutinefunction(dtls._RTCDtlsTransport__run)  # type: ignore[attr-defined]
    assert "self.__run()" in inspect.getsource(RTCDtlsTransport.start)
    assert "_validate_peer_identity" in inspect.getsource(RTCDtlsTransport.start)
    assert dtls._state is State.NEW
    assert dtls._role == "auto"
    assert {"_ssl", "_task", "_data_receiver"} <= set(vars(dtls))


async def test_the_association_calls_what_we_override() -> None:
    ice = RTCIceTransport(RTCIceGatherer([]))
    association = RTCSctpTransport(RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()]))
    for name in (
        "_local_verification_tag", "_remote_verification_tag", "_local_tsn", "_last_received_tsn", "_local_port",
        "_remote_port", "_advertised_rwnd", "_local_partial_reliability", "_rto", "_sack_needed",
    ):  # fmt: skip
        assert hasattr(association, name), name
    for name in ("_handle_data", "_receive_chunk", "_send_sack", "_transmit", "_abort"):
        assert inspect.iscoroutinefunction(getattr(association, name)), name
    assert "self._set_state(self.State.ESTABLISHED)" in inspect.getsource(RTCSctpTransport._receive_chunk)
    assert "self._receive_chunk(chunk)" in inspect.getsource(RTCSctpTransport._handle_data)


def test_our_sizes_are_those_of_aiortc() -> None:
    assert sctp.USERDATA_MAX_LENGTH == PAYLOAD
    assert sctp.LOCAL_MAX_MESSAGE_SIZE == MAX_MESSAGE
    assert sctp.WEBRTC_BINARY == 53
    chunk = sctp.DataChunk(flags=3)
    chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = 7, 0, 2, 53, b"abc"
    assert bytes(chunk).hex() == "0003001300000007000000020000003561626300"


async def test_a_coroutine_that_waits_is_not_run_to_an_end_it_does_not_have() -> None:
    async def waits() -> None:
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="waited where nothing may wait"):
        run_now(waits())


def handshake() -> tuple[SSL.Connection, SSL.Connection]:
    certificate = RunCertificate.generateCertificate()
    from aiortc.rtcdtlstransport import SRTP_PROFILES

    client = SSL.Connection(certificate._create_ssl_context(SRTP_PROFILES))
    server = SSL.Connection(certificate._create_ssl_context(SRTP_PROFILES))
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(10):
        for side, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            while (count := lib.BIO_read(side._from_ssl, buffer := ffi.new("char[]", 1500), 1500)) > 0:
                other.bio_write(ffi.buffer(buffer, count)[:])
    return client, server


def test_openssl_keeps_to_dtls_1_2_whose_record_heads_we_read() -> None:
    client, _ = handshake()
    assert client.get_protocol_version_name() == "DTLSv1.2"


def test_openssl_takes_a_run_of_records_at_once_and_gives_them_one_by_one() -> None:
    client, server = handshake()
    packets = [bytes([i]) * 1188 for i in range(13)]
    for packet in packets:
        assert lib.SSL_write(client._ssl, packet, len(packet)) == len(packet)
    buffer = ffi.new("char[]", 65536)
    count = lib.BIO_read(client._from_ssl, buffer, 65536)
    run = ffi.buffer(buffer, count)[:]
    size = len(run) // len(packets)
    assert size * len(packets) == len(run)
    for i in range(len(packets)):
        record = run[i * size : (i + 1) * size]
        assert record[:3] == b"\x17\xfe\xfd"
        assert 13 + int.from_bytes(record[11:13], "big") == size
    assert lib.BIO_write(server._into_ssl, run, len(run)) == len(run)
    out = ffi.new("char[]", 2048)
    got = []
    for _ in packets:
        count = lib.SSL_read(server._ssl, out, 2048)
        assert count > 0
        got.append(ffi.buffer(out, count)[:])
    assert got == packets
    assert lib.SSL_read(server._ssl, out, 2048) <= 0
    with pytest.raises(SSL.WantReadError):
        server._raise_ssl_error(server._ssl, -1)
