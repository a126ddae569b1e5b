"""Writes the frozen vectors of memberships anew: `python -m tests.vectors.make_membership`.

Everything in it is fixed, so the same code gives the same bytes; `tests/node/test_membership_vectors.py` fails where
the file differs. Change a vector only together with a version number: certificates live for a year.
"""

import json
from pathlib import Path
from typing import Any

from dht.identity import IdentityKey
from node.protocols.admission import hello_bytes, refusal_bytes
from node.protocols.membership import Rights, chain_bytes, issue
from node.protocols.renewal import message_bytes, renew
from node.protocols.revocation import revoke

FILE = Path(__file__).parent / "membership.json"
NOW = 1_800_000_000
AUTHORITY, FOUNDER, GUEST = (IdentityKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


def vectors() -> dict[str, Any]:
    """Each kind of bytes, with what it is made of."""
    founder = issue(AUTHORITY, AUTHORITY.public, FOUNDER.public, Rights.INVITE, NOW)
    guest = issue(FOUNDER, AUTHORITY.public, GUEST.public, Rights.MEMBER, NOW + 60, lifetime=3600)
    chain = chain_bytes([guest, founder])
    gone = revoke(AUTHORITY, AUTHORITY.public, GUEST.public, NOW + 120)
    renewal = renew(AUTHORITY, 1, NOW + 86_400, bytes(range(32)))
    return {
        "source": "make_membership.py; the layouts are in docs/networks.md",
        "now": NOW,
        "seeds": {"authority": AUTHORITY.seed.hex(), "founder": FOUNDER.seed.hex(), "guest": GUEST.seed.hex()},
        "certificates": {"founder": founder.raw.hex(), "guest": guest.raw.hex()},
        "chain": chain.hex(),
        "revocation": gone.raw.hex(),
        "hello": hello_bytes(chain, [gone]).hex(),
        "renewal": renewal.raw.hex(),
        "renewal message": message_bytes(renewal, [gone]).hex(),
        "refusal": refusal_bytes("revoked: the membership was revoked").hex(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
