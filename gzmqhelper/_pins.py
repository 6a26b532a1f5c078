"""Pins: the memory of others that libzmq reads in place, held until it has done with that.

`_tracker.py` adds to them, and tells whether one is still there. libzmq says on its own thread that it is
done, where nothing of Python's may run; so they go when `let_go` is called: when sockets and contexts
end, and as long as there are any, whenever a greenlet begins a slice of time (`_helper.py`).
"""

from __future__ import annotations

import atexit
from importlib import import_module
from typing import Any, Final

from ._native import ffi, lib

pins: Final[dict[int, Any]] = {}


def let_go() -> None:
    """Drop the memory that libzmq has done with since the last time."""
    if not pins:
        return
    room = ffi.new("uint64_t[64]")  # not everybody's: another thread may come in between
    while count := lib.gzh_released(room, 64):
        for number in ffi.unpack(room, count):
            pins.pop(number, None)


@atexit.register
def _keep_for_ever() -> None:
    # libzmq's threads go on reading while Python takes itself apart: what they may still read gets
    # a reference that nobody ever drops.
    let_go()
    if not pins:
        return
    ctypes: Any = import_module("ctypes")  # which takes as long as a tenth of this package
    for held in pins.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
