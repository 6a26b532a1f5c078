"""The extension module, as far as type checkers need to know it: what cffi generates, and csrc/python.c."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload
from weakref import ref

from ._frame import Frame
from ._helper import Helper
from ._tracker import MessageTracker

ffi: Any
lib: Any

def untracked(thing: Any, /) -> Any: ...

class SocketBase:
    _ready: Iterator[Any]
    _partial: set[ref[Helper]]
    _address: int
    _own: bool
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
    def _send_several(self, messages: list[Any], begin: int, flags: int) -> int: ...
