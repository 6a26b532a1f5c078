"""Options as attributes: ``sock.linger = 0``, ``ctx.max_sockets = 10``.

`Socket` and `Context` are made of it. They differ in what an option's name means to them, and agree
on what an attribute is that is no option.
"""

from __future__ import annotations

from functools import cache
from typing import Any


class OptionAttributes:
    """A class whose instances have, besides the attributes that they or their classes name, options.

    A subclass may have attributes of its own: those that it gives a value, declares, or puts into
    ``self.__dict__``. Any other name that is set must be an option's, or AttributeError is raised:
    a misspelt option would else be set to no effect.
    """

    def _set_option(self, name: str, value: Any) -> bool:
        """Set an option by name; False if there is none of that name."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        cls: Any = type(self)
        if hasattr(cls, name) or name in self.__dict__ or name in _declared(cls):
            object.__setattr__(self, name, value)
        elif not self._set_option(name, value):
            raise AttributeError(f"{cls.__name__} has no attribute or option {name!r}")


@cache
def _declared(cls: type) -> frozenset[str]:
    return frozenset(name for base in cls.__mro__ for name in getattr(base, "__annotations__", ()))
