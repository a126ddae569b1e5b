"""The frozen refusals of topics, relays and descriptions: one for each reason, made and read as ever."""

import json
from pathlib import Path

import pytest

from node.protocols import circuit, offer
from node.protocols.topic_messages import Refused, TopicRefusal, decode_topic_message
from tests.vectors.make_refusals import RETRY_AFTER, vectors

FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "refusals.json").read_text("utf-8"))


def test_the_same_code_makes_the_same_bytes_for_every_reason() -> None:
    assert vectors() == FROZEN


@pytest.mark.parametrize("why", TopicRefusal)
def test_topics(why: TopicRefusal) -> None:
    assert decode_topic_message(bytes.fromhex(FROZEN["topic"][why.name])) == Refused(why, ())


@pytest.mark.parametrize("why", circuit.RelayRefusal)
def test_relays(why: circuit.RelayRefusal) -> None:
    read = circuit.decode_circuit_message(bytes.fromhex(FROZEN["relay"][why.name]))
    assert read == circuit.Refused(why, RETRY_AFTER)


@pytest.mark.parametrize("why", offer.RefusalReason)
def test_descriptions(why: offer.RefusalReason) -> None:
    assert offer.decode_description(bytes.fromhex(FROZEN["description"][why.name])) == offer.Refusal(why)
