"""`Formats`: messages that are text, JSON, pickles, or in a format of the user's.

Nothing here waits or knows the C core: all of it is `send` and `recv` of `_messages.py`.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ._frame import MessageTracker
from ._many import Many

_T = TypeVar("_T")


class Formats(Many):
    """The part of `Socket` that packs and unpacks; see there."""

    __slots__ = ()

    def send_string(
        self, u: str, flags: int = 0, copy: bool = True, encoding: str = "utf-8", **kwargs: Any
    ) -> MessageTracker | None:
        """Send text. kwargs as for `send`. Raises TypeError for what is no str."""
        if not isinstance(u, str):
            raise TypeError(f"expected str, got {type(u).__name__}: use send for bytes")
        return self.send(u.encode(encoding), flags, copy, **kwargs)

    def recv_string(self, flags: int = 0, encoding: str = "utf-8", *, timeout: float | None = None) -> str:
        """Receive text. Raises UnicodeDecodeError for what is none; the message is then gone."""
        return self.recv(flags, timeout=timeout).decode(encoding)

    send_unicode = send_string
    recv_unicode = recv_string

    def send_pyobj(
        self, obj: object, flags: int = 0, protocol: int = pickle.DEFAULT_PROTOCOL, **kwargs: Any
    ) -> MessageTracker | None:
        """Send a pickle of an object. kwargs as for `send`."""
        return self.send(pickle.dumps(obj, protocol), flags, **kwargs)

    def recv_pyobj(self, flags: int = 0, *, timeout: float | None = None) -> Any:
        """Receive a pickled object. A pickle can run any code: only from peers that you trust."""
        return pickle.loads(self.recv(flags, timeout=timeout))

    def send_json(self, obj: object, flags: int = 0, **kwargs: Any) -> None:
        """Send JSON. kwargs go to `json.dumps`, but timeout, routing_id and group to `send`."""
        to_send = {k: kwargs.pop(k) for k in ("timeout", "routing_id", "group") if k in kwargs}
        kwargs.setdefault("separators", (",", ":"))
        kwargs.setdefault("ensure_ascii", False)
        self.send(json.dumps(obj, **kwargs).encode(), flags, **to_send)

    def recv_json(self, flags: int = 0, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """Receive JSON. kwargs go to `json.loads`."""
        return json.loads(self.recv(flags, timeout=timeout), **kwargs)

    def send_serialized(
        self,
        msg: _T,
        serialize: Callable[[_T], Sequence[Any]],
        flags: int = 0,
        copy: bool = True,
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Send ``serialize(msg)``, the parts of a message. kwargs as for `send_multipart`."""
        return self.send_multipart(serialize(msg), flags, copy, **kwargs)

    def recv_serialized(
        self,
        deserialize: Callable[[list[Any]], _T],
        flags: int = 0,
        copy: bool = True,
        *,
        timeout: float | None = None,
    ) -> _T:
        """Receive a message, and return ``deserialize(parts)``."""
        return deserialize(self.recv_multipart(flags, copy, timeout=timeout))
