"""Other people's programs, unchanged: ``import zmq`` and ``import zmq.green`` give this library.

    from gzmqhelper.monkey import patch_zmq
    patch_zmq()                                        # first of all, before anybody imports zmq

    python -m gzmqhelper.monkey script.py args ...     # or without a change to the program
    python -m gzmqhelper.monkey -m module args ...

Works with and without pyzmq installed. It goes together with ``gevent.monkey``, whichever is first.
`_modules.py` says what each of pyzmq's modules is here.

What cannot be: ``zmq.eventloop``, which is for tornado's loop, cannot be imported; Cython code that was
built on pyzmq gets pyzmq's sockets. A child process is not patched, unless it was forked.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from gevent.monkey import MonkeyPatchWarning

from .._frame import Frame
from ._modules import is_package, knows, make, settle

__all__ = ["MonkeyPatchWarning", "is_patched", "patch_zmq"]


class _Finder:
    """What Python asks first for each module that is imported: answers for pyzmq's."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not knows(name):
            return None
        return ModuleSpec(name, self, origin=__name__, is_package=is_package(name))  # type: ignore[arg-type]  # a loader has these two methods, or all of the abstract class's

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = make(spec.name)
        # One of this library's keeps its own, of which Python is about to take it.
        spec.loader_state = getattr(module, "__spec__", None)
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state
        settle(module)


_finder = _Finder()


def is_patched() -> bool:
    """Whether `patch_zmq` was called in this process."""
    return _finder in sys.meta_path


def patch_zmq() -> None:
    """From now on, whoever imports ``zmq``, or a module of it, gets this library.

    Call it before anything imports pyzmq. What has been imported before stays as it was: modules
    that hold pyzmq's names go on using pyzmq, which blocks the hub, and its objects are of no use to
    this library. In that case a `MonkeyPatchWarning` names those modules. Safe to call twice.

    ``str`` of a `Frame` is pyzmq's from then on, the same as ``repr``, and not its text.
    """
    if is_patched():
        return
    Frame.__str__ = Frame.__repr__  # type: ignore[method-assign]  # programs log it, and expect no text
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "zmq"}
    for name in loaded:
        del sys.modules[name]
    sys.meta_path.insert(0, _finder)
    if loaded:
        holders = sorted(_holders(list(loaded.values()))) or ["none that can be found"]
        warnings.warn(
            "pyzmq was imported before patch_zmq(): what was imported then stays pyzmq's, and blocks "
            "gevent's hub. Patch first, before all other imports. Modules that hold its names: "
            + ", ".join(holders),
            MonkeyPatchWarning,
            stacklevel=2,
        )


def _holders(loaded: list[ModuleType]) -> set[str]:
    """Which modules have pyzmq's modules, or classes or functions of theirs, among their names."""
    theirs = {id(module) for module in loaded}
    for module in loaded:
        theirs.update(
            id(thing)
            for thing in vars(module).values()
            if callable(thing) and str(getattr(thing, "__module__", "")).startswith("zmq.")
        )
    return {
        name
        for name, module in list(sys.modules.items())
        if any(id(thing) in theirs for thing in list(getattr(module, "__dict__", {}).values()))
    }
