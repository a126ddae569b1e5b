"""The certificate by which a node that is dialled without an answer is known: its file, and how it comes to be.

Decides that it is kept as carefully as a key, and for good: its fingerprint stands in the peer record, so a new one at
each start would make every record that others hold wrong. Refuses to know DTLS. It says nothing of who has it: the
identity is proven inside the channel.

    rookery-certificate-v1
    the private key (PEM of PKCS #8, P-256)
    the certificate (PEM, signed by itself)
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.adapters.keyfile import (
    KeyFileDamaged,
    KeyFileExists,
    KeyFileMissing,
    KeyFileWrongKind,
    create_private,
    read_private,
)

HEADER: Final = "rookery-certificate-v1"

LIFETIME: Final = datetime.timedelta(days=20 * 365)
"""Nobody looks at it: WebRTC compares fingerprints and nothing else (RFC 8827 section 6.5). UNSOURCED"""

_SHAPE: Final = re.compile(
    f"{HEADER}\n"
    "(-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END PRIVATE KEY-----\n)"
    "(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)"
)
_REMEDY: Final = "move it away to get a new one; peers then find the new fingerprint in this peer's record"


@dataclass(frozen=True, slots=True)
class KeptCertificate:
    """A certificate and its private key."""

    key: str = field(repr=False)
    """PEM of PKCS #8."""
    certificate: str = field(repr=False)
    """PEM."""
    fingerprint: bytes
    """SHA-256 of the certificate, 32 bytes: what others must find."""


def generate_certificate() -> KeptCertificate:
    """Make a certificate with a key of its own: some milliseconds."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(8))])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .sign(key, hashes.SHA256())
    )
    return KeptCertificate(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii"),
        certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest(),
    )


def load_certificate(path: Path) -> KeptCertificate:
    """Read the file. Raises `KeyFileError`."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    text = read_private(path)
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        if text.startswith("rookery-") and not text.startswith(HEADER):
            raise KeyFileWrongKind(path, "it holds no certificate of ours", "name the right file, or move this away")
        raise KeyFileDamaged(path, "it is not as it was written", _REMEDY)
    try:
        certificate = x509.load_pem_x509_certificate(shape[2].encode())
        key = serialization.load_pem_private_key(shape[1].encode(), None)
        fits = key.public_key() == certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fits = False
    if not fits:
        raise KeyFileDamaged(path, "its key and its certificate do not fit each other", _REMEDY)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return KeptCertificate(shape[1], shape[2], hashlib.sha256(der).digest())


def load_or_create_certificate(path: Path) -> KeptCertificate:
    """Read the file, or make a certificate; of two processes at once, both get the same. Raises `KeyFileError`."""
    try:
        return load_certificate(path)
    except KeyFileMissing:
        made = generate_certificate()
        with contextlib.suppress(KeyFileExists):
            create_private(path, f"{HEADER}\n{made.key}{made.certificate}")
        return load_certificate(path)
