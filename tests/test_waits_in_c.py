"""A receive's wait and the callbacks of `_Turns`, both in csrc/base_wait.c: what Python would see of them.

Whether there is a timeout decides who begins the wait, C or Python, and whether others of its thread wait
too how it lingers before; nobody can tell which.
"""

import contextlib
import gc
import os
import signal
import time
import weakref

import gevent
import pytest
from forks import FORKS, run_forking
from gevent import get_hub, getcurrent
from life import Outcome, told_soon, waiting, waits
from support import Stopwatch, wait_until

import gzmqhelper as zmq
from gzmqhelper import _helper

LIBUV = "libuv" in type(get_hub().loop).__module__


@pytest.fixture(params=["alone", "with others"], autouse=True)
def company(request, sockets):
    if request.param == "with others":
        waiting(sockets(zmq.PULL).poll)


def helper_of(outcome):
    return outcome.greenlet.__dict__[_helper._OWN]


HOW = {
    "recv": lambda s, **how: s.recv(**how),
    "recv_multipart": lambda s, **how: s.recv_multipart(**how)[0],
    "recv as a Frame": lambda s, **how: s.recv(copy=False, **how).bytes,
}
how = pytest.mark.parametrize("receive", HOW.values(), ids=HOW)
limits = pytest.mark.parametrize("limit", [{}, {"timeout": 10}], ids=["for ever", "with a timeout"])


@how
@limits
def test_a_wait_ends_with_the_message(sockets, ticker, receive, limit):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    for number in range(50):
        outcome = waiting(receive, pull, **limit)
        helper = helper_of(outcome)
        assert helper._waits_for[1] is pull
        push.send(b"%d" % number)
        assert outcome.join().result == b"%d" % number
        assert helper._waits_for is None


@how
@limits
def test_who_leaves_a_wait_leaves_the_message(sockets, receive, limit):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    left = 0
    for number in range(200):
        outcome = waiting(receive, pull, **limit)
        if number % 2:
            push.send(b"%d" % number)
            busy = time.monotonic() + 0.0001 * (number % 5)
            while time.monotonic() < busy:
                pass
        outcome.greenlet.kill()
        if not number % 2:
            push.send(b"%d" % number)
        # (The hub may have let it run before it was killed.)
        got = pull.recv(timeout=5) if outcome.result is None else outcome.result
        assert got == b"%d" % number
        left += outcome.result is None
    assert left >= 100
    assert _helper.turns_here().waiting <= 1  # the company's


@pytest.mark.parametrize("where", ["timeout", "RCVTIMEO", "RCVTIMEO, overruled", "gevent.Timeout"])
def test_a_wait_ends_in_time(sockets, ticker, where):
    pull = sockets(zmq.PULL)

    def receive():
        if where == "RCVTIMEO":
            pull.rcvtimeo = 100
            return pull.recv()
        if where == "RCVTIMEO, overruled":
            pull.rcvtimeo = 60_000
        if where == "gevent.Timeout":
            with gevent.Timeout(0.1):
                return pull.recv(timeout=60)
        return pull.recv(timeout=0.1)

    # (Twice: what the first wait leaves behind must not end the second.)
    for _ in range(2):
        began = time.monotonic()
        expected = gevent.Timeout if where == "gevent.Timeout" else zmq.Again
        with pytest.raises(expected):
            receive()
        assert 0.09 < time.monotonic() - began < 2


def test_a_deadline_that_has_passed_is_not_for_ever(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    assert Outcome(pull._wait_for_message, 0, -1).join().result == -zmq.EAGAIN
    push.send(b"x")
    assert Outcome(pull._wait_for_message, 0, float("nan")).join().result == b"x"
    outcome = waiting(pull._wait_for_message, 0, float("inf"))
    push.send(b"y")
    assert outcome.join().result == b"y"


def test_a_socket_whose_wait_has_run_out_of_time_goes_with_its_last_name(recwarn):
    def receive():
        pull = zmq.Socket(context, zmq.PULL)
        with pytest.raises(zmq.Again):
            pull.recv(timeout=0.01)
        gone = weakref.ref(pull)
        del pull
        return gone()

    with zmq.Context() as context:
        assert Outcome(receive).join().result is None


@how
def test_every_waiter_is_told_of_the_end(sockets, receive):
    pull = sockets(zmq.PULL)
    told_soon([waiting(receive, pull) for _ in range(3)], pull.close, zmq.ENOTSOCK)


def test_a_context_that_ends_ends_the_wait():
    with zmq.Context() as context:
        pull = context.socket(zmq.PULL)
        outcome = waiting(pull.recv)
        term = gevent.spawn(context.term)
        assert isinstance(outcome.join().error, zmq.ContextTerminated)
        pull.close()
        term.join()


def test_an_exception_that_is_thrown_in_is_what_is_raised(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    outcome = waiting(pull.recv)
    outcome.greenlet.kill(ZeroDivisionError("thrown"), block=True)
    assert str(outcome.error) == "thrown"
    assert outcome.error.__context__ is None
    push.send(b"next")
    assert pull.recv(timeout=5) == b"next"


def test_the_expiry_of_a_wait_within_a_wait_ends_that_one_alone(sockets, monkeypatch):
    outer, push = sockets.pair(zmq.PULL, zmq.PUSH)
    inner = sockets(zmq.PULL)
    real, seen = _helper.wait_read, []

    def handler():
        with pytest.raises(zmq.Again):
            inner.recv(timeout=0.05)
        seen.append(zmq.Helper.current().number)

    def interrupted(*args):
        if not seen:
            seen.append(zmq.Helper.current().number)
            handler()
        return real(*args)

    monkeypatch.setattr(_helper, "wait_read", interrupted)
    outcome = Outcome(outer.recv, timeout=10)
    assert wait_until(lambda: len(seen) == 2)
    push.send(b"x")
    assert outcome.join().result == b"x"
    assert seen[0] == seen[1]  # the greenlet's own companion stayed with the outer wait


class Mine(zmq.Socket):
    def fetch(self):
        return self.recv()

    def _wait(self):
        raise AssertionError("a user's own, of no meaning here")


def test_a_report_says_who_waits_in_c(sockets):
    plain, mine = sockets(zmq.PULL), Mine(zmq.Context.instance(), zmq.PULL)
    with mine:
        plain.bind("inproc://reported")
        outcomes = [waiting(plain.recv_multipart), waiting(mine.fetch), waiting(plain.recv_string)]
        found = {one.greenlet: one for one in zmq.report().waiting}
        told = [found[outcome.greenlet.name] for outcome in outcomes]
        assert [one.call for one in told] == ["Socket.recv_multipart", "Mine.recv", "Socket.recv_string"]
        assert told[0].sockets == told[2].sockets == ("PULL inproc://reported",)
        assert told[1].sockets == ("PULL without an endpoint",)
        assert told[1].stack[0].function == "fetch"
        assert told[0].stack[0].function == "_run"
        assert [one.companion for one in told] == [helper_of(outcome).number for outcome in outcomes]
        for outcome in outcomes:
            outcome.greenlet.kill()


def test_a_report_in_a_handler_on_a_greenlet_that_waits_says_where_each_wait_began(sockets, monkeypatch):
    outer, inner = sockets(zmq.PULL), sockets(zmq.PULL)
    real, reports = _helper.wait_read, []

    def receive_outside():
        return outer.recv()

    def receive_inside():
        inner.recv(timeout=0.05)

    def interrupted(*args):
        if not reports:
            reports.append(zmq.report())
            with pytest.raises(zmq.Again):
                receive_inside()
        elif len(reports) == 1:
            reports.append(zmq.report())
        return real(*args)

    monkeypatch.setattr(_helper, "wait_read", interrupted)
    outcome = Outcome(receive_outside)
    assert wait_until(lambda: len(reports) == 2)
    of_it = [[one for one in report.waiting if one.greenlet == outcome.greenlet.name] for report in reports]
    assert [(one.call, one.stack[0].function) for one in of_it[0]] == [("Socket.recv", "receive_outside")]
    assert {(one.call, one.stack[0].function) for one in of_it[1]} == {
        ("Socket.recv", "receive_outside"),
        ("Socket.recv", "receive_inside"),
    }
    outcome.greenlet.kill()


def test_on_the_hub_a_reply_that_is_there_is_received(sockets):
    """Its first try is spared, as a REQ that has just sent hardly ever has one."""
    req, rep = sockets.pair(zmq.REQ, zmq.REP, "inproc")
    got = []

    def receive():
        try:
            got.append(req.recv())
        except BaseException as e:
            got.append(e)

    req.send(b"question")
    assert rep.recv(timeout=5) == b"question"
    rep.send(b"answer")
    get_hub().loop.run_callback(receive)
    assert wait_until(lambda: got)
    assert got == [b"answer"]


class Odd(gevent.Greenlet):
    """One that has an answer for every name."""

    asked = ()

    def __getattr__(self, name):
        self.asked += (name,)
        return getattr(type("None of ours", (), {name: None}), name)


def test_a_greenlet_that_has_every_attribute_may_wait(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    odd = Odd(pull.recv)
    odd.start()
    gevent.sleep(0.01)
    push.send(b"x")
    assert odd.get(timeout=5) == b"x"
    assert _helper._OWN not in odd.asked


def test_what_was_sent_is_counted_in_a_wait_within_a_wait_too(sockets, monkeypatch):
    """An exception comes just when the last message has gone."""
    outer = sockets(zmq.PULL)
    counts = []

    def has_been_answered():
        return any(one.answered for one in zmq.report().waiting if one.call == "Socket.send_many")

    def send_and_leave():
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", {"rcvhwm": 1}, {"sndhwm": 1})

        def room_comes(*args):
            monkeypatch.setattr(_helper, "wait_read", real)
            pull.recv()
            end = time.monotonic() + 5
            while not has_been_answered() and time.monotonic() < end:
                pass
            raise ZeroDivisionError

        monkeypatch.setattr(_helper, "wait_read", room_comes)
        with pytest.raises(ZeroDivisionError) as raised:
            push.send_many([b"%d" % number for number in range(100)])
        while (count := raised.value.sent) and pull.poll(20):
            pull.recv()
            counts.append(count)

    def within(*args):
        monkeypatch.setattr(_helper, "wait_read", real)
        send_and_leave()
        return real(*args)

    real = _helper.wait_read
    Outcome(send_and_leave).join()
    alone = list(counts)
    counts.clear()
    monkeypatch.setattr(_helper, "wait_read", within)
    with pytest.raises(zmq.Again):
        outer.recv(timeout=0.01)
    for found in alone, counts:
        assert found == [len(found) + 1] * len(found)  # one was received in room_comes


def test_a_wait_within_a_wait_does_not_take_the_outers_end_for_its_own(sockets, monkeypatch):
    """A signal comes just when the outer has started its timer: its handler waits for longer than that."""
    inner, outer = sockets(zmq.PULL), sockets(zmq.PULL)
    armed = [True]

    def start(timer):
        real(timer)
        if armed and isinstance(timer.exception, _helper.Expired):
            armed.clear()
            inner.recv(timeout=2)

    real = gevent.Timeout.start
    read, write = os.pipe()
    poller = zmq.Poller()
    poller.register(outer, zmq.POLLIN)
    poller.register(read, zmq.POLLIN)
    monkeypatch.setattr(gevent.Timeout, "start", start)
    with Stopwatch() as watch, gevent.Timeout(10):
        assert poller.poll(100) == []
    assert not armed
    assert watch.seconds < 1.5
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("fork", FORKS)
def test_a_helper_that_waited_in_c_works_on_in_a_forked_child(fork):
    run_forking(
        fork,
        """
        def receives(how_many):
            with zmq.Context() as context:
                pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
                pull.bind("inproc://here")
                push.connect("inproc://here")
                other = context.socket(zmq.PULL)
                beside = waiting(other.poll)
                numbers = set()
                for number in range(how_many):
                    gevent.spawn_later(0.001, push.send, b"%d" % number)
                    assert pull.recv(timeout=5) == b"%d" % number
                    numbers.add(zmq.Helper.current().number)
                assert len(numbers) == 1  # its companion is replaced once
                other.close()
                beside.join()

        receives(3)
        wait_for(in_child(lambda: receives(3)))
        receives(3)
        """,
    )


def test_what_is_no_helper_is_refused_where_one_should_be(sockets):
    pull = sockets(zmq.PULL)

    def receive():
        getcurrent().__dict__[_helper._OWN] = "mine"
        with pytest.raises(TypeError, match="_gzmqhelper"):
            pull._wait_for_message(0, 0.01)
        del getcurrent().__dict__[_helper._OWN]
        with pytest.raises(OverflowError):
            pull._wait_for_message(1 << 40, None)
        with pytest.raises(TypeError):
            pull._wait_for_message(0, "soon")

    Outcome(receive).join()


def test_waits_leave_nothing_behind(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

    def come_and_go():
        for number in range(500):
            outcome = waiting(pull.recv, timeout=10)
            if number % 2:
                push.send(b"x")
                outcome.join()
            else:
                outcome.greenlet.kill()

    come_and_go()
    gc.collect()
    before = len(gc.get_objects())
    come_and_go()
    gc.collect()
    assert len(gc.get_objects()) < before + 100


# ---- Ctrl-C in the hub ---------------------------------------------------------------------------------


@pytest.mark.skipif(
    LIBUV, reason="gevent's own callbacks are in Python there, and a Ctrl-C in them breaks them"
)
def test_ctrl_c_in_the_hub_while_greenlets_yield_stops_none_of_them():
    hub, done, yields = get_hub(), [], [0, 0, 0]
    interrupted = 0

    def handle(*_):
        nonlocal interrupted
        if getcurrent() is hub:
            interrupted += 1
            raise KeyboardInterrupt

    def work(index):
        while not done:
            _helper.turn(anyway=True)
            yields[index] += 1

    before = signal.signal(signal.SIGALRM, handle)
    printed, hub.exception_stream = hub.exception_stream, None
    try:
        workers = [gevent.spawn(work, index) for index in range(3)]
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        end = time.monotonic() + 10
        while interrupted < 20 and time.monotonic() < end:
            with contextlib.suppress(KeyboardInterrupt):
                gevent.sleep(0.001)
        signal.setitimer(signal.ITIMER_REAL, 0)
        so_far = list(yields)
        gevent.sleep(0.1)
        assert all(now > then for now, then in zip(yields, so_far, strict=True))
        done.append(True)
        assert len(gevent.joinall(workers, timeout=5)) == 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        hub.exception_stream = printed
    assert interrupted


def test_the_timer_of_a_wait_that_is_over_ends_no_other(sockets, monkeypatch):
    """gevent calls a timer that Ctrl-C came before once more, when its wait has been left."""
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    ends = []
    with monkeypatch.context() as patched:
        real = _helper.wait_read
        patched.setattr(_helper, "wait_read", lambda *args: (ends.append(args[2]), real(*args)))
        with pytest.raises(zmq.Again):
            pull.recv(timeout=0.02)
    waiter = waiting(pull.recv)
    for _ in range(3):
        get_hub().loop.run_callback(waiter.greenlet.throw, ends[0])
        gevent.sleep(0.001)
        assert waits(waiter.greenlet)
    push.send(b"x")
    assert waiter.join().result == b"x"
