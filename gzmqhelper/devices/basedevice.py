"""`Device`: a proxy that makes its own sockets; and the thread or process that it may run in.

The other devices build on it; users make them, configure them and start them. A device's sockets are
made where it runs, when it is started: all that is said about them before is written down here.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any, Final

from .. import errors
from .._context import Context
from .._helper import Helper, leave_hub
from .._original import original
from .._poll import select
from .._proxy import proxy
from .._socket import Socket
from ..constants import PUSH, QUEUE, Errno

__all__ = ["Device", "ProcessDevice", "ThreadDevice"]

_thread_ident: Final = original("_thread", "get_ident")
_start_thread: Final = original("_thread", "start_new_thread")
_lock: Final = original("_thread", "allocate_lock")
# How often a free port may turn out to be promised already.
_TRIES: Final = 100


def _leave_thread() -> None:
    """What an OS thread leaves behind otherwise: its helper for a while, and two descriptors of its hub."""
    if (helper := Helper.current()) is not None:
        helper.close()
    leave_hub()


def _in_a_thread(function: Callable[[], None]) -> None:
    """Call it in an OS thread with a hub of its own, and stop this one until it has ended."""
    ended = _lock()
    ended.acquire()
    errors_there: list[BaseException] = []

    def main() -> None:
        try:
            function()
            _leave_thread()
        except BaseException as e:
            errors_there.append(e)
        finally:
            ended.release()

    _start_thread(main, ())
    ended.acquire()
    if errors_there:
        raise errors_there[0]


class _Signal:
    """Set once, by any OS thread; greenlets of any other can wait for it.

    (Not gevent's Event: who waits for one that another thread sets, and has nothing else in its hub,
    is told that it would wait for ever.)
    """

    def __init__(self) -> None:
        self.is_set = False
        self._lock = _lock()
        self._pipes: set[int] = set()

    def set(self) -> None:
        with self._lock:
            self.is_set = True
            for pipe in self._pipes:
                os.write(pipe, b"\0")

    def wait(self, timeout: float | None) -> None:
        if self.is_set:
            return
        try:
            readable, writable = os.pipe()
        except OSError as e:
            raise errors.error(e.errno or 0, "a pipe to wait for a device with") from None
        with self._lock:
            self._pipes.add(writable)
            waits = not self.is_set
        try:
            if waits:
                select([readable], [], [], timeout)
        finally:
            with self._lock:
                self._pipes.remove(writable)
            os.close(readable)
            os.close(writable)


class _End:
    """A socket to be: its type, and what is to be done to it."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.options: list[tuple[int, Any]] = []
        self.binds: list[str] = []
        self.connects: list[str] = []


class Device:
    """A `proxy` between two sockets that it makes itself, run by whoever calls `start`.

    device_type: ignored. in_type, out_type: the types of its sockets; with a negative out_type the
    first one is both. They are made in a context that ``context_factory`` gives: `Context.instance`;
    set it to `Context`, or to any function without arguments, on the device; on the class a function must
    be a ``staticmethod``, or it would be given the device.

    daemon: whether a background thread or process may be left behind when the program ends (True).
    done: whether it has run and has ended. Raises TypeError without the types.
    """

    context_factory: Callable[[], Any] = Context.instance

    def __init__(
        self, device_type: int = QUEUE, in_type: int | None = None, out_type: int | None = None
    ) -> None:
        if in_type is None or out_type is None:
            raise TypeError(f"{type(self).__name__}: in_type and out_type must be given")
        self.device_type = device_type
        self.in_type = in_type
        self.out_type = out_type
        self.daemon = True
        self._ends = {"in": _End(in_type), "out": _End(out_type)}
        self._random_addrs: list[str] = []
        self._sockets: list[Socket] = []
        self._done, self._left = _Signal(), _Signal()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_done", "_left", "_sockets", "_context", "launcher"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._sockets = []
        self._done, self._left = _Signal(), _Signal()

    @property
    def done(self) -> bool:
        """Whether the device has run and has ended."""
        return self._done.is_set

    @done.setter
    def done(self, value: bool) -> None:
        if value:
            self._done.set()
        else:
            self._done = _Signal()

    # ---- what its sockets are to be --------------------------------------------------------------

    def bind_in(self, addr: str) -> None:
        """The first socket is to be bound to an endpoint."""
        self._ends["in"].binds.append(addr)

    def bind_out(self, addr: str) -> None:
        """The second socket is to be bound to an endpoint."""
        self._ends["out"].binds.append(addr)

    def bind_in_to_random_port(self, addr: str, *args: Any, **kwargs: Any) -> int:
        """The first socket is to be bound to a free port; returns it, as `Socket.bind_to_random_port`."""
        return self._to_random_port("in", addr, *args, **kwargs)

    def bind_out_to_random_port(self, addr: str, *args: Any, **kwargs: Any) -> int:
        """The second socket is to be bound to a free port; returns it, as `Socket.bind_to_random_port`."""
        return self._to_random_port("out", addr, *args, **kwargs)

    def connect_in(self, addr: str) -> None:
        """The first socket is to be connected to an endpoint."""
        self._ends["in"].connects.append(addr)

    def connect_out(self, addr: str) -> None:
        """The second socket is to be connected to an endpoint."""
        self._ends["out"].connects.append(addr)

    def setsockopt_in(self, opt: int, value: Any) -> None:
        """An option of the first socket; set before it is bound or connected."""
        self._ends["in"].options.append((opt, value))

    def setsockopt_out(self, opt: int, value: Any) -> None:
        """An option of the second socket; set before it is bound or connected."""
        self._ends["out"].options.append((opt, value))

    def _to_random_port(self, end: str, addr: str, *args: Any, **kwargs: Any) -> int:
        port = self._reserve_random_port(addr, *args, **kwargs)
        self._ends[end].binds.append(f"{addr}:{port}")
        return port

    def _reserve_random_port(self, addr: str, *args: Any, **kwargs: Any) -> int:
        # Free now, and not promised to another socket of this device. (Who takes it meanwhile has it.)
        with Context() as context:
            for _ in range(_TRIES):
                with context.socket(PUSH) as socket:
                    port: int = socket.bind_to_random_port(addr, *args, **kwargs)
                if f"{addr}:{port}" not in self._random_addrs:
                    self._random_addrs.append(f"{addr}:{port}")
                    return port
        raise errors.ZMQBindError(f"{addr}: each free port is promised to another socket of the device")

    # ---- running ---------------------------------------------------------------------------------

    def _setup_sockets(self) -> tuple[Socket, ...]:
        self._context = context = self.context_factory()
        made: list[Socket] = []
        for name, end in self._ends.items():
            if name == "out" and end.kind < 0:
                made.append(made[0])
                continue
            made.append(context.socket(end.kind))
            self._sockets.append(made[-1])
        pairs = list(zip(made, self._ends.values(), strict=True))
        for socket, end in pairs:
            for option, value in end.options:
                socket.setsockopt(option, value)
        for socket, end in pairs:
            for addr in end.binds:
                socket.bind(addr)
        for socket, end in pairs:
            for addr in end.connects:
                socket.connect(addr)
        return tuple(made)

    def _close_sockets(self) -> None:
        while self._sockets:
            self._sockets.pop().close()

    def run_device(self) -> None:
        """Make the sockets, and forward until that is ended. For subclasses; use `start`."""
        proxy(*self._setup_sockets())

    def run(self) -> None:
        """`run_device`, whose end by a close or the end of the context is no error."""
        try:
            self.run_device()
        except errors.ZMQError as e:
            if e.errno not in (Errno.ETERM, Errno.ENOTSOCK):
                raise
        finally:
            self._close_sockets()
            self.done = True

    def start(self) -> None:
        """Run the device here and now, until it is ended; other greenlets run meanwhile."""
        self.run()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the device has ended; at most so many seconds. Other greenlets run meanwhile."""
        self._done.wait(timeout)


class BackgroundDevice(Device):
    """A device whose `start` returns at once. launcher: the thread or process that it runs in."""

    launcher: Any = None
    _launch_class: Any = None

    def start(self) -> None:
        """Run the device in the background."""
        self._starter = _thread_ident()
        self._left = _Signal()
        self.launcher = self._launch_class(target=self._main)
        self.launcher.daemon = self.daemon
        self.launcher.start()

    def _main(self) -> None:
        self.run()


class ThreadDevice(BackgroundDevice):
    """A `Device` in a background thread.

    After ``monkey.patch_all()`` that is a greenlet of this thread, as all threads are then.
    """

    _launch_class = threading.Thread

    def _main(self) -> None:
        left = self._left
        try:
            self.run()
        finally:
            self.done = True
            if _thread_ident() != self._starter:
                _leave_thread()
            left.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended; at most so many seconds. Other greenlets run meanwhile."""
        if self.launcher is None:
            return super().join(timeout)
        self._left.wait(timeout)
        if self._left.is_set:
            self.launcher.join(timeout)  # which has no more to do


class ProcessDevice(BackgroundDevice):
    """A `Device` in a process of its own, with a new `Context` there."""

    _launch_class = multiprocessing.Process
    context_factory = Context

    def _main(self) -> None:
        # In a fork, the greenlets of the parent are here too, as copies, and would run with its hub.
        _in_a_thread(self.run)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended; at most so many seconds. Other greenlets run meanwhile."""
        end = [self.launcher.sentinel]  # a pipe whose other end the process has: hung up, not readable
        if any(select(end, [], end, timeout)):
            self.launcher.join()
