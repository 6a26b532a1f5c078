"""A greenlet's helper: had early, nested, given back, and handed on to the next greenlet."""

import gc
import re
import weakref

import gevent
import pytest
from crowd import in_threads
from life import MAY_STAY, waits
from support import run, wait_until

import gzmqhelper as zmq
from gzmqhelper import _helper
from gzmqhelper._native import ffi, lib


def living_and_parked():
    living, parked, on_watch = ffi.new("int *"), ffi.new("int *"), ffi.new("int *")
    lib.gzh_companion_counts(living, parked, on_watch)
    return living[0], parked[0]


def in_greenlet(call):
    return gevent.spawn(call).get(timeout=5)


def test_a_greenlet_has_no_helper_before_it_needs_one():
    assert in_greenlet(zmq.Helper.current) is None


def test_one_that_the_greenlet_had_already_is_the_one_that_with_gives(sockets):
    pull = sockets(zmq.PULL)

    def work():
        with pytest.raises(zmq.Again):
            pull.recv(timeout=0.01)
        before = zmq.Helper.current()
        number = before.number
        with zmq.helper() as helper:
            assert helper is before and helper.number == number

    in_greenlet(work)


def test_a_start_that_ctrl_c_breaks_off_leaves_no_companion_behind(monkeypatch):
    def interrupt(rc, about=""):
        raise KeyboardInterrupt

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            zmq.Helper().start()

    before, _ = living_and_parked()
    monkeypatch.setattr(_helper, "check", interrupt)
    for _ in range(20):
        in_greenlet(interrupted)
    assert wait_until(lambda: living_and_parked()[0] <= before + MAY_STAY)


def test_beyond_the_limit_a_greenlet_waits_without_a_thread(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    before = zmq.Helper.limit(0)
    readers = []

    def a_hundred_more_wait():
        readers.extend(gevent.spawn(pull.recv, timeout=10) for _ in range(100))
        assert wait_until(lambda: all(waits(reader) for reader in readers))
        return living_and_parked()[0]

    try:
        living, _ = living_and_parked()
        assert a_hundred_more_wait() <= living + 1  # the one on watch, if it is new
        assert zmq.Helper.limit(before) == 0
        assert a_hundred_more_wait() >= living + 100
    finally:
        zmq.Helper.limit(before)
    push.send_many([b"%d" % number for number in range(200)])
    assert sorted(int(reader.get(timeout=10)) for reader in readers) == list(range(200))


def test_a_limit_is_no_negative_number():
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        zmq.Helper.limit(-1)


def test_each_thread_has_its_own():
    def work():
        with zmq.helper() as helper:
            gevent.sleep(0.05)
            return helper.number

    numbers = in_threads(work, work, work)
    assert len(set(numbers)) == 3


def test_what_is_closed_is_parked_and_the_next_greenlet_gets_it():
    finished = run("""
        import gevent
        import gzmqhelper as zmq
        from test_helper import living_and_parked

        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        numbers = []

        def work(wait):
            with zmq.helper() as helper:
                numbers.append(helper.number)
                if wait:
                    try:
                        pull.recv(timeout=0.01)
                    except zmq.Again:
                        pass
                print(*living_and_parked())

        for _ in range(5):
            gevent.spawn(work, False).join()
        print(*living_and_parked())
        print(numbers)
        gevent.spawn(work, True).join()
        pull.close()
        context.term()
    """)
    assert finished.stdout.splitlines() == [*["1 0"] * 5, "1 1", "[1, 1, 1, 1, 1]", "1 0"]


def test_the_companion_of_a_greenlet_that_ends_is_parked_without_a_word():
    def work():
        zmq.helper().start()
        return living_and_parked()[1]

    # Those that were many a moment ago, in another test, have ended first.
    assert wait_until(lambda: living_and_parked()[1] < MAY_STAY)
    before = in_greenlet(work)
    gc.collect()
    assert wait_until(lambda: living_and_parked()[1] == before + 1)


def test_closing_it_while_its_greenlet_waits_does_nothing(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    helpers = []

    def receive():
        with zmq.helper() as helper:
            helpers.append(helper)
            return pull.recv(timeout=5)

    reader = gevent.spawn(receive)
    gevent.sleep(0.01)
    helpers[0].close()
    assert helpers[0].number is not None
    push.send(b"x")
    assert reader.get(timeout=5) == b"x"
    assert helpers[0].number is None


def test_a_wait_within_a_wait_has_a_companion_of_its_own(sockets):
    """A finalizer or a signal handler may run on a greenlet that waits: it looks like this to `wait`."""
    pull, inner = sockets(zmq.PULL), sockets(zmq.PULL)
    push, inner_push = sockets(zmq.PUSH), sockets(zmq.PUSH)
    for one, other in (pull, push), (inner, inner_push):
        one.bind("tcp://127.0.0.1:*")
        other.connect(one.last_endpoint.decode())

    def work():
        helper = zmq.helper()
        helper.start()
        number = helper.number

        def begin(_, companion):
            later = gevent.spawn_later(0.01, inner_push.send, b"within")
            assert inner.recv(timeout=5) == b"within"
            later.get()
            with pytest.raises(zmq.Again):
                inner.recv(timeout=0.01)
            assert inner.poll(10) == 0
            assert companion == helper._companion
            return 7

        assert _helper.wait(begin, None) == 7
        assert helper.number == number
        push.send(b"after")
        assert pull.recv(timeout=5) == b"after"
        assert helper.number == number

    in_greenlet(work)


def test_a_signal_handler_may_send_while_the_greenlet_waits():
    finished = run("""
        import signal
        import gevent
        import gzmqhelper as zmq

        context = zmq.Context()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.bind("tcp://127.0.0.1:*")
        push.connect(pull.last_endpoint.decode())
        other, other_push = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        other.bind("inproc://other")
        other_push.connect("inproc://other")

        def handler(number, frame):
            # Most likely on the greenlet of the hub, where only what is done at once can be done.
            other_push.send(b"handled")
            push.send(b"x")

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        print(pull.recv(timeout=5), other.recv(timeout=5))
        context.destroy(0)
    """)
    assert finished.stdout == "b'x' b'handled'\n"


def test_messages_begun_go_with_the_helpers_greenlet(sockets):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    in_greenlet(lambda: left.send(b"begun", zmq.SNDMORE))
    gc.collect()
    left.send(b"whole")
    assert right.recv_multipart(timeout=2) == [b"whole"]


def test_closing_the_helper_keeps_what_was_begun(sockets):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")

    def work():
        with zmq.helper():
            left.send(b"begun", zmq.SNDMORE)
        left.send(b"ended")

    in_greenlet(work)
    assert right.recv_multipart(timeout=2) == [b"begun", b"ended"]


def test_the_words_of_the_docs_are_those_of_the_module():
    assert zmq.helper is _helper.helper and zmq.Helper is _helper.Helper
    assert re.search(r"with helper\(\) as h", zmq.helper.__doc__)


def test_a_greenlet_that_has_ended_and_is_kept_keeps_no_helper():
    def use():
        with zmq.helper() as mine:
            return weakref.ref(mine)

    kept = gevent.spawn(use)
    assert wait_until(lambda: kept.get(timeout=5)() is None)
