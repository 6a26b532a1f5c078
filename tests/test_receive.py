"""Receiving: waiting for a message, sharing a socket with other receivers, waiting only so long."""

import platform
import random
from itertools import chain

import gevent
import pytest
from crowd import (
    UNBOUNDED,
    drain,
    finish,
    greenlets,
    in_threads,
    number_of,
    numbered,
    spin,
    transports,
    until,
)
from gevent.event import Event
from life import waits
from support import Stopwatch, nobody_else_runs, run, wait_until

import gzmqhelper as zmq
from gzmqhelper import _messages
from gzmqhelper._native import SocketBase, lib


def pair(sockets, left, right, transport, **options):
    options = options or UNBOUNDED
    return sockets.pair(left, right, transport, options, options)


def test_a_waiting_greenlet_receives_what_is_sent_later(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    waiting = gevent.spawn(pull.recv)
    gevent.sleep(0.05)
    push.send(b"hello")
    assert waiting.get(timeout=5) == b"hello"


# ---- ten greenlets, one socket -----------------------------------------------------------------------


class Crowd:
    """Ten greenlets that receive numbers from one socket for ever."""

    def __init__(self, receive):
        self.receive = receive
        self.order = []
        self.shares = [0] * 10
        self.loops = [lambda who=who: self.loop(who) for who in range(10)]

    def loop(self, who):
        while True:
            self.order.append(self.receive())
            self.shares[who] += 1

    def has(self, count):
        assert wait_until(lambda: len(self.order) >= count, 20), f"{len(self.order)} of {count}"
        return True

    def check(self, count):
        assert self.order == list(range(count))
        assert max(self.shares) <= 3 * min(self.shares), self.shares


@transports
@pytest.mark.parametrize("count", [200, 1000, 20000])
def test_ten_waiting_greenlets_share_a_burst_fairly_and_in_order(sockets, ticker, transport, count):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    crowd = Crowd(lambda: int(pull.recv()))
    with greenlets(*crowd.loops):
        gevent.sleep(0.01)
        for number in range(count):
            push.send(b"%d" % number)
        assert crowd.has(count)
    crowd.check(count)


@transports
@pytest.mark.parametrize("count", [200, 1000, 20000])
def test_ten_greenlets_receive_in_order_what_was_there_before_they_came(sockets, ticker, transport, count):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    for number in range(count):
        push.send(b"%d" % number)
    crowd = Crowd(lambda: int(pull.recv()))
    with greenlets(*crowd.loops):
        assert crowd.has(count)
    assert crowd.order == list(range(count))  # no shares: the first may have it all before another asks


@transports
def test_ten_greenlets_share_a_burst_of_multiparts_each_whole(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    crowd = Crowd(lambda: number_of(pull.recv_multipart()))
    with greenlets(*crowd.loops):
        gevent.sleep(0.01)
        for number in range(1000):
            push.send_multipart(numbered(number, 1 + number % 5))
        assert crowd.has(1000)
    crowd.check(1000)


@transports
def test_ten_greenlets_share_a_thousand_bursts_with_pauses_between(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    crowd = Crowd(lambda: int(pull.recv()))
    total = 0
    with greenlets(*crowd.loops):
        for _ in range(1000):
            for _ in range(random.randrange(1, 30)):
                push.send(b"%d" % total)
                total += 1
            gevent.sleep(0)
        assert crowd.has(total)
    crowd.check(total)


def test_greenlets_that_wait_are_served_in_the_order_in_which_they_came(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "tcp")
    waiting = []
    for _ in range(100):
        waiting.append(gevent.spawn(lambda: int(pull.recv())))
        until(lambda: waits(waiting[-1]))
    for number in range(100):
        push.send(b"%d" % number)
        # One at a time: of several that were served at once, gevent's loop says which runs first.
        assert waiting[number].get(timeout=5) == number


def test_a_hundred_greenlets_wait_on_a_hundred_sockets(sockets, ticker):
    pairs = [pair(sockets, zmq.PULL, zmq.PUSH, "inproc") for _ in range(100)]
    with greenlets() as group:
        group.extend(gevent.spawn(pull.recv) for pull, _ in pairs)
        for _ in range(20):
            gevent.sleep(0)
            order = random.sample(range(100), 100)
            for index in order:
                pairs[index][1].send(b"%d" % index)
            assert finish(group) == [b"%d" % index for index in range(100)]
            group[:] = [gevent.spawn(pull.recv) for pull, _ in pairs]


# ---- readers beside writers --------------------------------------------------------------------------


@transports
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("writers", [1, 5])
def test_readers_and_writers_share_a_dealer(sockets, ticker, transport, readers, writers):
    dealer, peer = sockets.pair(
        zmq.DEALER, zmq.DEALER, transport, {"sndhwm": 10, "rcvhwm": 10}, {"sndhwm": 10, "rcvhwm": 10}
    )
    each = 2000 // writers
    back = []

    def echo():
        while True:
            peer.send_multipart(peer.recv_multipart())

    def read():
        while True:
            back.append(dealer.recv_multipart())

    def write(who):
        for number in range(each):
            dealer.send_multipart([b"%d" % who, *numbered(number, 1 + number % 3)])

    with greenlets(echo, *[read] * readers):
        gevent.sleep(0.01)
        finish([gevent.spawn(write, who) for who in range(writers)])
        assert wait_until(lambda: len(back) == writers * each, 10), len(back)
    for who in range(writers):
        mine = [number_of(message[1:]) for message in back if int(message[0]) == who]
        assert mine == list(range(each))


def test_a_reader_that_waits_for_ever_never_stops_a_writer(sockets, ticker):
    dealer, peer = pair(sockets, zmq.DEALER, zmq.DEALER, "tcp")
    with greenlets(dealer.recv):
        gevent.sleep(0.01)
        for number in range(5000):
            with gevent.Timeout(1):
                dealer.send(b"%d" % number)
        assert [int(peer.recv(timeout=1)) for _ in range(5000)] == list(range(5000))


# ---- only so long ------------------------------------------------------------------------------------

WAYS = {
    "recv": lambda sock, **how: sock.recv(**how),
    "recv_multipart": lambda sock, **how: sock.recv_multipart(**how),
    "recv as a Frame": lambda sock, **how: sock.recv(copy=False, **how),
    "recv_string": lambda sock, **how: sock.recv_string(**how),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
@pytest.mark.parametrize("seconds", [0.02, 0.15])
def test_timeout_is_kept(sockets, ticker, way, seconds):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    with Stopwatch() as watch, pytest.raises(zmq.Again) as caught:
        way(pull, timeout=seconds)
    watch.check(seconds)
    assert caught.value.errno == zmq.EAGAIN


@ways
def test_rcvtimeo_is_kept(sockets, ticker, way):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    pull.rcvtimeo = 150
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        way(pull)
    watch.check(0.15)


@ways
def test_a_gevent_timeout_is_kept(sockets, ticker, way):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    with Stopwatch() as watch, pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.15) as mine:
        way(pull)
    assert caught.value is mine
    watch.check(0.15)


@pytest.mark.parametrize("milliseconds", [20, 150, 150.5])
def test_polls_timeout_is_kept(sockets, ticker, milliseconds):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    with Stopwatch() as watch:
        assert pull.poll(milliseconds) == 0
    watch.check(milliseconds / 1000)


@ways
def test_an_explicit_timeout_beats_rcvtimeo(sockets, ticker, way):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    for option in (-1, 0, 10, 5000):
        pull.rcvtimeo = option
        with Stopwatch() as watch, pytest.raises(zmq.Again):
            way(pull, timeout=0.1)
        watch.check(0.1)
        with Stopwatch() as watch:
            later = gevent.spawn_later(0.05, push.send, b"7")
            way(pull, timeout=5)
        watch.check(0.05)
        later.join()


AT_ONCE = [{"timeout": 0}, {"timeout": -1}, {"flags": zmq.NOBLOCK}, {"flags": zmq.NOBLOCK, "timeout": 5}]


@ways
def test_a_timeout_of_nothing_does_not_wait(sockets, ticker, way):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    for how in AT_ONCE:
        with nobody_else_runs(), pytest.raises(zmq.Again):
            way(pull, **how)
        push.send(b"x")
        assert pull.poll(1000) == zmq.POLLIN
        way(pull, **how)
    pull.rcvtimeo = 0
    with nobody_else_runs(), pytest.raises(zmq.Again):
        way(pull)


@pytest.mark.parametrize("milliseconds", [0, -0.0])
def test_a_poll_of_no_time_does_not_wait(sockets, ticker, milliseconds):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    with nobody_else_runs():
        assert pull.poll(milliseconds) == 0
    push.send(b"x")
    assert pull.poll(1000) == zmq.POLLIN
    assert pull.poll(milliseconds) == zmq.POLLIN


@pytest.mark.parametrize("milliseconds", [None, -1])
def test_a_poll_without_a_timeout_waits_until_there_is_something(sockets, ticker, milliseconds):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    waiting = gevent.spawn(pull.poll, milliseconds)
    gevent.sleep(0.1)
    assert not waiting.ready()
    push.send(b"x")
    assert waiting.get(timeout=5) == zmq.POLLIN
    assert pull.recv(zmq.NOBLOCK) == b"x"


def test_a_timeout_counts_from_the_call_however_long_the_hub_was_kept_from_turning(sockets):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    for _ in range(3):
        spin(0.15)
        with Stopwatch() as watch, pytest.raises(zmq.Again):
            pull.recv(timeout=0.1)
        watch.check(0.1)


def test_a_thousand_greenlets_keep_their_timeouts(sockets, ticker):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH)
    all_started = Event()

    def wait():
        with pytest.raises(zmq.Again):
            pull.recv(timeout=0.001)  # the companion is there now
        all_started.wait()
        # Not all at once: on libuv a thousand such waits take 0.15 s of processor time to begin.
        gevent.sleep(random.random() * 0.4)
        seconds = 1 + random.random() * 0.8
        with Stopwatch() as watch, pytest.raises(zmq.Again):
            pull.recv(timeout=seconds)
        watch.check(seconds)

    waiters = []
    # A few at a time: to start one, with its companion, takes 0.1 ms, on libuv 0.15.
    for _ in range(40):
        waiters.extend(gevent.spawn(wait) for _ in range(25))
        gevent.sleep(0.01)
    all_started.set()
    gevent.sleep(0.5)
    assert all(waits(waiter) for waiter in waiters)
    finish(waiters)


def test_a_timeout_in_a_flood_is_kept(sockets, ticker):
    """The greenlet that waits, and the one that floods, are on one hub, and on one socket."""
    idle, flooded = sockets.pair(zmq.DEALER, zmq.DEALER, "inproc")

    def flood():
        while True:
            idle.send(b"x")
            flooded.recv()

    with greenlets(flood):
        for seconds in (0.02, 0.1, 0.2):
            with Stopwatch() as watch, pytest.raises(zmq.Again):
                idle.recv(timeout=seconds)
            watch.check(seconds)


# ---- part by part ------------------------------------------------------------------------------------


def take_part_by_part(sock, pause):
    """A whole message, one part at a time; others may run in between."""
    parts = [sock.recv()]
    while sock.rcvmore:
        pause()
        parts.append(sock.recv())
    return parts


def now_and_then():
    if random.random() < 0.5:
        gevent.sleep(0)


@transports
def test_ten_greenlets_receive_part_by_part_and_each_gets_whole_messages(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got = []

    def receive():
        while True:
            got.append(number_of(take_part_by_part(pull, now_and_then)))

    with greenlets(*[receive] * 10):
        gevent.sleep(0.01)
        for number in range(2000):
            push.send_multipart(numbered(number, 1 + number % 4))
        assert wait_until(lambda: len(got) == 2000, 10), len(got)
    assert sorted(got) == list(range(2000))


def test_the_other_ways_of_receiving_go_on_beside_one_that_is_in_the_middle(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    got = []

    def receive(way):
        while True:
            got.append(number_of(way()))

    ways = [
        lambda: take_part_by_part(pull, now_and_then),
        lambda: pull.recv_multipart(),
        lambda: [bytes(part) for part in pull.recv_multipart(copy=False)],
        lambda: [pull.recv(), *(pull.recv_multipart() if pull.rcvmore else [])],
        lambda: [pull.recv(), *(map(bytes, pull.recv_multipart(copy=False)) if pull.rcvmore else [])],
    ]
    with greenlets(*[lambda way=way: receive(way) for way in ways * 2]):
        gevent.sleep(0.01)
        for number in range(2000):
            push.send_multipart(numbered(number, 1 + number % 4))
        assert wait_until(lambda: len(got) == 2000, 10), len(got)
    assert sorted(got) == list(range(2000))


def test_a_greenlet_that_dies_in_the_middle_of_a_message_leaves_the_next_ones_whole(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    begun, got = [], []

    def die_after_one_part():
        begun.append(int(pull.recv().split()[0]))
        gevent.sleep(random.choice([0, 0.001]))
        if random.random() < 0.5:
            pull.recv()

    for number in range(1000):
        push.send_multipart(numbered(number, 3))
        if number % 2:
            victim = gevent.spawn(die_after_one_part)
            gevent.sleep(0)
            got.append(number_of(take_part_by_part(pull, now_and_then)))
            if random.random() < 0.5:
                victim.kill()
            victim.join()
    assert sorted(begun + got) == list(range(1000))
    assert got == sorted(got)
    assert len(begun) == len(got) == 500


def test_rcvmore_and_events_speak_of_this_greenlets_own_message(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    push.send_multipart([b"a", b"b", b"c"])
    assert pull.recv() == b"a"
    assert pull.rcvmore
    assert pull.events & zmq.POLLIN
    assert pull.poll(0) == zmq.POLLIN

    def another():
        assert not pull.rcvmore
        assert not pull.events & zmq.POLLIN
        assert pull.poll(0) == 0
        with pytest.raises(zmq.Again):
            pull.recv(zmq.NOBLOCK)

    gevent.spawn(another).get(timeout=5)
    assert pull.recv_multipart() == [b"b", b"c"]
    assert not pull.rcvmore
    assert not pull.events & zmq.POLLIN
    assert drain(pull, 0.01) == []


# ---- OS threads --------------------------------------------------------------------------------------


@transports
def test_four_threads_with_greenlets_of_their_own_receive_from_one_socket(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    count = 4000

    def receive_until_the_end():
        got = []

        def receive():
            while (message := pull.recv_multipart()) != [b"end"]:
                got.append(number_of(message))

        finish([gevent.spawn(receive) for _ in range(3)])
        return got

    def send():
        for number in range(count):
            push.send_multipart(numbered(number, 1 + number % 3))
            if number % 100 == 0:
                gevent.sleep(0)
        for _ in range(12):
            push.send(b"end")

    *received, _ = in_threads(*[receive_until_the_end] * 4, send)
    assert sorted(chain.from_iterable(received)) == list(range(count))
    for numbers in received:
        assert numbers == sorted(numbers)


def test_four_threads_receive_part_by_part_from_one_socket(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    count = 4000

    def receive_until_the_end():
        got = []

        def receive():
            while (message := take_part_by_part(pull, now_and_then)) != [b"end"]:
                got.append(number_of(message))

        finish([gevent.spawn(receive) for _ in range(3)])
        return got

    for number in range(count):
        push.send_multipart(numbered(number, 1 + number % 4))
    for _ in range(12):
        push.send(b"end")
    received = in_threads(*[receive_until_the_end] * 4)
    assert sorted(chain.from_iterable(received)) == list(range(count))


def test_one_that_is_sent_back_to_look_elsewhere_waits_no_longer_for_that(sockets, monkeypatch):
    """By a thread that shared late what it had been lent (csrc/batch.c)."""
    pull = sockets.pair(zmq.PULL, zmq.PUSH)[0]
    waited = []

    def sent_back(real):
        def wait(*args):
            waited.append(args[-1])
            if len(waited) > 3:
                return real(*args)
            gevent.sleep(0.05)
            return lib.GZH_LOOK

        return wait

    monkeypatch.setattr(_messages, "wait", sent_back(_messages.wait))
    monkeypatch.setattr(
        _messages.Messages, "_wait_for_message", sent_back(SocketBase._wait_for_message), raising=False
    )
    for call in (lambda: pull.recv(timeout=0.3), lambda: pull.poll(300)):
        waited.clear()
        with Stopwatch() as took:
            try:
                assert call() == 0
            except zmq.Again:
                pass
        took.check(0.3)
        assert len(waited) == 4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how malloc keeps memory is glibc's affair")
@pytest.mark.parametrize("copy", [True, False], ids=["copied", "not copied"])
def test_large_messages_come_and_go_without_new_pages_for_each(copy):
    """malloc gave nearly all of them back, and took them anew: 59 of the 64 of each message here."""
    result = run(
        """
        import resource
        import sys

        import gzmqhelper as zmq

        context = zmq.Context()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        push.connect(pull.bind("tcp://127.0.0.1:*").addr)
        copy = sys.argv[1] == "True"


        def eight():
            for _ in range(8):
                push.send(bytes(1 << 18), copy=copy)
            for _ in range(8):
                pull.recv(copy=copy)


        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


        for _ in range(10):
            eight()
        before = faults()
        for _ in range(50):
            eight()
        print((faults() - before) / 400)
        """,
        copy,
    )
    assert float(result.stdout) < 5  # of 64 pages that a message has
