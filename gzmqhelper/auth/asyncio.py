"""`AsyncioAuthenticator`, by which programs written for pyzmq know theirs. It answers on a greenlet."""

from __future__ import annotations

import warnings
from typing import Any

from .._context import Context
from .green import GreenAuthenticator

__all__ = ["AsyncioAuthenticator"]


class AsyncioAuthenticator(GreenAuthenticator):
    """A `GreenAuthenticator`. It needs no event loop: loop is deprecated, and ignored."""

    def __init__(
        self, context: Context | None = None, loop: Any = None, encoding: str = "utf-8", log: Any = None
    ) -> None:
        if loop is not None:
            name = type(self).__name__
            warnings.warn(f"{name}(loop) is deprecated and ignored", DeprecationWarning, stacklevel=2)
        super().__init__(context, encoding, log)
