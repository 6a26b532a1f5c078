"""`Monitored`: the part of `Socket` that tells what happens to its connections.

libzmq sends what it has to tell to a PAIR socket of the same context; `monitor.py` reads that. It
sends as if for ever: events that nobody takes hold up, in the end, libzmq's own thread, and with it
all that the context sends and receives. So a monitor that is begun here has a reader, or is undone.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import gevent

from . import errors
from ._addresses import endpoint
from ._arguments import integer
from ._helper import check
from ._native import ffi, lib
from .constants import EVENT_ALL, PAIR, Errno

if TYPE_CHECKING:
    from ._context import Context
    from ._socket import Socket

# In the names of endpoints: libzmq gives one up only some time after its socket was closed.
_numbers: Final = itertools.count(1)


class Monitored:
    """The monitor of a `Socket`; see there."""

    context: Context
    _monitor_socket: Socket | None = None

    if TYPE_CHECKING:

        def _call(self, operation: int, option: int, data: Any, size: Any) -> int: ...
        def fileno(self) -> int: ...

    def monitor(self, addr: str | None, events: int = EVENT_ALL) -> None:
        """Tell of events to whoever connects a PAIR socket to addr (zmq_socket_monitor).

        addr: an inproc endpoint, of the same context; None to stop. events: a sum of members of
        `Event`. At once, unless the socket has a monitor already: that is told
        ``EVENT_MONITOR_STOPPED``, and if there is no room for this, the greenlet waits until there is.

        Events that nobody takes hold up the context, with all its sockets: from the first one on
        while nobody is connected to addr, or after the reader has closed; else from the 2,001st on.
        Raises `ZMQError`: EADDRINUSE, EPROTONOSUPPORT for what is not inproc, EINVAL for events that
        do not exist.
        """
        raw = None if addr is None else endpoint("monitor", addr)
        events = integer("events", events)
        data = ffi.NULL if raw is None else ffi.new("char[]", raw)
        size = ffi.new("size_t *", 0 if raw is None else len(raw) + 1)
        rc = self._call(lib.GZH_MONITOR, EVENT_ALL if events < 0 else events, data, size)
        check(rc, f"monitor: addr={addr!r}, events={events:#x}")

    def get_monitor_socket(self, events: int | None = None, addr: str | None = None) -> Socket:
        """A PAIR socket that receives this one's events; `monitor.recv_monitor_message` reads them.

        events: as for `monitor`; None for all. addr: an inproc endpoint; None for one of its own.
        Asked again, it is the same socket, until that was closed or `disable_monitor` called. The
        caller closes it, after `disable_monitor` or the close of this socket, not before; read to the
        end it says ``EVENT_MONITOR_STOPPED``. Raises what `monitor` and `Context.socket` raise.
        """
        made = self._monitor_socket
        if made is not None and not made.closed:
            return made
        self._monitor_socket = None
        if addr is None:
            addr = f"inproc://monitor.s-{self.fileno()}.{next(_numbers)}"
        endpoint("get_monitor_socket", addr)  # what is raised below may come from outside
        events = EVENT_ALL if events is None else integer("events", events)
        made = self.context.socket(PAIR)
        try:
            self.monitor(addr, events)
            made.connect(addr)
        except errors.ZMQError:
            made.close()
            raise
        except BaseException:
            # Killed while it waited: the monitor may be there, or come to be.
            gevent.spawn(self._undo_monitor, made, addr)
            raise
        self._monitor_socket = made
        return made

    def _undo_monitor(self, made: Socket, addr: str) -> None:
        try:
            self.fileno()  # waits for the call that was left, if that is still being made
            made.bind(addr)
        except errors.ZMQError as e:
            if e.errno == Errno.EADDRINUSE:  # it is there; and waits until its last event is taken
                made.connect(addr)
                self.monitor(None, 0)
        finally:
            made.close()

    def disable_monitor(self) -> None:
        """Stop the monitor (zmq_socket_monitor). Its reader gets ``EVENT_MONITOR_STOPPED`` at last.

        Waits, as `monitor` does, where the reader leaves no room for that, or was closed before.
        """
        # Not dropped, and closed with that, before it has been told: libzmq would wait for it.
        reader, self._monitor_socket = self._monitor_socket, None
        try:
            self.monitor(None, 0)
        finally:
            del reader  # an exception keeps all that is here
