"""``python -m gzmqhelper.perf``: libzmq's own performance programs, on greenlets.

The arguments and the output are those of the programs of the same names that libzmq is built with, so
the two can measure each other: ``local_lat`` here and ``remote_lat`` there. Where libzmq's programs
have threads (``inproc_lat``, ``inproc_thr``, ``proxy_thr``), these have greenlets of one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import gevent

from . import errors
from ._context import Context
from ._proxy import proxy_steerable
from ._socket import Socket
from .constants import PULL, PUSH, REP, REQ, SUB, XPUB, XSUB

# The keys with which libzmq's local_thr and remote_thr are built.
_SERVER_PUBLIC: Final = b"DX4nh=yUn{-9ugra0X3Src4SU-4xTgqxcYY.+<SH"
_SERVER_SECRET: Final = b"{X}#>t#jRGaQ}gMhv=30r(Mw+87YGs+5%kh=i@f8"
_CLIENT_PUBLIC: Final = b"<n^oA}I:66W+*ds3tAmi1+KJzv-}k&fC2aA5Bj0K"
_CLIENT_SECRET: Final = b"9R9bV}[6z6DC-%$!jTVTKvWc=LEL{4i4gzUe$@Zx"

# Of proxy_thr's sockets, as in libzmq's.
_PROXY_HWM: Final = 10_000


class _WrongSizeError(Exception):
    pass


def _receive(socket: Socket, size: int) -> bytes:
    message = socket.recv()
    if len(message) != size:
        raise _WrongSizeError
    return message


def _microseconds(began: float) -> int:
    return int((time.perf_counter() - began) * 1e6)


def _print_latency(elapsed: int, count: int) -> None:
    # Of no round trip there is none; C's division says so too.
    print(f"average latency: {elapsed / (count * 2) if count else float('nan'):.3f} [us]")


def _print_throughput(elapsed: int, count: int, size: int) -> None:
    throughput = count / max(elapsed, 1) * 1e6
    print(f"mean throughput: {int(throughput)} [msg/s]")
    print(f"mean throughput: {throughput * size * 8 / 1e6:.3f} [Mb/s]")


# ---- latency -------------------------------------------------------------------------------------------


def _answer(rep: Socket, size: int, count: int) -> None:
    for _ in range(count):
        rep.send(_receive(rep, size))


def _ask(req: Socket, size: int, count: int) -> int:
    message = bytes(size)
    began = time.perf_counter()
    for _ in range(count):
        req.send(message)
        _receive(req, size)
    return _microseconds(began)


def _local_lat(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(REP) as rep:
        rep.bind(args.endpoint)
        _answer(rep, args.message_size, args.count)
        gevent.sleep(1)  # for the last answer to leave, also where nobody lingers


def _remote_lat(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(REQ) as req:
        req.connect(args.endpoint)
        elapsed = _ask(req, args.message_size, args.count)
        print(f"message size: {args.message_size} [B]")
        print(f"roundtrip count: {args.count}")
        _print_latency(elapsed, args.count)


def _inproc_lat(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(REQ) as req, ctx.socket(REP) as rep:
        req.bind("inproc://lat_test")
        rep.connect("inproc://lat_test")
        worker = gevent.spawn(_answer, rep, args.message_size, args.count)
        print(f"message size: {args.message_size} [B]")
        print(f"roundtrip count: {args.count}")
        elapsed = _ask(req, args.message_size, args.count)
        worker.get()
        _print_latency(elapsed, args.count)


# ---- throughput ----------------------------------------------------------------------------------------


def _push(socket: Socket, size: int, count: int) -> None:
    message = bytes(size)
    for _ in range(count):
        socket.send(message)


def _pull(socket: Socket, size: int, count: int) -> int:
    """The time from the first message to the last."""
    _receive(socket, size)
    began = time.perf_counter()
    for _ in range(count - 1):
        _receive(socket, size)
    return max(_microseconds(began), 1)


def _local_thr(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(PULL) as pull:
        if args.enable_curve:
            pull.curve_secretkey = _SERVER_SECRET
            pull.curve_server = 1
        pull.bind(args.endpoint)
        elapsed = _pull(pull, args.message_size, args.count)
        print(f"message size: {args.message_size} [B]")
        print(f"message count: {args.count}")
        _print_throughput(elapsed, args.count, args.message_size)


def _remote_thr(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(PUSH) as push:
        if args.enable_curve:
            push.curve_secretkey = _CLIENT_SECRET
            push.curve_publickey = _CLIENT_PUBLIC
            push.curve_serverkey = _SERVER_PUBLIC
        push.connect(args.endpoint)
        _push(push, args.message_size, args.count)


def _inproc_thr(ctx: Context, args: argparse.Namespace) -> None:
    with ctx.socket(PULL) as pull, ctx.socket(PUSH) as push:
        pull.bind("inproc://thr_test")
        push.connect("inproc://thr_test")
        worker = gevent.spawn(_push, push, args.message_size, args.count)
        print(f"message size: {args.message_size} [B]")
        print(f"message count: {args.count}")
        elapsed = _pull(pull, args.message_size, args.count)
        worker.get()
        _print_throughput(elapsed, args.count, args.message_size)


def _publish(xpub: Socket, size: int, count: int) -> None:
    xpub.recv()  # the subscription
    _push(xpub, size, count)
    xpub.close()


def _subscribe(sub: Socket, count: int) -> None:
    for _ in range(count):
        sub.recv()
    sub.close()


def _proxy_thr(ctx: Context, args: argparse.Namespace) -> None:
    def socket(kind: int, **options: Any) -> Socket:
        made: Socket = ctx.socket(kind)
        if kind != REP and kind != REQ:
            made.set_hwm(_PROXY_HWM)
        for name, value in options.items():
            setattr(made, name, value)
        return made

    print(f"message size: {args.message_size} [B]")
    print(f"message count: {args.count}")
    frontend, backend = socket(XSUB), socket(XPUB, xpub_nodrop=1)
    control, steering = socket(REP), socket(REQ)
    publishers = [socket(XPUB, xpub_nodrop=1), socket(XPUB, xpub_nodrop=1)]
    subscriber = socket(SUB, subscribe=b"")
    for number, publisher in enumerate(publishers, 1):
        frontend.bind(f"inproc://perf_pub{number}")
        publisher.connect(f"inproc://perf_pub{number}")
    backend.bind("inproc://perf_backend")
    control.bind("inproc://ctrl")
    subscriber.connect("inproc://perf_backend")
    steering.connect("inproc://ctrl")

    running = gevent.spawn(proxy_steerable, frontend, backend, None, control)
    receiving = gevent.spawn(_subscribe, subscriber, args.count)
    began = time.perf_counter()
    sending = [gevent.spawn(_publish, one, args.message_size, args.count) for one in publishers]
    receiving.get()
    _print_throughput(_microseconds(began), args.count, args.message_size)
    for greenlet in sending:
        greenlet.get()
    steering.send(b"TERMINATE")
    running.get()
    for one in (frontend, backend, control, steering):
        one.close(0)


# ---- the command line ------------------------------------------------------------------------------------

_BIND, _CONNECT = "bind-to", "connect-to"
_Program = Callable[[Context, argparse.Namespace], None]
# The program; what its first argument is, where that is an endpoint; what it counts; more arguments.
_PROGRAMS: Final[dict[str, tuple[_Program, str | None, str, bool]]] = {
    "local_lat": (_local_lat, _BIND, "roundtrip-count", False),
    "remote_lat": (_remote_lat, _CONNECT, "roundtrip-count", False),
    "local_thr": (_local_thr, _BIND, "message-count", True),
    "remote_thr": (_remote_thr, _CONNECT, "message-count", True),
    "inproc_lat": (_inproc_lat, None, "roundtrip-count", False),
    "inproc_thr": (_inproc_thr, None, "message-count", False),
    "proxy_thr": (_proxy_thr, None, "message-count", False),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {message} ({usage}).\n")


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages or bytes")
    return int(text)


def _at_least_one(text: str) -> int:
    number = _whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one is needed")
    return number


def _parser() -> _Parser:
    parser = _Parser(prog="python -m gzmqhelper.perf", description="libzmq's performance programs.")
    programs = parser.add_subparsers(dest="program", required=True, metavar="|".join(_PROGRAMS))
    for name, (run, endpoint, counted, curve) in _PROGRAMS.items():
        one = programs.add_parser(name, help=" ".join(filter(None, (endpoint, "message-size", counted))))
        one.set_defaults(run=run)
        if endpoint:
            one.add_argument("endpoint", metavar=endpoint, help="as tcp://127.0.0.1:5555")
        one.add_argument("message_size", metavar="message-size", type=_whole_number, help="in bytes")
        one.add_argument("count", metavar=counted, type=_at_least_one)
        if curve:
            one.add_argument(
                "enable_curve", nargs="?", type=_whole_number, default=0, help="1: encrypted, with CURVE"
            )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the programs; returns its exit status, as libzmq's have it.

    arguments: the name and the arguments of one of libzmq's programs; those of the process if None.
    Raises SystemExit, after a sentence on stderr, if they are not understood.
    """
    args = _parser().parse_args(arguments)
    ctx = Context(io_threads=4 if args.program == "proxy_thr" else 1)
    try:
        args.run(ctx, args)
    except _WrongSizeError:
        print("message of incorrect size received")
        ctx.destroy(0)
        return 255
    except errors.ZMQError as e:
        print(f"error in {args.program}: {e}")
        ctx.destroy(0)
        return 255
    ctx.term()
    return 0


if __name__ == "__main__":
    sys.exit(main())
