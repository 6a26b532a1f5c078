"""`Frame`: one part of a message (libzmq's ``zmq_msg_t``).

`_messages.py` makes Frames of what is received with ``copy=False``, and sends what they hold. All of
it is done at once, on the greenlet's own thread. `_pins.py` holds memory that libzmq reads in place.
"""

from __future__ import annotations

from errno import ENOMEM
from types import TracebackType
from typing import Any, Literal, overload
from weakref import ref

from . import _buffers as buffers
from . import errors
from ._arguments import integer
from ._helper import check
from ._native import ffi, lib, untracked
from ._tracker import FINISHED, MessageTracker, pin
from .constants import GROUP_MAX_LENGTH, MORE, Errno, MessageOption

_Bytes = bytes  # inside Frame, the name is a property's

__all__ = ["COPY_THRESHOLD", "Frame", "Message"]

# Below this many bytes, a copy is cheaper than keeping track of somebody else's memory.
COPY_THRESHOLD = 65536


class Frame:
    """One part of a message, in libzmq's own memory or in the caller's.

    ``Frame()`` is empty, ``Frame(size=10)`` has ten bytes to be written through `buffer`, and
    ``Frame(data)`` holds any buffer: copied if ``copy`` is true, or if ``copy`` is None and it is
    shorter than ``copy_threshold`` bytes; else libzmq reads it in place, and it must not change until
    then. ``track=True`` gives it a `tracker`. Text must be encoded first; ``Frame.from_string``
    does it. Raises TypeError for what is no buffer, BufferError for one that has gaps.

    A buffer itself (``memoryview(frame)``), and a context manager, which closes it: its memory goes
    then, and not when it is collected. Any greenlet of any thread may use it, one at a time.
    """

    more: bool
    tracker: MessageTracker | None
    _repr_cls = "zmq.Frame"

    def __init__(
        self,
        data: Any = None,
        track: bool = False,
        copy: bool | None = None,
        copy_threshold: int | None = None,
        *,
        size: int | None = None,
    ) -> None:
        self._message: Any = None
        self._bytes: _Bytes | None = None  # what `bytes` gives, as long as nobody can write to it
        self._view: ref[memoryview] | None = None  # the one that `buffer` gave last
        self._writable: bool | None = None  # by somebody else; None: nobody else has it
        self.more = False
        self.tracker = FINISHED if track else None
        if isinstance(data, str):
            raise TypeError("unicode not allowed: encode the text, or use Frame.from_string")
        message = _new_message()
        if data is None:
            size = 0 if size is None else integer("size", size)
            if size < 0:
                raise ValueError(f"a Frame of {size} bytes")
            check(lib.gzh_message_add(message, bytes(size), size), "a Frame")
        elif size is not None:
            raise TypeError("a Frame has data, or a size, not both")
        else:
            view = memoryview(data)
            if not view.contiguous:
                raise BufferError("the buffer of a Frame must be contiguous")
            if copy is None:
                copy = view.nbytes < (COPY_THRESHOLD if copy_threshold is None else copy_threshold)
            memory = ffi.from_buffer(view)
            if copy:
                check(lib.gzh_message_add(message, memory, view.nbytes), "a Frame")
            else:
                if type(data) is bytes:
                    self._bytes = data
                number = pin(message, memory)
                self._writable = not view.readonly
                if track:
                    self.tracker = MessageTracker._of(number)
        self._message = message

    @classmethod
    def _received(cls, message: Any, more: bool) -> Frame:
        """Take over a message of one part."""
        frame = cls.__new__(cls)
        frame._message = untracked(ffi.gc(message, lib.gzh_message_free))
        frame._bytes = frame._view = frame._writable = frame.tracker = None
        frame.more = more
        return frame

    @classmethod
    def from_string(cls, text: str, encoding: str = "utf-8") -> Frame:
        """A Frame that holds text."""
        return cls(text.encode(encoding), copy=True)

    def _open(self) -> Any:
        if self._message is None:
            raise ValueError("this Frame is closed")
        return self._message

    @property
    def buffer(self) -> memoryview:
        """The bytes themselves, not copied. Valid as long as it is held.

        They may be written to, unless they are somebody's who does not allow it.
        """
        message = self._open()
        view = None if self._view is None else self._view()
        if view is None:
            data = ffi.cast("char *", lib.gzh_message_data(message, 0))
            # The view holds the message, whose memory it is, and the Frame, which may hold the data.
            held = ffi.gc(data, lambda _, frame=self, message=message: None)
            view = memoryview(ffi.buffer(held, lib.gzh_message_size(message, 0)))
            if self._writable is False:
                view = view.toreadonly()
            self._view = ref(view)
            if not view.readonly:
                self._bytes, self._writable = None, True
        return view

    @property
    def bytes(self) -> _Bytes:
        """The bytes, copied; once, unless they may be written to since `buffer` was asked for."""
        message = self._open()
        if self._bytes is not None:
            return self._bytes
        found: _Bytes = ffi.buffer(lib.gzh_message_data(message, 0), lib.gzh_message_size(message, 0))[:]
        if self._writable is None:
            self._bytes = found
        return found

    def __bytes__(self) -> _Bytes:
        return self.bytes

    def __str__(self) -> str:
        return self.bytes.decode(errors="replace")

    def __len__(self) -> int:
        return int(lib.gzh_message_size(self._open(), 0))

    def __buffer__(self, flags: int) -> memoryview:
        return self.buffer

    def __eq__(self, other: object) -> bool:
        try:
            return self.bytes == bytes(memoryview(other.buffer if isinstance(other, Frame) else other))  # type: ignore[arg-type]  # anything may be compared
        except TypeError:
            return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it can be written to

    def __repr__(self) -> str:
        cls = type(self)
        name = cls.__dict__.get("_repr_cls", f"{cls.__module__}.{cls.__qualname__}")
        if self._message is None:
            return f"<{name} closed>"
        size, unit = len(self), "B"
        if size <= 16:
            return f"<{name}({self.bytes!r})>"
        for least, divisor, longer in (1_000, 1_000, "kB"), (1 << 20, 10**6, "MB"), (10**9, 10**9, "GB"):
            if len(self) >= least:
                size, unit = len(self) // divisor, longer
        return f"<{name}({bytes(self.buffer[:12])!r}...{size}{unit})>"

    def get(self, option: int | str | _Bytes) -> int | str:
        """A property: an int (`MORE`, `SHARED`) by number, or a text by name ("Peer-Address").

        Calls zmq_msg_get or zmq_msg_gets; for "routing_id" and "group" see the attributes.
        Raises `ZMQError`, EINVAL if there is none of the name: nor has a Frame of one's own any, or one that
        had come as bytes (see `Socket.recv`).
        """
        if isinstance(option, int):
            if option == MORE:
                return int(self.more)
            return check(lib.gzh_message_get(self._open(), option), f"message option {option}")
        if isinstance(option, bytes):
            option = option.decode()
        if not isinstance(option, str):
            raise TypeError(f"message property: expected int or str, got {type(option).__name__}")
        if option == "routing_id":
            return self.routing_id
        if option == "group":
            return self.group
        text = lib.gzh_message_text(self._open(), option.encode() + b"\0")
        if text == ffi.NULL:
            raise errors.error(Errno.EINVAL, f"message property {option!r}")
        return str(ffi.string(text).decode())

    def set(self, option: int | str, value: Any) -> None:
        """Set "routing_id" or "group", as the attributes do.

        Nothing else in a message can be set by libzmq: raises `ZMQError`, EINVAL.
        """
        if option == "routing_id":
            self.routing_id = value
        elif option == "group":
            self.group = value
        else:
            raise errors.error(Errno.EINVAL, f"message option {option!r} = {value!r}")

    @overload
    def __getitem__(self, key: int | Literal["routing_id"]) -> int: ...
    @overload
    def __getitem__(self, key: _Bytes | Literal["group"]) -> str: ...
    @overload
    def __getitem__(self, key: str) -> int | str: ...
    def __getitem__(self, key: int | str | _Bytes) -> int | str:
        return self.get(key)

    def __getattr__(self, name: str) -> Any:
        option = MessageOption.__members__.get(name.upper())
        if option is None:
            raise AttributeError(f"{type(self).__name__} has no attribute or option {name!r}")
        try:
            return self.get(option)
        except errors.ZMQError as e:
            if e.errno != Errno.EINVAL:
                raise
            raise AttributeError(f"{name}: {e}") from e

    @property
    def routing_id(self) -> int:
        """Which CLIENT sent it; to be set on what a SERVER sends back. An int, more than 0.

        Needs libzmq's draft API: raises what is a `ZMQError`, ENOTSUP, and a RuntimeError, without;
        `ZMQError`, EINVAL, if the message has none, or for an id that libzmq does not take.
        """
        found = lib.gzh_message_routing_id(_drafted(self, "Frame.routing_id"))
        if not found:
            raise errors.error(Errno.EINVAL, "Frame.routing_id: the message has none")
        return int(found)

    @routing_id.setter
    def routing_id(self, routing_id: int) -> None:
        message = _drafted(self, f"Frame.routing_id = {routing_id!r}")
        rc = lib.gzh_message_set_routing_id(message, integer("routing_id", routing_id))
        check(rc, f"Frame.routing_id = {routing_id!r}")

    @property
    def group(self) -> str:
        """To which group a RADIO sends it, or a DISH received it: up to 255 bytes, "" for none.

        Needs libzmq's draft API: raises what is a `ZMQError`, ENOTSUP, and a RuntimeError, without;
        `ZMQError`, EINVAL, for a group that is too long.
        """
        return str(ffi.string(lib.gzh_message_group(_drafted(self, "Frame.group"))).decode())

    @group.setter
    def group(self, group: str | _Bytes) -> None:
        message = _drafted(self, f"Frame.group = {group!r}")
        rc = lib.gzh_message_set_group(message, group_of(group))
        check(rc, f"Frame.group = {group!r}")

    def copy(self) -> Frame:
        """Another Frame of the same bytes, which are shared if they are many (zmq_msg_copy)."""
        message = _new_message()
        check(lib.gzh_message_share(message, self._open(), 0), "a copy of a Frame")
        other = Frame.__new__(Frame)
        other._message, other._view = message, None
        other._writable, other._bytes, other.tracker = self._writable, self._bytes, self.tracker
        other.more = self.more
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> Frame:
        return Frame(self.buffer, copy=True)

    def move(self) -> Frame:
        """Another Frame with these bytes; this one is closed (zmq_msg_move)."""
        other = self.copy()
        self.close()
        return other

    def close(self) -> None:
        """Let the memory go, unless a view of it or a message on its way still needs it."""
        self._message = self._bytes = self._view = None

    @property
    def closed(self) -> bool:
        return self._message is None

    def __enter__(self) -> Frame:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


Message = Frame
buffers.export(Frame)


def _drafted(frame: Frame, about: str) -> Any:
    message = frame._open()
    if not lib.GZH_DRAFTS:
        raise errors.no_drafts(about)
    return message


def group_of(group: str | bytes) -> bytes:
    """A group's name, as C has it. Raises TypeError for what is no text, `ZMQError`, EINVAL, for what
    libzmq would cut off."""
    if isinstance(group, str):
        group = group.encode()
    if not isinstance(group, bytes):
        raise TypeError(f"group: expected str, got {type(group).__name__}")
    if len(group) > GROUP_MAX_LENGTH or b"\0" in group:
        raise errors.error(Errno.EINVAL, f"group={group!r}: up to {GROUP_MAX_LENGTH} bytes, and no NUL")
    return group + b"\0"


def addressed(
    data: object, routing_id: int | None, group: str | None, copy: bool, track: bool, threshold: int
) -> Frame:
    """A Frame to be sent to one client, or to a group; made of data, if that is none."""
    frame = data if isinstance(data, Frame) else frame_of(data, None, copy, track, threshold)
    if routing_id is not None:
        frame.routing_id = routing_id
    if group is not None:
        frame.group = group
    return frame


def _new_message() -> Any:
    message = lib.gzh_message_new()
    if message == ffi.NULL:
        raise errors.error(ENOMEM, "a message")
    return untracked(ffi.gc(message, lib.gzh_message_free))


def frame_of(part: object, index: int | None, copy: bool, track: bool, threshold: int | None) -> Frame:
    """A Frame of something to be sent that is none.

    Raises TypeError for what is no buffer, BufferError for one that has gaps; both name the part.
    """
    if part is None:  # of which Frame() would make one
        raise not_a_buffer(part, index)
    try:
        return Frame(part, track, copy or None, threshold)
    except TypeError:
        raise not_a_buffer(part, index) from None
    except BufferError:
        raise not_contiguous(index) from None


def message_of(
    parts: list[Any], copy: bool, track: bool, threshold: int | None, begun: int = 0
) -> tuple[Any, MessageTracker | None]:
    """A C message of these parts, and the tracker of what was not copied (or None).

    begun: how many of the parts were given before, and need not be tracked.
    Raises TypeError for what is no buffer, BufferError for one that has gaps; both name the part.
    """
    message = _new_message()
    tracked: list[MessageTracker] = []
    at_once: MessageTracker | None = None
    below = COPY_THRESHOLD if threshold is None else threshold
    for index, part in enumerate(parts):
        if isinstance(part, Frame):
            if track and part.tracker is None and index >= begun:
                raise ValueError("Not a tracked message: make the Frame with track=True")
            frame = part
        elif copy:
            try:
                memory = ffi.from_buffer(part)
            except TypeError:
                raise not_a_buffer(part, index) from None
            except BufferError:
                raise not_contiguous(index) from None
            check(lib.gzh_message_add(message, memory, len(memory)), "a message")
            continue
        elif type(part) is bytes and len(part) >= below:
            number = pin(message, ffi.from_buffer(part))  # as by a Frame, without that
            if track:
                tracked.append(MessageTracker._of(number))
            continue
        else:
            frame = frame_of(part, index, False, track, threshold)
        check(lib.gzh_message_share(message, frame._open(), 0), "a message")
        if frame.tracker is not None:
            tracked.append(frame.tracker)
        elif frame is not part and frame._writable is None and index >= begun:
            at_once = FINISHED  # it was so small that it was copied after all
    if len(tracked) > 1:
        return message, MessageTracker(*tracked)
    return message, tracked[0] if tracked else at_once


def frames_in(message: Any) -> list[Frame]:
    """The parts of a C message, moved out of it."""
    last = lib.gzh_message_parts(message) - 1
    return [Frame._received(lib.gzh_message_take(message, index), index < last) for index in range(last + 1)]


def copies_in(message: Any) -> list[bytes]:
    """Copies of the parts of a C message."""
    return [
        bytes(ffi.buffer(lib.gzh_message_data(message, i), lib.gzh_message_size(message, i)))
        for i in range(lib.gzh_message_parts(message))
    ]


def not_a_buffer(part: object, index: int | None = None) -> TypeError:
    shown = repr(part)
    where = "" if index is None else f"part {index}: "
    hint = "; encode the text, or use send_string" if isinstance(part, str) else ""
    return TypeError(
        f"{where}{shown[:32]}{'...' if len(shown) > 32 else ''} is a {type(part).__name__}, which does not "
        f"support the buffer interface{hint}"
    )


def not_contiguous(index: int | None = None) -> BufferError:
    where = "" if index is None else f"part {index}: "
    return BufferError(f"{where}a buffer must be contiguous to be sent; bytes() makes such a copy of it")
