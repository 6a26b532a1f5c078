"""`original`: what the standard library has, also where gevent has patched it.

Every module takes OS threads, their locks and the like from here. It is what `gevent.monkey` has for this;
but to import that, with the logging that it brings, takes as long as a quarter of this package does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def original(module: str, name: str) -> Any:
    """A module's attribute as it was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    # Without that, nothing is patched yet, and what is taken now stays what it is.
    return monkey.get_original(module, name) if monkey else getattr(import_module(module), name)
