"""`export`: makes a class's instances buffers, for ``memoryview(instance)`` and all that takes buffers.

`_frame.py` asks for it. From Python 3.12 on ``__buffer__`` does it, and `export` has nothing to do.
Before, only C can: the two functions of a type's buffer slot. Here a function of the glue, which calls
`_get_buffer`, is put into the slot of a class: it has the memoryview that ``__buffer__`` gives export
itself in the instance's place, which the buffer protocol allows; no second is needed then.

This code assumes CPython's PyTypeObject, whose fields have stood where they stand since 3.9; before
it writes, it compares two of them with what Python says of the class, and else leaves all as it is.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any, Final

from ._native import ffi, lib

# Fields of PyTypeObject, each as large as a pointer, counted from its beginning.
_BASICSIZE: Final = 4
_AS_BUFFER: Final = 20
_FLAGS: Final = 21


def export(cls: type) -> None:
    """Make cls, which has ``__buffer__``, and the subclasses that are to come, buffers."""
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython":
        return
    fields = ffi.cast("size_t *", id(cls))
    if (fields[_BASICSIZE], fields[_FLAGS]) != (cls.__basicsize__, cls.__flags__) or not fields[_AS_BUFFER]:
        return
    ffi.cast("void **", fields[_AS_BUFFER])[0] = lib.gzh_get_buffer


@cache
def _ctypes() -> tuple[Any, Any]:
    # Not at the top of the file: to import it takes as long as a tenth of this package, and few need it.
    ctypes: Any = import_module("ctypes")
    get = ctypes.PyDLL(None).PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    return get, lambda address: ctypes.cast(address, ctypes.py_object).value


@ffi.def_extern(name="gzh_get_buffer", error=-1)  # type: ignore[untyped-decorator]  # cffi's
def _get_buffer(instance: Any, view: Any, flags: int) -> int:
    try:
        get, object_at = _ctypes()
        found = object_at(int(ffi.cast("uintptr_t", instance)))
        return int(get(found.__buffer__(flags), int(ffi.cast("uintptr_t", view)), flags))
    except BaseException:
        return -1  # as SystemError: nobody can raise anything else from here
