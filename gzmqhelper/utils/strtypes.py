"""Names for bytes and text from the days of Python 2, which old programs still import."""

from __future__ import annotations

import builtins
import warnings

__all__ = ["asbytes", "b", "basestring", "bytes", "cast_bytes", "cast_unicode", "u", "unicode"]

bytes = builtins.bytes
unicode = str
basestring = (str,)


def _warn(better: str) -> None:
    warnings.warn(f"zmq.utils.strtypes is deprecated, use {better}", DeprecationWarning, stacklevel=3)


def cast_bytes(s: str | bytes, encoding: str = "utf8", errors: str = "strict") -> bytes:
    """Deprecated: text is encoded, bytes are returned as they are. Raises TypeError for all else."""
    _warn("str.encode")
    if isinstance(s, bytes):
        return s
    if isinstance(s, str):
        return s.encode(encoding, errors)
    raise TypeError(f"Expected unicode or bytes, got {s!r}")


def cast_unicode(s: str | bytes, encoding: str = "utf8", errors: str = "strict") -> str:
    """Deprecated: bytes are decoded, text is returned as it is. Raises TypeError for all else."""
    _warn("bytes.decode")
    if isinstance(s, bytes):
        return s.decode(encoding, errors)
    if isinstance(s, str):
        return s
    raise TypeError(f"Expected unicode or bytes, got {s!r}")


b = asbytes = cast_bytes
u = cast_unicode
