"""`zmq.asyncio`: the same sockets, in asyncio's event loop."""

import asyncio
import os

import gevent
import pytest
from support import Stopwatch

import gzmqhelper as zmq
from gzmqhelper.monkey import _asyncio as zaio


@pytest.fixture
def run():
    """Runs a function with a pair of sockets of zmq.asyncio's; PUSH and PULL, if not others."""

    def run(test, left=zmq.PUSH, right=zmq.PULL):
        async def with_sockets():
            with zaio.Context() as ctx, ctx.socket(left) as a, ctx.socket(right) as b:
                a.linger = b.linger = 0
                b.connect(f"tcp://127.0.0.1:{a.bind_to_random_port('tcp://127.0.0.1')}")
                await asyncio.wait_for(test(a, b), 20)

        asyncio.run(with_sockets())

    return run


def test_what_is_asked_first_is_answered_first(run):
    async def test(push, pull):
        first, second, third = pull.recv(), pull.recv_multipart(), pull.recv_string()
        assert not first.done() and not second.done()
        for part in (b"1", b"2", b"3"):
            await push.send(part)
        assert await third == "3"
        assert first.result() == b"1" and second.result() == [b"2"]

    run(test)


def test_all_formats_are_futures(run):
    async def test(a, b):
        await a.send_json({"x": 1})
        assert await b.recv_json() == {"x": 1}
        await a.send_json(["ü"])
        assert await b.recv() == b'["\\u00fc"]'  # as a Socket's
        await a.send_pyobj({2})
        assert await b.recv_pyobj() == {2}
        await a.send_string("ü")
        assert await b.recv_unicode() == "ü"
        await a.send_serialized("abc", lambda text: [c.encode() for c in text])
        assert await b.recv_serialized(lambda parts: b"".join(parts)) == b"abc"
        await a.send_multipart(iter([b"into", b"it"]))
        buffer = bytearray(10)
        assert await b.recv_into(buffer) == 4 and buffer[:4] == b"into"
        frame = await b.recv(copy=False)
        assert frame.bytes == b"it"
        await a.send(b"no json")
        with pytest.raises(ValueError):
            await b.recv_json()

    run(test, zmq.PAIR, zmq.PAIR)


def test_one_that_is_cancelled_takes_no_message(run):
    async def test(push, pull):
        futures = [pull.recv(), pull.recv_json(), pull.poll()]
        for future in futures:
            future.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pull.recv(), 0.05)
        await push.send(b"kept")
        assert await pull.recv() == b"kept"
        assert not pull._anybody_waits() and not push._anybody_waits()

    run(test)


def test_timeouts_and_noblock_are_again(run):
    async def test(push, pull):
        with pytest.raises(zmq.Again):
            await pull.recv(zmq.NOBLOCK)
        pull.rcvtimeo = 60
        with Stopwatch() as watch, pytest.raises(zmq.Again):
            await pull.recv()
        watch.check(0.06)
        with pull.context.socket(zmq.PUSH) as lonely:
            lonely.sndtimeo = 10
            with pytest.raises(zmq.Again):
                await lonely.send(b"")
            with pytest.raises(zmq.Again):
                await lonely.send(b"", zmq.NOBLOCK)

    run(test)


def test_a_sender_waits_until_there_is_room(run):
    async def test(push, pull):
        message = bytes(20_000)
        sent = [push.send(message) for _ in range(3000)]
        assert not sent[-1].done()
        for _ in sent:
            assert await pull.recv() == message
        await sent[-1]
        assert all(future.done() for future in sent)

    run(test)


def test_it_polls(run):
    async def test(push, pull):
        assert await pull.poll(0) == 0
        assert await pull.poll(10) == 0
        assert await push.poll(1000, zmq.POLLOUT) == zmq.POLLOUT
        future = pull.poll()
        assert not future.done()
        await push.send(b"x")
        assert await future == zmq.POLLIN
        assert await pull.recv() == b"x"

    run(test)


def test_a_poller_waits_for_sockets_of_all_kinds_and_for_descriptors(run):
    async def test(push, pull):
        readable, writable = os.pipe()
        poller = zaio.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(readable, zmq.POLLIN)
        assert await poller.poll(10) == []
        future = poller.poll()
        await push.send(b"x")
        assert await future == [(pull, zmq.POLLIN)]
        await pull.recv()
        future = poller.poll(20_000)
        os.write(writable, b"x")
        assert await future == [(readable, zmq.POLLIN)]
        poller.unregister(readable)
        os.close(readable)
        os.close(writable)
        with zmq.Context() as ctx, ctx.socket(zmq.PULL) as plain, ctx.socket(zmq.PUSH) as other:
            plain.bind("inproc://plain")
            other.connect("inproc://plain")
            poller.register(plain, zmq.POLLIN)
            future = poller.poll()
            other.send(b"x")
            assert await future == [(plain, zmq.POLLIN)]
            assert plain.recv() == b"x"
        await asyncio.sleep(0.01)
        assert not pull._polls

    run(test)


def test_to_close_a_socket_cancels_what_waits_and_to_end_a_context_is_an_error(run):
    async def test(push, pull):
        futures = [pull.recv(), pull.poll()]
        pull.close()
        await asyncio.sleep(0)
        assert all(future.cancelled() for future in futures)
        with pytest.raises(zmq.ZMQError):
            pull.poll()
        gevent.spawn(push.context.term)
        future = push.poll(flags=zmq.POLLIN)
        with pytest.raises(zmq.ContextTerminated):
            await future

    run(test)


def test_one_socket_is_used_in_one_loop_after_the_other():
    with zaio.Context() as ctx, ctx.socket(zmq.PAIR) as a, ctx.socket(zmq.PAIR) as b:
        a.bind("inproc://loops")
        b.connect("inproc://loops")

        async def test():
            future = b.recv()
            await a.send(b"x")
            return await future

        assert [asyncio.run(test()) for _ in range(3)] == [b"x"] * 3


def test_many_at_once_are_refused_for_they_would_wait_in_greenlets(run):
    async def test(push, pull):
        for call in (lambda: push.send_many([b"x"]), lambda: pull.recv_many()):
            with pytest.raises(zmq.ZMQError, match="not in asyncio: await") as caught:
                call()
            assert caught.value.errno == zmq.ENOTSUP

    run(test)


def test_greenlets_run_while_a_program_waits_in_its_event_loop(run):
    async def test(a, b):
        with zmq.Socket(b) as plain:
            gevent.spawn(lambda: plain.send(plain.recv() + b" back"))
            future = a.recv()
            await a.send(b"there and")
            assert await future == b"there and back"

    run(test, zmq.PAIR, zmq.PAIR)


def test_contexts_and_sockets_are_of_classes_of_their_own():
    ctx = zaio.Context.instance()
    assert type(ctx) is zaio.Context and ctx is not zmq.Context.instance()
    with ctx.socket(zmq.PAIR) as sock:
        assert type(sock) is zaio.Socket and "zmq.asyncio.Socket(zmq.PAIR)" in repr(sock)
        shadow = zaio.Socket.from_socket(sock)
        assert shadow.underlying == sock.underlying
        with pytest.warns(RuntimeWarning, match="No running event loop"):
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                sock.poll(0)
            finally:
                asyncio.set_event_loop(None)
                loop.close()
    ctx.term()
    zmq.Context.instance().term()
