"""Functions that are given a Context or a Socket, which is closed when they return.

    @context()
    @socket(zmq.PUSH)
    def work(ctx, push): ...

A whole feature on top of `Context`; users call it, and `zmq.decorators` is this module under
`gzmqhelper.monkey`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._context import Context

__all__ = ["context", "socket"]

_Function = Callable[..., Any]


def context(*args: Any, **kwargs: Any) -> Callable[[_Function], _Function]:
    """Give the function a new Context, as its last positional argument, and end it afterwards.

    name, or the first argument if it is a str: give it by keyword, under this name; TypeError if
    the caller gives one too. All other arguments go to `Context`, at each call.
    """
    keyword, args = _keyword(args, kwargs)
    return _giving(keyword, lambda given, named: Context(*args, **kwargs))


def socket(*args: Any, **kwargs: Any) -> Callable[[_Function], _Function]:
    """Give the function a new Socket, as its last positional argument, and close it afterwards.

    name, or the first argument if it is a str: give it by keyword, under this name; TypeError if
    the caller gives one too. context_name: the keyword of the function that has the Context to make
    it in, "context" if not said; else the first positional argument that is one; else
    ``Context.instance()``. All other arguments go to `Context.socket`, at each call.
    """
    keyword, args = _keyword(args, kwargs)
    of = kwargs.pop("context_name", "context")

    def make(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        contexts = (thing for thing in (named.get(of), *given) if isinstance(thing, Context))
        return (next(contexts, None) or Context.instance()).socket(*args, **kwargs)

    return _giving(keyword, make)


def _keyword(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, tuple[Any, ...]]:
    """The keyword, which is taken out, and the arguments that are left."""
    if isinstance(kwargs.get("name"), str):
        return kwargs.pop("name"), args
    if args and isinstance(args[0], str):
        return args[0], args[1:]
    return None, args


def _giving(
    keyword: str | None, make: Callable[[tuple[Any, ...], dict[str, Any]], Any]
) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with make(args, kwargs) as made:
                if keyword is None:
                    return function(*args, made, **kwargs)
                # Twice is once too often: Python says so.
                return function(*args, **{keyword: made}, **kwargs)

        return call

    return decorate
