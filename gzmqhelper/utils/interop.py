"""Handing sockets and contexts to other libraries, by address."""

from __future__ import annotations

from typing import Any

from .._native import ffi

__all__ = ["cast_int_addr"]


def cast_int_addr(n: Any) -> int:
    """An address, as an int: of an int, or of one of cffi's pointers. Raises ValueError."""
    if isinstance(n, int):
        return n
    if isinstance(n, ffi.CData):
        return int(ffi.cast("size_t", n))
    raise ValueError(f"Cannot cast {n!r} to int")
