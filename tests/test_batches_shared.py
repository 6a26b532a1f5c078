"""The messages that lie between C and Python (csrc/batch.c) are everybody's: of all threads, of all objects
for the socket; and nobody's any more where it ends, in a child, or without a subscription."""

import contextlib
import copy
import random

import gevent
import pytest
from crowd import UNBOUNDED, drain, finish, in_threads, number_of, numbered, spin, threads
from flood import fill_batch, lying, pair, rest_of, send_all
from gevent.monkey import get_original
from life import Baseline
from support import run, wait_until

import gzmqhelper as zmq
from gzmqhelper import _batches
from gzmqhelper._batches import Batches
from gzmqhelper._native import lib

get_ident, sleep = get_original("_thread", "get_ident"), get_original("time", "sleep")

# ---- several threads ---------------------------------------------------------------------------------


def test_a_second_thread_goes_on_with_the_batch_of_the_first(sockets, ticker):
    for use in (
        lambda sock: number_of([sock.recv()]),
        lambda sock: number_of(sock.recv_multipart(zmq.NOBLOCK)),
        lambda sock: number_of([sock.recv(copy=False).bytes]),
        lambda sock: sock.poll(0) and number_of([sock.recv()]),
    ):
        pull, push = pair(sockets)
        taken, sent = fill_batch(pull, push)
        lay = lying(pull)
        (got,) = in_threads(lambda use=use, pull=pull: [use(pull) for _ in range(4)])
        assert got == list(range(taken, taken + 4))
        assert lying(pull) == lay - 4
        rest_of(pull, taken + 4, sent)
        assert lying(pull) == 0


@pytest.mark.parametrize("how", ["recv", "poll", "poller", "mixed"])
def test_threads_that_begin_in_the_middle_of_a_flood_lose_nothing_and_keep_order(sockets, how):
    """Over and over with new sockets: only their beginning is a race."""
    rounds, total = 120, 300
    pulls, pushes = zip(*[pair(sockets) for _ in range(rounds)], strict=True)
    got = [[[] for _ in range(rounds)] for _ in range(3)]

    def receive(who):
        for index, pull in enumerate(pulls):
            mine = got[who][index]
            while pushes[index] is not None and sum(len(got[other][index]) for other in range(3)) < total:
                if how == "poll" or (how == "mixed" and random.random() < 0.1):
                    pull.poll(20)
                elif how == "poller":
                    zmq.select([pull, pushes[index]], [], [], 0.02)
                try:
                    mine.append(number_of(pull.recv_multipart(timeout=0.1)))
                except zmq.Again:
                    assert lying(pull) == 0
                if who and not mine:
                    spin(random.random() * 100e-6)

    def send():
        for push in pushes:
            for number in range(total):
                push.send_multipart(numbered(number, 1 + number // 100))
                if number % 97 == 0:
                    gevent.sleep(0)

    in_threads(*[lambda who=who: receive(who) for who in range(3)], send, seconds=60)
    for index in range(rounds):
        for who in range(3):
            assert got[who][index] == sorted(got[who][index])
        assert sorted(got[0][index] + got[1][index] + got[2][index]) == list(range(total))


def test_a_batch_that_is_shared_late_wakes_who_waits_already(sockets, monkeypatch):
    """The first thread is stopped between C and the moment when all can see what it was lent."""
    pull, push = pair(sockets)
    fill_batch(pull, push, 1)
    while lying(pull) or pull.poll(0):
        pull.recv()
    stopped, go_on = [], []
    real = Batches._share

    def share(*args):
        stopped.append(True)
        gevent.sleep(0)
        wait_until(lambda: go_on)
        gevent.sleep(0.02)
        real(*args)

    def second():
        wait_until(lambda: stopped)
        got = []
        with contextlib.suppress(zmq.Again):
            while True:
                got.append(number_of([pull.recv(zmq.NOBLOCK)]))
        go_on.append(True)
        return got, number_of([pull.recv(timeout=5)])

    monkeypatch.setattr(Batches, "_share", share)

    def first():
        while not stopped:
            send_all(push, range(4))
            with contextlib.suppress(zmq.Again):
                while not stopped:
                    pull.recv(timeout=0)

    # (This thread is the first receiver of this socket.)
    other = gevent.spawn(first)
    (result,) = in_threads(second)
    assert result[1] in range(4)
    other.kill()


def test_a_batch_that_comes_while_another_thread_marks_the_rest_of_the_last_one_is_not_lost(
    sockets, monkeypatch
):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push, 40)
    got, marking, shared = list(range(taken)), [], []
    real, here = _batches.repeat, get_ident()

    def repeat(mark):
        marking.append(True)
        assert wait_until(lambda: shared)
        return real(mark)

    def second():
        mine = []
        while not marking:
            lib.gzh_slice(1)
            spin(0.00001)  # its slice is over
            mine.append(number_of([pull.recv(timeout=5)]))
        return mine

    monkeypatch.setattr(_batches, "repeat", repeat)
    monkeypatch.setattr(_batches, "_slice_is_over", lambda: get_ident() != here and not shared)
    with threads(second) as calls:
        assert wait_until(lambda: marking)
        got += [number_of([pull.recv()]) for _ in range(lying(pull))]
        while not lying(pull):
            send_all(push, range(sent, sent + 10))
            sent += 10
            got.append(number_of([pull.recv(timeout=5)]))
        shared.append(True)
        (others,) = finish(calls)
    assert sorted(got + others + [number_of(message) for message in drain(pull)]) == list(range(sent))


def test_unsubscribing_while_another_thread_receives_doubles_nothing(sockets):
    sub = sockets(zmq.SUB)
    sub.subscribe("")
    total = 20_000  # many more than there ever are, so that the two are at it at the same time
    sub._have([numbered(number)[0] for number in range(total)])
    ended = []

    def receive():
        got = [number_of([sub.recv(zmq.NOBLOCK)]) for _ in range(total)]
        ended.append(True)
        return got

    def unsubscribe():
        while not ended:
            sub.subscribe("x")
            sub.unsubscribe("x")

    got, _ = in_threads(receive, unsubscribe)
    assert got == list(range(total))
    assert lying(sub) == 0


# ---- subscriptions -----------------------------------------------------------------------------------


def subscribed(sockets, **options):
    sub, pub = pair(sockets, zmq.SUB, zmq.PUB, **options)
    return sub, pub


@pytest.mark.parametrize("parts", [1, 2])
def test_unsubscribe_drops_what_no_other_subscription_wants(sockets, parts):
    sub, pub = subscribed(sockets)
    for topic in ("a", "ab", "b"):
        sub.subscribe(topic)
    sub.subscribe("a")
    topics = [b"a", b"abc", b"b"]

    def send(count):
        for number in range(count):
            pub.send_multipart([topics[number % 3] + b"%d" % (number % 10), *[b"x"] * (parts - 1)])

    assert wait_until(lambda: (send(3), sub.poll(1))[1])
    with gevent.Timeout(10):
        while lying(sub) < 8:
            send(100)
            sub.recv_multipart()
    before = lying(sub)
    sub.unsubscribe("a")  # was subscribed to twice
    assert lying(sub) == before
    sub.unsubscribe("a")
    assert 0 < lying(sub) < before
    got = drain(sub, 0.05)
    assert {message[0][:-1] for message in got} == {b"abc", b"b"}


def test_unsubscribe_drops_the_others_where_matching_is_inverted(sockets):
    sub, pub = sockets.pair(
        zmq.SUB, zmq.PUB, "inproc", {**UNBOUNDED, "invert_matching": 1}, {**UNBOUNDED, "invert_matching": 1}
    )
    sub.subscribe("a")
    sub.subscribe("b")
    assert wait_until(lambda: (pub.send(b"c"), sub.poll(1))[1])
    with gevent.Timeout(10):
        while lying(sub) < 8:
            for _ in range(50):
                pub.send(b"a")
                pub.send(b"b")
                pub.send(b"c")
            assert sub.recv() == b"c"
    before = lying(sub)
    sub.unsubscribe("a")
    assert lying(sub) == before
    sub.subscribe("c")
    assert lying(sub) == 0


# ---- the end -----------------------------------------------------------------------------------------


def test_a_closed_socket_gives_nothing_of_its_batch(sockets):
    for use in (
        lambda sock: sock.recv(),
        lambda sock: sock.recv(zmq.NOBLOCK),
        lambda sock: sock.recv_multipart(copy=False),
        lambda sock: sock.poll(0),
        lambda sock: sock.events,
    ):
        pull, push = pair(sockets)
        fill_batch(pull, push)
        pull.close()
        with pytest.raises(zmq.ZMQError) as caught:
            use(pull)
        assert caught.value.errno == zmq.ENOTSOCK


def test_nor_does_a_socket_that_is_closed_while_a_batch_is_on_its_way(sockets, monkeypatch):
    pull, push = pair(sockets)
    fill_batch(pull, push, 1)
    while lying(pull):
        pull.recv()
    real = Batches._share
    monkeypatch.setattr(Batches, "_share", lambda *args: (pull.close(), real(*args))[1])
    with gevent.Timeout(10):
        while not pull.closed:
            push.send_multipart(numbered(0))
            push.send_multipart(numbered(0))
            pull.recv()
    with pytest.raises(zmq.ZMQError) as caught:
        pull.recv()
    assert caught.value.errno == zmq.ENOTSOCK


def test_a_socket_whose_context_ends_gives_nothing_of_its_batch(sockets):
    pull, push = pair(sockets)
    fill_batch(pull, push)
    term = gevent.spawn(sockets.context.term)
    gevent.sleep(0.01)
    assert lying(pull) == 0
    with pytest.raises(zmq.ContextTerminated):
        for _ in range(500):  # libzmq looks for such news only now and then while there are messages
            pull.recv()
    for use in (pull.recv, pull.recv_multipart, pull.poll):
        with pytest.raises(zmq.ContextTerminated):
            use()
    pull.close()
    push.close()
    term.get(timeout=5)


def test_a_loop_over_messages_ends_where_the_socket_is_closed_in_a_flood(sockets):
    pull, push = pair(sockets)
    send_all(push, range(5000))
    got = []
    for message in pull:
        got.append(number_of([message]))
        if lying(pull) > 5 and len(got) > 100:
            pull.close()
    assert got == list(range(len(got)))
    assert len(got) < 5000


def test_a_forked_child_receives_nothing_of_its_parents():
    run("""
        import os, sys, gevent, gevent.os
        import gzmqhelper as zmq
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://x"); push.connect("inproc://x")
        other, another = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        other.bind("inproc://y"); another.connect("inproc://y")
        number = 0
        while not pull._lying():
            for _ in range(50):
                push.send(b"mine")
            pull.recv()
        another.send_multipart([b"first", b"second"])
        assert other.recv() == b"first"
        left = pull._lying()
        pid = gevent.os.fork_gevent()
        if pid == 0:
            status = 0
            for sock in (pull, other):
                at_once = lambda: sock.recv(zmq.NOBLOCK)
                for use in (sock.recv, sock.recv_multipart, at_once, lambda: sock.poll(0)):
                    try:
                        print(use())
                        status = 1
                    except zmq.ZMQError as e:
                        status |= 2 * (e.errno != zmq.ENOTSOCK)
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pull._lying() == left
        assert other.recv() == b"second"
        for sock in (pull, push, other, another):
            sock.close(0)
        ctx.term()
    """)


# ---- other objects for the socket --------------------------------------------------------------------


@pytest.mark.parametrize("address", [False, True], ids=["of the object", "of the address"])
def test_a_shadow_shares_the_batch(sockets, address):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    other = zmq.Socket.shadow(pull.underlying if address else pull)
    assert other.poll(0) == zmq.POLLIN
    assert number_of([other.recv()]) == taken
    assert number_of([copy.copy(pull).recv()]) == taken + 1
    assert number_of([pull.recv()]) == taken + 2
    other.close()
    rest_of(pull, taken + 3, sent)


def test_a_shadow_that_was_closed_receives_nothing_of_the_batch(sockets):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    other = copy.copy(pull)
    other.close()
    for call in other.recv, other.recv_multipart, other.recv_many:
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == zmq.ENOTSOCK
    rest_of(pull, taken, sent)


@pytest.mark.parametrize("maker", ["first", "second"])
def test_who_receives_while_a_batch_is_put_back_waits_for_it(sockets, monkeypatch, maker):
    """By the thread that received first, or by another."""
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    real, putting, shadows = _batches.message_of, [], []

    def message_of(*args):
        if not putting:
            putting.append(True)
            sleep(0.02)  # of its thread: the other finds nothing in Python, and newer messages in C
        return real(*args)

    def make():
        shadows.append(copy.copy(pull))

    def receive():
        assert wait_until(lambda: putting)
        return [number_of([pull.recv(timeout=5)]) for _ in range(sent - taken)]

    monkeypatch.setattr(_batches, "message_of", message_of)
    if maker == "first":
        with threads(receive) as calls:
            make()
            (got,) = finish(calls)
    else:
        with threads(make) as calls:
            got = receive()
            finish(calls)
    assert got == list(range(taken, sent))


def test_a_socket_and_its_shadow_receive_a_flood_by_turns_in_order(sockets):
    pull, push = pair(sockets)
    both = [pull, copy.copy(pull)]
    send_all(push, range(3000))
    for number in range(3000):
        assert number_of([random.choice(both).recv()]) == number
        assert lying(both[0]) == lying(both[1]) == 0


def test_a_shadow_that_is_made_while_a_batch_is_on_its_way_shares_it(sockets, monkeypatch):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push, 1)
    while lying(pull):
        pull.recv()
        taken += 1
    real, both = Batches._share, [pull]

    def share(*args):
        if len(both) == 1:
            both.append(copy.copy(pull))
        real(*args)

    monkeypatch.setattr(Batches, "_share", share)
    send_all(push, range(sent, sent + 3000))
    for number in range(taken, sent + 3000):
        assert number_of([random.choice(both).recv(timeout=5)]) == number
    assert len(both) == 2


# ---- Ctrl-C ------------------------------------------------------------------------------------------


class Interrupts:
    """A Ctrl-C just before or after a batch is put where all can see it."""

    def __init__(self, monkeypatch, place):
        self.armed = False
        real = Batches._share

        def share(*args):
            if place == "after":
                real(*args)
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt
            if place == "before":
                real(*args)

        monkeypatch.setattr(Batches, "_share", share)


places = pytest.mark.parametrize("place", ["before", "after"])


@places
@pytest.mark.parametrize("call", ["recv", "recv_multipart"])
def test_ctrl_c_while_a_batch_is_shared_loses_nothing(sockets, monkeypatch, place, call):
    pull, push = pair(sockets)
    interrupts = Interrupts(monkeypatch, place)
    got = []
    interrupted = 0
    total = 6000
    send_all(push, range(total))
    while True:
        interrupts.armed = interrupts.armed or random.random() < 0.02
        try:
            message = getattr(pull, call)(timeout=0) if call == "recv_multipart" else pull.recv(zmq.NOBLOCK)
            got.append(number_of(message if call == "recv_multipart" else [message]))
        except KeyboardInterrupt:
            interrupted += 1
        except zmq.Again:
            break
    assert got == list(range(total))
    assert interrupted > 10


@places
def test_after_ctrl_c_nothing_is_lent_any_more(sockets, monkeypatch, place):
    """Else a second thread would lose its time waiting until it is shared."""
    interrupts = Interrupts(monkeypatch, place)
    for _ in range(20):
        pull, push = pair(sockets)
        fill_batch(pull, push)
        while lying(pull):
            pull.recv()
        interrupts.armed = True
        with contextlib.suppress(KeyboardInterrupt):
            while interrupts.armed:  # what comes next may come alone
                send_all(push, range(10))
                pull.recv()
        assert not lib.gzh_socket_lent(pull._ptr)
        in_threads(lambda pull=pull: pull.recv())


# ---- afterwards --------------------------------------------------------------------------------------


def test_floods_leave_no_descriptors_and_threads():
    before = Baseline()
    for _ in range(20):
        with zmq.Context() as context:
            pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
            pull.bind("inproc://flood")
            push.connect("inproc://flood")
            send_all(push, range(500))
            for _ in range(300):
                pull.recv()
    before.check()
