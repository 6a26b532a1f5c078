"""`Formats`: messages that are text, JSON, pickles, in a format or a buffer of the user's.

Nothing here waits or calls the C core: all of it is `send` and `recv` of `_messages.py`.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ._arguments import in_time, integer
from ._many import Many
from ._messages import Messages
from ._native import ffi
from ._tracker import MessageTracker

_T = TypeVar("_T")


class Formats(Many):
    """The part of `Socket` that packs and unpacks; see there."""

    __slots__ = ()

    if TYPE_CHECKING:  # what `copy` decides; `_messages.py` has the method
        # fmt: off
        @overload
        def send(
            self, data: Any, flags: int = ..., *, copy: Literal[False], track: bool = ...,
            routing_id: int | None = ..., group: str | None = ..., timeout: float | None = ...,
        ) -> MessageTracker: ...
        @overload
        def send(
            self, data: Any, flags: int, copy: Literal[False], track: bool = ...,
            routing_id: int | None = ..., group: str | None = ..., timeout: float | None = ...,
        ) -> MessageTracker: ...
        @overload
        def send(
            self, data: Any, flags: int = ..., copy: bool = ..., track: bool = ...,
            routing_id: int | None = ..., group: str | None = ..., timeout: float | None = ...,
        ) -> MessageTracker | None: ...
        # fmt: on
        def send(self, *args: Any, **kwargs: Any) -> Any: ...

    def send_string(
        self, u: str, flags: int = 0, copy: bool = True, encoding: str = "utf-8", **kwargs: Any
    ) -> MessageTracker | None:
        """Send text. kwargs as for `send`. Raises TypeError for what is no str."""
        if not isinstance(u, str):
            raise TypeError(f"expected str, got {type(u).__name__}: use send for bytes")
        sent: MessageTracker | None = self.send(u.encode(encoding), flags, copy, **kwargs)
        return sent

    def recv_string(self, flags: int = 0, encoding: str = "utf-8", *, timeout: float | None = None) -> str:
        """Receive text. Raises UnicodeDecodeError for what is none; the message is then gone."""
        return self._deserialize(self._one(flags, timeout), lambda data: data.decode(encoding))  # type: ignore[no-any-return]

    send_unicode = send_string
    recv_unicode = recv_string

    def send_pyobj(
        self, obj: object, flags: int = 0, protocol: int = pickle.DEFAULT_PROTOCOL, **kwargs: Any
    ) -> MessageTracker | None:
        """Send a pickle of an object. kwargs as for `send`."""
        sent: MessageTracker | None = self.send(pickle.dumps(obj, protocol), flags, **kwargs)
        return sent

    def recv_pyobj(self, flags: int = 0, *, timeout: float | None = None) -> Any:
        """Receive a pickled object. A pickle can run any code: only from peers that you trust."""
        return self._deserialize(self._one(flags, timeout), pickle.loads)

    def send_json(self, obj: object, flags: int = 0, **kwargs: Any) -> Any:
        """Send JSON. kwargs go to `json.dumps`, but timeout, routing_id and group to `send`."""
        to_send = {k: kwargs.pop(k) for k in ("timeout", "routing_id", "group") if k in kwargs}
        return self.send(json.dumps(obj, **kwargs).encode(), flags, **to_send)

    def recv_json(self, flags: int = 0, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """Receive JSON. kwargs go to `json.loads`."""
        return self._deserialize(self._one(flags, timeout), lambda data: json.loads(data.decode(), **kwargs))

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
        return self._deserialize(self.recv_multipart(flags, copy, **in_time(timeout)), deserialize)

    def recv_into(
        self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0, timeout: float | None = None
    ) -> int:
        """Receive one part into a buffer of yours; returns its size, copied once.

        nbytes: at most so many are written, 0 for as many as fit. What there is more of the part is
        gone; the size returned then tells: it is the part's. Into an empty buffer: a part to be
        thrown away. Raises TypeError for what is no buffer, BufferError for one that cannot be
        written to or has gaps, ValueError for nbytes that are negative or more than fit; and then
        nothing has been received.
        """
        view = memoryview(buffer)
        if view.readonly:
            raise BufferError("recv_into: the buffer cannot be written to")
        if not view.contiguous:
            raise BufferError("recv_into: the buffer must be contiguous")
        nbytes = integer("nbytes", nbytes)
        if not 0 <= nbytes <= view.nbytes:
            raise ValueError(f"recv_into: nbytes={nbytes}, of a buffer of {view.nbytes} bytes")
        # A subclass's own recv may give anything.
        frame = Messages.recv(self, flags, False, False, timeout)
        size = len(frame)
        if count := min(size, nbytes or view.nbytes):
            ffi.memmove(ffi.from_buffer(view, require_writable=True), frame.buffer, count)
        return size

    def _one(self, flags: int, timeout: float | None) -> Any:
        return self.recv(flags, **in_time(timeout))

    def _deserialize(self, recvd: Any, load: Callable[[Any], _T]) -> _T:
        """Unpack what was received. For subclasses, whose recv returns something else than bytes."""
        return load(recvd)
