"""`GreenAuthenticator`: an authenticator that answers on a greenlet of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

import gevent
from gevent.event import Event

from .. import errors
from .._context import Context
from .._original import original
from ..constants import Errno
from .base import Authenticator

_thread_number = original("_thread", "get_ident")

__all__ = ["GreenAuthenticator"]


class AuthenticationGreenlet(gevent.Greenlet):  # type: ignore[type-arg]  # only types-gevent has them
    """The greenlet of an authenticator, with what programs look at in pyzmq's thread."""

    daemon = True

    def __init__(self, authenticator: GreenAuthenticator, socket: Any) -> None:
        super().__init__(authenticator._serve, socket)
        self.authenticator = authenticator
        self.ended = Event()
        self.thread_number = _thread_number()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self.ready()


class GreenAuthenticator(Authenticator):
    """An `Authenticator` that answers on a greenlet, from `start` until `stop`.

    The greenlet lives in the OS thread that called `start`, and answers when that thread's hub runs.
    If it is killed, or the context ends, it stops as by `stop`; `start` works again afterwards. When
    a callback raises, that is logged, and its peer turned away.
    """

    def __init__(self, context: Context | None = None, encoding: str = "utf-8", log: Any = None) -> None:
        super().__init__(context, encoding, log)
        self.thread: Any = None
        self._answered = False

    def start(self) -> None:
        """As `Authenticator.start`; the answers are given by a greenlet, ``thread``, from now on."""
        if self.zap_socket is not None and not self.is_alive():
            super().stop()  # its greenlet was killed before it ran
        super().start()
        self.thread = AuthenticationGreenlet(self, self.zap_socket)
        self.thread.start()

    def stop(self) -> None:
        """As `Authenticator.stop`; waits until the answer that is being given has been.

        But not in another OS thread than `start` was called in, and not in a callback.
        """
        super().stop()
        thread, self.thread = self.thread, None
        if thread is None or thread is gevent.getcurrent() or thread.thread_number != _thread_number():
            return
        if thread.is_alive():
            thread.ended.wait()

    def is_alive(self) -> bool:
        """Whether it answers."""
        return bool(self.thread and self.thread.is_alive())

    def _serve(self, socket: Any) -> None:
        thread: Any = gevent.getcurrent()
        try:
            while True:
                self._answer(socket, socket.recv_multipart())
        except errors.ZMQError as e:
            if e.errno not in (Errno.ENOTSOCK, Errno.ETERM):
                raise
        finally:
            try:
                if self.zap_socket is socket:
                    super().stop()
            finally:
                thread.ended.set()

    def _answer(self, socket: Any, msg: list[bytes]) -> None:
        self._answered = False
        try:
            answer = self.handle_zap_message(msg)
            if inspect.iscoroutine(answer):
                self._drive(answer)
        except Exception as e:
            if self.zap_socket is socket and not isinstance(e, errors.ContextTerminated):
                self.log.exception("An authenticator failed, and turned a peer away")
        if not self._answered and self.zap_socket is socket:
            # A REP socket that gave no answer could never receive again.
            super()._send_zap_reply(msg[1] if len(msg) > 1 else b"", b"500", b"Internal error")

    def _drive(self, coroutine: Any) -> None:
        """Run it to its end; in here it may wait as greenlets do, and has no event loop."""
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()
        raise RuntimeError("handle_zap_message awaits what only an event loop could bring about")

    def _send_zap_reply(self, *args: Any, **kwargs: Any) -> None:
        super()._send_zap_reply(*args, **kwargs)
        self._answered = True

    async def _result_of(self, awaitable: Awaitable[Any]) -> Any:
        """Its result, from an event loop in one of gevent's threads; waits as a greenlet does."""

        async def wait() -> Any:
            return await awaitable

        return self.thread.parent.threadpool.apply(asyncio.run, (wait(),))
