"""Slots: the buffers into which the C core puts what is received, and how bytes are made of it.

`_messages.py` and `_many.py` take one for each call and give it back; nobody keeps one while waiting,
for a slot is large.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Any, Final

from ._native import ffi, lib

SLOT_BYTES: Final[int] = lib.GZH_SLOT_BYTES

# Those that no call uses at this moment. Each call takes its own: a signal handler that receives may
# run between another receive and the line that copies its bytes out.
_slots: Final[list[tuple[Any, Any]]] = []
take_slot = _slots.pop
return_slot = _slots.append


def new_slot() -> tuple[Any, Any]:
    slot = ffi.new("gzh_slot *")
    return slot, ffi.buffer(ffi.addressof(slot[0], "data"), SLOT_BYTES)


def some_slot() -> tuple[Any, Any]:
    try:
        return take_slot()
    except IndexError:
        return new_slot()


def messages_in(slot: Any, view: Any) -> list[Any]:
    """The messages of a batch: bytes, or lists of them."""
    # C cannot make bytes, and to cut them out one by one costs as much as to receive them.
    flat = unpack_from(ffi.string(slot.format), view)
    each = slot.each
    return [*flat] if each == 1 else [*map(list, zip(*[iter(flat)] * each, strict=False))]
