"""What libzmq says of itself, and the functions of libzmq that need no socket. All at once."""

from __future__ import annotations

from typing import Final

from ._helper import check
from ._native import ffi, lib
from .errors import IPC_PATH_MAX_LEN, ZMQVersionError

__all__ = [
    "DRAFT_API",
    "IPC_PATH_MAX_LEN",
    "PYZMQ_DRAFT_API",
    "curve_keypair",
    "curve_public",
    "has",
    "pyzmq_version",
    "pyzmq_version_info",
    "zmq_version",
    "zmq_version_info",
]

_PYZMQ: Final = (27, 3, 0)


def zmq_version_info() -> tuple[int, int, int]:
    """The version of libzmq, as three ints (zmq_version)."""
    numbers = ffi.new("int[3]")
    lib.gzh_version(numbers)
    return (numbers[0], numbers[1], numbers[2])


def zmq_version() -> str:
    """The version of libzmq, as text: "4.3.5"."""
    return ".".join(map(str, zmq_version_info()))


ZMQVersionError._there = zmq_version()


def pyzmq_version() -> str:
    """The version of pyzmq whose names and behaviour this package has, for programs that ask."""
    return ".".join(map(str, _PYZMQ))


def pyzmq_version_info() -> tuple[int, int, int]:
    """`pyzmq_version`, as three ints."""
    return _PYZMQ


def has(capability: str) -> bool:
    """Whether libzmq was built with "ipc", "curve", "draft", ... (zmq_has)."""
    if not isinstance(capability, str):
        raise TypeError(f"has: expected str, got {type(capability).__name__}")
    return bool(lib.gzh_has(ffi.from_buffer(capability.encode() + b"\0")))


def curve_keypair() -> tuple[bytes, bytes]:
    """A new public and secret key, 40 bytes of Z85 each. Raises `ZMQError`, ENOTSUP."""
    public, secret = ffi.new("char[41]"), ffi.new("char[41]")
    check(lib.gzh_curve_keypair(public, secret), "curve_keypair: is libzmq built with CURVE?")
    return ffi.string(public), ffi.string(secret)


def curve_public(secret_key: bytes | str) -> bytes:
    """The public key of a secret one, 40 bytes of Z85 each.

    Raises `ZMQError`, EINVAL, ENOTSUP, and ValueError for a key of another length.
    """
    if isinstance(secret_key, str):
        secret_key = secret_key.encode()
    if not isinstance(secret_key, bytes):
        raise TypeError(f"curve_public: expected bytes, got {type(secret_key).__name__}")
    if len(secret_key) != 40:
        raise ValueError(f"a secret key has 40 bytes of Z85, not {len(secret_key)}")
    public = ffi.new("char[41]")
    check(lib.gzh_curve_public(public, ffi.from_buffer(secret_key + b"\0")), "curve_public")
    return bytes(ffi.string(public))


# Whether this package was built with libzmq's draft API; and whether the libzmq at hand has it too.
PYZMQ_DRAFT_API: Final[bool] = bool(lib.GZH_DRAFTS)
DRAFT_API: Final[bool] = PYZMQ_DRAFT_API and has("draft")
