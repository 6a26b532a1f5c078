"""A user's program, as far as types go: every public name of this package, checked by mypy --strict.

Nothing here is run. `assert_type` says what a type checker must find.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from typing_extensions import assert_type

import gzmqhelper as zmq
import gzmqhelper.auth
import gzmqhelper.utils.monitor
import gzmqhelper.utils.z85

# ---- the module --------------------------------------------------------------------------------------


def module() -> None:
    assert_type(zmq.zmq_version(), str)
    assert_type(zmq.zmq_version_info(), tuple[int, int, int])
    assert_type(zmq.pyzmq_version(), str)
    assert_type(zmq.pyzmq_version_info(), tuple[int, int, int])
    assert_type(zmq.__version__, str)
    assert_type(zmq.__revision__, str)
    assert_type(zmq.has("curve"), bool)
    assert_type(zmq.strerror(zmq.EAGAIN), str)
    assert_type(zmq.zmq_errno(), int)
    assert_type(zmq.curve_keypair(), tuple[bytes, bytes])
    assert_type(zmq.curve_public(b"0" * 40), bytes)
    assert_type(zmq.curve_public("0" * 40), bytes)
    sizes: list[int] = [zmq.COPY_THRESHOLD, zmq.IPC_PATH_MAX_LEN, zmq.GROUP_MAX_LENGTH]
    drafts: list[bool] = [zmq.DRAFT_API, zmq.PYZMQ_DRAFT_API]
    print(sizes, drafts)
    watch = zmq.Stopwatch()
    assert_type(watch.start(), None)
    assert_type(watch.stop(), int)


def constants() -> None:
    kinds: list[zmq.SocketType] = [zmq.PUB, zmq.SUB, zmq.XREQ, zmq.SocketType.PAIR]
    options: list[zmq.SocketOption] = [zmq.LINGER, zmq.IDENTITY, zmq.SocketOption.RCVHWM]
    context_options: list[zmq.ContextOption] = [zmq.IO_THREADS, zmq.ContextOption.MAX_SOCKETS]
    message_options: list[zmq.MessageOption] = [zmq.MORE, zmq.SHARED]
    flags: list[zmq.Flag] = [zmq.NOBLOCK | zmq.SNDMORE, zmq.DONTWAIT, zmq.Flag.SNDMORE]
    events: list[zmq.PollEvent] = [zmq.POLLIN | zmq.POLLOUT, zmq.PollEvent.POLLERR]
    monitored: list[zmq.Event] = [zmq.EVENT_ALL, zmq.Event.CONNECTED]
    errnos: list[zmq.Errno] = [zmq.ETERM, zmq.Errno.EFSM]
    devices: list[zmq.DeviceType] = [zmq.QUEUE, zmq.DeviceType.FORWARDER]
    mechanisms: list[zmq.SecurityMechanism] = [zmq.CURVE]
    others: list[int] = [
        *[zmq.GssapiNameType.USER_NAME, zmq.NormMode.CC, zmq.ReconnectStop.CONN_REFUSED],
        *[zmq.RouterNotify.CONNECT],
    ]
    print(kinds, options, context_options, message_options, flags, events, monitored, errnos, devices)
    print(mechanisms, others)


# ---- contexts ----------------------------------------------------------------------------------------


def contexts() -> None:
    context = zmq.Context()
    assert_type(context, zmq.Context)
    assert_type(zmq.Context.instance(), zmq.Context)
    assert_type(zmq.Context(io_threads=2), zmq.Context)
    assert_type(zmq.Context.shadow(context), zmq.Context)
    assert_type(zmq.Context(shadow=context.underlying), zmq.Context)
    assert_type(context.closed, bool)
    assert_type(context.underlying, int)
    assert_type(context.get(zmq.MAX_SOCKETS), int)
    context.set(zmq.MAX_SOCKETS, 10)
    context.max_sockets = 10
    context.linger = 0
    context.setsockopt(zmq.LINGER, 0)
    print(context.getsockopt(zmq.LINGER), context.io_threads, context.sockopts)
    sync: zmq.SyncContext = context
    with zmq.Context() as other:
        assert_type(other, zmq.Context)
        assert_type(other.socket(zmq.PUB), zmq.Socket)
    sync.destroy(linger=0)
    context.term()


class Counting(zmq.Socket):
    """Somebody's own class of Sockets."""

    sent: int = 0

    def send(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        self.sent += 1
        return super().send(data, *args, **kwargs)


class Plain(zmq.Socket[bytes]):
    """The same in the words of other bindings."""


class CountingContext(zmq.Context[Counting]):
    _socket_class = Counting


def subclasses(context: zmq.Context) -> None:
    assert_type(CountingContext().socket(zmq.PUB), Counting)
    assert_type(CountingContext.instance(), CountingContext)
    assert_type(context.socket(zmq.PUB, socket_class=Plain), Plain)
    assert_type(context.socket(zmq.PUB, Counting).sent, int)


# ---- sockets -----------------------------------------------------------------------------------------


def sockets(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    sock: zmq.Socket[bytes] = context.socket(zmq.DEALER, copy_threshold=10)
    same: zmq.SyncSocket = zmq.Socket(sock)
    assert_type(zmq.socket(zmq.PAIR), zmq.Socket)
    assert_type(zmq.socket(zmq.PAIR, Counting), Counting)
    assert_type(zmq.Socket(context, zmq.PAIR), zmq.Socket)
    assert_type(zmq.Socket.shadow(same.underlying), zmq.Socket)
    print(sock.context, sock.copy_threshold)
    kind: zmq.SocketType | int = sock.type
    assert_type(sock.socket_type, int)
    assert_type(sock.closed, bool)
    assert_type(sock.underlying, int)
    assert_type(sock.fileno(), int)
    with sock.bind("tcp://127.0.0.1:*") as bound:
        assert_type(bound, zmq.Socket)
        endpoint: bytes = bound.last_endpoint
        with sock.connect(endpoint) as connected:
            assert_type(connected, zmq.Socket)
    sock.unbind("tcp://127.0.0.1:5555")
    sock.disconnect("tcp://127.0.0.1:5555")
    assert_type(sock.bind_to_random_port("tcp://*", min_port=5000, max_port=6000, max_tries=3), int)
    with context.socket(zmq.SUB) as sub:
        assert_type(sub, zmq.Socket)
        sub.subscribe("")
        sub.unsubscribe(b"")
        sub.join("group")
        sub.leave("group")
    sock.close(linger=0)
    print(kind)


def options(sock: zmq.Socket) -> None:
    sock.set(zmq.LINGER, 0)
    sock.setsockopt(zmq.ROUTING_ID, b"me")
    sock.set_string(zmq.ROUTING_ID, "me")
    sock.setsockopt_string(zmq.ROUTING_ID, "me")
    sock.setsockopt_unicode(zmq.ROUTING_ID, "me")
    assert_type(sock.get_string(zmq.LAST_ENDPOINT), str)
    assert_type(sock.getsockopt_string(zmq.LAST_ENDPOINT), str)
    assert_type(sock.getsockopt_unicode(zmq.LAST_ENDPOINT), str)
    linger: int = sock.get(zmq.LINGER)
    identity: bytes = sock.getsockopt(zmq.IDENTITY)
    sock.linger = linger
    sock.IDENTITY = identity
    more: int = sock.RCVMORE
    sock.hwm = 5
    assert_type(sock.hwm, int)
    sock.set_hwm(5)
    assert_type(sock.get_hwm(), int)
    print(more)


# ---- messages ----------------------------------------------------------------------------------------


def receiving(sock: zmq.Socket, flag: bool) -> None:
    assert_type(sock.recv(), bytes)
    assert_type(sock.recv(zmq.NOBLOCK), bytes)
    assert_type(sock.recv(0, True, False), bytes)
    assert_type(sock.recv(copy=True, timeout=1.5), bytes)
    assert_type(sock.recv(copy=False), zmq.Frame)
    assert_type(sock.recv(zmq.NOBLOCK, copy=False, track=True), zmq.Frame)
    assert_type(sock.recv(zmq.NOBLOCK, False), zmq.Frame)
    assert_type(sock.recv(copy=flag), bytes | zmq.Frame)
    assert_type(sock.recv(0, flag), bytes | zmq.Frame)
    assert_type(sock.recv_multipart(), list[bytes])
    assert_type(sock.recv_multipart(zmq.NOBLOCK, timeout=1), list[bytes])
    assert_type(sock.recv_multipart(copy=False), list[zmq.Frame])
    assert_type(sock.recv_multipart(0, False), list[zmq.Frame])
    assert_type(sock.recv_multipart(copy=flag), list[bytes] | list[zmq.Frame])
    assert_type(sock.recv_into(bytearray(10), nbytes=5, flags=zmq.NOBLOCK, timeout=1), int)
    assert_type(sock.recv_string(0, "utf-16"), str)
    assert_type(sock.recv_unicode(timeout=1), str)
    request: dict[str, int] = sock.recv_json(parse_float=str, timeout=1)
    thing: set[int] = sock.recv_pyobj(timeout=1)
    assert_type(sock.recv_serialized(lambda parts: len(parts[0]), timeout=1), int)
    assert_type(sock.recv_serialized(whole, copy=False), bytes)
    assert_type(iter(sock), Iterator[bytes])
    for message in sock:
        assert_type(message, bytes)
    assert_type(sock.poll(), int)
    assert_type(sock.poll(1.5, zmq.POLLIN | zmq.POLLOUT), int)
    print(request, thing)


def whole(frames: list[zmq.Frame]) -> bytes:
    return b"".join(frame.bytes for frame in frames)


def sending(sock: zmq.Socket) -> None:
    assert_type(sock.send(b"x"), zmq.MessageTracker | None)
    assert_type(sock.send(bytearray(5), zmq.SNDMORE, False, True), zmq.MessageTracker)
    assert_type(sock.send(memoryview(b"x"), copy=False, track=True, timeout=1), zmq.MessageTracker)
    sock.send(zmq.Frame(b"x"), routing_id=5)
    sock.send(b"x", group="weather")
    assert_type(sock.send_multipart([b"a", zmq.Frame(b"b")], 0, False, True), zmq.MessageTracker | None)
    sock.send_multipart((b"a", b"b"), timeout=1)
    sock.send_string("x", encoding="utf-16", timeout=1)
    sock.send_unicode("x", zmq.NOBLOCK)
    sock.send_json({"a": 1}, indent=1, timeout=1)
    sock.send_pyobj({1, 2}, protocol=5, timeout=1)
    sock.send_serialized({"a": b"b"}, lambda d: list(d.values()), copy=False)


def frames() -> None:
    with zmq.Frame(b"abc", track=True, copy=False, copy_threshold=0) as frame:
        assert_type(frame, zmq.Frame)
    zmq.Message(), zmq.Frame(size=10), zmq.Frame.from_string("x", "latin-1")
    assert_type(frame.bytes, bytes)
    assert_type(frame.buffer, memoryview)
    assert_type(frame.more, bool)
    assert_type(frame.tracker, zmq.MessageTracker | None)
    assert_type(frame.closed, bool)
    assert_type(frame.group, str)
    assert_type(frame.routing_id, int)
    frame.group, frame.routing_id = "weather", 5
    assert_type(frame["routing_id"], int)
    assert_type(frame["group"], str)
    assert_type(frame[zmq.MORE], int)
    assert_type(frame.get("Peer-Address"), int | str)
    frame.set("group", "weather")
    assert_type(frame.copy(), zmq.Frame)
    assert_type(frame.move(), zmq.Frame)
    print(len(frame), str(frame), bytes(frame), frame == b"abc", memoryview(frame.buffer))
    frame.close()
    tracker = zmq.MessageTracker(frame, zmq._FINISHED_TRACKER)
    assert_type(tracker.done, bool)
    assert_type(tracker.wait(1.5), None)


def several(sock: zmq.Socket) -> None:
    assert_type(sock.recv_many(max=10, flags=zmq.NOBLOCK, timeout=1), list[bytes | list[bytes]])
    assert_type(sock.send_many([b"a", [b"b", zmq.Frame(b"c")]], zmq.NOBLOCK, copy=False), int)


# ---- watching ----------------------------------------------------------------------------------------


def polling(sock: zmq.Socket, file: IO[bytes]) -> None:
    poller = zmq.Poller()
    poller.register(sock, zmq.POLLIN)
    poller.register(file)
    poller.modify(file, zmq.POLLOUT)
    poller.unregister(file)
    assert_type(sock in poller, bool)
    assert_type(poller.sockets, list[tuple[Any, int]])
    ready: dict[Any, int] = dict(poller.poll(1.5))
    assert_type(zmq.select([sock], [file], [], 1.5), tuple[list[Any], list[Any], list[Any]])
    assert_type(zmq.zmq_poll([(sock, zmq.POLLIN)], 10), list[tuple[Any, int]])
    assert_type(zmq.Poller.dispatch({sock: print, file: (zmq.POLLOUT, print)}, timeout=1), int)
    print(ready)


def monitors(sock: zmq.Socket) -> None:
    with sock.get_monitor_socket(zmq.EVENT_ALL) as monitor:
        event = zmq.utils.monitor.recv_monitor_message(monitor)
        assert_type(event["event"], zmq.Event)
        assert_type(event["endpoint"], bytes)
    sock.disable_monitor()
    sock.monitor("inproc://monitor", zmq.EVENT_ACCEPTED)


def proxies(one: zmq.Socket, other: zmq.Socket) -> None:
    assert_type(zmq.proxy(one, other), int)
    assert_type(zmq.proxy_steerable(one, other, control=None), int)
    assert_type(zmq.device(zmq.QUEUE, one, other), int)


def reports() -> None:
    found = zmq.report()
    assert_type(found, zmq.Report)
    waiting: tuple[zmq.Waiting, ...] = found.waiting
    print([(w.greenlet, w.call, w.sockets, w.seconds, w.stack, w.companion) for w in waiting])
    print([(w.since, w.answered, w.started, w.thread) for w in waiting])
    print(found.on_watch, found.companions, found.parked, found.left, found.running, found.taken)
    zmq.report_on_signal()


def security(context: zmq.Context) -> None:
    authenticator = zmq.auth.GreenAuthenticator(context)
    authenticator.start()
    authenticator.allow("127.0.0.1")
    authenticator.configure_plain(passwords={"me": "secret"})
    authenticator.configure_curve(location=zmq.auth.CURVE_ALLOW_ANY)
    authenticator.stop()
    assert_type(zmq.utils.z85.encode(b"12345678"), bytes)


# ---- helpers, errors ---------------------------------------------------------------------------------


def helpers() -> None:
    with zmq.helper() as helper:
        assert_type(helper, zmq.Helper)
    assert_type(zmq.Helper.current(), zmq.Helper | None)
    assert_type(helper.number, int | None)
    assert_type(zmq.Helper.limit(256), int)
    helper.start()
    helper.close()


def errors(sock: zmq.Socket) -> None:
    try:
        sock.recv(zmq.NOBLOCK)
    except zmq.Again as again:
        assert_type(again.errno, int | None)
    except (zmq.ContextTerminated, zmq.InterruptedSystemCall):
        pass
    except zmq.ZMQError as error:
        assert_type(error.strerror, str)
        raise zmq.ZMQError(zmq.EINVAL, "oh") from error
    except (zmq.ZMQBindError, zmq.NotDone, zmq.ZMQBaseError):
        pass
    except zmq.error.ZMQVersionError:
        pass
    except zmq.ZMQVersionError as old:
        print(old.msg, old.min_version, old.version, zmq.DraftFDWarning())
