"""Sending: waiting at the high-water mark, waiting only so long, and part by part."""

import contextlib
import gc
import os
import random
import sys
import time
from weakref import ref

import gevent
import pytest
from crowd import (
    FILLING,
    NARROW_BUFFERS,
    a_moment,
    drain,
    finish,
    greenlets,
    in_threads,
    number_of,
    numbered,
    transports,
    until,
)
from life import waits
from support import Stopwatch, nobody_else_runs, wait_until

import gzmqhelper as zmq
from gzmqhelper import _messages


def narrow_pair(sockets, left, right, transport, hwm=2, **right_options):
    """The right one sends, and reaches its high-water mark after a few kilobytes."""
    narrow = {"sndhwm": hwm, "rcvhwm": hwm, **NARROW_BUFFERS}
    a, b = sockets.pair(left, right, transport, narrow, {**narrow, **right_options})
    return a, b


def fill(sock, message=(b"filling", FILLING)):
    """Send until the high-water mark is reached; how many were sent.

    With tcp a little more may go later, when the system has looked at its buffers again.
    """
    sent = 0
    while True:
        try:
            sock.send_multipart(message, timeout=0.05)
            sent += 1
        except zmq.Again:
            return sent


# ---- ten greenlets at the high-water mark -----------------------------------------------------------


@transports
@pytest.mark.parametrize("hwm", [1, 5])
@pytest.mark.parametrize("kinds", [(zmq.PULL, zmq.PUSH), (zmq.ROUTER, zmq.DEALER)], ids=["push", "dealer"])
def test_ten_senders_at_the_high_water_mark_tear_nothing_and_keep_their_order(
    sockets, ticker, kinds, hwm, transport
):
    reader, writer = narrow_pair(sockets, *kinds, transport, hwm)
    each = 60
    waits = []

    def send(who):
        for number in range(each):
            waits.append(writer.poll(0, zmq.POLLOUT) == 0)
            writer.send_multipart([b"%d" % who, *numbered(number, 1 + number % 5), FILLING])

    with greenlets(*[lambda who=who: send(who) for who in range(10)]) as senders:
        arrived = []
        while len(arrived) < 10 * each:
            arrived.append(reader.recv_multipart(timeout=2)[-(len(kinds) + 5) :])
            if len(arrived) % 5 == 0:
                gevent.sleep(0.001)
        finish(senders)
    assert drain(reader, 0.02) == []
    assert sum(waits) > 100
    if reader.type == zmq.ROUTER:
        arrived = [message[1:] if len(message[0]) == 5 else message for message in arrived]
    for who in range(10):
        mine = [message for message in arrived if message[0] == b"%d" % who]
        assert [number_of(message[1:-1]) for message in mine] == list(range(each))
        assert all(message[-1] == FILLING for message in mine)


@transports
def test_senders_at_the_high_water_mark_get_their_turn_in_the_order_in_which_they_came(
    sockets, ticker, transport
):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, transport)
    before = fill(push)
    waiting = []
    for number in range(50):
        waiting.append(gevent.spawn(push.send_multipart, [b"%d" % number, FILLING]))
        until(lambda: waits(waiting[-1]))
    arrived = [pull.recv_multipart(timeout=2) for _ in range(before + 50)]
    assert [int(number) for number, _ in arrived[before:]] == list(range(50))
    finish(waiting)


def test_a_router_that_must_deliver_waits_for_a_slow_peer(sockets, ticker):
    router, dealer = narrow_pair(sockets, zmq.ROUTER, zmq.DEALER, "tcp")
    router.router_mandatory = 1
    dealer.send(b"here")
    peer, _ = router.recv_multipart(timeout=2)

    def send(who):
        for number in range(50):
            router.send_multipart([peer, b"%d" % who, *numbered(number, 3), FILLING])

    with greenlets(*[lambda who=who: send(who) for who in range(5)]) as senders:
        arrived = []
        while len(arrived) < 250:
            arrived.append(dealer.recv_multipart(timeout=2))
            if len(arrived) % 5 == 0:
                gevent.sleep(0.001)
        finish(senders)
    for who in range(5):
        mine = [number_of(m[1:-1]) for m in arrived if m[0] == b"%d" % who]
        assert mine == list(range(50))


# ---- only so long ------------------------------------------------------------------------------------


WAYS = {
    "send": lambda sock, **how: sock.send(FILLING, **how),
    "send_multipart": lambda sock, **how: sock.send_multipart([b"a", FILLING], **how),
    "send without a copy": lambda sock, **how: sock.send(FILLING, copy=False, **how),
    "send_string": lambda sock, **how: sock.send_string("a" * 1000, **how),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
def test_timeout_and_sndtimeo_and_gevents_timeout_are_kept(sockets, ticker, way):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    sent = fill(push)
    for seconds in (0.02, 0.15):
        with Stopwatch() as watch, pytest.raises(zmq.Again) as caught:
            way(push, timeout=seconds)
        watch.check(seconds)
        assert caught.value.errno == zmq.EAGAIN
    with Stopwatch() as watch, pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        way(push)
    watch.check(0.1)
    with Stopwatch() as watch:
        assert push.poll(100, zmq.POLLOUT) == 0
    watch.check(0.1)
    push.sndtimeo = 100
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        way(push)
    watch.check(0.1)
    push.sndtimeo = 5000
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        way(push, timeout=0.1)
    watch.check(0.1)
    push.sndtimeo = 0
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        way(push, timeout=0.1)
    watch.check(0.1)
    for how in ({}, {"timeout": 0}, {"flags": zmq.NOBLOCK}, {"flags": zmq.NOBLOCK, "timeout": 5}):
        with nobody_else_runs(), pytest.raises(zmq.Again):
            way(push, **how)
    assert drain(pull) == [[b"filling", FILLING]] * sent


def test_a_part_by_part_send_waits_only_so_long(sockets, ticker):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    sent = fill(push)
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        push.send(b"a", zmq.SNDMORE, timeout=0.1)
    watch.check(0.1)
    push.sndtimeo = 100
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        push.send(b"a", zmq.SNDMORE)
    watch.check(0.1)
    with nobody_else_runs(), pytest.raises(zmq.Again):
        push.send(b"a", zmq.SNDMORE | zmq.NOBLOCK)
    assert drain(pull) == [[b"filling", FILLING]] * sent
    push.send(b"b")
    assert pull.recv_multipart(timeout=2) == [b"b"]


HASTY = {
    "noblock": lambda sock, parts: sock.send_multipart(parts, zmq.NOBLOCK),
    "timeout": lambda sock, parts: sock.send_multipart(parts, timeout=random.random() * 0.0015),
    "one part": lambda sock, parts: sock.send(b"|".join(parts), timeout=random.random() * 0.0015),
    "sndtimeo": lambda sock, parts: sock.send_multipart(parts),
}


@transports
@pytest.mark.parametrize("how", HASTY)
def test_what_raised_again_never_arrives_and_everything_else_does(sockets, ticker, transport, how):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, transport, sndtimeo=1)
    rounds = 2500
    sent = [[] for _ in range(4)]
    ended = []

    def send(who):
        for number in range(rounds // 4):
            try:
                HASTY[how](push, [b"%d" % who, b"%d" % number, FILLING])
            except zmq.Again:
                gevent.sleep(random.choice([0, 0.0005]))
            else:
                sent[who].append(number)
            a_moment(20e-6)
        ended.append(who)

    arrived = [[] for _ in range(4)]

    def note(message):
        who, number, filling = b"|".join(message).split(b"|")
        assert filling == FILLING
        arrived[int(who)].append(int(number))

    with greenlets(*[lambda who=who: send(who) for who in range(4)]):
        while len(ended) < 4:
            for _ in range(random.randrange(4)):
                if pull.poll(0):
                    note(pull.recv_multipart())
            gevent.sleep(random.choice([0, 0, 0.0005]))
        for message in drain(pull):
            note(message)
    assert arrived == sent
    went = sum(map(len, sent))
    assert 50 < went < rounds - 50, f"{went} of {rounds}"


# ---- part by part ------------------------------------------------------------------------------------


def send_part_by_part(sock, parts, pause):
    for part in parts[:-1]:
        sock.send(part, zmq.SNDMORE)
        pause()
    sock.send(parts[-1])


def now_and_then():
    if random.random() < 0.5:
        gevent.sleep(0)


@transports
def test_ten_greenlets_send_part_by_part_and_each_message_arrives_whole(sockets, ticker, transport):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, transport)
    each = 60

    def send(who):
        for number in range(each):
            message = [b"%d" % who, *numbered(number, 1 + number % 4)]
            if number % 5 == 4:
                push.send_multipart(message)
            elif number % 5 == 3:
                push.send_multipart(message[:-1], zmq.SNDMORE)
                now_and_then()
                push.send(message[-1])
            else:
                send_part_by_part(push, message, now_and_then)

    with greenlets(*[lambda who=who: send(who) for who in range(10)]) as senders:
        arrived = [pull.recv_multipart(timeout=2) for _ in range(10 * each)]
        finish(senders)
    assert drain(pull, 0.02) == []
    for who in range(10):
        mine = [number_of(message[1:]) for message in arrived if int(message[0]) == who]
        assert mine == list(range(each))


@transports
def test_a_greenlet_that_dies_before_the_last_part_has_sent_nothing(sockets, ticker, transport):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, transport)

    def begin():
        push.send(b"torn", zmq.SNDMORE)
        push.send(b"torn", zmq.SNDMORE)
        gevent.sleep(10)

    def die():
        push.send(b"torn", zmq.SNDMORE)

    for number in range(1000):
        victim = gevent.spawn(random.choice([begin, die]))
        gevent.sleep(0)
        send_part_by_part(push, numbered(number, 3), now_and_then)
        victim.kill()
        assert number_of(pull.recv_multipart(timeout=2)) == number
    assert drain(pull, 0.02) == []


def test_a_socket_forgets_who_died_in_the_middle_of_a_message(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    push.send_multipart([b"1", b"2"])

    def begin():
        assert pull.recv(timeout=2) == b"1"
        push.send(b"1", zmq.SNDMORE)

    gevent.spawn(begin).get()
    gevent.sleep(0)  # gevent's local forgets it in a callback
    gc.collect()
    # As long as anybody is in there, each receive and each send takes a longer way.
    assert not any((pull._unread, pull._unsent, push._unread, push._unsent))


def test_parts_go_at_once_with_a_socket_that_is_dropped_in_the_middle_of_a_message(sockets):
    """And not with the next garbage collection, which may be far: a message may have any size."""
    one, other = sockets.context.socket(zmq.PAIR), sockets(zmq.PAIR)
    one.bind("inproc://dropped")
    other.connect("inproc://dropped")
    other.send_multipart([b"1", b"2"])
    assert one.recv(copy=False, timeout=2).more
    [received] = next(iter(one._unread.values()))
    given = zmq.Frame(b"1")
    one.send(given, zmq.SNDMORE)
    [begun] = next(iter(one._unsent.values()))
    parts = [ref(received), ref(begun)]
    del received, begun
    gc.collect()
    gc.disable()
    try:
        with pytest.warns(ResourceWarning):
            del one
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("event", range(60))
def test_an_exception_from_a_signal_handler_takes_no_part_that_was_given_before(pair, event):
    left, right = pair
    events = []

    def handler(frame, *_):
        if frame.f_code.co_filename.startswith(os.path.dirname(zmq.__file__)):
            events.append(frame)
            if len(events) == event + 1:
                raise KeyboardInterrupt

    left.send(b"1", zmq.SNDMORE)
    left.send(b"2", zmq.SNDMORE)
    gc.disable()  # of what it collects, a finalizer would swallow the exception
    sys.setprofile(handler)  # it comes where a signal may
    try:
        with contextlib.suppress(KeyboardInterrupt):
            left.send(b"3", zmq.SNDMORE)
    finally:
        sys.setprofile(None)
        gc.enable()
    left.send(b"end")
    assert right.recv_multipart() in ([b"1", b"2", b"end"], [b"1", b"2", b"3", b"end"])


def test_the_first_part_of_one_that_has_no_time_lets_nobody_run(pair, monkeypatch):
    left, right = pair
    turns = []
    monkeypatch.setattr(_messages, "turn", lambda: turns.append(1))
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        left.send(b"1", zmq.SNDMORE, timeout=0)
        left.send(b"2", zmq.NOBLOCK)
        assert right.recv_multipart(zmq.NOBLOCK) == [b"1", b"2"]
    assert turns == []
    with pytest.raises(TypeError, match="timeout"):
        left.send(b"1", zmq.SNDMORE, timeout="soon")


def test_a_part_stays_what_it_was_when_it_was_given(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    part = bytearray(b"before")
    push.send(part, zmq.SNDMORE)
    part[:] = b"later!"
    push.send(b"last")
    assert pull.recv_multipart(timeout=2) == [b"before", b"last"]


# ---- OS threads --------------------------------------------------------------------------------------


@transports
@pytest.mark.parametrize("how", ["whole", "part by part"])
def test_four_threads_with_greenlets_of_their_own_send_on_one_socket(sockets, ticker, transport, how):
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, transport, hwm=5)
    each = 100

    def send_as(who):
        for number in range(each):
            message = [b"%d" % who, *numbered(number, 1 + number % 3)]
            if how == "whole":
                push.send_multipart(message)
            else:
                send_part_by_part(push, message, now_and_then)

    def thread(first):
        finish([gevent.spawn(send_as, who) for who in range(first, first + 3)])

    def read():
        arrived = [pull.recv_multipart(timeout=5) for _ in range(12 * each)]
        return arrived + drain(pull, 0.02)

    *_, arrived = in_threads(*[lambda n=n: thread(3 * n) for n in range(4)], read)
    assert len(arrived) == 12 * each
    for who in range(12):
        mine = [number_of(message[1:]) for message in arrived if int(message[0]) == who]
        assert mine == list(range(each))


def test_a_socket_that_cannot_send_says_so_even_while_another_is_inside_it(sockets, ticker):
    """A call that finds an owner queues, and is then tried whether or not libzmq says POLLOUT."""
    pull = sockets(zmq.PULL)
    stop = []

    def bind_and_unbind():
        while not stop:
            with pull.bind("tcp://127.0.0.1:*"):
                pass

    def send_and_poll():
        for _ in range(300):
            with pytest.raises(zmq.ZMQError) as caught:
                pull.send(b"x", timeout=2)
            assert caught.value.errno == zmq.ENOTSUP
            gevent.sleep(0)

    with greenlets(bind_and_unbind, pull.recv):
        finish([gevent.spawn(send_and_poll) for _ in range(3)])
        stop.append(True)
        gevent.sleep(0.01)


def test_a_socket_that_cannot_receive_says_so_even_while_senders_wait_on_it(sockets, ticker):
    push = sockets(zmq.PUSH)
    stop = []

    def bind_and_unbind():
        while not stop:
            with push.bind("tcp://127.0.0.1:*"):
                pass

    def receive():
        for _ in range(300):
            with pytest.raises(zmq.ZMQError) as caught:
                push.recv(timeout=2)
            assert caught.value.errno == zmq.ENOTSUP
            gevent.sleep(0)

    with greenlets(bind_and_unbind, lambda: push.send(b"x")):
        finish([gevent.spawn(receive) for _ in range(3)])
        stop.append(True)
        gevent.sleep(0.01)


def test_all_that_was_sent_in_any_way_is_counted_once(sockets, ticker):
    """Waiting sends, hasty ones, and ones part by part, on one socket at its high-water mark."""
    pull, push = narrow_pair(sockets, zmq.PULL, zmq.PUSH, "tcp")
    sent = []

    def send(who):
        for number in range(60):
            message = [b"%d" % who, *numbered(number, 2)]
            try:
                if who % 3 == 0:
                    push.send_multipart(message)
                elif who % 3 == 1:
                    push.send_multipart(message, timeout=0.001)
                else:
                    send_part_by_part(push, message, now_and_then)
            except zmq.Again:
                continue
            sent.append((who, number))

    with greenlets(*[lambda who=who: send(who) for who in range(9)]) as senders:
        arrived = []
        while not all(sender.ready() for sender in senders):
            arrived += drain(pull, 0.01)
            gevent.sleep(0.001)
        finish(senders)
        arrived += drain(pull)
    assert sorted((int(m[0]), number_of(m[1:])) for m in arrived) == sorted(sent)
    assert wait_until(lambda: push.poll(0, zmq.POLLOUT) == zmq.POLLOUT)


def test_what_a_first_try_says_is_not_asked_again(sockets, monkeypatch):
    """Neither a send that is refused nor one that need not wait makes a message for a second try."""
    monkeypatch.setattr(_messages, "message_of", None)
    alone = sockets(zmq.PUSH)
    sender = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")[1]
    for way in (
        lambda sock, **how: sock.send(b"x", **how),
        lambda sock, **how: sock.send_multipart([b"x"], **how),
    ):
        for how in ({"flags": zmq.NOBLOCK}, {"timeout": 0}):
            with pytest.raises(zmq.Again):
                way(alone, **how)
        way(sender, timeout=5)
        way(sender, flags=zmq.NOBLOCK)
    with pytest.raises(zmq.ZMQError) as caught:
        sockets(zmq.REP).send(b"out of turn")
    assert caught.value.errno == zmq.EFSM


ODD = [None, bytearray(b"odd"), memoryview(b"odd"), zmq.Frame(b"odd"), bytes(100_000)]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("count", range(1, 6))
def test_as_many_parts_arrive_as_were_sent_wherever_the_odd_one_is(pair, count, odd):
    left, right = pair
    for place in range(count):
        parts = [b"%d" % number * number for number in range(count)]
        if odd is not None:
            parts[place] = odd
        for flags in (0, zmq.NOBLOCK):
            assert left.send_multipart(parts, flags) is None
            assert right.recv_multipart() == [bytes(part) for part in parts]
        assert left.send_multipart(tuple(parts)) is None
        assert right.recv_multipart() == [bytes(part) for part in parts]


def test_a_message_of_a_few_parts_yields_and_waits_and_loses_nothing(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", {"rcvhwm": 1}, {"sndhwm": 1})
    sent = [[b"%d" % number] * (1 + number % 4) for number in range(5000)]

    def send():
        for message in sent:
            push.send_multipart(message)
        while True:  # and nobody takes these: it waits
            push.send_multipart([b"last", bytes(100_000)])

    with greenlets(send):
        assert [pull.recv_multipart(timeout=5) for _ in sent] == sent
