"""`export`: makes a class's instances buffers, for ``memoryview(instance)`` and all that takes buffers.

`_frame.py` asks for it. From Python 3.12 on ``__buffer__`` does it, and `export` has nothing to do.
Before, only C can: the two functions of a type's buffer slot. Here they are put into the slot of a
class with ctypes: the first has the memoryview that ``__buffer__`` gives export itself in the
instance's place, which the buffer protocol allows; no second is needed then.

This code assumes CPython's PyTypeObject, whose fields have stood where they stand since 3.9; before
it writes, it compares two of them with what Python says of the class, and else leaves all as it is.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

# Fields of PyTypeObject, each as large as a pointer, counted from its beginning.
_BASICSIZE: Final = 4
_AS_BUFFER: Final = 20
_FLAGS: Final = 21

_kept: Final[list[Any]] = []  # what C now points to


def export(cls: type) -> None:
    """Make cls, which has ``__buffer__``, and the subclasses that are to come, buffers."""
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython":
        return
    fields = (ctypes.c_size_t * (_FLAGS + 1)).from_address(id(cls))
    if (fields[_BASICSIZE], fields[_FLAGS]) != (cls.__basicsize__, cls.__flags__) or not fields[_AS_BUFFER]:
        return
    function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]

    def get_buffer(instance: Any, view: int, flags: int) -> int:
        try:
            return int(get(instance.__buffer__(flags), view, flags))
        except BaseException:
            return -1  # as SystemError: nobody can raise anything else from here

    kept = function(get_buffer)
    _kept.append(kept)
    slot = ctypes.c_void_p.from_address(fields[_AS_BUFFER])
    slot.value = ctypes.cast(kept, ctypes.c_void_p).value
