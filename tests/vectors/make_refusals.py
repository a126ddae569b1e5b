"""Writes the frozen refusals of what runs above the DHT anew: `python -m tests.vectors.make_refusals`.

One for each reason of a topic's members, of relays and of descriptions; those of invites, files and memberships stand
in the vectors of theirs. `tests/node/test_refusal_vectors.py` fails where the file differs.
"""

import json
from pathlib import Path

from node.protocols import circuit, offer
from node.protocols.topic_messages import Refused, TopicRefusal

FILE = Path(__file__).parent / "refusals.json"
RETRY_AFTER = 300


def vectors() -> dict[str, dict[str, str]]:
    """Bytes by protocol and reason."""
    return {
        "topic": {why.name: Refused(why, ()).to_bytes().hex() for why in TopicRefusal},
        "relay": {why.name: circuit.Refused(why, RETRY_AFTER).to_bytes().hex() for why in circuit.RelayRefusal},
        "description": {why.name: offer.Refusal(why).to_bytes().hex() for why in offer.RefusalReason},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
