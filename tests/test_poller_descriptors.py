"""Descriptors that are not ZeroMQ's, polled alone and beside sockets: pipes, sockets of the system, files."""

import errno
import os
import socket
import tempfile
import time

import gevent
import gevent.socket
import pytest
from crowd import in_threads, poller_of
from gevent.monkey import get_original
from life import Baseline, Outcome, told_soon, waiting
from support import Stopwatch, run

import gzmqhelper as zmq
from gzmqhelper import _helper

BOTH = zmq.POLLIN | zmq.POLLOUT
ODD = [zmq.POLLERR, zmq.POLLPRI]  # what the hub has no watchers for

close = get_original("os", "close")  # under patch_all, os.close does so later
needs_epoll = pytest.mark.skipif(
    _helper._epoll is None,
    reason="POLLPRI, and POLLERR alone, are watched with epoll; elsewhere they are refused",
)


class Pipes:
    """Pipes that are closed afterwards, whatever of them still is open."""

    def __init__(self):
        self._open = []

    def __call__(self):
        ends = os.pipe()
        self._open += ends
        return ends

    def shut(self, descriptor):
        self._open.remove(descriptor)
        close(descriptor)

    def end(self):
        while self._open:
            close(self._open.pop())


@pytest.fixture
def pipes():
    made = Pipes()
    yield made
    made.end()


@pytest.fixture
def pair(sockets):
    return sockets.pair(zmq.PULL, zmq.PUSH, "inproc")


@pytest.fixture(params=["gevent's", "the system's"])
def streams(request):
    """Two connected sockets of the system."""
    made = gevent.socket.socketpair()
    if request.param == "the system's":
        made = [get_original("socket", "socket")(fileno=one.detach()) for one in made]
    yield made
    for one in made:
        one.close()


# ---- what is told ------------------------------------------------------------------------------------


def test_a_descriptor_is_told_as_its_number_also_where_an_object_was_registered(pipes):
    r, w = pipes()
    os.write(w, b"x")
    assert poller_of(r).poll() == [(r, zmq.POLLIN)]
    with open(r, "rb", closefd=False) as file:
        poller = poller_of(file)
        assert file in poller
        assert poller.poll() == [(r, zmq.POLLIN)]
        assert zmq.select([file], [w], []) == ([r], [w], [])


def test_an_object_is_asked_for_its_number_at_every_poll(pipes):
    first, second = pipes(), pipes()
    os.write(second[1], b"x")

    class Thing:
        number = first[0]

        def fileno(self):
            return self.number

    thing = Thing()
    poller = poller_of(thing)
    assert poller.poll(0) == []
    thing.number = second[0]
    assert poller.poll(0) == [(second[0], zmq.POLLIN)]


def test_a_poll_waits_for_descriptors_alone(pipes, ticker):
    ends = [pipes() for _ in range(5)]
    poller = poller_of(*(r for r, _ in ends))
    for r, w in ends:
        polling = waiting(poller.poll)
        gevent.sleep(0.02)
        assert polling.result is None
        os.write(w, b"x")
        assert polling.join().result == [(r, zmq.POLLIN)]
        os.read(r, 1)


def test_a_poll_waits_for_sockets_and_descriptors_at_once(pipes, pair, ticker):
    r, w = pipes()
    pull, push = pair
    poller = poller_of(pull, r)
    for _ in range(20):
        polling = waiting(poller.poll)
        os.write(w, b"x")
        assert polling.join().result == [(r, zmq.POLLIN)]
        os.read(r, 1)
        polling = waiting(poller.poll, 10_000)
        push.send(b"x")
        assert polling.join().result == [(pull, zmq.POLLIN)]
        pull.recv()
        polling = waiting(poller.poll)
        os.write(w, b"x")
        push.send(b"x")
        assert polling.join().result == [(pull, zmq.POLLIN), (r, zmq.POLLIN)]
        pull.recv()
        os.read(r, 1)
    with Stopwatch() as watch:
        assert poller.poll(50) == []
    watch.check(0.05)


def test_a_descriptor_that_is_ready_for_both_is_told_so(streams, pair):
    left, right = streams
    poller = poller_of(left, pair[0], flags=BOTH)
    assert poller.poll() == [(left.fileno(), zmq.POLLOUT)]
    right.send(b"x")
    assert poller.poll() == [(left.fileno(), BOTH)]
    assert poller_of(left).poll(0) == [(left.fileno(), zmq.POLLIN)]


def test_a_poll_waits_for_room_in_a_pipe(pipes, pair, ticker):
    r, w = pipes()
    os.set_blocking(w, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(w, bytes(4096))
    polling = waiting(poller_of(w, pair[0], flags=BOTH).poll)
    gevent.sleep(0.02)
    assert polling.result is None
    os.read(r, 65536)
    assert polling.join().result == [(w, zmq.POLLOUT)]


@pytest.mark.parametrize("flags", [zmq.POLLIN, *(pytest.param(f, marks=needs_epoll) for f in ODD)])
def test_one_that_is_hung_up_is_told_without_asking(pipes, pair, ticker, flags):
    r, w = pipes()
    polling = waiting(poller_of(r, pair[0], flags=flags).poll)
    gevent.sleep(0.02)
    assert polling.result is None
    pipes.shut(w)
    assert polling.join().result == [(r, zmq.POLLERR)]


@needs_epoll
def test_one_that_is_asked_for_errors_alone_is_no_news_when_it_is_readable(pipes, ticker):
    r, w = pipes()
    os.write(w, b"x")
    polling = waiting(poller_of(r, flags=zmq.POLLERR).poll, 200)
    used = time.thread_time()
    gevent.sleep(0.1)
    assert time.thread_time() - used < 0.05  # it does not go round and round
    assert polling.join().result == []


@needs_epoll
@pytest.mark.parametrize("flags", [zmq.POLLPRI, zmq.POLLPRI | zmq.POLLIN])
def test_urgent_data_is_told(pair, ticker, flags):
    listener = gevent.socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    left = gevent.socket.create_connection(listener.getsockname())
    right, _ = listener.accept()
    polling = waiting(poller_of(right, pair[0], flags=flags).poll)
    left.send(b"!", socket.MSG_OOB)
    assert polling.join().result == [(right.fileno(), zmq.POLLPRI)]
    for one in (listener, left, right):
        one.close()


@pytest.mark.parametrize("flags", [zmq.POLLIN, zmq.POLLOUT])
def test_files_on_a_disk_are_always_ready(flags):
    with tempfile.TemporaryFile() as file:
        assert poller_of(file, flags=flags).poll() == [(file.fileno(), flags)]


@needs_epoll
def test_files_on_a_disk_never_have_errors():
    with tempfile.TemporaryFile() as file:
        assert poller_of(file, flags=zmq.POLLERR).poll(20) == []


@pytest.mark.parametrize("flags", ODD)
def test_what_needs_epoll_is_refused_where_there_is_none(pipes, pair, monkeypatch, flags):
    monkeypatch.setattr(_helper, "_epoll", None)
    r, w = pipes()
    pull, push = pair
    for things in ([r], [r, pull]):
        with pytest.raises(zmq.ZMQError, match="no epoll") as error:
            poller_of(*things, flags=flags).poll(1000)
        assert error.value.errno == zmq.ENOTSUP
    polling = waiting(poller_of(r, pull).poll)
    os.write(w, b"x")
    assert polling.join().result == [(r, zmq.POLLIN)]
    push.send(b"x")
    assert pull.recv(timeout=5) == b"x"


def test_one_that_is_no_descriptor_is_told_as_an_error(pipes, pair):
    r, _ = pipes()
    pipes.shut(r)
    for timeout in (0, 1000, None):
        assert poller_of(pair[0], r).poll(timeout) == [(r, zmq.POLLERR)]


@pytest.mark.parametrize(
    "flags", [zmq.POLLIN, pytest.param(zmq.POLLIN | zmq.POLLPRI, marks=needs_epoll)], ids=["IN", "IN and PRI"]
)
def test_the_same_descriptor_may_be_registered_in_two_ways(pipes, ticker, flags):
    r, w = pipes()
    with open(r, "rb", closefd=False) as file:
        polling = waiting(poller_of(r, file, flags=flags).poll)
        os.write(w, b"x")
        assert polling.join().result == [(r, zmq.POLLIN)] * 2
        called = []
        zmq.Poller.dispatch({r: called.append, file: called.append})
        assert called == [r, file]


@pytest.mark.parametrize("thing", ["text", object(), None, 1.5])
def test_what_is_neither_is_a_type_error_that_shows_it(thing, pair):
    with pytest.raises(TypeError) as e:
        poller_of(pair[0], thing).poll(0)
    assert repr(thing) in str(e.value)


def test_a_file_that_is_closed_is_a_value_error(pair):
    file = tempfile.TemporaryFile()
    poller = poller_of(pair[0], file)
    file.close()
    with pytest.raises(ValueError, match="descriptor"):
        poller.poll(0)
    one = gevent.socket.socket()
    poller = poller_of(one)
    one.close()
    with pytest.raises(ValueError, match="descriptor"):
        poller.poll()
    with pytest.raises(ValueError, match="-1"):
        poller_of(-1).poll()


# ---- leaving, closing ----------------------------------------------------------------------------------


def test_a_socket_of_gevents_that_is_closed_meanwhile_ends_the_poll(pair, ticker):
    for sockets in ([], [pair[0]]):
        left, right = gevent.socket.socketpair()
        number = left.fileno()
        polling = waiting(poller_of(left, *sockets).poll)
        with Stopwatch() as watch:
            left.close()
            polling.join()
        assert watch.soon
        assert polling.error is None or polling.error.errno == errno.EBADF
        assert polling.result == [(number, zmq.POLLERR)]
        right.close()


def test_a_zeromq_socket_that_is_closed_ends_a_poll_with_descriptors_too(pair, pipes, ticker):
    polling = waiting(poller_of(pipes()[0], pair[0]).poll)
    told_soon([polling], pair[0].close, zmq.ENOTSOCK)


@needs_epoll
def test_a_kill_and_a_timeout_leave_no_watcher_behind(pair, pipes, ticker):
    pull, push = pair
    r, w = pipes()
    poller = poller_of(pull, r)
    poller.register(w, zmq.POLLPRI)
    assert poller.poll(1) == []
    baseline = Baseline()
    for _ in range(30):
        polling = waiting(poller.poll)
        polling.greenlet.kill()
        with gevent.Timeout(0.001, False):
            poller.poll()
        assert poller.poll(1) == []
    baseline.check()
    os.write(w, b"x")
    push.send(b"x")
    assert dict(poller.poll()) == {pull: zmq.POLLIN, r: zmq.POLLIN}


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "from outside"), gevent.socket.timeout("late")])
def test_an_error_from_outside_is_raised_even_if_it_looks_like_one_of_ours(pair, pipes, error):
    poller = poller_of(pair[0], pipes()[0])
    with pytest.raises(type(error), match=str(error.args[-1])), gevent.Timeout(0.01, error):
        poller.poll()


# ---- many --------------------------------------------------------------------------------------------


def test_no_event_is_missed_while_sockets_and_descriptors_race(pair, pipes, ticker):
    pull, push = pair
    ends = [pipes() for _ in range(3)]
    poller = poller_of(pull, *(r for r, _ in ends))
    got = []

    def take():
        while True:
            for thing, _ in poller.poll():
                if thing is pull:
                    pull.recv(zmq.NOBLOCK)
                else:
                    os.read(thing, 1)
                got.append(thing)

    taking = Outcome(take)
    for number in range(600):
        if number % 3:
            os.write(ends[number % len(ends)][1], b"x")
        if number % 2:
            push.send(b"x")
        if number % 5 == 0:
            gevent.sleep(0)
        elif number % 7 == 0:
            gevent.sleep(0.001)
        expected = sum(bool(n % 3) + n % 2 for n in range(number + 1))
        if number % 10 == 0:
            with gevent.Timeout(5, AssertionError(f"missed: {len(got)} of {expected}")):
                while len(got) < expected:
                    gevent.sleep(0.001)
    taking.greenlet.kill()
    assert taking.error is None


def test_several_greenlets_poll_the_same_descriptor(pair, pipes, ticker):
    r, w = pipes()
    polling = [waiting(poller_of(r, *sockets).poll) for sockets in ([], [], [pair[0]], [pair[0]])]
    polling[0].greenlet.kill()
    os.write(w, b"x")
    for one in polling[1:]:
        assert one.join().result == [(r, zmq.POLLIN)]


def test_descriptors_are_polled_in_several_threads(pipes):
    r, w = pipes()

    def poll():
        return poller_of(r).poll(10_000)

    def write():
        gevent.sleep(0.05)
        os.write(w, b"x")

    assert in_threads(poll, poll, write)[:2] == [[(r, zmq.POLLIN)]] * 2


@needs_epoll
def test_without_a_descriptor_for_it_a_poll_is_refused_and_says_so():
    run(
        """
        import os, resource
        import gevent
        import gzmqhelper as zmq
        from gevent.monkey import get_original

        close = get_original("os", "close")
        r, w = os.pipe()
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        poller = zmq.Poller()
        poller.register(r, zmq.POLLPRI)
        poller.register(pull, zmq.POLLIN)
        assert poller.poll(1) == []
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        try:
            poller.poll(10)
        except zmq.ZMQError as e:
            assert e.errno == 24, e
            assert "ulimit -n" in str(e), e
        else:
            raise AssertionError("not refused")
        poller.register(r, zmq.POLLIN)
        assert poller.poll(10) == []  # needs none
        for number in held:
            close(number)
        poller.register(r, zmq.POLLPRI)
        assert poller.poll(10) == []
        pull.close()
        context.term()
        """
    )
