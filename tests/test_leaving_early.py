"""Greenlets that are killed, or leave by a timeout, at the moment when what they wait for comes.

Nothing may be lost, doubled, torn or out of order by it, and no reply may come to another request.
"""

import random
import time

import gevent
import pytest
from crowd import (
    FILLING,
    NARROW_BUFFERS,
    UNBOUNDED,
    a_moment,
    drain,
    finish,
    greenlets,
    in_threads,
    is_refused_out_of_turn,
    number_of,
    numbered,
    threads,
    transports,
    turns,
)
from gevent.monkey import get_original
from support import wait_until

import gzmqhelper as zmq

ROUNDS = 10_000
real_sleep = get_original("time", "sleep")


def pair(sockets, left, right, transport):
    return sockets.pair(left, right, transport, UNBOUNDED, UNBOUNDED)


# What is sent in these tests: 0, 1, 2, ..., each as a message of one part, or of three.
FORMS = {
    "one part": (lambda sock, n: sock.send(b"%d" % n), lambda sock, **how: int(sock.recv(**how))),
    "three parts": (
        lambda sock, n: sock.send_multipart(numbered(n, 3)),
        lambda sock, **how: number_of(sock.recv_multipart(**how)),
    ),
}
forms = pytest.mark.parametrize("form", FORMS)


def flip(chance=0.5):
    return random.random() < chance


# ---- one receiver ------------------------------------------------------------------------------------


@transports
@forms
def test_a_killed_reader_leaves_the_message_for_the_next_one(sockets, ticker, transport, form):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    send, receive = FORMS[form]
    got = []
    lost_races = 0
    for number in range(ROUNDS // 2):
        victim = gevent.spawn(lambda: got.append(receive(pull)))
        gevent.sleep(0)
        send(push, number)
        a_moment()
        turns(random.randrange(3))
        victim.kill()
        if len(got) == number:
            lost_races += 1
            got.append(receive(pull, timeout=5))
        assert got[number:] == [number]
    assert 0 < lost_races < ROUNDS // 2  # both orders were seen; how often is the machine's affair
    assert drain(pull, 0.01) == []


@forms
def test_a_reader_that_is_killed_in_a_flood_leaves_nothing_out(sockets, ticker, form):
    """It is always either in the middle of a message that is there, or makes the hub turn."""
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "inproc")
    send, receive = FORMS[form]
    got = []

    def read():
        while True:
            got.append(receive(pull))

    # A reader may well have taken all before it is killed: such a kill is none in the flood.
    total = kills = 0
    for _ in range(20):
        if kills >= 5:
            break
        for number in range(total, total + 60_000):
            send(push, number)
        total += 60_000
        while len(got) < total:
            victim = gevent.spawn(read)
            gevent.sleep(0)
            if flip():
                turns(1)
            victim.kill()
            kills += len(got) < total
    assert kills >= 5
    assert got == list(range(total))


# ---- several receivers -------------------------------------------------------------------------------


class Readers:
    """Readers of one socket, of which some leave now and then, and others come."""

    def __init__(self, read, count=5):
        self.read = read
        self.got = []
        self.group = [gevent.spawn(self.loop) for _ in range(count)]

    def loop(self):
        while True:
            self.got.append(self.read())

    def kill_some(self):
        """In any order; those that come then, come last."""
        victims = random.sample(range(len(self.group)), random.randrange(1, len(self.group)))
        for index in victims:
            self.group[index].kill(block=flip(0.3))
            self.group[index] = gevent.spawn(self.loop)
        return len(victims)

    def check(self, total):
        assert wait_until(lambda: len(self.got) >= total), f"{len(self.got)} of {total} arrived"
        gevent.killall(self.group)
        assert self.got == list(range(total))


@transports
@forms
def test_several_readers_that_are_killed_in_any_order_lose_nothing(sockets, ticker, transport, form):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    send, receive = FORMS[form]
    readers = Readers(lambda: receive(pull))
    killed = total = 0
    while killed < ROUNDS:
        for _ in range(random.randrange(4)):
            send(push, total)
            total += 1
        a_moment()
        killed += readers.kill_some()
        if flip(0.3):
            turns(1)
    readers.check(total)
    assert drain(pull, 0.01) == []


@transports
def test_a_gevent_timeout_races_with_arrival_and_nothing_is_lost(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    got, left = [], []

    def read():
        while True:
            with gevent.Timeout(random.random() * 0.002) as mine:
                try:
                    got.append(number_of(pull.recv_multipart()))
                except gevent.Timeout as e:
                    assert e is mine
                    left.append(len(got))

    total = 0
    with greenlets(*[read] * 30):
        while len(left) < ROUNDS:
            for _ in range(random.randrange(10)):
                push.send_multipart(numbered(total, 1 + total % 3))
                total += 1
            gevent.sleep(random.choice([0, 0.0005]))
        assert wait_until(lambda: len(got) >= total), f"{len(got)} of {total}"
    assert got == list(range(total))
    assert drain(pull, 0.01) == []


@transports
@pytest.mark.parametrize("whose", ["timeout", "rcvtimeo", "poll"])
def test_our_own_timeouts_race_with_arrival_and_nothing_is_lost(sockets, ticker, transport, whose):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    pull.rcvtimeo = 1
    got, left = [], []

    def receive():
        if whose == "timeout":
            return pull.recv_multipart(timeout=random.random() * 0.002)
        if whose == "poll":
            pull.poll(random.random() * 2)
            return pull.recv_multipart(zmq.NOBLOCK)
        return pull.recv_multipart()

    def read():
        while True:
            try:
                got.append(number_of(receive()))
            except zmq.Again:
                left.append(len(got))

    total = 0
    with greenlets(*[read] * 30):
        while len(left) < ROUNDS // 2:
            for _ in range(random.randrange(10)):
                push.send_multipart(numbered(total, 1 + total % 3))
                total += 1
            gevent.sleep(random.choice([0, 0.0005]))
        assert wait_until(lambda: len(got) >= total), f"{len(got)} of {total}"
    assert got == list(range(total))
    assert drain(pull, 0.01) == []


@transports
def test_kills_and_timeouts_of_every_kind_at_once_lose_nothing(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    rounds = []

    def read():
        while True:
            rounds.append(0)
            way = random.randrange(5)
            short = random.random() * 0.001
            try:
                if way == 0:
                    return number_of(pull.recv_multipart())
                if way == 1:
                    return number_of(pull.recv_multipart(timeout=short))
                if way == 2:
                    with gevent.Timeout(short, False):
                        return number_of(pull.recv_multipart())
                if way == 3:
                    pull.poll(short * 1000)
                elif way == 4:
                    return number_of([bytes(part) for part in pull.recv_multipart(zmq.NOBLOCK, copy=False)])
            except zmq.Again:
                gevent.sleep(0)

    readers = Readers(read, 10)
    total = 0
    while len(rounds) < ROUNDS:
        for _ in range(random.randrange(6)):
            push.send_multipart(numbered(total, 1 + total % 3))
            total += 1
        a_moment()
        if flip(0.2):
            readers.kill_some()
        turns(1)
    readers.check(total)


@transports
def test_readers_are_killed_while_another_thread_sends(sockets, ticker, transport):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, transport)
    total = 3000

    def send():
        for number in range(total):
            push.send_multipart(numbered(number, 1 + number % 3))
            if flip():
                real_sleep(random.random() * 100e-6)

    readers = Readers(lambda: number_of(pull.recv_multipart()))
    with threads(send) as (sender,):
        while not sender.ready():
            readers.kill_some()
            turns(1)
        sender.get()
    readers.check(total)


def test_threads_whose_readers_are_killed_lose_nothing_to_each_other(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "tcp")
    total = 3000
    got = []
    done = []

    def thread():
        readers = Readers(lambda: number_of(pull.recv_multipart()), 3)
        while not done:
            readers.kill_some()
            turns(1)
        gevent.killall(readers.group)
        assert readers.got == sorted(readers.got)
        got.extend(readers.got)

    def send():
        for number in range(total):
            push.send_multipart(numbered(number, 1 + number % 3))
            if flip(0.1):
                gevent.sleep(0)
        assert wait_until(lambda: pull.poll(0) == 0)
        done.append(True)

    in_threads(thread, thread, thread, send)
    got += [number_of(message) for message in drain(pull)]
    assert sorted(got) == list(range(total))


# ---- senders -----------------------------------------------------------------------------------------


@transports
@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_senders_that_leave_at_the_high_water_mark_tear_nothing_and_send_nothing_twice(
    sockets, ticker, transport, how
):
    narrow = {"sndhwm": 1, "rcvhwm": 1, **NARROW_BUFFERS}
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, transport, narrow, narrow)
    begun, sent, arrived = [], [], []
    left = 0

    def send_one():
        begun.append(len(begun))
        number = begun[-1]
        push.send_multipart([*numbered(number, 3), FILLING])
        sent.append(number)

    def send():
        nonlocal left
        while True:
            if how == "kill":
                send_one()
            else:
                with gevent.Timeout(random.random() * 0.002, False):
                    send_one()
                    continue
                left += 1

    def note(message):
        assert message.pop() == FILLING
        arrived.append(number_of(message))

    group = [gevent.spawn(send) for _ in range(8)]
    while left < ROUNDS // 4:
        for _ in range(random.randrange(4)):
            if pull.poll(0):
                note(pull.recv_multipart())
        a_moment(30e-6)
        if how == "kill":
            index = random.randrange(8)
            group[index].kill(block=flip(0.3))
            group[index] = gevent.spawn(send)
            left += 1
        gevent.sleep(random.choice([0, 0, 0, 0.0005]))
    gevent.killall(group)
    for message in drain(pull):
        note(message)
    assert len(arrived) == len(set(arrived))
    assert set(sent) <= set(arrived) <= set(begun)
    assert len(sent) > 100
    assert len(begun) - len(sent) > ROUNDS // 8


# ---- requests and replies ----------------------------------------------------------------------------


def answer(rep):
    while True:
        rep.send(b"to " + rep.recv())


@transports
def test_a_request_whose_receiver_was_killed_still_gets_its_own_reply(sockets, ticker, transport):
    rep, req = pair(sockets, zmq.REP, zmq.REQ, transport)
    taken_late = 0
    with greenlets(lambda: answer(rep)):
        for number in range(ROUNDS // 2):
            request = b"%d" % number
            got = []
            req.send(request)
            victim = gevent.spawn(lambda got=got: got.append(req.recv()))
            gevent.sleep(0)
            a_moment()
            turns(random.randrange(6))
            victim.kill()
            if not got:
                taken_late += 1
                is_refused_out_of_turn(lambda **how: req.send(b"not your turn", **how))
                got.append(req.recv(timeout=5))
            assert got == [b"to " + request]
    assert 0 < taken_late < ROUNDS // 2  # both orders were seen; how often is the machine's affair


@transports
@pytest.mark.parametrize("how", ["kill", "timeout", "gevent.Timeout"])
def test_a_relaxed_request_never_gets_the_reply_to_an_earlier_one(sockets, ticker, transport, how):
    rep, req = sockets.pair(
        zmq.REP, zmq.REQ, transport, UNBOUNDED, {**UNBOUNDED, "req_relaxed": 1, "req_correlate": 1}
    )
    given_up = 0

    def ask(request):
        if how == "kill":
            victim = gevent.spawn(req.recv)
            gevent.sleep(0)
            a_moment()
            turns(random.randrange(6))
            victim.kill()
            return None if isinstance(victim.value, gevent.GreenletExit) else victim.value
        if how == "timeout":
            try:
                return req.recv(timeout=random.random() * 0.002)
            except zmq.Again:
                return None
        with gevent.Timeout(random.random() * 0.002, False):
            return req.recv()
        return None

    def answer():
        while True:
            request = rep.recv()
            gevent.sleep(0.004 if flip(0.08) else random.choice([0, 0, 0.001]))
            rep.send(b"to " + request)

    with greenlets(answer):
        for number in range(ROUNDS // 10):
            request = b"%d" % number
            req.send(request)
            reply = ask(request)
            if reply is None:
                given_up += 1
                if flip():
                    continue
                reply = req.recv(timeout=5)
            assert reply == b"to " + request
    assert given_up > 100


@transports
def test_a_killed_server_leaves_the_request_to_the_next_and_every_reply_goes_where_it_belongs(
    sockets, ticker, transport
):
    rep = sockets(zmq.REP)
    rep.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"inproc://{id(rep)}")
    clients = []
    for _ in range(3):
        clients.append(sockets(zmq.REQ))
        clients[-1].connect(rep.last_endpoint.decode())
    asked = [0, 0, 0]
    kills = 0

    def ask(who):
        while True:
            request = b"%d %d" % (who, asked[who])
            clients[who].send(request)
            assert clients[who].recv() == b"to " + request
            asked[who] += 1

    def serve_one():
        """Whoever has received a request answers it: only the waiting may be broken off."""
        request = rep.recv()
        while True:
            try:
                return rep.send(b"to " + request, zmq.NOBLOCK)
            except zmq.Again:
                pass

    with greenlets(*[lambda who=who: ask(who) for who in range(3)]) as group:
        while kills < ROUNDS // 10:
            victim = gevent.spawn(serve_one)
            gevent.sleep(0)
            a_moment()
            turns(random.randrange(3))
            victim.kill()
            if isinstance(victim.value, gevent.GreenletExit):
                kills += 1
                if flip():
                    is_refused_out_of_turn(lambda **how: rep.send(b"whose?", **how))
            assert not any(client.ready() for client in group)
        server = gevent.spawn(answer, rep)
        before = list(asked)
        assert wait_until(lambda: all(now > then for now, then in zip(asked, before, strict=True)))
        server.kill()
    assert min(asked) > 20


def test_req_and_rep_are_given_up_from_both_ends_by_greenlets_of_one_hub(sockets, ticker):
    """Neither end knows when the other leaves: whatever happens, a reply repeats its request."""
    rep, req = pair(sockets, zmq.REP, zmq.REQ, "tcp")
    state = {"served": 0, "taken": 0, "in hand": False}

    def serve():
        while True:
            request = rep.recv()
            state["in hand"] = True
            rep.send(b"to " + request)  # which may let others run first
            state["in hand"] = False
            state["served"] += 1

    def take():
        state["reply"] = req.recv()
        state["taken"] += 1

    server = gevent.spawn(serve)
    end = time.monotonic() + 1.5
    number = 0
    while time.monotonic() < end:
        number += 1
        req.send(b"%d" % number)
        while True:
            taker = gevent.spawn(take)
            gevent.sleep(0)
            a_moment()
            if flip(0.2) and state["served"] == number - 1 and not state["in hand"]:
                # Waiting for this request, or about to be woken for it.
                server.kill()
                server = gevent.spawn(serve)
            turns(random.randrange(6))
            taker.kill()
            if state["taken"] == number:
                break
        assert state["reply"] == b"to %d" % number
        # A kill of the server after its send and before its count may have cost a count.
        state["served"] = number
    server.kill()
    assert number > 100


# ---- and afterwards ----------------------------------------------------------------------------------


def test_a_greenlet_may_go_on_with_its_socket_after_a_timeout_broke_its_wait_off(sockets, ticker):
    dealer, peer = pair(sockets, zmq.DEALER, zmq.DEALER, "tcp")

    def use(number):
        with gevent.Timeout(random.random() * 0.001, False):
            dealer.recv()
        dealer.send(b"%d" % number)
        return peer.recv(timeout=5)

    for number in range(500):
        assert finish([gevent.spawn(use, number)]) == [b"%d" % number]


def test_killing_a_thousand_waiting_greenlets_leaves_nothing_queued(sockets, ticker):
    pull, push = pair(sockets, zmq.PULL, zmq.PUSH, "tcp")
    for _ in range(3):
        waiting = []
        for _ in range(20):
            waiting.extend(gevent.spawn(pull.recv) for _ in range(50))
            gevent.sleep(0)
        random.shuffle(waiting)
        for start in range(0, 1000, 50):
            gevent.killall(waiting[start : start + 50])
            turns(1)
        push.send(b"x")
        assert pull.recv(timeout=5) == b"x"
