"""Who signs: a certificate authority and a leaf of this studio, made at first start.

C2PA refuses a single self-signed certificate, so there are two. Readers elsewhere say "valid, but
from a signer I do not know" until somebody gives them ``ca.pem`` as a trust anchor; public trust
needs a certificate from the C2PA trust list, which may be put in the place of the leaf.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from moderation.marks.watermark import TAG_BITS
from storage.errors import OperatorError

CA_FILE, CHAIN_FILE, KEY_FILE = "ca.pem", "chain.pem", "leaf.key"
_YEARS = 10
_ORGANISATION = "Atelier studio"


@dataclass(frozen=True, slots=True)
class Identity:
    """What signing needs. ``key`` is secret; the rest is public."""

    ca: str
    """The authority's certificate, PEM."""
    chain: str
    """The leaf's certificate and the authority's, PEM."""
    key: str = field(repr=False)
    """The leaf's private key, PEM (ECDSA P-256)."""

    @property
    def tag(self) -> int:
        """The studio's number in the watermark: 24 bits of the authority's fingerprint."""
        return tag_of(self.ca)


def tag_of(ca: str) -> int:
    """The watermark tag of a studio with this authority (PEM)."""
    digest = hashlib.sha256(ca.encode("ascii")).digest()
    return int.from_bytes(digest[: TAG_BITS // 8], "big")


def folder_of(home: Path) -> Path:
    """Where a state folder keeps its identity."""
    return home / "marks"


def authority(home: Path) -> str | None:
    """This studio's authority (PEM) for readers of marks, or ``None`` when it has made none."""
    try:
        return (folder_of(home) / CA_FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return None


def ensure_identity(home: Path) -> Identity:
    """Read the identity of a state folder, or make it. Safe for several processes at once.

    The authority's own key is thrown away after it has signed the leaf: nobody can sign another.
    Raises ``OperatorError`` when the folder cannot be written or holds half an identity.
    """
    folder = folder_of(home)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / CHAIN_FILE).exists():
                _make(folder)
        return Identity(
            ca=(folder / CA_FILE).read_text(encoding="ascii"),
            chain=(folder / CHAIN_FILE).read_text(encoding="ascii"),
            key=(folder / KEY_FILE).read_text(encoding="ascii"),
        )
    except OSError as error:
        raise OperatorError(
            f"the signing identity in {folder} cannot be read or made ({error.strerror})",
            "make the folder writable, or delete it whole to start with a new identity",
        ) from error


def _make(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    ca_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # The CA's number makes two studios' names differ without naming either.
    ca_name = name(f"Atelier studio CA {x509.random_serial_number() % 10**8:08d}")
    now = datetime.now(UTC) - timedelta(minutes=5)
    until = now + timedelta(days=365 * _YEARS)

    def usage(*, authority: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not authority, key_cert_sign=authority, crl_sign=authority,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip

    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name).issuer_name(ca_name).public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(authority=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )  # fmt: skip
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name("Atelier studio signer")).issuer_name(ca_name)
        .public_key(leaf_key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now).not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    ca_pem, leaf_pem = ca.public_bytes(pem), leaf.public_bytes(pem)
    secret = leaf_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(folder / KEY_FILE, secret, 0o600)
    _write(folder / CA_FILE, ca_pem, 0o644)
    _write(folder / CHAIN_FILE, leaf_pem + ca_pem, 0o644)  # last: its presence says "complete"


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_suffix(".part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
