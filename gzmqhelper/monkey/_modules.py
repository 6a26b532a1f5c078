"""Which modules pyzmq has, and what each of them is here.

`__init__.py` asks when a program imports one. Everything goes by name and is looked up at that
moment, so that a program that uses little loads little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = __package__.rpartition(".")[0]

# Modules that this library has too: the very same, under two names. (But a package is another with
# the same names, as what Python imports from a package depends on the package's own name.)
_SAME: Final[Mapping[str, str]] = {
    "zmq.constants": "constants",
    "zmq.error": "errors",
    "zmq.sugar.attrsettr": "_attributes",
    "zmq.sugar.constants": "constants",  # of old: programs still import it
    "zmq.sugar.version": "monkey._pyzmq",
    "zmq.asyncio": "monkey._asyncio",
    "zmq.decorators": "decorators",
    "zmq.devices": "devices",
    "zmq.devices.basedevice": "devices.basedevice",
    "zmq.devices.monitoredqueue": "devices.monitoredqueue",
    "zmq.devices.monitoredqueuedevice": "devices.monitoredqueuedevice",
    "zmq.devices.proxydevice": "devices.proxydevice",
    "zmq.devices.proxysteerabledevice": "devices.proxysteerabledevice",
    "zmq.auth": "auth",
    "zmq.auth.asyncio": "auth.asyncio",
    "zmq.auth.base": "auth.base",
    "zmq.auth.certs": "auth.certs",
    "zmq.auth.ioloop": "auth.ioloop",
    "zmq.auth.thread": "auth.thread",
    "zmq.log": "log",
    "zmq.log.handlers": "log.handlers",
    "zmq.ssh": "ssh",
    "zmq.ssh.tunnel": "ssh",
    "zmq.utils": "utils",
    "zmq.utils.interop": "utils.interop",
    "zmq.utils.jsonapi": "utils.jsonapi",
    "zmq.utils.monitor": "utils.monitor",
    "zmq.utils.strtypes": "utils.strtypes",
    "zmq.utils.win32": "utils.win32",
    "zmq.utils.z85": "utils.z85",
}

# Modules that are made of names of others: module:name=the name there, of which the module may be
# left out if it is the package, and the other name if it is the same.
_MADE_OF: Final[Mapping[str, str]] = {
    "zmq.sugar.context": "Context Socket monkey._pyzmq:SyncContext",
    "zmq.sugar.frame": "Frame Message MessageTracker",
    "zmq.sugar.poll": "Poller select",
    "zmq.sugar.socket": """
        Socket Context Frame Poller monkey._pyzmq:SyncSocket _endpoints:Endpoint=_SocketContext
    """,
    "zmq.sugar.stopwatch": "Stopwatch",
    "zmq.sugar.tracker": "MessageTracker _tracker:FINISHED=_FINISHED_TRACKER",
    "zmq.backend.select": "monkey._pyzmq:public_api",
    "zmq.green.core": """
        monkey._green:Context=_Context monkey._green:Socket=_Socket monkey._green:Poller=_Poller
        Context=_original_Context Socket=_original_Socket
    """,
    "zmq.green.poll": "monkey._green:Poller=_Poller Poller=_original_Poller",
    "zmq.green.device": "device",
    "zmq.utils.garbage": "monkey._pyzmq:gc",
}

# Modules that share the names that every program may use.
_FACADES: Final = ("zmq", "zmq.green", "zmq.sugar", "zmq.backend")

# Modules whose import is an error.
_REFUSED: Final[Mapping[str, str]] = dict.fromkeys(
    ("zmq.eventloop", "zmq.green.eventloop"),
    "it is for tornado's event loop, and gzmqhelper, which answers for pyzmq in this"
    " process, is for gevent's; run the program without gzmqhelper.monkey, or wait in greenlets",
)

_PACKAGES: Final = frozenset(name.rpartition(".")[0] for name in (*_SAME, *_MADE_OF, *_FACADES))

# What ``from zmq import *`` gives besides the constants and errors: pyzmq's names, and none of those
# that this library adds, as `socket` would hide the standard module that a program has imported.
_OURS: Final = """
    Context Socket Frame Message MessageTracker Poller select proxy proxy_steerable device zmq_poll
    zmq_version zmq_version_info pyzmq_version pyzmq_version_info has curve_keypair curve_public strerror
    zmq_errno DRAFT_API PYZMQ_DRAFT_API IPC_PATH_MAX_LEN COPY_THRESHOLD Stopwatch
""".split()
_PYZMQS: Final = """
    __version__ __revision__ get_includes get_library_dirs SyncContext SyncSocket
""".split()


def knows(name: str) -> bool:
    """Whether there is a module of this name; it may be one whose import is an error."""
    return name in _SAME or name in _MADE_OF or name in _FACADES or name in _REFUSED


def is_package(name: str) -> bool:
    """Whether it has modules in it."""
    return name in _PACKAGES


def make(name: str) -> ModuleType:
    """The module of this name: one of this library, or a new one. Raises ModuleNotFoundError."""
    if name in _REFUSED:
        raise ModuleNotFoundError(f"no module named {name!r}: {_REFUSED[name]}", name=name)
    if name in _SAME and name not in _PACKAGES:
        return _import(_SAME[name])
    module = ModuleType(name, f"pyzmq's {name}, as {_PACKAGE} has it.")
    names = module.__dict__
    if name in _PACKAGES:
        names["__getattr__"] = partial(_submodule, name)
    if name in _SAME:
        names.update(_public(_import(_SAME[name])))
    elif name in _FACADES:
        _fill_facade(name, names)
    else:
        names.update(_names(_MADE_OF[name]))
        names["__all__"] = [key for key in names if key[0] != "_"]
    return module


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names of a module, and what they are; not its modules, as pyzmq has others."""
    for key, value in vars(module).items():
        if (key[0] != "_" and not isinstance(value, ModuleType)) or key == "__all__":
            yield key, value


def _fill_facade(name: str, names: dict[str, Any]) -> None:
    names.update(_public(_import("")))
    names.update(_names(" ".join(f"monkey._pyzmq:{key}" for key in _PYZMQS)))
    names["_FINISHED_TRACKER"] = _import("_tracker").FINISHED
    constants, errors = _import("constants").__all__, _import("errors").__all__
    every = {*constants, *errors, *_OURS, *_PYZMQS, "_FINISHED_TRACKER"} & names.keys()
    names["__all__"] = sorted(every)
    if name == "zmq.green":
        names.update(_names("monkey._green:Context monkey._green:Socket monkey._green:Poller"))
        names["_zmq"] = names["zmq"] = import_module("zmq")
    elif name != "zmq":
        # Not what this library adds: `socket` would hide the module zmq.sugar.socket.
        for key in [key for key in names if key not in every and key[0] != "_"]:
            del names[key]


def settle(module: ModuleType) -> None:
    """To be called once Python knows the module."""
    if module.__name__ == "zmq.green":
        # Python puts a module into its package when it is first imported: where the function is.
        function = module.device
        import_module("zmq.green.device")
        module.__dict__["device"] = function


def _submodule(package: str, name: str) -> Any:
    """For programs that import ``zmq`` and say ``zmq.utils.jsonapi``."""
    full = f"{package}.{name}"
    if not knows(full) or full in _REFUSED:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return import_module(full)


def _import(name: str) -> ModuleType:
    return import_module(f"{_PACKAGE}.{name}" if name else _PACKAGE)


def _names(made_of: str) -> Iterator[tuple[str, Any]]:
    for item in made_of.split():
        where, _, what = item.rpartition(":")
        ours, _, theirs = what.partition("=")
        yield theirs or ours, getattr(_import(where), ours)
