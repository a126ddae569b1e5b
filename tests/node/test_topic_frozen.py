"""Frozen bytes of topics, and that docs/topics.md has every number that travels."""

import json
import re
from pathlib import Path

import pytest

from dht.errors import DecodeError
from dht.records import decode_record, verify_record
from node.node_topics import MAX_TOPICS
from node.protocols import topic_members, topic_mesh
from node.protocols.topic_messages import (
    MAX_DATA,
    MAX_HOPS,
    TOPIC_STREAM,
    HelloFlags,
    MessageKind,
    TopicRefusal,
    decode_topic_message,
)
from node.protocols.topics import SHARDS, AnnouncementFlags, TopicKey
from tests.vectors.make_topics import build, messages

ROOT = Path(__file__).resolve().parents[2]
FROZEN = json.loads((ROOT / "tests" / "vectors" / "topics.json").read_text("utf-8"))
PAGE = (ROOT / "docs" / "topics.md").read_text("utf-8")
KEYS = {
    "public": TopicKey.public(FROZEN["name"]),
    "private": TopicKey.private(FROZEN["name"], FROZEN["secret"]),
}


def test_the_same_code_gives_the_same_bytes():
    assert build() == FROZEN


@pytest.mark.parametrize("vector", FROZEN["topics"], ids=lambda vector: vector["topic"])
def test_a_topic_lies_where_it_lay(vector):
    key = KEYS[vector["topic"]]
    assert (key.tag.hex(), key.place().hex(), key.place(1).hex()) == (vector["tag"], vector["place"], vector["further"])


@pytest.mark.parametrize("vector", FROZEN["announcements"], ids=lambda vector: f"{vector['topic']} {vector['flags']}")
def test_a_frozen_announcement_is_read(vector):
    record = verify_record(decode_record(bytes.fromhex(vector["record"])), FROZEN["now"])
    read = KEYS[vector["topic"]].read(record)
    assert (read.member.raw.hex(), int(read.flags), record.place.hex()) == (
        vector["member"],
        vector["flags"],
        vector["place"],
    )


@pytest.mark.parametrize(("vector", "message"), list(zip(FROZEN["messages"], messages(), strict=True)))
def test_a_frozen_message_is_read(vector, message):
    assert decode_topic_message(bytes.fromhex(vector["hex"])) == message[1]


@pytest.mark.parametrize("vector", FROZEN["invalid"], ids=lambda vector: vector["what"])
def test_frozen_rubbish_is_refused(vector):
    with pytest.raises(DecodeError):
        decode_topic_message(bytes.fromhex(vector["hex"]))


def test_every_message_has_frozen_bytes():
    assert {vector["kind"] for vector in FROZEN["messages"]} == {kind.name for kind in MessageKind}


@pytest.mark.parametrize("member", [*MessageKind, *TopicRefusal], ids=str)
def test_every_number_has_a_row(member):
    assert f"| {member.value} | {member.name} |" in PAGE


@pytest.mark.parametrize("flag", [*HelloFlags, *AnnouncementFlags], ids=str)
def test_every_flag_is_named(flag):
    assert f"{flag.value} {flag.name}" in PAGE


def test_the_page_has_the_numbers_of_the_code():
    text = " ".join(PAGE.split())
    for said in (
        f"`{TOPIC_STREAM}`",
        f"{SHARDS} further places",
        f"at most {MAX_DATA:,} bytes",
        f"more than {MAX_HOPS} members",
        f"{topic_members.MAX_KNOWN} members",
        f"{topic_members.PER_SOURCE} of them named by one neighbour",
        f"{topic_members.DIALS_AT_ONCE} at a time, {topic_members.DIALS_A_MINUTE:g} a minute",
        f"{topic_mesh.AUTHOR_RATE:g} messages a second of one author",
        f"{topic_mesh.NEIGHBOUR_RATE:g} a second from one neighbour",
        f"{topic_mesh.STRANGER_RATE:g} new author a second",
        f"in at most {MAX_TOPICS} topics",
    ):
        assert said in text, said
    assert re.search(r"`tests/vectors/topics\.json`", PAGE)
