"""Ed25519 signatures of bundles, which prove who made a model. They sign the manifest, which hashes every file."""

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

from models.errors import BundleError

SIGNATURE = "manifest.sig"


def new_key(file: Path) -> str:
    """Writes a new private key (PEM, readable by its owner only) and returns the public key in base64."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
    return _public(key)


def sign(folder: Path, key_file: Path) -> str:
    """Signs the manifest of a bundle and returns the public key in base64. Raises `BundleError` for an invalid key."""
    key = _private(key_file)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise BundleError(f"{folder} is not a model bundle: manifest.json is missing")
    (folder / SIGNATURE).write_bytes(base64.b64encode(key.sign(manifest.read_bytes())) + b"\n")
    return _public(key)


def check_signed(manifest: bytes, signature: bytes | None, trusted: Sequence[str], bundle: Path) -> None:
    """Raises `BundleError` unless one of the `trusted` public keys (base64) signed `manifest`; passes without keys.

    `signature` is the content of the bundle's `manifest.sig`, or None without that file; `bundle` names the bundle in
    the message.
    """
    if not trusted:
        return
    if signature is None:
        raise BundleError(
            f"{bundle} is not signed, but model.trusted_keys is set; sign it with 'opinionwatch models sign'"
        )
    try:
        signed = base64.b64decode(signature, validate=False)
    except ValueError as error:
        raise BundleError(f"{bundle / SIGNATURE}: {type(error).__name__}") from None
    for text in trusted:
        try:
            public_key(text).verify(signed, manifest)
        except InvalidSignature:
            continue
        return
    raise BundleError(f"{bundle}: none of model.trusted_keys made its signature, or the manifest has changed since")


def public_of(key_file: Path) -> str:
    """The public key (base64) of a private key file. Raises `BundleError` for an invalid key."""
    return _public(_private(key_file))


def public_key(text: str) -> Ed25519PublicKey:
    """Parses a public key; raises `ValueError` unless `text` is the base64 of 32 bytes."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _private(key_file: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{key_file} is not a private key: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{key_file} is not an Ed25519 key; make one with 'opinionwatch models keygen'")
    return key


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
