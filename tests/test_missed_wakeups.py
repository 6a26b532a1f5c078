"""Whoever waits is woken, whatever others do with the socket at that moment, in whatever thread.

Any call into libzmq may consume the one signal that a waiting greenlet needs. So each round here lets
something arrive, does other things with the socket at the same time, then stops, and waits: nothing
but the wake-up itself may end the wait.
"""

import random
import signal
import sys
from itertools import count

import gevent
import pytest
from crowd import (
    FILLING,
    NARROW,
    UNBOUNDED,
    a_moment,
    finish,
    greenlets,
    in_threads,
    number_of,
    numbered,
    transports,
    turns,
    until,
)
from gevent import get_hub, getcurrent
from gevent.exceptions import BlockingSwitchOutError
from gevent.monkey import get_original
from support import LOOP_IN_C, POLL, wait_until

import gzmqhelper as zmq

ROUNDS = 1000

start_new_thread = get_original("_thread", "start_new_thread")
allocate_lock = get_original("_thread", "allocate_lock")


def pair(sockets, left, right, transport, options=UNBOUNDED):
    return sockets.pair(left, right, transport, options, options)


def set_something(sock):
    sock.linger = 0


def without_waiting(call, *args):
    try:
        call(*args)
    except zmq.Again:
        pass


# What one may do with a socket and not take a message from it.
USES = {
    "EVENTS": lambda sock: sock.events,
    "get": lambda sock: (sock.linger, sock.rcvmore, sock.last_endpoint),
    "set": set_something,
    "poll": lambda sock: sock.poll(0),
    "poll for both": lambda sock: sock.poll(0, zmq.POLLIN | zmq.POLLOUT),
    "poll a while": lambda sock: sock.poll(1, zmq.POLLOUT),
    "send": lambda sock: sock.send(b"sent"),
    "send many": lambda sock: [sock.send(b"sent") for _ in range(20)],
    "send part by part": lambda sock: (sock.send(b"more", zmq.SNDMORE), sock.send(b"sent")),
    # (Not inproc: libzmq 4.3.4 crashes when a context ends with a thousand connects to nobody there.)
    "connect": lambda sock: sock.connect("tcp://127.0.0.1:9").__exit__(None, None, None),
    "bind": lambda sock: sock.bind(unique()).__exit__(None, None, None),
}
uses = pytest.mark.parametrize("use", USES)


def unique():
    return f"inproc://{random.randrange(10**12)}"


def anything(sock):
    return random.choice(list(USES.values())[:-2])(sock)


# ---- one waits to receive ----------------------------------------------------------------------------


@transports
@uses
def test_a_waiting_reader_is_woken_whatever_another_greenlet_does_with_its_socket(
    sockets, ticker, transport, use
):
    sock, peer = pair(sockets, zmq.DEALER, zmq.DEALER, transport)
    got = []

    def read():
        while True:
            got.append(int(sock.recv()))

    def discard():
        while True:
            peer.recv_multipart()

    with greenlets(read, discard):
        for number in range(ROUNDS // 4):
            if random.random() < 0.5:
                turns(2)  # else it may be about to wait
            peer.send(b"%d" % number)
            for _ in range(random.randrange(1, 3)):
                a_moment(40e-6)
                USES[use](sock)
            until(lambda number=number: len(got) > number)
    assert got == list(range(ROUNDS // 4))


def test_a_waiting_subscriber_is_woken_whatever_subscriptions_come_and_go(sockets, ticker):
    xpub, sub = pair(sockets, zmq.XPUB, zmq.SUB, "tcp")
    got = []

    def read():
        while True:
            got.append(sub.recv())

    with greenlets(read):
        for number in range(ROUNDS // 2):
            topic = b"%d." % number
            sub.subscribe(topic)
            assert xpub.recv(timeout=3) == b"\1" + topic
            xpub.send(topic)
            a_moment()
            sub.subscribe(b"another")
            sub.unsubscribe(b"another")
            until(lambda: len(got) > number)  # noqa: B023
            sub.unsubscribe(topic)
            for change in (b"\1another", b"\0another", b"\0" + topic):
                assert xpub.recv(timeout=3) == change
    assert got == [b"%d." % number for number in range(ROUNDS // 2)]


@transports
@pytest.mark.parametrize("readers", [1, 4])
def test_every_wait_that_begins_while_messages_arrive_ends(sockets, ticker, transport, readers):
    """No other calls: the try before the wait is what may consume the signal."""
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got = []

    def read():
        while True:
            got.append(int(pull.recv()))

    total = 0
    with greenlets(*[read] * readers):
        for _ in range(4 * ROUNDS):
            for _ in range(random.randrange(1, 4)):
                push.send(b"%d" % total)
                total += 1
                a_moment(30e-6)
                if random.random() < 0.3:
                    turns(1)
            until(lambda: len(got) == total)  # noqa: B023
    assert got == list(range(total))


@transports
def test_pollers_of_both_directions_and_a_reader_are_all_woken(sockets, ticker, transport):
    sock, peer = pair(sockets, zmq.DEALER, zmq.DEALER, transport)
    got, seen = [], []

    def read():
        while True:
            got.append(int(sock.recv()))

    def poll(mask):
        # One of them is never woken in vain: what it saw, another may have taken, but only then.
        while True:
            seen.append(sock.poll(None, mask))
            turns(1)

    with greenlets(read, lambda: poll(zmq.POLLIN), lambda: poll(zmq.POLLOUT), lambda: poll(3)):
        for number in range(ROUNDS):
            peer.send(b"%d" % number)
            a_moment()
            anything(sock)
            until(lambda: len(got) > number)  # noqa: B023
            while peer.poll(0):
                peer.recv_multipart()
    assert got == list(range(ROUNDS))
    assert set(seen) <= {1, 2, 3}


@transports
def test_a_poller_is_woken_and_finds_what_it_was_woken_for(sockets, ticker, transport):
    """With nobody else about, what poll has seen is there for a receive that does not wait."""
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got = []

    def read():
        while True:
            assert pull.poll() == zmq.POLLIN
            got.append(int(pull.recv(zmq.NOBLOCK)))

    with greenlets(read):
        for number in range(2 * ROUNDS):
            if random.random() < 0.7:
                turns(2)
            push.send(b"%d" % number)
            until(lambda: len(got) > number)  # noqa: B023
    assert got == list(range(2 * ROUNDS))


# ---- one waits to send -------------------------------------------------------------------------------


@transports
@pytest.mark.parametrize("use", ["EVENTS", "get", "set", "poll", "poll for both", "poll a while", "bind"])
def test_a_sender_at_the_high_water_mark_is_woken_whatever_another_does_with_its_socket(
    sockets, ticker, transport, use
):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport, NARROW)

    def send():
        for number in range(10**9):
            push.send_multipart([b"%d" % number, FILLING])

    with greenlets(send):
        for number in range(ROUNDS // 2):
            assert int(pull.recv_multipart(timeout=3)[0]) == number
            a_moment(40e-6)
            if use != "bind":
                USES[use](push)
            elif number % 10 == 0:
                push.bind(unique()).__exit__(None, None, None)


@transports
def test_readers_and_writers_at_the_high_water_mark_of_one_dealer_are_all_woken(sockets, ticker, transport):
    left, right = pair(sockets, zmq.DEALER, zmq.DEALER, transport, NARROW)
    back = {left: [], right: []}

    def read(sock):
        while True:
            back[sock].append(number_of(sock.recv_multipart()[:-1]))

    def write(sock):
        for number in range(ROUNDS):
            sock.send_multipart([*numbered(number, 2), FILLING])

    # Nothing but its own readers makes room for the other side's writers.
    with greenlets(lambda: read(left), lambda: read(right)):
        finish([gevent.spawn(write, sock) for sock in (left, right)], 10)
        until(lambda: all(len(got) == ROUNDS for got in back.values()))
    assert list(back.values()) == [list(range(ROUNDS))] * 2


def test_a_router_that_must_deliver_wakes_its_reader_and_its_sender(sockets, ticker):
    """At the high-water mark it says POLLOUT, and refuses."""
    router = sockets(zmq.ROUTER, router_mandatory=1, **NARROW)
    router.bind("tcp://127.0.0.1:*")
    slow, lively = (sockets(zmq.DEALER, routing_id=name, **NARROW) for name in (b"slow", b"lively"))
    for peer in (slow, lively):
        peer.connect(router.last_endpoint.decode())
        peer.send(b"here")
    assert sorted(router.recv_multipart(timeout=3)[0] for _ in range(2)) == [b"lively", b"slow"]
    got, sent = [], []

    def read():
        while True:
            got.append(int(router.recv_multipart()[1]))

    def send():
        for number in range(10**9):
            router.send_multipart([b"slow", b"%d" % number, FILLING])
            sent.append(number)

    with greenlets(read, send):
        until(lambda: len(sent) > 2)
        taken = 0
        for number in range(ROUNDS // 2):
            lively.send(b"%d" % number)
            a_moment()
            router.poll(random.choice([0, 1]), zmq.POLLOUT)
            until(lambda: len(got) > number)  # noqa: B023
            if random.random() < 0.5:
                assert int(slow.recv_multipart(timeout=3)[0]) == taken
                taken += 1
        # From here on nothing but the peer that takes signals the ROUTER, and where the room came with a
        # signal that its own reader consumed, poll(2) tells of no other: README, "What libzmq does not give".
        for _ in range(0 if POLL else ROUNDS // 2):
            assert int(slow.recv_multipart(timeout=3)[0]) == taken
            taken += 1
    assert got == list(range(ROUNDS // 2))


def test_an_xpub_that_drops_nothing_wakes_its_reader_and_its_sender(sockets, ticker):
    xpub, slow = sockets.pair(zmq.XPUB, zmq.SUB, "tcp", {"xpub_nodrop": 1, **NARROW}, NARROW)
    slow.subscribe(b"")
    assert xpub.recv(timeout=3) == b"\1"
    # Not narrow: libzmq drops subscriptions at the high-water mark.
    other = sockets(zmq.SUB, **UNBOUNDED)
    other.connect(xpub.last_endpoint.decode())
    changes, sent = [], []

    def read():
        while True:
            changes.append(xpub.recv())

    def send():
        for number in range(10**9):
            xpub.send_multipart([b"%d" % number, FILLING, b"%d" % number])
            sent.append(number)

    with greenlets(read, send):
        until(lambda: len(sent) > 2)
        taken = 0
        for number in range(ROUNDS // 4):
            # Nobody publishes what it subscribes to: it never gets full.
            other.subscribe(b"never %d" % number)
            a_moment()
            if random.random() < 0.5:
                xpub.poll(0, zmq.POLLIN | zmq.POLLOUT)
            until(lambda: len(changes) > number)  # noqa: B023
            for _ in range(random.randrange(4)):
                first, _, last = slow.recv_multipart(timeout=3)
                assert int(first) == int(last) == taken
                taken += 1
    assert changes == [b"\1never %d" % number for number in range(ROUNDS // 4)]


# ---- OS threads --------------------------------------------------------------------------------------


class Other:
    """An OS thread, without a hub that runs, that makes a call when told to, at the same moment."""

    def __init__(self, call):
        self.call = call
        self.lock = allocate_lock()
        self.lock.acquire()
        self.calls = self.asked = 0
        self.ended = False
        self.error = None
        start_new_thread(self.run, ())

    def go(self):
        """Make the call, in that thread."""
        self.asked += 1
        self.lock.release()

    def wait(self):
        """Until it was made."""
        until(lambda: self.calls == self.asked)

    def run(self):
        while self.lock.acquire() and not self.ended:
            a_moment(20e-6)
            try:
                self.call()
            except BaseException as e:
                self.error = e
            self.calls += 1
        get_hub().destroy(destroy_loop=True)
        self.finished = True

    def __enter__(self):
        self.finished = False
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0002)  # see crowd.threads
        return self

    def __exit__(self, *_):
        sys.setswitchinterval(self.interval)
        self.ended = True
        self.lock.release()
        assert wait_until(lambda: self.finished)
        assert self.error is None, self.error


@transports
def test_a_waiting_reader_is_woken_whatever_another_thread_does_with_its_socket(sockets, ticker, transport):
    sock, peer = pair(sockets, zmq.DEALER, zmq.DEALER, transport)
    got = []

    def read():
        while True:
            got.append(int(sock.recv()))

    uses = [USES[name] for name in ("EVENTS", "get", "set", "poll", "poll for both", "send many")]
    with greenlets(read), Other(lambda: random.choice(uses)(sock)) as other:
        for number in range(ROUNDS):
            other.go()
            a_moment(20e-6)
            peer.send(b"%d" % number)
            until(lambda: len(got) > number)  # noqa: B023
            other.wait()
            while peer.poll(0):
                peer.recv_multipart()
    assert got == list(range(ROUNDS))


@transports
def test_a_thread_that_takes_messages_without_waiting_takes_no_wake_up_with_them(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got, snatched = [], []

    def read():
        while True:
            got.append(int(pull.recv()))

    def snatch():
        without_waiting(lambda: snatched.append(int(pull.recv(zmq.NOBLOCK))))

    with greenlets(read, read), Other(snatch) as other:
        for number in range(ROUNDS):
            other.go()
            a_moment(20e-6)
            push.send(b"%d" % (2 * number))
            push.send(b"%d" % (2 * number + 1))
            until(lambda: len(got) + len(snatched) == 2 * number + 2)  # noqa: B023
            other.wait()
    assert sorted(got + snatched) == list(range(2 * ROUNDS))


@transports
def test_four_threads_use_one_dealer_in_every_way(sockets, ticker, transport):
    options = {"sndhwm": 20, "rcvhwm": 20}
    dealer, peer = sockets.pair(zmq.DEALER, zmq.DEALER, transport, options, options)
    each = 300
    back = []

    def echo():
        while True:
            peer.send_multipart(peer.recv_multipart())

    def thread(who):
        sent = []

        def write():
            for number in range(each):
                dealer.send_multipart([b"%d" % who, *numbered(number, 1 + number % 3)])
                sent.append(number)

        def read():
            while len(back) < 4 * each:
                if random.random() < 0.5:
                    dealer.poll(20)
                    without_waiting(lambda: back.append(dealer.recv_multipart(zmq.NOBLOCK)))
                else:
                    without_waiting(lambda: back.append(dealer.recv_multipart(timeout=0.05)))

        def look():
            while len(back) < 4 * each:
                assert dealer.linger == 0
                assert 0 <= dealer.events <= 3
                dealer.linger = 0
                dealer.poll(1, zmq.POLLOUT)
                gevent.sleep(0.001)

        finish([gevent.spawn(task) for task in (write, read, read, look)], 15)

    with greenlets(echo):
        in_threads(*[lambda who=who: thread(who) for who in range(4)])
    assert len(back) == 4 * each
    for who in range(4):
        # The two readers of a thread may finish in another order than that of arrival.
        mine = [number_of(message[1:]) for message in back if int(message[0]) == who]
        assert sorted(mine) == list(range(each))


@transports
def test_a_socket_made_in_one_thread_is_used_from_another_while_the_first_ones_hub_stands_still(
    sockets, transport
):
    rep, req = pair(sockets, zmq.REP, zmq.REQ, transport)
    ended = allocate_lock()
    ended.acquire()
    replies = []

    def serve():
        while True:
            rep.send(b"to " + rep.recv())

    def thread():
        try:
            with greenlets(serve):
                for number in range(200):
                    req.send(b"%d" % number)
                    replies.append(req.recv(timeout=5))
                with pytest.raises(zmq.Again):
                    rep.recv(timeout=0.05)
        except BaseException as e:
            replies.append(e)
        get_hub().destroy(destroy_loop=True)
        ended.release()

    start_new_thread(thread, ())
    # A real lock: the hub of this thread does not run meanwhile.
    assert ended.acquire(timeout=10)
    assert replies == [b"to %d" % number for number in range(200)]
    # And back again: the first thread goes on with it.
    req.send(b"home")
    assert rep.recv(timeout=5) == b"home"


def test_a_wait_in_one_thread_ends_by_a_send_in_another_whose_hub_stands_still(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    waiting = gevent.spawn(pull.recv)
    turns(3)
    start_new_thread(push.send, (b"x",))
    assert waiting.get(timeout=5) == b"x"


# ---- signal handlers ---------------------------------------------------------------------------------


class Alarm:
    """Calls a handler a thousand times a second, wherever the main thread is just then."""

    def __init__(self, handler, every=0.001):
        self.handler = handler
        self.every = every
        self.fired = 0
        self.errors = []

    def _handle(self, signum, frame):
        self.fired += 1
        try:
            self.handler()
        except BaseException as e:
            self.errors.append(e)

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self._handle)
        signal.setitimer(signal.ITIMER_REAL, self.every, self.every)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
        assert self.errors == [], self.errors[:3]


@transports
def test_a_signal_handler_may_send_and_receive_while_greenlets_do(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got, sent = [], []
    numbers = count()

    def read():
        while True:
            got.append(number_of(pull.recv_multipart()))

    def send():
        number = next(numbers)
        sent.append(number)
        push.send_multipart(numbered(number, 1 + number % 3), zmq.NOBLOCK)

    def handle():
        send()
        without_waiting(lambda: got.append(number_of(pull.recv_multipart(zmq.NOBLOCK))))
        send()
        pull.poll(0)
        assert push.events & zmq.POLLOUT

    with greenlets(*[read] * 5), Alarm(handle) as alarm:
        while alarm.fired < 300:
            number = next(numbers)
            sent.append(number)
            push.send_multipart(numbered(number, 1 + number % 3))
            if random.random() < 0.3:
                turns(1)
        until(lambda: len(got) >= len(sent))
    until(lambda: len(got) == len(sent))
    assert sorted(got) == sorted(sent)


@pytest.mark.skipif(
    not LOOP_IN_C,
    reason="gevent's loops that are written in Python break if a signal handler waits (gevent.sleep does it)",
)
@transports
def test_a_signal_handler_may_wait_in_the_library_while_the_greenlet_that_it_runs_on_does(
    sockets, ticker, transport
):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    rep, req = pair(sockets, zmq.REP, zmq.REQ, transport)
    idle, _ = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got, asked, in_vain = [], [], []
    inside = False

    def read():
        while True:
            got.append(number_of(pull.recv_multipart()))

    def serve():
        while True:
            rep.send(b"to " + rep.recv())

    def handle():
        nonlocal inside
        if getcurrent() is get_hub():
            # It may not wait there; and nobody is left waiting after it.
            with pytest.raises(BlockingSwitchOutError):
                idle.recv()
            in_vain.append(True)
        elif not inside and getcurrent() is not ticker._greenlet:
            inside = True
            try:
                question = b"%d" % len(asked)
                req.send(question)
                assert req.recv(timeout=5) == b"to " + question
                with pytest.raises(zmq.Again):
                    idle.recv(timeout=0.0001)
                asked.append(question)
            finally:
                inside = False

    total = 0
    with greenlets(serve, *[read] * 5):
        turns(2)  # they wait now: a handler that ran on the one that serves would wait for it in vain
        with Alarm(handle) as alarm:
            while (len(asked) < 100 or alarm.fired < 300) and not alarm.errors:
                for _ in range(random.randrange(20)):
                    push.send_multipart(numbered(total, 1 + total % 3))
                    total += 1
                    pull.poll(0)
                turns(random.randrange(3))
        until(lambda: len(got) == total and not inside)
    assert sorted(got) == list(range(total))
    assert idle.poll(0) == 0


def test_signals_that_only_interrupt_lose_and_delay_nothing(sockets, ticker):
    """Companions and libzmq's threads take no signals; system calls that one interrupts go on."""
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "tcp")
    with Alarm(lambda: None, 0.0002) as alarm:
        for number in range(2 * ROUNDS):
            waiting = gevent.spawn(pull.recv)
            turns(1)
            push.send(b"%d" % number)
            assert int(waiting.get(timeout=3)) == number
    assert alarm.fired > 50
