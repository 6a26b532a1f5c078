"""`Messages`: what a Socket does with messages: receive, send, and wait until it can.

`_formats.py` builds on it; users call it as a part of `Socket`, from any greenlet of any thread. A
call is one function of the C core, tried at once; only if that says WAIT does the greenlet's
companion come in, through `_helper.wait` or, for a receive, csrc/base_wait.c.

Messages sent or received part by part (``SNDMORE``, ``RCVMORE``) are put together and taken apart
here: the C core knows whole messages only. The parts that a greenlet has yet to send or to take are
its own, kept in its `Helper`, and go when it goes; so nobody else's message is ever torn by them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gevent.exceptions import BlockingSwitchOutError

from . import errors
from ._arguments import duration, integer
from ._batches import Batches
from ._frame import COPY_THRESHOLD, Frame, addressed, copies_in, frame_of, frames_in, message_of
from ._helper import LINGERS, WAIT, YIELD, after_others, check, linger_for, on_hub, turn, wait
from ._native import ffi, lib, untracked
from ._tracker import FINISHED, MessageTracker
from .constants import NOBLOCK, POLLIN, POLLOUT, SNDMORE, Errno, SocketType

_NULL: Final = ffi.NULL
_MESSAGE: Final = ffi.typeof("gzh_message *")
# (What is larger would be copied twice.)
_SMALL: Final[int] = lib.GZH_SLOT_BYTES
_LOOK: Final[int] = lib.GZH_LOOK
_SEVERAL: Final[int] = lib.GZH_SEVERAL
_KEEP: Final[int] = lib.GZH_KEEP
_EAGAIN: Final = -int(Errno.EAGAIN)
# (To a member of an enum the same operation takes ten times as long.)
_MORE: Final = int(SNDMORE)
_NOBLOCK: Final = int(NOBLOCK)
# Of these POLLOUT does not tell whether they could take a message: they take turns; or, of a ROUTER, whose
# peer it is for decides.
_NOT_ASKED: Final = frozenset({SocketType.REQ, SocketType.REP, SocketType.ROUTER})
# Of these the first part says to whom, and one alone would mean nothing.
_ADDRESSED: Final = frozenset({SocketType.ROUTER, SocketType.STREAM})
_RECEIVE_ONLY: Final = frozenset({SocketType.PULL, SocketType.SUB})

_end = lib.gzh_end
_socket_timeout = lib.gzh_socket_timeout
_slice_is_over = lib.gzh_slice_is_over


# The two halves of a send or a poll that waits. ask: function, pointer, message or mask, flags.


def _begin_other(ask: tuple[Any, ...], companion: Any) -> int:
    function, pointer, what, flags = ask
    return int(function(pointer, companion, what, flags))


def _end_other(ask: tuple[Any, ...], companion: Any, give_up: bool) -> int:
    return int(_end(companion, _NULL, 0, give_up))


class Messages(Batches):
    """The part of `Socket` that receives and sends; see there."""

    __slots__ = ("_closed",)
    _closed: bool
    type: SocketType | int
    copy_threshold: int = COPY_THRESHOLD
    _tracker_of_copies: Final = FINISHED  # for C: of what need not be copied, but is small

    # ---- receiving -------------------------------------------------------------------------------

    # `recv`, `send` and those of several parts are in csrc/base_*.c, which leave to these here what cannot
    # be done at once, or is asked for seldom.

    def _recv_in_python(
        self, flags: int = 0, copy: bool = True, track: bool = False, timeout: float | None = None
    ) -> bytes | Frame:
        parts = self._recv_parts(flags, copy, timeout)
        if len(parts) > 1:
            self._put_unread(parts[1:])
        return _as(parts[0], copy, len(parts) > 1, track)

    def _recv_on(self, got: int, flags: int, timeout: float | None) -> bytes:
        parts = self._finish(got, flags, timeout)
        return self._first_of(parts) if len(parts) > 1 else parts[0]

    def _first_of(self, parts: list[bytes]) -> bytes:
        first, *others = parts
        self._put_unread(others)
        return first

    def _recv_multipart_in_python(
        self, flags: int = 0, copy: bool = True, track: bool = False, timeout: float | None = None
    ) -> list[bytes] | list[Frame]:
        parts = self._recv_parts(flags, copy, timeout)
        last = len(parts) - 1
        return [_as(part, copy, index < last, track) for index, part in enumerate(parts)]  # type: ignore[return-value]

    def _recv_multipart_on(self, got: int, flags: int, timeout: float | None) -> list[bytes]:
        return self._finish(got, flags, timeout)

    def _recv_parts(self, flags: int, copy: bool, timeout: float | None) -> list[Any]:
        flags = self._flags(integer("flags", flags), copy, timeout)
        parts = self._take_unread() or self._take_ready(flags)
        return parts or self._finish(self._ask(flags), flags, timeout)

    @staticmethod
    def _flags(flags: int, copy: bool, timeout: float | None) -> int:
        if timeout is not None and duration("timeout", timeout) <= 0:
            flags = integer("flags", flags) | _NOBLOCK
        return flags if copy else integer("flags", flags) | _KEEP

    def _finish(self, got: Any, flags: int, timeout: float | None) -> list[Any]:
        """From what `_ask` said first to the parts of a message: bytes or, kept, Frames."""
        lingers = LINGERS
        deadline = None
        while True:
            if type(got) is not int:
                return got if type(got) is list else [got]
            if got > 0:
                message = untracked(ffi.gc(ffi.cast(_MESSAGE, got), lib.gzh_message_free))
                return frames_in(message) if flags & _KEEP else copies_in(message)
            if got == WAIT or (got == _EAGAIN and timeout is not None and not flags & _NOBLOCK):
                seconds = timeout
                if seconds is None and (milliseconds := self._rcvtimeo) >= 0:
                    seconds = milliseconds / 1000
                if seconds is not None:
                    now = time.monotonic()
                    deadline = deadline or now + seconds
                    seconds = deadline - now
                if lingers and got == WAIT and linger_for(self, seconds):
                    lingers -= 1
                    got = self._ask(flags)
                    continue
                try:
                    got = self._wait_for_message(flags, seconds)
                except BlockingSwitchOutError:
                    # In C, the first try after a REQ's send is spared. On the hub there is no other.
                    if self.type != SocketType.REQ or not on_hub():
                        raise
                    got = self._ask(flags)
                    if type(got) is int and (got == WAIT or got == _EAGAIN):
                        raise
                if type(got) is int and got == _EAGAIN:
                    raise _failed(got, "recv", self)
            elif got == YIELD or got == _LOOK or got == _SEVERAL:
                if got == YIELD:
                    turn()
                got = self._take_ready() or self._ask(flags)
            else:
                raise _failed(got, "recv", self)

    def _timeout(self, direction: int, timeout: float | None) -> float | None:
        if timeout is not None:
            return timeout
        milliseconds = _socket_timeout(self._ptr, direction)
        return None if milliseconds < 0 else milliseconds / 1000

    # ---- part by part ----------------------------------------------------------------------------

    def _has_unread(self) -> bool:
        """Whether this greenlet would receive something that libzmq has given already."""
        return self._has_ready() or self._in_message()

    def _begin_or_go_on(
        self, parts: list[Any], flags: int, copy: bool, track: bool, timeout: float | None
    ) -> MessageTracker | None:
        """Take parts of a message that are not its last: all, or none. The first one waits until there is
        room."""
        taken = [self._part_to_keep(part, copy, track) for part in parts]
        self._heed_order()
        if not self._has_begun():
            self._take_unsent()  # of one that was tried, and is given up with this
            self._wait_for_room(flags, timeout)
        self._put_unsent([part for part, _ in taken], flags)
        return taken[-1][1]

    def _heed_order(self) -> None:
        """Before something is sent. Raises `ZMQError`: EFSM, or what one that is closed says."""
        if self._unread:
            if self._must_read_first():
                self._events_now(POLLOUT, _NOBLOCK, "send")
                raise errors.error(Errno.EFSM, f"send on {self!r}, of which parts are to be received first")
            if lib.gzh_socket_order(self._ptr) == lib.GZH_RELAXED:
                self._take_unread()  # of an answer that is not wanted any more

    def _part_to_keep(self, part: Any, copy: bool, track: bool) -> tuple[Any, MessageTracker | None]:
        """What is sent when the message goes, whatever becomes of the part until then."""
        if self._are_copied([part]):
            return part, None if copy else FINISHED  # nobody can change it
        if not isinstance(part, Frame):
            part = frame_of(part, None, copy, track and not copy, self.copy_threshold)
            return part, FINISHED if not copy and part._writable is None else part.tracker
        if track and part.tracker is None:
            raise ValueError("Not a tracked message: make the Frame with track=True")
        return part.copy(), part.tracker

    def _wait_for_room(self, flags: int, timeout: float | None) -> None:
        """Before the first part of a message is taken."""
        never = self.type in _RECEIVE_ONLY
        asked = not never and self.type not in _NOT_ASKED
        # One that is closed says so here, whatever its type.
        ready = self._events_now(POLLOUT, _NOBLOCK if not asked else flags & _NOBLOCK, "send")
        if never:
            raise errors.error(Errno.ENOTSUP, f"send on {self!r}")
        if asked and not ready and not flags & _NOBLOCK:
            ready = self._poll(self._timeout(1, timeout), POLLOUT)
        if asked and not ready:
            raise errors.error(Errno.EAGAIN, f"send on {self!r}")

    # ---- sending ---------------------------------------------------------------------------------

    def _send_in_python(
        self,
        data: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        routing_id: int | None = None,
        group: str | None = None,
        timeout: float | None = None,
    ) -> MessageTracker | None:
        if routing_id is not None or group is not None:
            data = addressed(data, routing_id, group, copy, track, self.copy_threshold)
        return self._send_parts([data], flags, copy, track, timeout)

    def _send_multipart_in_python(
        self,
        msg_parts: Sequence[Any],
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> MessageTracker | None:
        if type(msg_parts) is not list:
            msg_parts = list(msg_parts)  # it may be an iterator, which can be read but once
        if not msg_parts:
            raise ValueError("a message has at least one part")
        return self._send_parts(msg_parts, flags, copy, track, timeout)

    def _send_parts(
        self,
        parts: list[Any],
        flags: int,
        copy: bool,
        track: bool,
        timeout: float | None,
    ) -> MessageTracker | None:
        flags = integer("flags", flags)
        if timeout is not None and duration("timeout", timeout) <= 0:
            flags |= _NOBLOCK
        if flags & _MORE:
            return self._begin_or_go_on(parts, flags, copy, track, timeout)
        self._heed_order()
        begun = self._take_unsent()
        if not begun or (begun.was_tried and len(parts) > 1):  # given up: this is another
            return self._send_whole(parts, 0, flags, copy, track, timeout)
        if self.type not in _ADDRESSED:
            return self._send_whole([*begun, *parts], len(begun), flags, copy, track, timeout)
        # libzmq would have found with the first part that there is no room, and not waited then. If a last
        # one comes alone after this, it is the rest of this.
        try:
            flags |= begun.flags & _NOBLOCK
            return self._send_whole([*begun, *parts], len(begun), flags, copy, track, timeout)
        except errors.Again:
            self._put_unsent_back(begun)
            raise

    def _send_whole(
        self,
        parts: list[Any],
        begun: int,
        flags: int,
        copy: bool,
        track: bool,
        timeout: float | None,
    ) -> MessageTracker | None:
        """begun: how many of the parts were given before, and are as they are sent."""
        pointer = self._ptr
        # The socket says not to wait (SNDTIMEO), the call to do so.
        patient = timeout is not None and not flags & _NOBLOCK
        rc = YIELD  # not tried yet
        copied = copy or self._are_copied(parts)
        if copied and not track and (tried := self._send_copies(parts, flags)):
            if tried > 0:
                return None if copy else FINISHED
            rc = tried
            if rc != WAIT and not (rc == _EAGAIN and patient):
                raise _failed(rc, "send", self)
        message, tracker = message_of(parts, copy, track, self.copy_threshold, begun)
        while rc == YIELD and (rc := lib.gzh_send_message(pointer, _NULL, message, flags)) == YIELD:
            turn()
        if rc == WAIT or (rc == _EAGAIN and patient):
            ask = (lib.gzh_send_message, pointer, message, flags)
            rc = wait(_begin_other, _end_other, ask, self._timeout(1, timeout))
        if rc < 0:
            raise _failed(rc, "send", self)
        return tracker

    def _are_copied(self, parts: list[Any]) -> bool:
        """Whether they are bytes, and so few that they are never read in place."""
        threshold: int | None = self.copy_threshold
        below = COPY_THRESHOLD if threshold is None else threshold
        return all(type(part) is bytes and len(part) < below for part in parts)

    def _send_copies(self, parts: list[Any], flags: int) -> int:
        """Try to send what may be copied. 1: sent; 0: something may not, or is for others to judge."""
        if not parts or isinstance(parts[-1], Frame):
            return 0  # its tracker is what is returned
        copies = [part if type(part) is bytes else _copy_of(part) for part in parts]
        while (rc := self._send_several([copies], [0], flags)) == YIELD:
            turn()
        return 0 if rc == _LOOK else rc

    def __iter__(self) -> Iterator[bytes]:
        """Receive messages until the socket or its context is closed."""
        while True:
            try:
                yield self.recv()
            except errors.ContextTerminated:
                return
            except errors.ZMQError as e:
                if e.errno == Errno.ENOTSOCK:
                    return
                raise

    # ---- watching --------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None, flags: int = POLLIN) -> int:
        """Wait until the socket is ready; returns the events of ``flags`` that are there.

        timeout: milliseconds; None or negative for ever. flags: `POLLIN`, `POLLOUT`, or both. 0 when
        the time has passed.
        """
        seconds = None if timeout is None or duration("timeout", timeout) < 0 else timeout / 1000
        return self._poll(seconds, integer("flags", flags))

    def _poll(self, seconds: float | None, mask: int) -> int:
        pointer = self._ptr
        flags = _NOBLOCK if seconds is not None and seconds <= 0 else 0
        deadline = None if seconds is None else time.monotonic() + seconds
        if self._unread and self._must_read_first():
            mask &= ~POLLOUT
        lingers = LINGERS if mask == POLLIN else 0
        rc = self._events_now(mask, flags)
        if not (rc or flags):
            rc = after_others(seconds, lambda: self._events_now(mask, flags))
        while not (rc or flags):
            left = None if deadline is None else deadline - time.monotonic()
            if lingers and linger_for(self, left):
                lingers -= 1
            elif (rc := wait(_begin_other, _end_other, (lib.gzh_poll, pointer, mask, 0), left)) == _EAGAIN:
                return 0
            elif rc < 0 and rc != _LOOK:
                raise _failed(rc, "poll", self)
            elif rc > 0:
                return rc
            rc = self._events_now(mask, flags)
        return rc

    def _events_now(self, mask: int, flags: int, call: str = "poll") -> int:
        """Those of the events in mask that are there; 0: none."""
        while (rc := lib.gzh_poll(self._ptr, _NULL, mask, flags)) == YIELD or rc == _LOOK:
            if rc == YIELD:
                turn()
        if rc == WAIT:
            rc = 0
        elif rc < 0:
            raise _failed(rc, call, self)
        return int(rc | POLLIN if mask & POLLIN and self._has_unread() else rc)


def _copy_of(part: Any) -> bytes | None:
    if type(part) is memoryview:
        return part.tobytes() if part.nbytes <= _SMALL and part.c_contiguous else None
    if isinstance(part, Frame):
        return part.bytes if len(part) <= _SMALL else None
    return bytes(part) if type(part) is bytearray and len(part) <= _SMALL else None


def _as(part: bytes | Frame, copy: bool, more: bool, track: bool) -> bytes | Frame:
    """What was received one way, as the caller wants it now."""
    if copy:
        return part if type(part) is bytes else bytes(part)
    frame = part if isinstance(part, Frame) else Frame(part, copy=True)
    frame.more = more
    if track:
        frame.tracker = FINISHED  # the memory is libzmq's own, and may be sent on
    return frame


def _failed(rc: int, call: str, socket: Messages) -> Exception:
    try:
        check(rc, f"{call} on {socket!r}")
    except errors.ZMQError as e:
        return e
    raise AssertionError(f"{call}: unexpected result {rc}")


# What C calls, and of which of its methods: a TypeError, and a report, name that.
OF_METHODS_IN_C: Final = {
    f"_{name}{suffix}": name
    for name in ("recv", "recv_multipart", "send", "send_multipart")
    for suffix in ("_in_python", "_on")
    if hasattr(Messages, f"_{name}{suffix}")
}
for _function, _name in OF_METHODS_IN_C.items():
    getattr(Messages, _function).__qualname__ = f"Socket.{_name}"
