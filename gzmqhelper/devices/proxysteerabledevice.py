"""`ProxySteerable`: a proxy with a fourth socket, by which it is paused, resumed, asked and ended."""

from __future__ import annotations

from typing import Any

from .._proxy import proxy_steerable
from ..constants import PUB
from .basedevice import _End
from .proxydevice import ProcessProxy, Proxy, ProxyBase, ThreadProxy

__all__ = ["ProcessProxySteerable", "ProxySteerable", "ThreadProxySteerable"]


class ProxySteerableBase(ProxyBase):
    """What all steerable proxies share: the methods ``..._ctrl`` for the fourth socket.

    ctrl_type: its type: `PAIR`, `REP`, `PULL` or `SUB`; None for a proxy without it.
    """

    def __init__(
        self, in_type: int, out_type: int, mon_type: int = PUB, ctrl_type: int | None = None
    ) -> None:
        super().__init__(in_type=in_type, out_type=out_type, mon_type=mon_type)
        self.ctrl_type = ctrl_type
        if ctrl_type is not None:
            self._ends["ctrl"] = _End(ctrl_type)

    def _ctrl(self) -> _End:
        if self.ctrl_type is None:
            raise TypeError(f"{type(self).__name__} has no control socket: give it a ctrl_type")
        return self._ends["ctrl"]

    def bind_ctrl(self, addr: str) -> None:
        """The control socket is to be bound to an endpoint."""
        self._ctrl().binds.append(addr)

    def bind_ctrl_to_random_port(self, addr: str, *args: Any, **kwargs: Any) -> int:
        """The control socket is to be bound to a free port; returns it."""
        self._ctrl()
        return self._to_random_port("ctrl", addr, *args, **kwargs)

    def connect_ctrl(self, addr: str) -> None:
        """The control socket is to be connected to an endpoint."""
        self._ctrl().connects.append(addr)

    def setsockopt_ctrl(self, opt: int, value: Any) -> None:
        """An option of the control socket; set before it is bound or connected."""
        self._ctrl().options.append((opt, value))

    def run_device(self) -> None:
        """Make the sockets, and forward until that is ended. For subclasses; use `start`."""
        proxy_steerable(*self._setup_sockets())


class ProxySteerable(ProxySteerableBase, Proxy):
    """A `Proxy` with a control socket, as `proxy_steerable` has it."""


class ThreadProxySteerable(ProxySteerableBase, ThreadProxy):
    """A `ProxySteerable` in a background thread."""


class ProcessProxySteerable(ProxySteerableBase, ProcessProxy):
    """A `ProxySteerable` in a process of its own."""
