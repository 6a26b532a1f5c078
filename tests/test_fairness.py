"""Floods: calls that never have to wait still let every other greenlet run, and share what they take."""

import random
import time

import gevent
import pytest
from crowd import UNBOUNDED, finish, greenlets, numbered, threads, transports, turns
from support import Ticker, wait_until

import gzmqhelper as zmq

FOR = 0.4  # seconds that a flood lasts
GAP = 0.03


@pytest.fixture
def quick_ticker(ticker):
    """The ticker, held to 30 ms."""
    yield ticker
    ticker.check(GAP)


def pair(sockets, left=zmq.PULL, right=zmq.PUSH, transport="inproc"):
    return sockets.pair(left, right, transport, UNBOUNDED, UNBOUNDED)


def loop(call, seconds=FOR):
    """Make the call for so long; how often it was made."""

    def run():
        count = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            call()
            count += 1
        return count

    return run


def flood(call, greenlets=1):
    counts = finish([gevent.spawn(loop(call)) for _ in range(greenlets)])
    assert min(counts) > 0, counts
    return counts


five_or_one = pytest.mark.parametrize("greenlets", [1, 5])


# ---- calls that never wait ---------------------------------------------------------------------------

SENDS = {
    "send": lambda sock: sock.send(b"x"),
    "send a Frame": lambda sock: sock.send(zmq.Frame(b"x")),
    "send_multipart": lambda sock: sock.send_multipart([b"x", b"y"]),
    "send with a timeout": lambda sock: sock.send(b"x", timeout=1),
    "part by part": lambda sock: (sock.send(b"x", zmq.SNDMORE), sock.send(b"y")),
}
RECEIVES = {
    "recv": lambda sock: sock.recv(),
    "recv a Frame": lambda sock: sock.recv(copy=False),
    "recv_multipart": lambda sock: sock.recv_multipart(),
    "recv with a timeout": lambda sock: sock.recv(timeout=1),
    "part by part": lambda sock: sock.recv(),
}


@five_or_one
@pytest.mark.parametrize("how", SENDS)
def test_the_hub_turns_in_a_flood_of_sends(sockets, quick_ticker, how, greenlets):
    _, push = pair(sockets)
    flood(lambda: SENDS[how](push), greenlets)


@five_or_one
@pytest.mark.parametrize("how", RECEIVES)
def test_the_hub_turns_in_a_flood_of_messages(sockets, quick_ticker, how, greenlets):
    pull, push = pair(sockets)
    for _ in range(60_000):
        push.send_multipart([b"x", b"y"] if how == "part by part" else [b"x"])
    for _ in range(greenlets):
        push.send(b"end")

    def receive():
        while RECEIVES[how](pull) not in (b"end", [b"end"]):
            pass

    finish([gevent.spawn(receive) for _ in range(greenlets)])


@five_or_one
def test_the_hub_turns_in_a_flood_of_polls(sockets, quick_ticker, greenlets):
    pull, push = pair(sockets)
    push.send(b"x")
    assert pull.poll(1000) == zmq.POLLIN
    flood(lambda: pull.poll(1000), greenlets)


@five_or_one
def test_the_hub_turns_while_greenlets_send_to_each_other(sockets, quick_ticker, greenlets):
    """Each message is there at once; there is never anything to wait for."""
    left, right = pair(sockets, zmq.DEALER, zmq.DEALER)
    for _ in range(100):
        left.send(b"x")
        right.send(b"x")

    def exchange():
        right.send(left.recv())
        left.send(right.recv())

    flood(exchange, greenlets)


def test_the_hub_turns_when_floods_of_all_kinds_meet_on_sockets_of_all_kinds(sockets, quick_ticker):
    pairs = [
        pair(sockets, *kinds, transport)
        for kinds in [(zmq.PULL, zmq.PUSH), (zmq.DEALER, zmq.DEALER), (zmq.PAIR, zmq.PAIR)]
        for transport in ("inproc", "tcp")
    ]

    def move(reader, writer):
        for _ in range(random.randrange(1, 30)):
            writer.send_multipart(numbered(1, 3))
        reader.poll(0)
        reader.poll(10)
        reader.recv_multipart(timeout=5)

    calls = [loop(lambda both=both: move(*both)) for both in pairs]
    assert min(finish([gevent.spawn(call) for call in calls * 2])) > 0


def test_the_hub_turns_when_one_short_flood_begins_the_next(sockets, quick_ticker):
    """Each ends before its time is up; gevent would start them all without looking at a descriptor."""
    pull, push = pair(sockets)
    push.send(b"x")
    assert pull.poll(1000)
    links = []

    def link():
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end:
            pull.poll()
        links.append(1)
        if len(links) < 100:
            gevent.spawn(link)

    gevent.spawn(link)
    assert wait_until(lambda: len(links) == 100)


def test_the_hub_turns_when_a_hundred_short_floods_begin_together(sockets, quick_ticker):
    pull, push = pair(sockets)
    push.send(b"x")
    assert pull.poll(1000)
    finish([gevent.spawn(loop(pull.poll, 0.004)) for _ in range(100)])


def test_the_hub_turns_beside_a_greenlet_that_only_sleeps_for_no_time(sockets, quick_ticker):
    pull, push = pair(sockets)
    push.send(b"x")
    assert pull.poll(1000)

    def sleep():
        while True:
            gevent.sleep(0)

    with greenlets(sleep, sleep):
        flood(pull.poll, 3)


def test_a_flood_lets_other_sockets_wait_and_wake_as_usual(sockets, quick_ticker):
    pull, push = pair(sockets)
    other, peer = pair(sockets, zmq.REP, zmq.REQ, "tcp")
    push.send(b"x")
    assert pull.poll(1000)

    def serve():
        while True:
            other.send(other.recv())

    def ask():
        peer.send(b"x")
        peer.recv()

    with greenlets(loop(pull.poll, 10), serve):
        assert flood(ask)[0] > 10


# ---- NOBLOCK -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda sock, peer: sock.send(b"x", zmq.NOBLOCK),
        lambda sock, peer: sock.send_multipart([b"x", b"y"], zmq.NOBLOCK),
        lambda sock, peer: sock.send(b"x", timeout=0),
        lambda sock, peer: (sock.send(b"x", zmq.SNDMORE | zmq.NOBLOCK), sock.send(b"x", zmq.NOBLOCK)),
        lambda sock, peer: peer.recv(zmq.NOBLOCK),
        lambda sock, peer: peer.recv_multipart(zmq.NOBLOCK, copy=False),
        lambda sock, peer: peer.recv(timeout=0),
        lambda sock, peer: peer.poll(0),
        lambda sock, peer: sock.poll(0, zmq.POLLOUT),
        lambda sock, peer: sock.events,
    ],
    ids=[
        "send",
        "multipart",
        "timeout=0",
        "parts",
        "recv",
        "frames",
        "recv timeout=0",
        "poll",
        "out",
        "EVENTS",
    ],
)
@pytest.mark.parametrize("full", [True, False], ids=["full", "empty"])
def test_noblock_never_yields(sockets, call, full):
    peer, sock = sockets.pair(zmq.DEALER, zmq.DEALER, "inproc", {}, {})
    sock.set_hwm(0)
    ran = []
    if full:
        for _ in range(500):
            sock.send(b"x")
    other = gevent.spawn(ran.append, True)
    end = time.perf_counter() + 0.03
    while time.perf_counter() < end:
        try:
            call(sock, peer)
        except zmq.Again:
            pass
    assert not ran
    other.join()


def test_sndtimeo_and_rcvtimeo_of_nothing_never_yield(sockets):
    left, right = pair(sockets, zmq.DEALER, zmq.DEALER)
    left.sndtimeo = right.rcvtimeo = 0
    ran = []
    other = gevent.spawn(ran.append, True)
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        left.send(b"x")
        right.recv()
    assert not ran
    other.join()


# ---- shares ------------------------------------------------------------------------------------------


@transports
def test_ten_greenlets_share_a_socket_that_is_never_empty(sockets, quick_ticker, transport):
    pull, push = pair(sockets, transport=transport)

    def keep_it_filled():
        while True:
            for _ in range(200):
                push.send(b"x")
            turns(1)

    with greenlets(keep_it_filled):
        shares = flood(pull.recv, 10)
    assert max(shares) <= 3 * min(shares), shares


def test_ten_senders_share_a_socket_that_always_has_room(sockets, quick_ticker):
    _, push = pair(sockets)
    shares = flood(lambda: push.send(b"x"), 10)
    # Who of those that let the hub turn goes on first, and how often, is the event loop's to say.
    assert max(shares) <= 10 * min(shares), shares


def test_a_greedy_receiver_leaves_the_waiting_ones_their_share(sockets, quick_ticker):
    """Nine wait each time; the tenth never stops asking, and often finds a message there."""
    pull, push = pair(sockets)
    shares = [0] * 10
    total = 20_000

    def receive(who):
        while True:
            pull.recv()
            shares[who] += 1

    with greenlets(*[lambda who=who: receive(who) for who in range(9)]) as group:
        turns(2)
        group.append(gevent.spawn(receive, 9))
        for number in range(total):
            push.send(b"x")
            if number % 40 == 39:
                turns(1)
        assert wait_until(lambda: sum(shares) == total)
    assert max(shares) <= 3 * min(shares), shares


@pytest.mark.parametrize("count", [10, 100])
def test_many_that_waited_for_a_long_burst_share_it_and_are_not_woken_for_every_third_message(
    sockets, quick_ticker, count
):
    pull, push = pair(sockets)
    shares = [0] * count
    order = []

    def receive(who):
        while True:
            pull.recv()
            shares[who] += 1
            if order[-1:] != [who]:
                order.append(who)

    with greenlets(*[lambda who=who: receive(who) for who in range(count)]):
        turns(2)
        total = 200 * count
        push.send_many([b"x"] * total)
        assert wait_until(lambda: sum(shares) == total)
    assert max(shares) <= 3 * min(shares), shares
    assert len(order) < total / 4


def test_one_that_asks_with_noblock_all_the_time_does_not_starve_those_who_wait(sockets, quick_ticker):
    pull, push = pair(sockets)
    shares = [0, 0, 0]
    total = 5000

    def receive(who):
        while True:
            pull.recv()
            shares[who] += 1

    def snatch():
        while True:
            try:
                pull.recv(zmq.NOBLOCK)
                shares[0] += 1
            except zmq.Again:
                turns(1)

    with greenlets(snatch, lambda: receive(1), lambda: receive(2)):
        turns(2)
        for number in range(total):
            push.send(b"x")
            if number % 5 == 4:
                turns(1)
        assert wait_until(lambda: sum(shares) == total)
    assert min(shares[1:]) > total / 10, shares


def test_floods_in_two_hubs_do_not_stop_either(sockets, quick_ticker):
    pull, push = pair(sockets)
    push.send(b"x")
    assert pull.poll(1000)

    def thread():
        with Ticker() as its_own:
            count = loop(pull.poll)()
        return count, its_own.ticks

    with threads(thread) as (other,):
        flood(pull.poll)
        count, ticks = other.get(timeout=10)
    assert count > 0
    assert ticks > 5
