"""`report`: who waits in this library, for what, since when, and where in the program. For one that hangs.

Users call it, from anywhere, or have a signal call it. Nothing is written down for it while calls
are made, but where each wait begins (csrc/base_wait.c), and by the C core when: what a greenlet waits for is
read off the frames on its stack, from there outwards.

This code assumes that a greenlet that does not run has its frames in ``gr_frame``, whatever its OS
thread. It only looks, waits for nothing but another report, and holds nothing that the others need.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

from . import _options, errors
from ._context import Context
from ._helper import NO_THREAD, check, helpers
from ._messages import OF_METHODS_IN_C
from ._native import ffi, lib
from ._original import original
from ._socket import Socket
from .constants import LAST_ENDPOINT, Errno, SocketType

__all__ = ["Report", "Waiting", "report", "report_on_signal"]

_thread_number = original("_thread", "get_ident")
_close = original("os", "close")  # at once: gevent's needs its loop, which a child has yet to make anew
_PACKAGE: Final = __name__.partition(".")[0]
_FOLDER: Final = os.path.join(os.path.dirname(__file__), "")
# Before 3.12 a collection may come wherever an object is made, and its finalizers may let other threads run:
# in the midst of CPython's own look at their frames, which are others then, or with a lock of it held. A
# signal handler may make a report within another.
_new_rlock = original("_thread", "RLock")
_one_at_a_time = _new_rlock()
_collects = False  # garbage is to be collected again after this report
_GREENLETS: Final = 100  # so many are printed
_PLACES: Final = 5  # and so many of each


class Place(NamedTuple):
    """A place in a program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"

    def is_ours(self) -> bool:
        """Whether it is in this library."""
        return self.file.startswith(_FOLDER)


class Waiting(NamedTuple):
    """A greenlet that waits in this library.

    greenlet: its name. call: what it called, as "Socket.recv". sockets: for what, each with its type
    and last endpoint, as "REQ tcp://127.0.0.1:5555"; of a context that ends, those that are still
    open. seconds: how long, and since: from when on, as `time.time` has it; to a few milliseconds.
    answered: what it waited for has come, but its hub has not let it run since. stack: where in the
    program it stands, the innermost place first. started: where the program started it, if gevent
    knows. companion: its companion's number. thread: its OS thread's (`threading.get_ident`, of the
    standard library).
    """

    greenlet: str
    call: str
    sockets: tuple[str, ...]
    seconds: float
    since: float
    answered: bool
    stack: tuple[Place, ...]
    started: Place | None
    companion: int
    thread: int

    def __str__(self) -> str:
        began = time.strftime("%H:%M:%S", time.localtime(self.since))
        ends = self.call.endswith((".term", ".destroy"))
        what = (", while open are " if ends else " of ") + ", ".join(self.sockets) if self.sockets else ""
        lines = [
            f"{self.greenlet} has waited {self.seconds:.1f} s, since {began}, in {self.call}{what} "
            f"(companion {self.companion})"
        ]
        if self.answered:
            lines.append("    has been answered, but its hub does not let it run")
        for index, place in enumerate(self.stack[:_PLACES]):
            lines.append(f"    {'called from' if index else 'at'} {place}")
        if len(self.stack) > _PLACES:
            lines.append(f"    and {len(self.stack) - _PLACES} more")
        if self.started:
            lines.append(f"    started at {self.started}")
        return "\n".join(lines)


class Report(NamedTuple):
    """Who waits in this library; `str` makes it a text for people.

    waiting: the greenlets, who has waited longest first. on_watch: the number of the companion that
    is on watch; None if nobody is. companions: how many have a thread, those among them that are
    parked, for the next greenlet. left: the numbers of those that still make a call whose greenlet
    has left it. running: where the program is busy at this moment, by the numbers of the OS threads,
    of those of which greenlets wait; without the one that made the report. taken: when it was made, as
    `time.time` has it.
    """

    waiting: tuple[Waiting, ...]
    on_watch: int | None
    companions: int
    parked: int
    left: tuple[int, ...]
    running: dict[int, Place]
    taken: float

    def __str__(self) -> str:
        count = len(self.waiting)
        watch = "none" if self.on_watch is None else f"number {self.on_watch}"
        parts = [
            f"gzmqhelper: {count} greenlet{' waits' if count == 1 else 's wait'}. "
            f"Companions: {self.companions}, {watch} on watch, {self.parked} parked."
        ]
        threads = {one.thread for one in self.waiting}
        shown = 0
        for thread in sorted(threads):
            if len(threads) > 1:
                parts.append(f"OS thread {thread}:")
            if thread in self.running:
                parts.append(f"Its hub is busy\n    at {self.running[thread]}")
            for one in self.waiting:
                if one.thread == thread and shown < _GREENLETS:
                    parts.append(str(one))
                    shown += 1
        if count > shown:
            parts.append(f"And {count - shown} more.")
        if self.left:
            numbers = ", ".join(map(str, self.left))
            parts.append(f"Still in a call that its greenlet has left: companion {numbers}.")
        return "\n\n".join(parts)


def report() -> Report:
    """Every greenlet that waits in this library, in all OS threads. See `Report`.

    Never waits, but for a report that another thread makes; from any thread, the hub's own greenlet and
    signal handlers too. What other threads do meanwhile may be in it or not.
    """
    global _collects
    with _one_at_a_time:
        if not gc.isenabled():  # so the program wants it; or this is within another
            return _report()
        try:
            _collects = True
            gc.disable()
            return _report()
        finally:
            gc.enable()
            _collects = False


def _report() -> Report:
    taken = time.time()
    requests = _requests()
    waiting: list[Waiting] = []
    # By companion, so that gevent, which numbers greenlets when it is asked, numbers them in that order.
    numbers = {address: number for address, (number, *_) in requests.items()}
    for helper in sorted(helpers(), key=lambda one: numbers.get(one._address, 0)):
        greenlet: Any = helper._greenlet()
        if greenlet is None:
            continue
        its = helper._waits_for
        if its is None or not (request := requests.pop(helper._address, None)):
            continue
        began, socket, call = its
        # One that runs has no frames of its own: it may be about to wait, or a signal handler runs on it. And
        # one that does not run must be asked for them, before they are looked at.
        frames = _frames(greenlet.gr_frame or _running(helper._thread))
        frame = next((frame for frame in frames if frame is began), None)
        waiting.append(_waiting(greenlet, frame, socket, call, request, taken, helper._thread))
    counts = ffi.new("int[3]")
    lib.gzh_companion_counts(counts, counts + 1, counts + 2)
    return Report(
        # Those that came in one tick of the clock, too.
        tuple(sorted(waiting, key=lambda one: (one.since, one.companion))),
        counts[2] or None,
        counts[0],
        counts[1],
        tuple(sorted(number for number, _, answered in requests.values() if not answered)),
        _busy({one.thread for one in waiting} - {_thread_number()}),
        taken,
    )


def _requests() -> dict[int, tuple[int, float, bool]]:
    """What the C core knows of waits: by companion, its number, how long, whether it was answered."""
    room = 64
    while True:
        out = ffi.new("gzh_waiting[]", room)
        count = lib.gzh_companion_waiting(out, room)
        if count <= room:
            return {
                one.companion: (one.number, one.waited_ns / 1e9, one.granted)
                for one in ffi.unpack(out, count)
            }
        room = count * 2


def _waiting(
    greenlet: Any,
    inside: FrameType | None,
    socket: Socket | None,
    method: str | None,
    request: tuple[int, float, bool],
    taken: float,
    thread: int,
) -> Waiting:
    number, seconds, answered = request
    call = ""
    found: dict[int, Any] = {}
    if socket is not None and method is not None:
        call = f"{type(socket).__name__}.{OF_METHODS_IN_C[method]}"
        found[id(socket)] = socket
    while inside is not None and _package(inside) == _PACKAGE:
        values = inside.f_locals
        function = OF_METHODS_IN_C.get(inside.f_code.co_name, inside.f_code.co_name)
        if function[0] != "_" or function == "__iter__":
            owner = type(values["self"]).__name__ + "." if "self" in values else ""
            call = owner + function
        for value in list(values.values()):
            for thing in _things(value):
                found.setdefault(id(thing), thing)
        addr = values.get("addr")
        if isinstance(addr, (str, bytes)) and call and "addr=" not in call:
            call += f"(addr={addr!r})"
        inside = inside.f_back
    name = getattr(greenlet, "name", "") or ("A greenlet" if greenlet.parent else "The main greenlet")
    sockets = tuple(_describe(thing) for thing in found.values())
    stack = tuple(_stack(inside))
    started = next((p for p in _stack(getattr(greenlet, "spawning_stack", None)) if not p.is_ours()), None)
    return Waiting(name, call, sockets, seconds, taken - seconds, answered, stack, started, number, thread)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _running(thread: int) -> FrameType | None:
    """Where an OS thread is, to be looked at at once: when the greenlet has gone, with its thread, to look at
    what were its frames is a crash."""
    return sys._current_frames().get(thread)


def _busy(threads: set[int]) -> dict[int, Place]:
    """Where those of the threads are that neither wait in their hub nor inside a call of this library."""
    found = {}
    for thread in threads:
        frame = _running(thread)
        waits = {its[0] for helper in helpers() if (its := helper._waits_for)}
        if frame and _package(frame) != "gevent" and all(outer not in waits for outer in _frames(frame)):
            found[thread] = _place(frame)
    return found


def _frames(frame: Any) -> Iterator[Any]:
    """From a frame outwards; of gevent's own account of where a greenlet was spawned too."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _stack(frame: Any) -> list[Place]:
    return [_place(inside) for inside in _frames(frame)]


def _place(frame: Any) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)


def _things(value: object) -> Iterator[Any]:
    """The sockets and contexts that a variable of a call holds."""
    if isinstance(value, Socket):
        yield value
    elif isinstance(value, Context):
        yield from (socket for socket in list(value._sockets) if not socket.closed)
    elif type(value).__module__.startswith(_PACKAGE) and hasattr(value, "wanted"):  # of a poll
        yield from (thing for thing, _ in value.wanted)


def _describe(thing: Any) -> str:
    if not isinstance(thing, Socket):
        return f"descriptor {thing}" if isinstance(thing, int) else repr(thing)
    kind = thing.__dict__.get("type")
    name = kind.name if isinstance(kind, SocketType) else f"socket of type {kind}"
    endpoint = _endpoint(thing)
    return f"{name} {endpoint}" if endpoint else f"{name} without an endpoint"


def _endpoint(socket: Socket) -> str:
    """What it was last bound or connected to; "" if nothing, or through another object for it."""
    while isinstance(socket._shadow_obj, Socket):
        socket = socket._shadow_obj
    known: str = socket.__dict__.get("_last", "")
    if known or socket._closed or socket._ptr is None:
        return known
    size = ffi.new("size_t *", _options.size(LAST_ENDPOINT))
    data = ffi.new("char[]", size[0])
    if lib.gzh_call(socket._ptr, ffi.NULL, lib.GZH_GET, LAST_ENDPOINT, data, size) != 0:
        return ""
    return str(ffi.string(data).decode(errors="replace"))


# ---- on a signal -------------------------------------------------------------------------------------

_start_thread = original("_thread", "start_new_thread")
_new_lock = original("_thread", "allocate_lock")
_lock = _new_lock()
_signals: Final[set[int]] = set()
_pipe: tuple[int, int] | None = None


def report_on_signal(signum: int = signal.SIGUSR1) -> None:
    """Print a `report` to the standard error whenever the process gets this signal.

    Also while a greenlet keeps the hub busy, while the hub sleeps, or while a call that knows
    nothing of gevent blocks the whole thread: a handler in C wakes an OS thread that is there for
    this alone. From any thread; for any number of signals; forked children print their own. Takes two
    descriptors. It replaces what was to handle the signal, and `signal.signal` replaces it.
    Raises `ZMQError`: EINVAL for what is no such signal, EMFILE, EMTHREAD.
    """
    with _lock:
        error = lib.gzh_signal_writes(signum, (_pipe or _begin())[1])
        if error:
            advice = "it is no signal that a process can handle" if error == Errno.EINVAL else None
            raise errors.error(error, f"report_on_signal: signal {signum!r}", advice)
        _signals.add(signum)


def _begin() -> tuple[int, int]:
    global _pipe
    try:
        made = os.pipe()
    except OSError as e:
        raise errors.error(e.errno or 0, "a pipe for report_on_signal") from None
    try:
        os.set_blocking(made[1], False)
        _start_thread(_print_reports, (made[0],))
    except BaseException as e:
        for descriptor in made:
            _close(descriptor)
        if isinstance(e, RuntimeError):
            check(NO_THREAD, "report_on_signal")
        raise
    _pipe = made
    return made


def _print_reports(descriptor: int) -> None:
    while os.read(descriptor, 512):
        try:
            text = f"{report()}\n\n"
        except Exception:
            text = f"gzmqhelper: no report:\n{traceback.format_exc()}\n"
        rest = text.encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[os.write(2, rest) :]
        except OSError:
            pass  # nobody reads it


def _in_child() -> None:
    """The pipe is the parent's too, and its thread is not here; nor is one that made a report."""
    global _lock, _pipe, _one_at_a_time, _collects
    _lock = _new_lock()
    _one_at_a_time = _new_rlock()
    if _collects:
        gc.enable()
        _collects = False
    inherited, _pipe = _pipe, None
    if inherited is None:
        return
    for descriptor in inherited:
        _close(descriptor)
    for signum in _signals:
        report_on_signal(signum)


os.register_at_fork(after_in_child=_in_child)
