"""`zmq.asyncio`: sockets whose calls return futures of asyncio's, for programs that have such parts.

They wait in asyncio's event loop, on the descriptor that libzmq signals, and never in gevent's hub;
all else is `Socket`'s, `Poller`'s and `Context`'s. For one event loop at a time, and its thread.

Guarantees: what is asked first is answered first, receivers and senders apart; a future that is
cancelled while it waits takes no message. This code assumes that a signal may be consumed by any call
on the socket: so the socket is looked at again, until nothing is to be had, after each of them.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

import gevent
from gevent.monkey import is_module_patched

from .._context import Context as _Context
from .._helper import hub_state
from .._poll import Poller as _Poller
from .._socket import Socket as _Socket
from ..constants import DONTWAIT, EVENTS, POLLERR, POLLIN, POLLOUT, RCVTIMEO, SNDTIMEO, Errno
from ..errors import Again, ZMQError

__all__ = ["Context", "Poller", "Socket", "ZMQEventLoop", "install"]

_Future = asyncio.Future[Any]
# How many messages are passed on before other parts of the program run.
_AT_ONCE = 20


_with_hub: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def _let_greenlets_run(loop: asyncio.AbstractEventLoop) -> None:
    """While a program waits in this loop, its greenlets (an authenticator's, say) run too: those that
    were started before, when a descriptor is ready that they wait on, or a call of this library."""
    if is_module_patched("select"):
        return  # the loop waits in the hub
    descriptor, busy = hub_state()
    if loop not in _with_hub:
        _with_hub.add(loop)
        loop.add_reader(descriptor, _turn)
    if busy:
        loop.call_soon(_turn)


def _turn() -> None:
    # Until a timer goes off, as the hub looks at its descriptors before that, and at timers after.
    gevent.sleep(0.001)


class _Waiter(NamedTuple):
    future: _Future
    attempt: Callable[..., Any] | None = None  # with flags; None of one that polls
    mask: int = 0


def _running() -> asyncio.AbstractEventLoop:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    warnings.warn("No running event loop: zmq.asyncio is for use within one", RuntimeWarning, stacklevel=4)
    return asyncio.get_event_loop()


def _settle(future: _Future, call: Callable[[], Any]) -> None:
    if future.done():
        return
    try:
        result = call()
    except Exception as e:
        future.set_exception(e)
    else:
        future.set_result(result)


def _then(first: _Future, load: Callable[[Any], Any]) -> _Future:
    """A future of what is made of another's result; to cancel it cancels the other."""
    second: _Future = asyncio.Future(loop=first.get_loop())

    def pass_on(_: _Future) -> None:
        if first.cancelled():
            second.cancel()
        elif second.done():
            if first.exception() is None:
                warnings.warn("Cancelled as a message came: it is dropped", RuntimeWarning, stacklevel=1)
        else:
            _settle(second, lambda: load(first.result()))

    if first.done():
        pass_on(first)
    else:
        first.add_done_callback(pass_on)
        second.add_done_callback(lambda _: first.cancel())
    return second


class Socket(_Socket):
    """A `gzmqhelper.Socket` whose sends, receives and polls return futures."""

    _repr_cls = "zmq.asyncio.Socket"
    _recv_futures: deque[_Waiter]
    _send_futures: deque[_Waiter]
    _polls: deque[_Waiter]
    _watching: asyncio.AbstractEventLoop | None
    _descriptor: int

    def __init__(
        self,
        context: Any = None,
        socket_type: int = -1,
        io_loop: Any = None,
        _from_socket: _Socket | None = None,
        **kwargs: Any,
    ) -> None:
        if io_loop is not None:
            warnings.warn("io_loop is deprecated, and ignored", DeprecationWarning, stacklevel=2)
        if isinstance(context, _Socket):
            _from_socket = context
        if _from_socket is not None:
            super().__init__(shadow=_from_socket)
        else:
            super().__init__(context, socket_type, **kwargs)
        self._recv_futures, self._send_futures, self._polls = deque(), deque(), deque()
        self._watching = None
        self._descriptor = self.fileno()

    @classmethod
    def from_socket(cls, socket: _Socket, io_loop: Any = None) -> Socket:
        """Another object for the same socket, which waits in asyncio's event loop."""
        return cls(_from_socket=socket, io_loop=io_loop)

    def close(self, linger: int | None = None) -> None:
        """`Socket.close`; futures that wait are cancelled."""
        if not self.closed and hasattr(self, "_descriptor"):
            for waiter in [*self._recv_futures, *self._send_futures, *self._polls]:
                with suppress(RuntimeError):  # its event loop is closed
                    waiter.future.cancel()
            self._watch(None)
        super().close(linger)

    def get(self, option: int) -> Any:
        """`Socket.get`."""
        value = super().get(option)
        if option == EVENTS:
            self._look_soon()
        return value

    # ---- receive, send -------------------------------------------------------------------------

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:  # type: ignore[override]  # a future
        """`Socket.recv`, as a future."""
        attempt = partial(super().recv, copy=copy, track=track)
        return self._attempt(self._recv_futures, attempt, flags, RCVTIMEO)

    def recv_multipart(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:  # type: ignore[override]  # a future
        """`Socket.recv_multipart`, as a future."""
        attempt = partial(super().recv_multipart, copy=copy, track=track)
        return self._attempt(self._recv_futures, attempt, flags, RCVTIMEO)

    def recv_into(self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0) -> Any:  # type: ignore[override]  # a future
        """`Socket.recv_into`, as a future."""
        attempt = partial(super().recv_into, buffer, nbytes=nbytes)
        return self._attempt(self._recv_futures, lambda flags: attempt(flags=flags), flags, RCVTIMEO)

    def send(  # type: ignore[override]  # a future
        self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **kwargs: Any
    ) -> Any:
        """`Socket.send`, as a future."""
        send = super().send
        attempt = partial(send, data, copy=copy, track=track, **kwargs)
        return self._attempt(self._send_futures, lambda flags: attempt(flags=flags), flags, SNDTIMEO)

    def send_multipart(  # type: ignore[override]  # a future
        self, msg_parts: Any, flags: int = 0, copy: bool = True, track: bool = False, **kwargs: Any
    ) -> Any:
        """`Socket.send_multipart`, as a future."""
        attempt = partial(super().send_multipart, list(msg_parts), copy=copy, track=track, **kwargs)
        return self._attempt(self._send_futures, lambda flags: attempt(flags=flags), flags, SNDTIMEO)

    def _deserialize(self, recvd: Any, load: Callable[[Any], Any]) -> Any:
        return _then(recvd, load)

    def recv_many(self, max: int = 1000, flags: int = 0, timeout: float | None = None) -> Any:
        """Not here: raises `ZMQError`, ENOTSUP."""
        raise ZMQError(Errno.ENOTSUP, "recv_many waits in greenlets, not in asyncio: await recv_multipart")

    def send_many(
        self, messages: Any, flags: int = 0, copy: bool = True, timeout: float | None = None
    ) -> Any:
        """Not here: raises `ZMQError`, ENOTSUP."""
        raise ZMQError(Errno.ENOTSUP, "send_many waits in greenlets, not in asyncio: await send_multipart")

    def _attempt(self, line: deque[_Waiter], attempt: Callable[..., Any], flags: int, option: int) -> _Future:
        """Try at once, unless others wait in this line; else wait in it."""
        loop = _running()
        future: _Future = asyncio.Future(loop=loop)
        if flags & DONTWAIT or not line:
            try:
                future.set_result(attempt(flags=flags | DONTWAIT))
            except Again as e:
                if flags & DONTWAIT:
                    future.set_exception(e)
            except Exception as e:
                future.set_exception(e)
            self._look_soon()
        if not future.done():
            milliseconds = super().get(option)
            seconds = None if milliseconds < 0 else milliseconds / 1000
            expire = partial(_settle, future, partial(_raise, Again))
            self._wait(line, _Waiter(future, partial(attempt, flags=flags | DONTWAIT)), seconds, expire)
        return future

    # ---- poll ----------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None, flags: int = POLLIN) -> Any:
        """`Socket.poll`, as a future. Raises `ZMQError`, ENOTSUP, at once if the socket is closed."""
        if self.closed:
            raise ZMQError(Errno.ENOTSUP)
        future: _Future = asyncio.Future(loop=_running())
        events = super().get(EVENTS) & flags
        if events or timeout == 0:
            future.set_result(events)
            self._look_soon()
        else:
            seconds = None if timeout is None or timeout < 0 else timeout / 1000
            self._wait(self._polls, _Waiter(future, None, flags), seconds, partial(_settle, future, int))
        return future

    # ---- waiting -------------------------------------------------------------------------------

    def _wait(
        self, line: deque[_Waiter], waiter: _Waiter, seconds: float | None, expire: Callable[[], None]
    ) -> None:
        loop = waiter.future.get_loop()
        timer = None if seconds is None else loop.call_later(seconds, expire)

        def leave(_: _Future) -> None:
            if timer is not None:
                timer.cancel()
            with suppress(ValueError):
                line.remove(waiter)
            if not self._anybody_waits():
                self._watch(None)

        line.append(waiter)
        waiter.future.add_done_callback(leave)
        self._watch(loop)
        _let_greenlets_run(loop)
        self._look_soon()

    def _anybody_waits(self) -> bool:
        return bool(self._recv_futures or self._send_futures or self._polls)

    def _watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Let this event loop, and no other, tell when libzmq signals."""
        old, self._watching = self._watching, loop
        if old is loop:
            return
        if old is not None and not old.is_closed():
            old.remove_reader(self._descriptor)
        if loop is not None:
            loop.add_reader(self._descriptor, self._look)

    def _look_soon(self) -> None:
        if self._watching is not None and not self._watching.is_closed():
            self._watching.call_soon(self._look)

    def _look(self) -> None:
        """Give those who wait what is there, in turn, until nothing is."""
        for _ in range(_AT_ONCE):
            if self.closed or not self._anybody_waits():
                return
            try:
                events = super().get(EVENTS)
            except ZMQError as e:
                for waiter in [*self._recv_futures, *self._send_futures, *self._polls]:
                    _settle(waiter.future, partial(_raise, e))
                return
            served = [self._serve_polls(events)]
            if events & POLLIN:
                served.append(self._serve(self._recv_futures))
            if events & POLLOUT:
                served.append(self._serve(self._send_futures))
            if not any(served):
                return
        self._look_soon()

    def _serve_polls(self, events: int) -> bool:
        ready = [waiter for waiter in self._polls if events & waiter.mask]
        for waiter in ready:
            self._polls.remove(waiter)
            _settle(waiter.future, partial(int, events & waiter.mask))
        return bool(ready)

    @staticmethod
    def _serve(line: deque[_Waiter]) -> bool:
        """Make the call of the first in the line; false if it has to wait on."""
        while line and line[0].future.done():
            line.popleft()
        if not line:
            return False
        future, attempt, _ = line[0]
        assert attempt is not None
        try:
            result = attempt()
        except Again:
            return False
        except Exception as e:
            future.set_exception(e)
        else:
            future.set_result(result)
        line.popleft()
        return True


def _raise(error: Any) -> Any:
    raise error


class Context(_Context[Socket]):
    """A `gzmqhelper.Context` that makes such sockets."""

    _repr_cls = "zmq.asyncio.Context"
    _socket_class = Socket
    _instance: ClassVar[Any] = None


class Poller(_Poller):
    """A `gzmqhelper.Poller` whose poll returns a future."""

    def poll(self, timeout: float | None = None) -> Any:
        """`Poller.poll`, as a future."""
        loop = _running()
        future: _Future = asyncio.Future(loop=loop)
        look = super().poll
        try:
            ready = look(0)
        except Exception as e:
            future.set_exception(e)
            return future
        if ready or timeout == 0:
            future.set_result(ready)
            return future

        def wake(*_: Any) -> None:
            _settle(future, partial(look, 0))

        undo = list(self._watch_all(loop, wake))
        if timeout is not None and timeout > 0:
            undo.append(loop.call_later(timeout / 1000, _settle, future, list).cancel)
        future.add_done_callback(lambda _: [call() for call in undo])
        return future

    def _watch_all(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[..., None]
    ) -> Iterator[Callable[[], object]]:
        """Have it called when one is ready; returns what undoes that."""
        for thing, mask in self.sockets:
            if isinstance(thing, _Socket):
                sock = thing if isinstance(thing, Socket) else Socket.from_socket(thing)
                polled = sock.poll(None, mask)
                polled.add_done_callback(wake)
                yield polled.cancel
                continue
            if mask & (POLLIN | POLLERR):
                loop.add_reader(thing, wake)
                yield partial(loop.remove_reader, thing)
            if mask & POLLOUT:
                loop.add_writer(thing, wake)
                yield partial(loop.remove_writer, thing)


class ZMQEventLoop(asyncio.SelectorEventLoop):
    """Deprecated in pyzmq: any event loop will do."""


def install() -> None:
    """Deprecated in pyzmq: does nothing."""
    warnings.warn("zmq.asyncio.install is no longer needed", DeprecationWarning, stacklevel=2)
