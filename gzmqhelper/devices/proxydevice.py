"""`Proxy`: a device with a third socket, to which all messages are shown."""

from __future__ import annotations

from typing import Any

from .._proxy import proxy
from ..constants import PUB
from .basedevice import Device, ProcessDevice, ThreadDevice, _End

__all__ = ["ProcessProxy", "Proxy", "ThreadProxy"]


class ProxyBase(Device):
    """What all proxies share: the methods ``..._mon`` for the third socket.

    mon_type: its type; `PUB`, or any other that can send.
    """

    def __init__(self, in_type: int, out_type: int, mon_type: int = PUB) -> None:
        Device.__init__(self, in_type=in_type, out_type=out_type)
        self.mon_type = mon_type
        self._ends["mon"] = _End(mon_type)

    def bind_mon(self, addr: str) -> None:
        """The third socket is to be bound to an endpoint."""
        self._ends["mon"].binds.append(addr)

    def bind_mon_to_random_port(self, addr: str, *args: Any, **kwargs: Any) -> int:
        """The third socket is to be bound to a free port; returns it, as `Socket.bind_to_random_port`."""
        return self._to_random_port("mon", addr, *args, **kwargs)

    def connect_mon(self, addr: str) -> None:
        """The third socket is to be connected to an endpoint."""
        self._ends["mon"].connects.append(addr)

    def setsockopt_mon(self, opt: int, value: Any) -> None:
        """An option of the third socket; set before it is bound or connected."""
        self._ends["mon"].options.append((opt, value))

    def run_device(self) -> None:
        """Make the sockets, and forward until that is ended. For subclasses; use `start`."""
        ins, outs, mons = self._setup_sockets()
        proxy(ins, outs, mons)


class Proxy(ProxyBase, Device):
    """A `Device` that also shows each message to a third socket (the capture socket of `proxy`)."""


class ThreadProxy(ProxyBase, ThreadDevice):
    """A `Proxy` in a background thread."""


class ProcessProxy(ProxyBase, ProcessDevice):
    """A `Proxy` in a process of its own."""
