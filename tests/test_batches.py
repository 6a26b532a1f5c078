"""In a flood one call of the C core takes several messages (csrc/batch.c); nobody may notice but by the time.

Whatever is asked of the socket meanwhile sees the messages that lie between C and Python.
"""

import contextlib
import random
import time
from collections import deque

import gevent
import pytest
from crowd import UNBOUNDED, drain, finish, greenlets, number_of, numbered, spin, transports, turns
from flood import fill_batch, lying, pair, rest_of, send_all
from life import waiting
from support import wait_until

import gzmqhelper as zmq

# ---- what is received --------------------------------------------------------------------------------


class Model:
    """What was sent and not yet received, in order; and every way to receive it."""

    def __init__(self, sock):
        self.sock = sock
        self.expected = deque()

    def whole(self, **how):
        got = [bytes(part) for part in self.sock.recv_multipart(**how)]
        assert got == self.expected.popleft()

    def part_by_part(self, how):
        message = self.expected.popleft()
        for index, part in enumerate(message):
            got = how(index)
            more = index < len(message) - 1
            assert bytes(got) == part
            assert self.sock.rcvmore == more
            if isinstance(got, zmq.Frame):
                assert got.more == more

    def step(self, frames):
        sock = self.sock
        assert sock.poll(5000)  # NOBLOCK is not to come before the message
        way = random.randrange(12)
        if way == 0:
            self.whole()
        elif way == 1:
            self.whole(flags=zmq.NOBLOCK)
        elif way == 2:
            self.whole(timeout=5)
        elif way == 3:
            self.whole(copy=not frames)
        elif way == 4:
            self.part_by_part(lambda index: sock.recv(copy=not frames or index % 2 == 0))
        elif way == 5:
            self.part_by_part(lambda index: sock.recv(zmq.NOBLOCK if index % 2 else 0))
        elif way == 6:
            assert sock.poll(0 if random.random() < 0.5 else None) == zmq.POLLIN
        elif way == 7:
            assert sock.events & zmq.POLLIN
        elif way == 8 and len(self.expected[0]) == 1:
            assert sock.recv_string(encoding="latin-1").encode("latin-1") == self.expected.popleft()[0]
        else:
            self.part_by_part(lambda index: sock.recv())


SIZES = [0, 0, 1, 2, 10, 10, 100, 100, 1000, 5000]


def some_message(parts):
    return [random.randbytes(random.choice(SIZES)) for _ in range(parts)]


@transports
@pytest.mark.parametrize("frames", [False, True], ids=["bytes", "frames too"])
@pytest.mark.parametrize("mix", ["uniform", "random", "large"])
def test_every_way_to_receive_keeps_order_and_loses_doubles_and_tears_nothing(
    sockets, transport, frames, mix
):
    for _ in range(3):
        pull, push = pair(sockets, transport=transport)
        model = Model(pull)
        batches = 0
        for _ in range(30):
            parts = random.randrange(1, 6)
            for _ in range(random.randrange(100)):
                message = some_message(parts if mix == "uniform" else random.randrange(1, 6))
                if mix == "large" and random.random() < 0.1:
                    message[-1] = random.randbytes(random.choice([20_000, 65_536, 65_537, 70_000]))
                push.send_multipart(message)
                model.expected.append(message)
            while len(model.expected) > random.randrange(20):
                model.step(frames)
                batches += lying(pull) > 0
        while model.expected:
            model.step(frames)
        assert drain(pull, 0.01) == []
        assert frames or batches > 0


@transports
def test_what_lies_in_the_batch_is_seen_by_poll_and_events_and_whoever_asks_next(sockets, transport):
    pull, push = pair(sockets, transport=transport)
    _, sent = fill_batch(pull, push)
    while number_of([pull.recv()]) < sent - 1:
        pass
    # The second call of a flood takes two, but where the clock's next tick comes in between.
    while not lying(pull):
        send_all(push, [0, 0, 1])
        assert wait_until(lambda: pull.poll(0))
        time.sleep(0.001)
        for received in range(1, 4):
            pull.recv()
            if received == 2 and lying(pull) == 1:
                break
    # libzmq has nothing any more: one lies here.
    assert pull.poll(0) == pull.poll() == pull.poll(10) == zmq.POLLIN
    assert pull.poll(0, zmq.POLLIN | zmq.POLLOUT) == zmq.POLLIN
    assert pull.events == zmq.POLLIN
    assert finish([gevent.spawn(pull.poll)]) == [zmq.POLLIN]
    assert finish([gevent.spawn(pull.recv, timeout=5)]) == numbered(1)
    assert pull.poll(0) == pull.events == 0


def test_frames_from_a_batch_are_frames(sockets):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    frame = pull.recv(copy=False)
    assert isinstance(frame, zmq.Frame)
    assert not frame.more
    assert number_of([frame.bytes]) == taken
    (frame,) = pull.recv_multipart(copy=False)
    assert number_of([bytes(frame)]) == taken + 1
    rest_of(pull, taken + 2, sent)


def test_who_asks_for_frames_gets_messages_with_their_properties_from_then_on(sockets):
    pull, push = pair(sockets, transport="tcp")
    taken, sent = fill_batch(pull, push)
    while lying(pull):
        pull.recv()
        taken += 1
    for number in range(taken, sent):
        frame = pull.recv(copy=False) if (number - taken) % 2 == 0 else None
        if frame is None:
            pull.recv()
        else:
            assert frame.get("Socket-Type") == "PUSH"
        assert lying(pull) == 0


# ---- where there are none ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rcvhwm": 1}, {"rcvhwm": 20}, {"conflate": 1}], ids=str)
def test_none_are_taken_where_the_socket_may_hold_few(sockets, options):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "tcp", options, UNBOUNDED)
    for number in range(2000):
        push.send(b"%d" % number)
        with contextlib.suppress(zmq.Again):
            pull.recv(zmq.NOBLOCK)
        assert lying(pull) == 0


def test_none_are_taken_by_requests_and_replies(sockets):
    rep, req = pair(sockets, zmq.REP, zmq.REQ)
    for _ in range(500):
        req.send(b"request")
        assert rep.recv() == b"request"
        rep.send(b"reply")
        assert req.recv() == b"reply"
        assert lying(rep) == lying(req) == 0


def test_none_are_taken_while_others_wait_or_have_not_run(sockets):
    pull, push = pair(sockets)
    others = [waiting(pull.recv) for _ in range(3)]
    send_all(push, range(1000))
    with contextlib.suppress(zmq.Again):
        while not all(other.ended for other in others):
            pull.recv(zmq.NOBLOCK)
            assert lying(pull) == 0
            gevent.sleep(0)
    for other in others:
        other.join()


def test_a_batch_is_at_most_what_rcvhwm_allows(sockets):
    pull, push = pair(sockets, rcvhwm=64)
    for _ in range(20):
        send_all(push, range(50))
        for _ in range(50):
            pull.recv()
            assert lying(pull) <= 3


# ---- several greenlets -------------------------------------------------------------------------------


def test_a_greenlet_in_poll_is_woken_while_another_receives_a_flood(sockets, ticker):
    pull, push = pair(sockets)
    for _ in range(200):
        poller = waiting(pull.poll)
        send_all(push, range(100))
        for number in range(100):
            assert number_of([pull.recv()]) == number
        poller.join()
        assert poller.result == zmq.POLLIN


def test_ten_receivers_of_a_flood_have_their_share(sockets, ticker):
    pull, push = pair(sockets)
    got = [[] for _ in range(10)]
    send_all(push, range(30_000))

    def receive(mine):
        while True:
            mine.append(number_of([pull.recv()]))

    with greenlets(*[lambda mine=mine: receive(mine) for mine in got]):
        assert wait_until(lambda: sum(map(len, got)) == 30_000, 20)
    assert sorted(number for mine in got for number in mine) == list(range(30_000))
    assert all(mine == sorted(mine) for mine in got)
    assert min(map(len, got)) > 300


@pytest.mark.parametrize("quick", [0, 3000])
def test_a_handler_that_takes_its_time_lets_others_run_in_a_flood(sockets, ticker, quick):
    """Also where it suddenly does, after many that were quick: a batch was taken in that belief."""
    pull, push = pair(sockets)
    send_all(push, range(quick + 200))
    for number in range(quick + 60):
        assert number_of([pull.recv()]) == number
        if number >= quick:
            spin(0.002)
    ticks = ticker.ticks
    for number in range(quick + 60, quick + 100):
        assert number_of(pull.recv_multipart()) == number
        spin(0.007)
    assert ticker.ticks >= ticks + 5


def test_a_batch_of_slow_messages_after_quick_ones_does_not_stop_the_hub(sockets):
    pull, push = pair(sockets)
    ran = []
    longest = 0

    def run_each_turn():
        while True:
            turns(1)
            ran.append(True)

    with greenlets(run_each_turn):
        for _ in range(5):
            fill_batch(pull, push, 14)
            gone = 0  # how many were received since the other could run
            for _ in range(30):
                pull.recv()
                gone = 0 if ran else gone + 1
                longest = max(longest, gone)
                ran.clear()
                spin(0.006)
            while pull.poll(0):
                pull.recv(zmq.NOBLOCK)
    assert longest < 18  # a batch at most: its mark may come when the hub has just turned


def test_once_messages_have_turned_out_slow_each_lets_the_others_run(sockets):
    pull, push = pair(sockets)
    ran = []

    def run_each_turn():
        while True:
            turns(1)
            ran.append(True)

    with greenlets(run_each_turn):
        fill_batch(pull, push, 60)
        for _ in range(18):  # the last of them has let the other run: see the test above
            pull.recv()
            spin(0.006)
        ran.clear()
        for count in range(20):
            assert lying(pull)
            pull.recv()
            spin(0.006)
            assert len(ran) >= count + 1


def test_a_loop_of_poll_and_recv_over_batches_lets_the_hub_turn(sockets, ticker):
    pull, push = pair(sockets)
    end = time.monotonic() + 0.3
    number = sent = 0
    while time.monotonic() < end:
        if sent - number < 100:
            send_all(push, range(sent, sent + 500))
            sent += 500
        assert pull.poll() == zmq.POLLIN
        assert number_of([pull.recv(zmq.NOBLOCK)]) == number
        number += 1
    assert ticker.ticks > 3


@transports
def test_kills_and_timeouts_in_a_flood_lose_nothing(sockets, ticker, transport):
    pull, push = pair(sockets, transport=transport)
    got = []
    left = sent = 0

    def receive():
        while True:
            # No switch lies between a message and its place in the list.
            got.append(number_of(pull.recv_multipart(timeout=random.choice([None, None, 1]))))
            if random.random() < 0.02:
                gevent.sleep(0)

    def receive_a_while():
        while True:
            with gevent.Timeout(random.random() * 0.001, False):
                receive()

    group = [gevent.spawn(random.choice([receive, receive_a_while])) for _ in range(4)]
    while left < 10_000:
        left += 1
        if sent - len(got) < 50:
            count = random.randrange(60)
            send_all(push, range(sent, sent + count), 1 + left % 3)
            sent += count
        index = random.randrange(4)
        group[index].kill(block=random.random() < 0.5)
        group[index] = gevent.spawn(random.choice([receive, receive_a_while]))
        if random.random() < 0.3:
            turns(1)
    gevent.killall(group)
    got += [number_of(message) for message in drain(pull, 0.1)]
    assert got == list(range(sent))
