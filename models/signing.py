"""Ed25519 signatures of bundles: who may put a model into service. The manifest holds the hash of every file."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from models.bundle import BundleError

SIGNATURE = "manifest.sig"


def new_key(file: Path) -> str:
    """Writes a private key (PEM, readable by its owner only) and returns the public one in base64."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
    return _public(key)


def sign(folder: Path, key_file: Path) -> str:
    """Signs the manifest of a bundle; returns the public key in base64. Raises `BundleError` for a key that is none."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{key_file} is no private key: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{key_file} is no Ed25519 key; 'opinionwatch models keygen' makes one")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise BundleError(f"{folder} is no model bundle: manifest.json is missing")
    (folder / SIGNATURE).write_bytes(base64.b64encode(key.sign(manifest.read_bytes())) + b"\n")
    return _public(key)


def check_signature(folder: Path, trusted: Sequence[str]) -> None:
    """Raises `BundleError` where none of the `trusted` public keys (base64) signed it; passes without keys."""
    if not trusted:
        return
    file = folder / SIGNATURE
    try:
        signature = base64.b64decode(file.read_bytes(), validate=False)
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not signed, and model.trusted_keys wants it; 'opinionwatch models sign'"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: {type(error).__name__}") from None
    manifest = (folder / "manifest.json").read_bytes()
    for text in trusted:
        try:
            public_key(text).verify(signature, manifest)
        except InvalidSignature:
            continue
        return
    raise BundleError(f"{folder}: its signature is by none of model.trusted_keys, or the manifest was changed since")


def public_key(text: str) -> Ed25519PublicKey:
    """Raises `ValueError` where `text` is not the base64 of 32 bytes."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
