"""Secrets at rest: platform tokens are stored so that a copy of the database does not leak them."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import OperatorError

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """AES-256-GCM with one key from the state folder. ``about`` ties a secret to its row."""

    def __init__(self, key: bytes) -> None:
        self._box = AESGCM(key)

    @classmethod
    def open(cls, home: Path) -> Vault:
        """The vault of a state folder; its key is made on first use, readable by us alone.

        Raises ``OperatorError`` when the key file is not one.
        """
        path = home / "secret.key"
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".secret.{os.getpid()}.{secrets.token_hex(4)}")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(handle, secrets.token_bytes(_KEY_BYTES))
                os.fsync(handle)
            finally:
                os.close(handle)
            try:
                # Of several processes that start at once, one key wins and all read that one.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise OperatorError(f"{path.name} in the state folder is not a key", "remove it")
        return cls(key)

    def seal(self, secret: str, about: str) -> str:
        """The secret as text that may be stored."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._box.encrypt(nonce, secret.encode(), about.encode())
        return base64.b64encode(sealed).decode()

    def unseal(self, sealed: str, about: str) -> str | None:
        """The secret; None when it was sealed with another key, for another row, or is junk."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._box.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode()
            ).decode()
        except (InvalidTag, ValueError):
            return None
