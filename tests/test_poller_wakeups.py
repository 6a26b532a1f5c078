"""Whoever polls several sockets is woken, whatever others do with any of them, in whatever thread; and
one of a thousand sockets costs a poll no more than it must."""

import random
import signal
import time

import gevent
import pytest
from crowd import (
    UNBOUNDED,
    a_moment,
    finish,
    greenlets,
    in_threads,
    number_of,
    numbered,
    poller_of,
    transports,
    turns,
    until,
)
from forks import FORKS, run_forking
from life import Outcome, waiting
from support import Stopwatch

import gzmqhelper as zmq

ROUNDS = 1200


def pairs(sockets, how_many, transport="inproc", kinds=(zmq.DEALER, zmq.DEALER)):
    made = [sockets.pair(*kinds, transport, UNBOUNDED, UNBOUNDED) for _ in range(how_many)]
    return [left for left, _ in made], [right for _, right in made]


def without_waiting(call, *args):
    try:
        return call(*args)
    except zmq.Again:
        return None


def set_something(sock):
    sock.linger = 0


# What one may do with a socket and not take a message from it.
USES = {
    "EVENTS": lambda sock: sock.events,
    "get": lambda sock: (sock.linger, sock.last_endpoint),
    "set": set_something,
    "poll": lambda sock: sock.poll(0),
    "poll a while": lambda sock: sock.poll(1, zmq.POLLOUT),
    "poll many": lambda sock: zmq.select([sock], [sock], [sock], 0),
    "send": lambda sock: sock.send(b"sent"),
    "send part by part": lambda sock: (sock.send(b"more", zmq.SNDMORE), sock.send(b"sent")),
    "bind": lambda sock: sock.bind(f"inproc://{random.randrange(10**12)}").__exit__(None, None, None),
}


@transports
@pytest.mark.parametrize("use", USES)
def test_one_that_polls_is_woken_whatever_another_greenlet_does_with_its_sockets(
    sockets, ticker, transport, use
):
    socks, peers = pairs(sockets, 3, transport)
    poller = poller_of(*socks)
    got = []

    def read():
        while True:
            for sock, _ in poller.poll():
                got.append(int(sock.recv()))  # with NOBLOCK, a bind that is inside would be an error

    def discard(peer):
        while True:
            peer.recv_multipart()

    with greenlets(read, *(lambda peer=peer: discard(peer) for peer in peers)):
        for number in range(ROUNDS // 8):
            if random.random() < 0.5:
                turns(2)  # else it may be about to wait
            index = random.randrange(3)
            peers[index].send(b"%d" % number)
            for _ in range(random.randrange(1, 3)):
                a_moment(40e-6)
                USES[use](socks[index])
            until(lambda number=number: len(got) > number)
    assert got == list(range(ROUNDS // 8))


def test_receivers_that_come_and_go_take_nothing_that_a_poll_should_see(sockets, ticker):
    socks, peers = pairs(sockets, 3, "inproc", (zmq.PULL, zmq.PUSH))
    poller = poller_of(*socks)
    got = []

    def read():
        while True:
            for sock, _ in poller.poll():
                if (message := without_waiting(sock.recv, zmq.NOBLOCK)) is not None:
                    got.append(int(message))

    def come_and_go():
        while True:
            receiver = gevent.spawn(lambda: got.append(int(random.choice(socks).recv())))
            try:
                turns(random.randrange(3))
            finally:
                receiver.kill()

    with greenlets(read, come_and_go):
        for number in range(ROUNDS // 2):
            random.choice(peers).send(b"%d" % number)
            a_moment(60e-6)
            until(lambda number=number: len(got) > number)
    assert got == list(range(ROUNDS // 2))


def test_several_who_poll_the_same_sockets_in_several_threads_miss_and_double_nothing(sockets):
    # (No ticker: with four threads that want the interpreter it would measure how they share that.)
    socks, peers = pairs(sockets, 4, "inproc", (zmq.PULL, zmq.PUSH))
    total = 3 * ROUNDS
    received = []

    def take():
        poller = poller_of(*random.sample(socks, len(socks)))
        while len(received) < total:
            for sock, events in poller.poll(None if random.random() < 0.9 else 1):
                assert events == zmq.POLLIN
                message = without_waiting(sock.recv_multipart, zmq.NOBLOCK)
                if message == [b"end"]:
                    return
                if message is not None:
                    received.append(number_of(message))

    def take_in_two_greenlets():
        finish([gevent.spawn(take), gevent.spawn(take)], seconds=40)

    def disturb():
        while len(received) < total:
            USES[random.choice(["EVENTS", "get", "set", "poll", "poll many"])](random.choice(socks))
            a_moment()
            if random.random() < 0.1:
                gevent.sleep(0)

    def give():
        for number in range(total):
            random.choice(peers).send_multipart(numbered(number, random.choice([1, 3])))
            if number % 20 == 0:
                limit = time.monotonic() + 10
                while len(received) < number - 40:  # else they would never have to wait
                    assert time.monotonic() < limit, f"missed: {len(received)} of {number}"
                    gevent.sleep(0.001)
        limit = time.monotonic() + 10
        while len(received) < total:
            assert time.monotonic() < limit, f"missed: {len(received)} of {total}"
            gevent.sleep(0.001)
        for _ in range(3):
            for peer in peers:
                peer.send(b"end")

    in_threads(take_in_two_greenlets, take_in_two_greenlets, disturb, give, seconds=40)
    assert sorted(received) == list(range(total))


def test_polls_that_are_left_early_in_every_way_lose_nothing(sockets, ticker):
    socks, peers = pairs(sockets, 3, "inproc", (zmq.PULL, zmq.PUSH))
    poller = poller_of(*socks)
    got = []

    def take(timeout):
        for sock, _ in poller.poll(timeout):
            if (message := without_waiting(sock.recv, zmq.NOBLOCK)) is not None:
                got.append(int(message))

    for number in range(ROUNDS // 4):
        takers = [gevent.spawn(take, random.choice([None, 1, 5])) for _ in range(3)]
        turns(random.randrange(3))
        random.choice(peers).send(b"%d" % number)
        a_moment()
        random.choice(takers).kill()
        with gevent.Timeout(0.001 + random.random() * 0.002, False):
            take(None)
        gevent.killall(takers)
    with gevent.Timeout(5):
        while len(got) < ROUNDS // 4:
            take(1000)
    assert got == list(range(ROUNDS // 4))


def test_sockets_are_closed_and_made_anew_while_others_poll_them(sockets, ticker):
    kept, peer = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", UNBOUNDED, UNBOUNDED)
    closed = 0

    def poll():
        nonlocal closed
        while True:
            mortal = sockets(zmq.PULL)
            gevent.spawn_later(0.001 + random.random() * 0.003, mortal.close)
            try:
                for sock, _ in poller_of(mortal, kept).poll():
                    assert sock is kept
                    without_waiting(sock.recv, zmq.NOBLOCK)
            except zmq.ZMQError as e:
                assert e.errno == zmq.ENOTSOCK
                closed += 1

    with greenlets(*[poll] * 8):
        for _ in range(100):
            peer.send(b"x")
            gevent.sleep(0.002)
        until(lambda: closed > 50)
        until(lambda: kept.poll(0) == 0)


@pytest.mark.parametrize("wake", [0, 500, 999])
def test_a_poll_of_a_thousand_sockets_is_woken_by_one(sockets, ticker, wake):
    socks = []
    while len(socks) < 1000:
        socks += [sockets(zmq.PULL) for _ in range(100)]
        gevent.sleep(0.001)
    push = sockets(zmq.PUSH)
    socks[wake].bind("inproc://one-of-a-thousand")
    push.connect("inproc://one-of-a-thousand")
    poller = poller_of(*socks)
    for _ in range(5):
        polling = waiting(poller.poll)
        with Stopwatch() as watch:
            push.send(b"x")
            assert polling.join().result == [(socks[wake], zmq.POLLIN)]
        assert watch.soon
        socks[wake].recv()
    polling = waiting(poller.poll)
    socks[-1].close()
    assert polling.join().error.errno == zmq.ENOTSOCK


def test_the_cost_of_a_poll_grows_with_its_sockets_and_not_faster(sockets):
    def seconds(how_many):
        poller = poller_of(*(sockets(zmq.PULL) for _ in range(how_many)))
        poller.poll(1)
        best = 1.0
        for _ in range(5):
            began = time.process_time()
            poller.poll(1)
            best = min(best, time.process_time() - began)
        return best

    few, many = seconds(100), seconds(800)
    assert many < few * 8 * 4 + 0.002, f"{few * 1000:.2f} ms for 100, {many * 1000:.2f} ms for 800"


@pytest.mark.parametrize("parts", [1, 3])
def test_in_a_flood_whatever_is_left_to_receive_is_seen(sockets, parts):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", UNBOUNDED, UNBOUNDED)
    poller = poller_of(sockets(zmq.PULL), pull)
    for number in range(500):
        push.send_multipart(numbered(number, parts))
    for number in range(500):
        if number % 37 == 0:
            polling = Outcome(poller.poll)
            assert polling.join().result == [(pull, zmq.POLLIN)]
            assert poller.poll(0) == [(pull, zmq.POLLIN)]
        assert number_of(pull.recv_multipart()) == number
    assert poller.poll(0) == []
    polling = waiting(poller.poll)
    push.send(b"x")
    assert polling.join().result == [(pull, zmq.POLLIN)]


def test_what_one_thread_left_of_a_flood_is_seen_by_a_poll_in_another(sockets):
    for many in (1, 7, 40, 99):
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", UNBOUNDED, UNBOUNDED)
        for number in range(100):
            push.send(b"%d" % number)
        assert [int(pull.recv()) for _ in range(many)] == list(range(many))

        def take(pull=pull, many=many):
            poller = poller_of(pull, sockets(zmq.PULL))
            for number in range(many, 100):
                assert poller.poll(5000) == [(pull, zmq.POLLIN)]
                assert int(pull.recv(zmq.NOBLOCK)) == number
            assert poller.poll(0) == []

        in_threads(take)


def test_a_signal_handler_may_poll_while_its_greenlet_does(sockets, ticker):
    socks, peers = pairs(sockets, 2)
    seen = []

    def on_signal(*_):
        gevent.spawn(lambda: seen.append(poller_of(*socks).poll(10)))
        seen.append(poller_of(*socks).poll(0))

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        polling = waiting(poller_of(*socks).poll)
        signal.raise_signal(signal.SIGUSR1)
        until(lambda: len(seen) == 2)
        peers[1].send(b"x")
        assert polling.join().result == [(socks[1], zmq.POLLIN)]
        assert seen == [[], []]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_poll_that_is_told_by_a_message_that_another_took_waits_on(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    polling = [waiting(poller_of(pull, sockets(zmq.PULL)).poll, timeout) for timeout in (None, 20_000)]
    for _ in range(200):
        push.send(b"x")
        assert pull.recv() == b"x"
        if random.random() < 0.2:
            turns(2)
    turns(5)
    assert [one.result for one in polling] == [None, None]
    push.send(b"x")
    for one in polling:
        assert one.join().result == [(pull, zmq.POLLIN)]


@pytest.mark.parametrize("fork", FORKS)
def test_a_forked_child_has_pollers_of_its_own_and_an_error_for_its_parents(fork):
    run_forking(
        fork,
        """
        def use():
            with zmq.Context() as context:
                a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
                a.bind("inproc://x")
                b.connect("inproc://x")
                poller = zmq.Poller()
                poller.register(a, zmq.POLLIN)
                poller.register(b, zmq.POLLIN)
                polling = waiting(poller.poll)
                a.send(b"x")
                assert polling.join().result == [(b, zmq.POLLIN)]
                a.close(0)
                b.close(0)

        context = zmq.Context()
        pull, push, other = context.socket(zmq.PULL), context.socket(zmq.PUSH), context.socket(zmq.PULL)
        pull.bind("inproc://x")
        push.connect("inproc://x")
        r, w = os.pipe()
        sockets, mixed, raw = zmq.Poller(), zmq.Poller(), zmq.Poller()
        for poller in (sockets, mixed):
            poller.register(other, zmq.POLLIN)
            poller.register(pull, zmq.POLLIN)
        for poller in (mixed, raw):
            poller.register(r, zmq.POLLIN)
        polling = [waiting(poller.poll) for poller in (sockets, mixed)]

        def work():
            for poller in (sockets, mixed):
                is_refused_in_child(poller.poll, 0)
                is_refused_in_child(poller.poll)
            assert raw.poll(10) == []
            use()

        wait_for(in_child(work))
        assert [one.result for one in polling] == [None, None]
        push.send(b"x")
        for one in polling:
            assert one.join().result == [(pull, zmq.POLLIN)]
        for one in (pull, push, other):
            one.close(0)
        context.term()
        """,
    )


def test_a_poll_waits_while_its_greenlet_has_a_helper_and_without(sockets, ticker):
    socks, peers = pairs(sockets, 2)

    def poll():
        with zmq.helper() as mine:
            number = mine.number
            result = poller_of(*socks).poll(1000)
            return number == mine.number, result

    polling = waiting(poll)
    peers[0].send(b"x")
    assert polling.join().result == (True, [(socks[0], zmq.POLLIN)])
    assert Outcome(poller_of(*socks).poll).join().result == [(socks[0], zmq.POLLIN)]
