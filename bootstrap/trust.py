"""Who may sign first-contact lists: the trust root, signatures against it, and its rotation.

This file decides when signatures are enough. It refuses to know what a list contains, and about files and clocks.

Rotation follows the root role of The Update Framework (TUF specification, section 5.3.4): a new set of signers counts
once a threshold of the old *and* a threshold of the new set have signed the change. The statements stay in the
file as a chain, as TUF keeps every root version, so that a node that slept through three rotations still follows.
Signers are counted as a set: one key that signs twice is one signer (python-tuf got this wrong once,
GHSA-r7vq-6425-j94w).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from bootstrap.refusals import ListRefused, Refusal
from dht.constants import KEY_BYTES, SIGNATURE_BYTES
from dht.errors import BadConfig, WeakKey
from dht.identity import TEXT_LENGTH, IdentityKey, PublicKey, from_zbase32

MAX_SIGNERS: Final = 32
"""Most signers of one trust root. UNSOURCED: Tor runs on 9 directory authorities, the DNS root on 13 names."""

MAX_SIGNATURES: Final = 2 * MAX_SIGNERS
"""Most signatures on one statement: a rotation may carry those of a full old and a full new set."""

MAX_ROTATIONS: Final = 16
"""Longest chain of rotations in a list. UNSOURCED: one a year for sixteen years."""

ROTATION_DOMAIN: Final = b"rookery/trust-rotation/1\x00"
"""Prefix of what is signed: a rotation's signature means nothing on a list or a record, nor theirs here."""

_Form = TypeVar("_Form", bound=msgspec.Struct)

_Z_BASE_32: Final = frozenset("ybndrfg8ejkmcpqxot1uwisza345h769")


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """The signers whose word counts, and how many of them must agree. Configured at the node."""

    signers: frozenset[PublicKey]
    threshold: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.signers) <= MAX_SIGNERS:
            raise BadConfig("signers", len(self.signers), f"1 to {MAX_SIGNERS} different signer keys")
        if not 1 <= self.threshold <= len(self.signers):
            raise BadConfig("threshold", self.threshold, f"1 to {len(self.signers)}, the number of signers")

    @classmethod
    def parse(cls, signers: Iterable[str], threshold: int) -> TrustRoot:
        """Read a trust root as a configuration writes it. Raises `LocalError` on a mistyped key."""
        return cls(frozenset(PublicKey.parse(text) for text in signers), threshold)

    def accepts(self, signed_by: frozenset[PublicKey]) -> bool:
        """Whether these signers are enough."""
        return len(self.signers & signed_by) >= self.threshold


@dataclass(frozen=True, slots=True)
class Signature:
    """One signer's signature; not checked yet."""

    signer: PublicKey
    signature: bytes


@dataclass(frozen=True, slots=True)
class Rotation:
    """A statement that `new` takes the place of `old`, with its signatures; not checked yet."""

    network: str
    number: int
    """Rises with every rotation, so that a set of signers that was left cannot be brought back by a replay."""
    old: TrustRoot
    new: TrustRoot
    payload: bytes
    """The exact bytes that are signed."""
    signatures: tuple[Signature, ...]

    @property
    def signed_by(self) -> frozenset[PublicKey]:
        """Whose signatures hold."""
        return valid_signers(ROTATION_DOMAIN, self.payload, self.signatures, self.old.signers | self.new.signers)

    @property
    def complete(self) -> bool:
        """Whether both the old and the new set have signed in sufficient number."""
        signed_by = self.signed_by
        return self.old.accepts(signed_by) and self.new.accepts(signed_by)


@dataclass(frozen=True, slots=True)
class TrustState:
    """The trust root in force and the number of the last rotation that led to it (0: as configured)."""

    root: TrustRoot
    rotation: int = 0

    def follow(self, rotations: Iterable[Rotation], network: str) -> TrustState:
        """Return the state after every complete rotation that starts where we are. Others are passed over: an
        older one has been followed before, and one that is not signed enough says nothing."""
        state = self
        for step in rotations:
            if step.network == network and step.number > state.rotation and step.old == state.root and step.complete:
                state = TrustState(step.new, step.number)
        return state


class RootForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trust root in JSON: signers in rising order of their text."""

    signers: list[str]
    threshold: int


class RotationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed of a rotation, in JSON."""

    network: str
    number: int
    old: RootForm
    new: RootForm


class SignatureForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature in JSON; bytes are base64."""

    signer: str
    signature: bytes


class SignedForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signed bytes and their signatures, in JSON."""

    payload: bytes
    signatures: list[SignatureForm]


def valid_signers(
    domain: bytes, payload: bytes, signatures: Iterable[Signature], among: frozenset[PublicKey]
) -> frozenset[PublicKey]:
    """Return who of `among` has a valid signature over `payload`; strangers cost no cryptography."""
    message = domain + payload
    return frozenset(
        entry.signer for entry in signatures if entry.signer in among and entry.signer.verify(entry.signature, message)
    )


def add_signature(
    signatures: tuple[Signature, ...], domain: bytes, payload: bytes, key: IdentityKey
) -> tuple[Signature, ...]:
    """Return `signatures` with the one of `key`, which replaces any it had, in the order of the signers' keys."""
    others = [entry for entry in signatures if entry.signer != key.public]
    return tuple(sorted([*others, Signature(key.public, key.sign(domain + payload))], key=lambda each: each.signer))


def make_rotation(network: str, number: int, old: TrustRoot, new: TrustRoot) -> Rotation:
    """Return the unsigned statement that `new` follows `old`."""
    form = RotationForm(network, number, _root_form(old), _root_form(new))
    return Rotation(network, number, old, new, msgspec.json.encode(form), ())


def read_rotation(form: SignedForm) -> Rotation:
    """Read a rotation from a stranger's file. Raises `ListRefused`."""
    inner = decode_exact(form.payload, RotationForm, "a rotation")
    if inner.number < 1 or inner.number >= 1 << 63:
        raise ListRefused(Refusal.MALFORMED, f"a rotation has the number {inner.number}; it must be 1 or more")
    return Rotation(
        inner.network,
        inner.number,
        _read_root(inner.old),
        _read_root(inner.new),
        form.payload,
        read_signatures(form.signatures),
    )


def read_signatures(forms: list[SignatureForm]) -> tuple[Signature, ...]:
    """Read the signatures of a stranger's file, without checking them. Raises `ListRefused`."""
    if len(forms) > MAX_SIGNATURES:
        raise ListRefused(Refusal.TOO_LARGE, f"{len(forms)} signatures on one statement; {MAX_SIGNATURES} are allowed")
    for form in forms:
        if len(form.signature) != SIGNATURE_BYTES:
            raise ListRefused(
                Refusal.MALFORMED, f"a signature has {len(form.signature)} bytes instead of {SIGNATURE_BYTES}"
            )
    return tuple(Signature(_read_signer(form.signer), form.signature) for form in forms)


def write_signed(payload: bytes, signatures: tuple[Signature, ...]) -> SignedForm:
    """Return the JSON form of signed bytes."""
    return SignedForm(payload, [SignatureForm(each.signer.text, each.signature) for each in signatures])


def decode_exact(payload: bytes, form: type[_Form], what: str) -> _Form:
    """Read `payload` as `form`, if it is that form's one encoding: no spaces, no doubled keys. Raises `ListRefused`."""
    try:
        value = msgspec.json.decode(payload, type=form)
        same = msgspec.json.encode(value) == payload
    except (msgspec.MsgspecError, RecursionError, ValueError) as problem:
        raise ListRefused(Refusal.MALFORMED, f"{what} does not decode: {problem}") from None
    if not same:
        raise ListRefused(Refusal.MALFORMED, f"{what} is not in its canonical encoding")
    return value


def read_key(text: str) -> bytes | None:
    """Return the 32 bytes that `text` writes in exact z-base-32 (lower case, 52 characters), or None."""
    if len(text) != TEXT_LENGTH or not _Z_BASE_32.issuperset(text):
        return None
    raw = from_zbase32(text)
    return raw if raw is None or len(raw) == KEY_BYTES else None


def _read_signer(text: str) -> PublicKey:
    raw = read_key(text)
    if raw is None:
        raise ListRefused(Refusal.MALFORMED, f"{text[:60]!r} is not a signer's key of {TEXT_LENGTH} characters")
    try:
        return PublicKey(raw)
    except WeakKey as problem:
        raise ListRefused(Refusal.MALFORMED, f"signer {text}: {problem}") from None


def _read_root(form: RootForm) -> TrustRoot:
    if len(form.signers) > MAX_SIGNERS:
        raise ListRefused(Refusal.TOO_LARGE, f"{len(form.signers)} signers in a rotation; {MAX_SIGNERS} are allowed")
    if sorted(set(form.signers)) != form.signers:
        raise ListRefused(Refusal.MALFORMED, "the signers of a rotation are not in rising order, each once")
    try:
        return TrustRoot(frozenset(map(_read_signer, form.signers)), form.threshold)
    except BadConfig as problem:
        raise ListRefused(Refusal.MALFORMED, f"a rotation's {problem}") from None


def _root_form(root: TrustRoot) -> RootForm:
    return RootForm(sorted(signer.text for signer in root.signers), root.threshold)
