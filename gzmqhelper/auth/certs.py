"""Certificates: the files that CURVE's keys are kept in. CZMQ's and pyzmq's are the same.

A certificate is text in ZPL (ZeroMQ's RFC 4): comments, a section ``metadata``, a section ``curve``
with the keys in Z85. The public one, to be given away, is ``name.key``; ``name.key_secret`` has both
keys. Files are read and written at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from .._libzmq import curve_keypair

__all__ = ["create_certificates", "load_certificate", "load_certificates"]

_PUBLIC = """\
#   ****  Generated on {} by gzmqhelper  ****
#   The public half of a ZeroMQ CURVE certificate. Give it to those who are to know its owner by
#   it, on a way that nobody can tamper with.
"""
_SECRET = """\
#   ****  Generated on {} by gzmqhelper  ****
#   A ZeroMQ CURVE certificate with its SECRET key: for its owner alone.
"""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _write(path: str, mode: int, comment: str, metadata: Mapping[str, str], **keys: bytes) -> None:
    lines = [comment.format(time.strftime("%Y-%m-%d %H:%M:%S")), "metadata"]
    lines += [f"    {_text(name)} = {_text(value)}" for name, value in metadata.items()]
    lines += ["curve"]
    lines += [f'    {name.replace("_", "-")} = "{key.decode()}"' for name, key in keys.items()]
    if mode == 0o600 and os.path.exists(path):
        os.chmod(path, mode)  # before the secret is in it
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def create_certificates(
    key_dir: str | os.PathLike[str], name: str, metadata: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Make a new pair of keys, and write its certificates: ``name.key`` and ``name.key_secret``.

    Returns their paths: of the public one, of the secret one, which only the file's owner can read.
    metadata: what else is to stand in the secret one. Files of these names are replaced.
    Raises OSError; `ZMQError`, ENOTSUP, where libzmq lacks CURVE.
    """
    public, secret = curve_keypair()
    base = os.path.join(key_dir, name)
    _write(f"{base}.key", 0o666, _PUBLIC, {}, public_key=public)
    _write(f"{base}.key_secret", 0o600, _SECRET, metadata or {}, public_key=public, secret_key=secret)
    return f"{base}.key", f"{base}.key_secret"


def load_certificate(filename: str | os.PathLike[str]) -> tuple[bytes, bytes | None]:
    """Read a certificate: its public key, and its secret one or None; each 40 bytes of Z85.

    Raises OSError if there is no such file, ValueError if there is no public key in it.
    """
    if not os.path.exists(filename):
        raise OSError(f"Invalid certificate file: {os.fspath(filename)}")
    found: dict[bytes, bytes] = {}
    with open(filename, "rb") as file:
        for line in file:
            name, _, value = line.strip().partition(b"=")
            found.setdefault(name.strip(), value.strip(b" \t'\""))
    public, secret = found.get(b"public-key"), found.get(b"secret-key")
    if not public:
        raise ValueError(f"No public key found in {os.fspath(filename)}")
    return public, secret or None


def load_certificates(directory: str | os.PathLike[str] = ".") -> dict[bytes, bool]:
    """The public keys of all certificates ``*.key`` in a directory, each with True.

    Raises OSError if there is no such directory, ValueError if one of the files is no certificate.
    """
    if not os.path.isdir(directory):
        raise OSError(f"Invalid certificate directory: {os.fspath(directory)}")
    names = [name for name in os.listdir(directory) if name.endswith(".key") and not name.startswith(".")]
    return {load_certificate(os.path.join(directory, name))[0]: True for name in names}
