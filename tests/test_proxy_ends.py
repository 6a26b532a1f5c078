"""Proxies: how they are ended, what others may do meanwhile, and that nothing is left or lost."""

import time

import gevent
import pytest
from crowd import FILLING, NARROW, greenlets, number_of, numbered
from forks import FORKS, run_forking
from life import Baseline, OsThread, Outcome, told_soon, waiting
from lines import Line, carries
from support import Stopwatch, run

import gzmqhelper as zmq


@pytest.fixture
def line(sockets):
    return Line(sockets)


# ---- how it is ended -------------------------------------------------------------------------------


def test_a_kill_ends_it_and_the_sockets_are_free_at_once(line, ticker):
    for _ in range(20):
        running = line.proxy()
        assert carries(line)
        with Stopwatch() as took:
            running.greenlet.kill()
        assert took.soon
        line.sender.send(b"to the frontend itself")
        assert line.frontend.recv(timeout=5) == b"to the frontend itself"
        line.backend.send(b"from the backend itself", zmq.NOBLOCK)
        assert line.receiver.recv(timeout=5) == b"from the backend itself"


def test_a_timeout_ends_it_and_leaves_no_trace(line, ticker):
    for _ in range(5):
        with gevent.Timeout(0.02, False):
            zmq.proxy(line.frontend, line.backend)
            raise AssertionError
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


@pytest.mark.parametrize("hwm", [{}, NARROW], ids=["free", "narrow"])
def test_proxies_killed_in_a_flood_lose_and_double_nothing_and_keep_the_order(sockets, hwm):
    # (No ticker: what four busy threads take from this one it cannot tell from what the machine does.)
    line = Line(sockets, **hwm)
    count = 2000
    got = []

    def send():
        for number in range(count):
            line.sender.send_multipart([*numbered(number, 2), FILLING if hwm else b""])

    def receive():
        while True:
            got.append(number_of(line.receiver.recv_multipart()[:2]))

    with greenlets(send, receive):
        end = time.monotonic() + 30
        while len(got) < count:
            assert time.monotonic() < end
            running = Outcome(zmq.proxy, line.frontend, line.backend)
            gevent.sleep(0.004)
            running.greenlet.kill()
            # Of what the frontend has now the greenlet itself takes one, and passes it on.
            try:
                message = line.frontend.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                continue
            line.backend.send_multipart(message)
    assert got == list(range(count))


def test_many_are_killed_at_once_and_their_sockets_are_free(sockets, ticker):
    lines = [Line(sockets) for _ in range(20)]
    running = [line.proxy() for line in lines]
    assert all(carries(line) for line in lines)
    gevent.killall([one.greenlet for one in running])
    for line in lines:
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


@pytest.mark.parametrize("which", ["frontend", "backend", "capture", "control"])
def test_closing_one_of_its_sockets_ends_it(sockets, line, ticker, which):
    capture, _ = sockets.pair(zmq.PUSH, zmq.PULL)
    control, _ = sockets.pair(zmq.PAIR, zmq.PAIR)
    of = {"frontend": line.frontend, "backend": line.backend, "capture": capture, "control": control}
    running = waiting(zmq.proxy_steerable, **of)
    gevent.sleep(0.01)
    told_soon([running], of[which].close, zmq.ENOTSOCK)
    if which != "frontend":
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


def test_the_end_of_the_context_ends_it(ticker):
    context = zmq.Context()
    frontend, backend = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    running = waiting(zmq.proxy, frontend, backend)
    ending = waiting(context.term)
    assert isinstance(running.join().error, zmq.ContextTerminated)
    frontend.close()
    backend.close()
    assert ending.join().error is None


def test_destroying_the_context_ends_it(ticker):
    context = zmq.Context()
    running = waiting(zmq.proxy, context.socket(zmq.PULL), context.socket(zmq.PUSH))
    with Stopwatch() as took:
        context.destroy(0)
    assert took.soon
    assert running.join().error.errno in (zmq.ENOTSOCK, zmq.ETERM)


def test_a_router_that_knows_no_such_peer_ends_it_if_it_was_told_to_say_so(sockets):
    line = Line(sockets, (zmq.DEALER, zmq.DEALER, zmq.ROUTER, zmq.DEALER))
    line.backend.router_mandatory = 1
    running = line.proxy()
    line.sender.send_multipart([b"nobody", b"x"])
    assert running.join().error.errno == zmq.EHOSTUNREACH
    running = line.proxy()  # and that message does not stand in the way of others
    line.receiver.send(b"back")
    assert line.sender.recv_multipart(timeout=5)[-1] == b"back"
    running.greenlet.kill()


# ---- others meanwhile ------------------------------------------------------------------------------


def test_others_run_while_it_carries_a_flood(line, ticker):
    running = line.proxy()
    got = 0

    def flood():
        while True:
            line.sender.send(b"x" * 100)

    with greenlets(flood):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            line.receiver.recv(timeout=5)
            got += 1
    running.greenlet.kill()
    assert got > 1000
    assert ticker.ticks > 20


def test_who_asks_for_its_sockets_waits_until_it_has_ended(line, ticker):
    running = line.proxy()
    assert carries(line)
    with pytest.raises(zmq.Again):
        line.frontend.recv(zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        line.backend.send(b"no", zmq.NOBLOCK)
    with Stopwatch() as took, pytest.raises(zmq.Again):
        line.frontend.recv(timeout=0.1)
    took.check(0.1)
    assert line.frontend.poll(10) == 0
    receiving = waiting(line.frontend.recv)
    killed = waiting(line.frontend.recv)
    sending = waiting(line.backend.send, b"later")
    asking = waiting(line.frontend.get, zmq.EVENTS)
    binding = waiting(line.frontend.bind, "inproc://later")
    killed.greenlet.kill()
    assert carries(line)
    running.greenlet.kill()
    assert line.receiver.recv(timeout=5) == b"later"
    assert asking.join().error is None and binding.join().error is None
    assert sending.join().error is None
    line.sender.send(b"to the one that waited")
    assert receiving.join().result == b"to the one that waited"


def test_a_second_proxy_of_a_socket_begins_when_the_first_has_ended(sockets, line, ticker):
    other, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    first = line.proxy()
    second = waiting(zmq.proxy, line.frontend, other)
    third = waiting(zmq.proxy, line.frontend, other)
    assert carries(line)
    other.send(b"not held by the one that waits", zmq.NOBLOCK)
    assert receiver.recv(timeout=5) == b"not held by the one that waits"
    second.greenlet.kill()
    first.greenlet.kill()
    line.sender.send(b"y")
    assert receiver.recv(timeout=5) == b"y"
    line.frontend.close()
    assert third.join().error.errno == zmq.ENOTSOCK


def test_one_that_waits_for_its_turn_is_told_of_a_close(sockets, line, ticker):
    other, _ = sockets.pair(zmq.PUSH, zmq.PULL)
    line.proxy()
    second = waiting(zmq.proxy, line.frontend, other)
    told_soon([second], other.close, zmq.ENOTSOCK)
    assert carries(line)


def test_proxies_crosswise_over_the_same_sockets_never_block_each_other_for_ever(sockets, ticker):
    made = [sockets(zmq.PAIR) for _ in range(4)]
    for turn in range(30):
        running = [
            Outcome(zmq.proxy, made[i % 4], made[(i + 1 + turn % 3) % 4], made[(i + 2) % 4]) for i in range(8)
        ]
        gevent.sleep(0.002)
        for outcome in running[:: 1 if turn % 2 else -1]:
            outcome.greenlet.kill()
    # Each is free again: of one that a proxy has, an option is answered when that has ended.
    for sock in made:
        asked = Outcome(sock.get, zmq.LINGER).join()
        assert asked.error is None and asked.result == 0


def test_it_runs_in_any_thread_while_others_use_the_far_ends(line, ticker):
    def there():
        try:
            zmq.proxy(line.frontend, line.backend)
        except zmq.ZMQError as e:
            return e.errno

    thread = OsThread(there)
    for _ in range(200):
        assert carries(line)
    line.frontend.close()  # by another thread than its own
    assert thread.join() == zmq.ENOTSOCK


def test_a_thread_that_ends_leaves_the_sockets_of_its_proxies(line, ticker):
    def there():
        kept.append(gevent.spawn(zmq.proxy, line.frontend, line.backend))
        gevent.sleep(0.05)  # and the greenlet never runs again

    kept = []
    OsThread(there, tidy=False).join()
    line.sender.send(b"x")
    assert line.frontend.recv(timeout=5) == b"x"


def test_threads_and_descriptors_come_back_when_many_have_run(sockets):
    lines = [Line(sockets) for _ in range(8)]
    lines[0].proxy().greenlet.kill()
    baseline = Baseline()
    for turn in range(4):
        running = [line.proxy() for line in lines]
        assert all(carries(line) for line in lines)
        for line, outcome in zip(lines, running, strict=True):
            if turn == 3:
                line.frontend.close()
                assert outcome.join().error.errno == zmq.ENOTSOCK
            outcome.greenlet.kill()
    running = outcome = None
    baseline.check()


def test_a_report_names_its_sockets_and_who_waits_for_them(line, ticker):
    running = line.proxy()
    assert carries(line)
    kept_out = waiting(line.frontend.recv)
    report = zmq.report()
    ends = [sock.last_endpoint.decode() for sock in (line.sender, line.receiver)]
    of = {one.call: one.sockets for one in report.waiting}
    assert of["proxy"] == (f"PULL {ends[0]}", f"PUSH {ends[1]}")
    assert of["Socket.recv"] == (f"PULL {ends[0]}",)
    kept_out.greenlet.kill()
    running.greenlet.kill()


# ---- processes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_while_proxies_run_leaves_them_to_the_parent(fork):
    run_forking(
        fork,
        """
        sockets = Sockets()
        frontend, sender = sockets.pair(zmq.PULL, zmq.PUSH)
        backend, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
        running = waiting(zmq.proxy, frontend, backend)
        second = waiting(zmq.proxy, frontend, backend)
        sender.send(b"before")
        assert receiver.recv(timeout=5) == b"before"

        def work():
            is_refused_in_child(zmq.proxy, frontend, backend)
            frontend.close()
            made = Sockets()
            front, far = made.pair(zmq.PULL, zmq.PUSH)
            back, near = made.pair(zmq.PUSH, zmq.PULL)
            own = waiting(zmq.proxy, front, back)
            far.send(b"in the child")
            assert near.recv(timeout=5) == b"in the child"
            own.greenlet.kill()
            made.close()

        wait_for(in_child(work))
        for number in range(100):
            sender.send(b"%d" % number)
            assert receiver.recv(timeout=5) == b"%d" % number
        running.greenlet.kill()
        second.greenlet.kill()
        sockets.close()
        """,
    )


def test_the_process_ends_though_a_proxy_runs():
    result = run(
        """
        import gevent
        import gzmqhelper as zmq
        ctx = zmq.Context.instance()
        gevent.spawn(zmq.proxy, ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH))
        gevent.sleep(0.05)
        print("end")
        """,
        timeout=10,
    )
    assert result.stdout == "end\n"
