"""Topics: their places, announcements, and the proof that one is in them."""

import pytest

from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey
from dht.records import Kind, sign_record, topic_place, topic_salt
from node.protocols.topics import SHARDS, AnnouncementFlags, BadTopic, TopicKey, checked_topic

NOW = 1_800_000_000.0
ALICE, BOB, EVE = (IdentityKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
ONE_OFF = IdentityKey.from_seed(b"o" * 32)
CHESS = TopicKey.public("chess")
CLUB = TopicKey.private("chess", "knights only")
NONE = AnnouncementFlags(0)


def announced(key, identity=ALICE, owner=None, flags=NONE, **changes):
    owner = owner or (ONE_OFF if key.is_private else identity)
    given = {"shard": 0, "seq": 1, "expires": NOW + 600, "nonce": bytes(24)} | changes
    return key.announce(identity, owner, flags, **given)


def test_a_public_topic_lies_where_its_name_says():
    assert CHESS.place() == topic_place("chess")
    assert len({CHESS.place(shard) for shard in range(SHARDS + 1)}) == SHARDS + 1
    assert 1 <= CHESS.shard_of(ALICE.public.raw) <= SHARDS


def test_a_private_topic_lies_where_only_its_secret_leads():
    other = TopicKey.private("chess", "bishops only")
    assert len({key.place() for key in (CHESS, CLUB, other, TopicKey.private("go", "knights only"))}) == 4
    assert TopicKey.private("chess", "knights only").place(3) == CLUB.place(3)
    assert len({key.tag for key in (CHESS, CLUB, other)}) == 3


def test_names_are_compared_as_they_are_read():
    assert TopicKey.public("  caf\u0065\u0301 ").place() == TopicKey.public("caf\u00e9").place()


@pytest.mark.parametrize("name", ["", "  ", "x" * 129, "a\nb", "a\x1b[2J", "rookery/relays/1", "\ud800"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(BadTopic):
        checked_topic(name)


def test_an_empty_secret_is_no_secret():
    with pytest.raises(LocalError, match="secret"):
        TopicKey.private("chess", "")


@pytest.mark.parametrize("key", [CHESS, CLUB])
@pytest.mark.parametrize("flags", [NONE, AnnouncementFlags.LEAVING, AnnouncementFlags.FULL])
def test_an_announcement_says_who_is_there(key, flags):
    record = announced(key, flags=flags)
    read = key.read(record)
    assert (read.member, read.flags, read.record) == (ALICE.public, flags, record)
    assert record.place == key.place()


def test_holders_of_a_private_announcement_see_neither_topic_nor_member():
    record = announced(CLUB)
    assert ALICE.public.raw not in record.raw and ALICE.public.raw != record.owner
    assert b"chess" not in record.raw and CLUB.tag not in record.raw
    assert "knights" not in repr(CLUB)
    for key in (CHESS, TopicKey.private("chess", "bishops only")):
        with pytest.raises(DecodeError):
            key.read(record)


def test_nobody_announces_another_member():
    # Eve has the secret and Alice's sealed announcement, but not the key that Alice's identity vouched for.
    stolen = announced(CLUB).payload
    forged = sign_record(EVE, Kind.TOPIC, stolen, seq=2, expires=NOW + 600, salt=CLUB.salt())
    with pytest.raises(DecodeError, match="not by"):
        CLUB.read(forged)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x09\x00", b"\x02" + bytes(50), b"\x02" + bytes(200)])
@pytest.mark.parametrize("key", [CHESS, CLUB])
def test_rubbish_is_no_announcement(key, payload):
    record = sign_record(EVE, Kind.TOPIC, payload, seq=1, expires=NOW + 60, salt=topic_salt("chess"))
    with pytest.raises(DecodeError):
        key.read(record)


def test_what_a_later_release_appends_is_passed_over():
    record = sign_record(ALICE, Kind.TOPIC, b"\x01\xf2more", seq=1, expires=NOW + 60, salt=CHESS.salt())
    assert CHESS.read(record).flags == AnnouncementFlags.FULL


def test_a_proof_is_for_two_ends_one_direction_and_one_topic():
    proofs = {
        CHESS.proof(ALICE.public, BOB.public, answering=False),
        CHESS.proof(ALICE.public, BOB.public, answering=True),
        CHESS.proof(BOB.public, ALICE.public, answering=False),
        CHESS.proof(ALICE.public, EVE.public, answering=False),
        CLUB.proof(ALICE.public, BOB.public, answering=False),
    }
    assert len(proofs) == 5 and {len(proof) for proof in proofs} == {32}
