"""`Endpoint`, what `bind` and `connect` return; and what lets a Socket's type be written with another.

Programs write ``Socket[bytes]`` and ``Context[MySocket]``, in annotations and as base classes. Type
checkers see generic classes, with defaults, so that plain ``Socket`` says all there is to say; the
interpreter sees what can be subscripted, and nothing else comes of it.
"""

from __future__ import annotations

from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, Generic

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ._socket import Socket

    _Received_co = TypeVar("_Received_co", covariant=True, default=bytes)
    _Socket_co = TypeVar("_Socket_co", bound="Socket[Any]", covariant=True, default="Socket[bytes]")

    class OfWhatIsReceived(Generic[_Received_co]):
        """What a Socket is besides: generic, over what it receives."""

    class OfASocket(Generic[_Socket_co]):
        """What an Endpoint and a Context are besides: generic, over their class of Sockets."""

else:

    class OfWhatIsReceived:
        __class_getitem__ = classmethod(GenericAlias)

    class OfASocket:
        __class_getitem__ = classmethod(GenericAlias)


class Endpoint(OfASocket["_Socket_co"]):
    """What `Socket.bind` and `Socket.connect` return: leaving its ``with`` takes them back.

    kind: "bind" or "connect".
    """

    def __init__(self, socket: _Socket_co, kind: str, addr: str) -> None:
        self.socket = socket
        self.kind = kind
        self.addr = addr

    def __enter__(self) -> _Socket_co:
        return self.socket

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.socket.closed:
            if self.kind == "bind":
                self.socket.unbind(self.addr)
            else:
                self.socket.disconnect(self.addr)

    def __repr__(self) -> str:
        return f"<{self.kind}={self.addr!r} of {self.socket!r}>"
