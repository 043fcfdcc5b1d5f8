"""Encryption at rest, with a key that never enters the database.

Guarantees: AES-256-GCM with a fresh 96-bit nonce for each value; what a value is bound to (where it belongs and its
name) is authenticated, so a ciphertext moved to another row does not open. The key file is made once, readable by its
owner alone; two processes that make it at once end up with the same key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from bushel.domain.errors import Unavailable
from bushel.domain.failpoints import reach

KEY_FILE = "secret.key"
_KEY_BYTES = 32
_NONCE_BYTES = 12


def load_key(state_folder: Path) -> bytes:
    """The key of this installation, made at its first use.

    Raises:
        Unavailable: the file is there but is not a key.
    """
    path = state_folder / KEY_FILE
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise Unavailable(f"{path} is not a key of {_KEY_BYTES} bytes", suggestion="restore it from a backup")
    return key


def key_id(key: bytes) -> str:
    """A public name of the key, stored with each ciphertext, so that a wrong key is named and not guessed at."""
    return hashlib.sha256(b"bushel key id" + key).hexdigest()[:16]


def encrypt(key: bytes, value: bytes, bound_to: str) -> tuple[bytes, bytes]:
    """Nonce and ciphertext."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return nonce, AESGCM(key).encrypt(nonce, value, bound_to.encode())


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, bound_to: str) -> bytes:
    """The value.

    Raises:
        Unavailable: it was encrypted with another key, for another place, or was changed since.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(nonce, ciphertext, bound_to.encode())
    except InvalidTag as error:
        raise Unavailable(
            "a stored secret does not open with this installation's key", suggestion=f"restore {KEY_FILE} from the backup"
        ) from error


def seal_document(key: bytes, document: dict[str, Any], bound_to: str) -> str:
    nonce, ciphertext = encrypt(key, json.dumps(document).encode(), bound_to)
    return base64.b64encode(nonce + ciphertext).decode()


def open_document(key: bytes, sealed: str, bound_to: str) -> dict[str, Any]:
    raw = base64.b64decode(sealed)
    return json.loads(decrypt(key, raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to))


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    reach("encryption.before_key_file")
    with suppress(FileExistsError):  # another process was first: its key counts
        os.link(draft, path)
    reach("encryption.after_key_file")
    draft.unlink()
