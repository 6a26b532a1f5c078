"""The extension module, as far as type checkers need to know it: what cffi generates, and csrc/base.c."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Any, Literal, overload
from weakref import ref

from ._frame import Frame
from ._helper import Helper, _Turns
from ._parts import Unsent
from ._tracker import MessageTracker

ffi: Any
lib: Any

def untracked(thing: Any, /) -> Any: ...
def waits_as(module: ModuleType, /) -> None: ...

class TurnsBase:
    waiting: int  # how many greenlets are in a wait
    skip: int  # how often not to linger
    turned: bool
    alone: bool  # a thread without greenlets, for all we know
    def _mark(self) -> None: ...
    def _go_on(self, nanoseconds: int, /) -> None: ...

class HelperBase:
    _companion: Any
    _descriptor: int  # the companion's: what to wait on; and where it is, 0: neither was asked for yet
    _address: int
    _turns: _Turns
    _busy: bool
    _may_wait: bool
    # Where the wait began and, if that was in C, its socket and the name of the call.
    _waits_for: tuple[FrameType | None, Any, str | None] | None
    _sent_despite: int  # the id of an exception from outside that ended a send whose message has gone
    def _wait(
        self,
        begin: Callable[[Any, Any], int],
        end: Callable[[Any, Any, bool], int],
        ask: Any,
        timeout: float | None,
        others: Callable[..., None] | None,
        /,
    ) -> int: ...

class SocketBase:
    _batch: Iterator[Any]
    _ready: Iterator[Any]
    _unread: dict[ref[Helper], list[Any]]
    _unsent: dict[ref[Helper], Unsent]
    _c_address: int
    _c_own: bool
    @overload
    def recv(
        self, flags: int = ..., copy: Literal[True] = ..., track: bool = ..., timeout: float | None = ...
    ) -> bytes: ...
    @overload
    def recv(
        self, flags: int = ..., *, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> Frame: ...
    @overload
    def recv(
        self, flags: int, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> Frame: ...
    @overload
    def recv(
        self, flags: int = ..., copy: bool = ..., track: bool = ..., timeout: float | None = ...
    ) -> bytes | Frame: ...
    @overload
    def recv_multipart(
        self, flags: int = ..., copy: Literal[True] = ..., track: bool = ..., timeout: float | None = ...
    ) -> list[bytes]: ...
    @overload
    def recv_multipart(
        self, flags: int = ..., *, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> list[Frame]: ...
    @overload
    def recv_multipart(
        self, flags: int, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> list[Frame]: ...
    @overload
    def recv_multipart(
        self, flags: int = ..., copy: bool = ..., track: bool = ..., timeout: float | None = ...
    ) -> list[bytes] | list[Frame]: ...
    def send(
        self,
        data: Any,
        flags: int = ...,
        copy: bool = ...,
        track: bool = ...,
        routing_id: int | None = ...,
        group: str | None = ...,
        timeout: float | None = ...,
    ) -> MessageTracker | None: ...
    def send_multipart(
        self,
        msg_parts: Sequence[Any],
        flags: int = ...,
        copy: bool = ...,
        track: bool = ...,
        timeout: float | None = ...,
        **kwargs: Any,
    ) -> MessageTracker | None: ...
    _rcvtimeo: int
    def _have(self, messages: Iterable[Any], /) -> None: ...
    def _add(self, batch: Iterator[Any], /) -> None: ...
    def _ask(self, flags: int, /) -> bytes | list[bytes] | int: ...
    def _wait_for_message(self, flags: int, seconds: float | None, /) -> bytes | list[bytes] | int: ...
    def _take_several(self, messages: list[Any], most: int, flags: int, /) -> int: ...
    def _send_several(self, messages: list[Any], progress: list[int], flags: int, /) -> int: ...
