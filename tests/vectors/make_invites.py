"""Writes the frozen vectors of invites anew: `python -m tests.vectors.make_invites`.

Decides which invites, texts and messages are frozen. Everything in it is fixed, so the same code gives the same bytes;
`tests/node/test_invite_vectors.py` fails where the file differs. Change a vector only together with a version number:
invites are printed on paper.
"""

import json
from pathlib import Path
from typing import Any

from dht.identity import IdentityKey
from node.protocols.invite import make_invite
from node.protocols.invite_redeeming import InviterSide, JoinerSide, Refusal
from node.protocols.invite_text import to_code, to_link, to_text, to_uri
from tests.node.test_invite import FULL, HOMES, INVITER, LOCAL, NATED, NOW, PRIVATE, PUBLIC, SMALL

FILE = Path(__file__).parent / "invites.json"
JOINER = IdentityKey.from_seed(b"j" * 32).public
NONCE = bytes(range(32))
PAGE = "https://rookery.example/join"
SAID = {
    "small": SMALL,
    "behind NAT": NATED,
    "reachable": PUBLIC,
    "private": PRIVATE,
    "largest": FULL,
    "on the local network alone": LOCAL,
}


def invites() -> list[dict[str, Any]]:
    """Each invite with its fields and forms."""
    found = []
    for what, said in SAID.items():
        made = make_invite(INVITER, said)
        found.append(
            {
                "what": what,
                "raw": made.raw.hex(),
                "network": made.network,
                "key": None if made.key is None else made.key.hex(),
                "lan_only": made.lan_only,
                "token": made.token.hex(),
                "id": made.id,
                "issued": made.issued,
                "expires": made.expires,
                "uses": made.uses,
                "node_key": None if made.node_key is None else made.node_key.hex(),
                "fingerprint": made.fingerprint.hex(),
                "addresses": [list(address) for address in made.addresses],
                "homes": [home.text for home in made.homes],
                "secret": made.secret.hex(),
                "code": to_code(made.raw),
                "uri": to_uri(made.raw),
                "link": to_link(made.raw, PAGE),
                "lines": to_text(made.raw).splitlines(),
            }
        )
    return found


def refused() -> list[dict[str, str]]:
    """Bytes that are no invite, with the fault."""
    raw = make_invite(INVITER, PRIVATE).raw
    return [
        {"what": "empty", "fault": "not-an-invite", "raw": ""},
        {"what": "cut off", "fault": "invite-tampered", "raw": make_invite(INVITER, SMALL).raw[:-1].hex() + "00"},
        {"what": "a bit of the signature", "fault": "invite-tampered", "raw": (raw[:-1] + bytes([raw[-1] ^ 1])).hex()},
        {"what": "another token", "fault": "invite-tampered", "raw": (raw[:34] + b"\0" + raw[35:]).hex()},
        {"what": "a later version", "fault": "invite-of-a-newer-release", "raw": (b"\2" + raw[1:]).hex()},
        {"what": "a later flag", "fault": "invite-of-a-newer-release", "raw": (raw[:1] + b"\x23" + raw[2:]).hex()},
        {"what": "a weak key", "fault": "invite-tampered", "raw": (raw[:2] + bytes(32) + raw[34:]).hex()},
    ]


def redemptions() -> list[dict[str, Any]]:
    """What both sides say: granted once, refused for each reason."""
    found: list[dict[str, Any]] = []
    for refusal in (None, *Refusal):
        invite = make_invite(INVITER, PRIVATE)
        joiner, inviter = JoinerSide(invite, JOINER), InviterSide(INVITER.public, JOINER, NONCE)
        ask = joiner.data_to_send()
        inviter.receive_data(ask)
        challenge = inviter.data_to_send()
        joiner.receive_data(challenge)
        proof = joiner.data_to_send()
        inviter.receive_data(proof)
        inviter.next_event()
        if refusal is None:
            inviter.grant(b"certificate", HOMES, NOW)
        else:
            inviter.refuse(refusal, NOW, "why")
        end = "granted" if refusal is None else "refused"
        found.append({"ask": ask.hex(), "challenge": challenge.hex(), "proof": proof.hex()})
        found[-1] |= {"reason": None if refusal is None else refusal.name, end: inviter.data_to_send().hex()}
    return found


def build() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "make_invites.py; the layout is in docs/invites.md",
        "seed": INVITER.seed.hex(),
        "joiner": JOINER.raw.hex(),
        "nonce": NONCE.hex(),
        "page": PAGE,
        "invites": invites(),
        "refused": refused(),
        "redemptions": redemptions(),
    }


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
