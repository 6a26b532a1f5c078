"""Z85: bytes as text, five characters for each four bytes (ZeroMQ's RFC 32). CURVE keys are shown so."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["decode", "encode"]

Z85CHARS: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
Z85MAP: Final = {character: digit for digit, character in enumerate(Z85CHARS)}


def encode(rawbytes: bytes | bytearray | memoryview) -> bytes:
    """Bytes, whose number must be a multiple of 4, to text. Raises ValueError."""
    if len(rawbytes) % 4:
        raise ValueError(f"length must be multiple of 4, not {len(rawbytes)}")
    text = bytearray()
    for (number,) in struct.iter_unpack(">I", rawbytes):
        digits = []
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits.append(Z85CHARS[digit])
        text += bytes(reversed(digits))
    return bytes(text)


def decode(z85bytes: str | bytes | bytearray | memoryview) -> bytes:
    """Text, whose length must be a multiple of 5, to bytes.

    Raises ValueError for another length and for text that is not ASCII, KeyError for a character that
    is none of the 85, `struct.error` for five that stand for more than four bytes.
    """
    if isinstance(z85bytes, str):
        try:
            z85bytes = z85bytes.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("string argument should contain only ASCII characters") from None
    if len(z85bytes) % 5:
        raise ValueError(f"Z85 length must be multiple of 5, not {len(z85bytes)}")
    numbers = []
    for start in range(0, len(z85bytes), 5):
        number = 0
        for character in z85bytes[start : start + 5]:
            number = number * 85 + Z85MAP[character]
        numbers.append(number)
    return struct.pack(f">{len(numbers)}I", *numbers)
