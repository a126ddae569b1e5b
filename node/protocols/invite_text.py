"""How an invite is written for people and machines: in a QR code, as a link, as lines to copy or to type.

Decides the four forms, and finds an invite in whatever somebody pasted. Refuses to know what an invite says.

    code  ROOKERY:JOIN/ and base 43       capitals and digits: what QR codes hold in 5.5 bits a character
    URI   rookery:join/ and base64url     what an app is opened with
    link  https://…/join# and base64url   what chats make a link of; no server is told what stands behind the #
    text  lines of z-base-32              what can be read aloud and typed; each has a check, so that a slip is named

Base 43 is the 45 characters of QR's alphanumeric mode without space and percent sign, so that all of it is a URI
(RFC 3986, section 3.3); the alphabet, and the bytes as one number, as Electrum writes transactions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Final

from dht.errors import BadPeerId
from dht.identity import PublicKey
from node.protocols.invite import MAX_READ, Invite, read_invite
from node.protocols.invite_faults import BadInvite, InviteFault

SCHEME: Final = "rookery:join/"

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*+-./:"
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)}

_ZBASE32: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"
_Z_VALUES: Final = {char: value for value, char in enumerate(_ZBASE32)}
_LOOKALIKES: Final = str.maketrans({"l": "1", "0": "o", "2": "z", "v": "u"})
"""What the alphabet leaves out, read as what it most likely was (`dht.identity` names the same for peer ids)."""

GROUP: Final = 5
GROUPS: Final = 8
LINE: Final = GROUP * GROUPS
"""Characters of a line: 25 bytes, so that lines divide bytes evenly. UNSOURCED: fits 72 columns with its check"""

MAX_PASTED: Final = 16384
"""Characters that are searched for an invite. UNSOURCED: a long mail"""

LONGEST_BROKEN: Final = 16
"""Lines over which a link may be broken. UNSOURCED: 40 characters each"""

_URI: Final = re.compile(r"rookery:(join/)(.*)", re.IGNORECASE | re.DOTALL)
_LINK: Final = re.compile(r"https?://[^\s#]+#(.*)", re.IGNORECASE | re.DOTALL)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]{100,}")
_LINES: Final = re.compile(r"^\W*(\d{1,2})/(\d{1,2})[ \t:]+([A-Za-z0-9 \t]+)$", re.MULTILINE)


def to_code(raw: bytes) -> str:
    """What a QR code holds."""
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, value = divmod(number, len(_ALPHABET))
        text = _ALPHABET[value] + text
    return SCHEME.upper() + text


def to_uri(raw: bytes) -> str:
    """A link that opens the app."""
    return SCHEME + _to_base64(raw)


def to_link(raw: bytes, page: str) -> str:
    """A link to `page`, whose server is not told what stands behind the `#`."""
    return f"{page.partition('#')[0]}#{_to_base64(raw)}"


def to_text(raw: bytes) -> str:
    """Lines to copy or to type."""
    spare = -len(raw) * 8 % 5
    number = int.from_bytes(raw, "big") << spare
    length = (len(raw) * 8 + spare) // 5
    chars = "".join(_ZBASE32[number >> shift & 31] for shift in range((length - 1) * 5, -1, -5))
    lines = [chars[at : at + LINE] for at in range(0, len(chars), LINE)]
    return "\n".join(
        f"{place:2}/{len(lines)}: {_grouped(line)}  {_check(place, line)}" for place, line in enumerate(lines, 1)
    )


def find_invite(pasted: str) -> Invite:
    """The invite in `pasted`: any form, with words before and after it. Raises `BadInvite`."""
    text = pasted[:MAX_PASTED].strip()
    if found := _URI.search(text):
        read = _from_code if found[1].isupper() else _from_base64
        return _first_of([read(written) for written in _continued(found[2])])
    if found := _LINK.search(text):
        return _first_of([_from_base64(written) for written in _continued(found[1])])
    if lines := _LINES.findall(text):
        return read_invite(_from_lines(lines))
    if found := _BARE.fullmatch("".join(text.split())):
        return _first_of([_from_base64(found[0])])
    try:
        PublicKey.parse(text)
    except BadPeerId:
        raise _refuse("it has neither a rookery: link, nor a https: link with a #, nor numbered lines") from None
    raise BadInvite(InviteFault.NOT_AN_INVITE, "this is a peer id, not an invite: `rookery connect` takes it")


def _continued(text: str) -> Iterator[str]:
    """The first word, then it and the next, and so on: a mail may have broken a link, or have words behind it."""
    written = ""
    for word in text.split()[:LONGEST_BROKEN]:
        written += word.strip("()<>[]\"'")
        yield written


def _first_of(read: list[bytes]) -> Invite:
    """The first of these that is an invite. Raises `BadInvite` with what is wrong with the most telling of them."""
    telling = _refuse("its characters are not right, or too few")
    for raw in read:
        try:
            return read_invite(raw)
        except BadInvite as error:
            if raw and (telling.fault is InviteFault.NOT_AN_INVITE or error.fault is InviteFault.NEWER):
                telling = error
    raise telling


def _from_code(text: str) -> bytes:
    if not text or len(text) > MAX_READ * 2:
        return b""
    number = 0
    for char in text:
        value = _VALUES.get(char)
        if value is None:
            return b""
        number = number * len(_ALPHABET) + value
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _to_base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _from_lines(lines: list[tuple[str, str, str]]) -> bytes:
    counts = {int(count) for _, count, _ in lines}
    if len(counts) != 1:
        raise _refuse("its lines do not agree on how many there are")
    count, chars = counts.pop(), {}
    for number, _, written in lines:
        line = "".join(written.split()).lower().translate(_LOOKALIKES)
        place, body, check = int(number), line[:-2], line[-2:]
        if check != _check(place, body):
            problem = f"line {place} of this invite is mistyped: its last two characters do not fit the others"
            raise BadInvite(InviteFault.NOT_AN_INVITE, problem)
        chars[place] = body
    if missing := [place for place in range(1, count + 1) if place not in chars]:
        raise BadInvite(InviteFault.NOT_AN_INVITE, f"line {missing[0]} of {count} of this invite is missing")
    joined = "".join(chars[place] for place in range(1, count + 1))
    bits = 0
    for char in joined:
        if char not in _Z_VALUES:
            raise _refuse(f"{char!r} stands in none")
        bits = bits << 5 | _Z_VALUES[char]
    length = len(joined) * 5 // 8
    return (bits >> len(joined) * 5 - length * 8).to_bytes(length, "big")


def _grouped(line: str) -> str:
    return " ".join(line[at : at + GROUP] for at in range(0, len(line), GROUP))


def _check(place: int, line: str) -> str:
    """Two characters that tell a mistyped line: one slip in a thousand passes, and is found by the signature."""
    digest = hashlib.blake2b(f"{place}:{line}".encode(), digest_size=2, person=b"rookery/invline").digest()
    number = int.from_bytes(digest, "big")
    return _ZBASE32[number >> 11] + _ZBASE32[number >> 6 & 31]


def _refuse(problem: str) -> BadInvite:
    return BadInvite(InviteFault.NOT_AN_INVITE, f"there is no invite in this: {problem}")
