"""`ThreadAuthenticator`, by which programs written for pyzmq know theirs. It answers on a greenlet."""

from __future__ import annotations

from .green import AuthenticationGreenlet as AuthenticationThread
from .green import GreenAuthenticator

__all__ = ["AuthenticationThread", "ThreadAuthenticator"]


class ThreadAuthenticator(GreenAuthenticator):
    """A `GreenAuthenticator`."""
