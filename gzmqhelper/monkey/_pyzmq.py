"""What pyzmq has and this library has no use for: its version in pieces, its build.

`_modules.py` gives these names to programs that were written for pyzmq.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .._context import Context
from .._libzmq import pyzmq_version, pyzmq_version_info, zmq_version, zmq_version_info
from .._pins import let_go, pins
from .._socket import Socket

# What ``from zmq.sugar.version import *`` gives.
__all__ = [
    "__revision__",
    "__version__",
    "pyzmq_version",
    "pyzmq_version_info",
    "zmq_version",
    "zmq_version_info",
]

__version__: Final = pyzmq_version()
__revision__: Final = ""
version_info: Final = pyzmq_version_info()
VERSION_MAJOR, VERSION_MINOR, VERSION_PATCH = version_info
VERSION_EXTRA: Final = ""

# In pyzmq's type hints: those that wait, in contrast to asyncio's.
SyncContext, SyncSocket = Context, Socket


def get_includes() -> list[str]:
    """Folders of headers for Cython code that is built on pyzmq: this library has none in them."""
    return [folder := get_library_dirs()[0], str(Path(folder, "utils"))]


def get_library_dirs() -> list[str]:
    """The folder where pyzmq keeps a libzmq of its own: this library has none there."""
    return [str(Path(__file__).resolve().parents[2] / "zmq")]


class _Pins:
    """What pyzmq calls its garbage collector: it holds the buffers that libzmq still reads."""

    @property
    def refs(self) -> Mapping[int, Any]:
        """Those buffers, each by a number of its own."""
        let_go()
        return pins


gc: Final = _Pins()

# The names that pyzmq's compiled part has.
public_api: Final = """
    Context Socket Frame Message proxy proxy_steerable zmq_poll strerror zmq_errno has curve_keypair
    curve_public zmq_version_info IPC_PATH_MAX_LEN PYZMQ_DRAFT_API
""".split()
