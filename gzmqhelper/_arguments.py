"""What callers give, looked at where a call leaves the quick path: errors that name the argument.

The quick path itself looks at nothing; what cannot be right fails there with a TypeError of its own.
"""

from __future__ import annotations

from operator import index
from typing import Any


def duration(name: str, value: float) -> float:
    """A time as given, if it is one. Raises TypeError, or ValueError for a NaN, and names it."""
    try:
        value < 0  # noqa: B015 # a str is equal to itself too, and so no NaN
    except TypeError:
        raise TypeError(f"{name}: expected a number or None, got {type(value).__name__}") from None
    if value != value:
        raise ValueError(f"{name}: NaN is no time")
    return value


def integer(name: str, value: Any) -> int:
    """An int, or what can be used as one (a member of an enum, numpy's). Raises TypeError."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}") from None


def address_of(thing: Any) -> int:
    """The address of a socket or context of libzmq's, given as an int or as an object of another
    binding that tells it, ``underlying``. Raises TypeError."""
    return integer("shadow", getattr(thing, "underlying", thing))


def in_time(timeout: float | None) -> dict[str, Any]:
    """A timeout to be passed on, if there is one: the methods of a subclass need not know of any."""
    return {} if timeout is None else {"timeout": timeout}
