"""Closing a socket: whoever waits on it is told, what was sent still goes, and it is safe anywhere."""

import time

import gevent
import pytest
from life import OsThread, Outcome, told_soon, waiting
from support import Stopwatch, wait_until

import gzmqhelper as zmq

# On a PUSH without a peer these wait for ever.
SENDS = {
    "send": lambda s: s.send(b"x"),
    "send a bytearray": lambda s: s.send(bytearray(b"x")),
    "send with a timeout": lambda s: s.send(b"x", timeout=20),
    "send the first part": lambda s: s.send(b"x", zmq.SNDMORE),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
    "send a large Frame": lambda s: s.send(b"x" * 100_000, copy=False),
    "send_string": lambda s: s.send_string("x"),
    "poll": lambda s: s.poll(flags=zmq.POLLOUT),
    "poll with a timeout": lambda s: s.poll(20_000, zmq.POLLOUT),
}
# And on a PULL these.
RECEIVES = {
    "recv": lambda s: s.recv(),
    "recv a Frame": lambda s: s.recv(copy=False),
    "recv with a timeout": lambda s: s.recv(timeout=20),
    "recv_multipart": lambda s: s.recv_multipart(),
    "recv_string": lambda s: s.recv_string(),
    "recv_json": lambda s: s.recv_json(),
    "poll": lambda s: s.poll(),
    "poll with a timeout": lambda s: s.poll(20_000),
}


@pytest.mark.parametrize("name", SENDS)
def test_a_greenlet_that_waits_to_send_is_told_at_once(name, sockets, ticker):
    push = sockets(zmq.PUSH)
    outcome = waiting(SENDS[name], push)
    told_soon([outcome], push.close, zmq.ENOTSOCK)
    assert "closed" in str(outcome.error)


@pytest.mark.parametrize("name", RECEIVES)
def test_a_greenlet_that_waits_to_receive_is_told_at_once(name, sockets, ticker):
    pull = sockets(zmq.PULL)
    pull.bind("inproc://it")
    outcome = waiting(RECEIVES[name], pull)
    told_soon([outcome], pull.close, zmq.ENOTSOCK)
    assert "closed" in str(outcome.error)


def test_every_one_of_many_that_wait_is_told(sockets, ticker):
    dealer = sockets(zmq.DEALER)
    outcomes = [waiting(call, dealer) for call in (*SENDS.values(), *RECEIVES.values()) for _ in range(8)]
    told_soon(outcomes, dealer.close, zmq.ENOTSOCK)


def test_one_that_is_told_may_be_the_one_that_closes_next(sockets):
    # As a chain: each waiter closes the next one's socket when it is told.
    pulls = [sockets(zmq.PULL) for _ in range(20)]
    told = []

    def link(index):
        try:
            pulls[index].recv()
        except zmq.ZMQError as e:
            told.append(e.errno)
            if index + 1 < len(pulls):
                pulls[index + 1].close()

    outcomes = [waiting(link, index) for index in range(len(pulls))]
    pulls[0].close()
    for outcome in outcomes:
        outcome.join()
    assert told == [zmq.ENOTSOCK] * len(pulls)


def test_a_loop_over_a_socket_ends_when_it_is_closed(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    got = []

    def loop():
        for message in pull:
            got.append(message)

    outcome = waiting(loop)
    push.send(b"1")
    push.send(b"2")
    assert wait_until(lambda: len(got) == 2)
    pull.close()
    assert outcome.join().error is None
    assert got == [b"1", b"2"]


def test_a_loop_over_a_closed_socket_ends_at_once(sockets):
    pull = sockets(zmq.PULL)
    pull.close()
    assert list(pull) == []


def test_waiters_in_another_thread_are_told(sockets):
    pull = sockets(zmq.PULL)
    started = []

    def receive():
        started.append(True)
        return Outcome(pull.recv).join()

    thread = OsThread(receive)
    assert wait_until(lambda: started)
    gevent.sleep(0.02)
    with Stopwatch() as watch:
        pull.close()
        outcome = thread.join()
    assert outcome.error.errno == zmq.ENOTSOCK, outcome.result
    assert watch.soon


def test_another_thread_may_close(sockets):
    pull = sockets(zmq.PULL)
    outcome = waiting(pull.recv)
    OsThread(pull.close).join()
    assert outcome.join().error.errno == zmq.ENOTSOCK
    assert pull.closed


def test_closing_twice_is_safe(sockets):
    pull = sockets(zmq.PULL)
    assert not pull.closed
    pull.close()
    assert pull.closed
    pull.close()
    pull.close(0)
    assert pull.closed


def test_many_may_close_at_once(sockets):
    pull = sockets(zmq.PULL)
    waiter = waiting(pull.recv)
    closers = [OsThread(pull.close) for _ in range(4)]
    for closer in closers:
        closer.join()
    assert waiter.join().error.errno == zmq.ENOTSOCK


def test_what_was_sent_before_the_close_still_arrives(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, right_options={"linger": -1})
    for i in range(100):
        push.send(b"%d" % i)
    push.close()
    assert [pull.recv(timeout=5) for _ in range(100)] == [b"%d" % i for i in range(100)]


def test_a_linger_of_zero_drops_what_was_not_sent(sockets):
    push = sockets(zmq.PUSH, linger=-1)
    push.connect("tcp://127.0.0.1:1")  # nobody is there
    push.send(b"never arrives")
    push.close(0)
    began = time.monotonic()
    sockets.context.term()
    assert time.monotonic() - began < 1


def test_a_linger_given_to_close_wins_over_the_option(sockets):
    push = sockets(zmq.PUSH, linger=0)
    push.connect("tcp://127.0.0.1:1")
    push.send(b"waits for a while")
    push.close(linger=200)
    began = time.monotonic()
    sockets.context.term()
    assert 0.15 < time.monotonic() - began < 2


def test_a_with_block_closes_its_socket(sockets):
    with sockets(zmq.PULL) as pull:
        assert not pull.closed
    assert pull.closed


def test_a_with_block_that_fails_closes_its_socket_and_tells_others(sockets):
    pull = sockets(zmq.PULL)
    outcome = waiting(pull.recv)
    with pytest.raises(ZeroDivisionError), pull:
        raise ZeroDivisionError
    assert pull.closed
    assert outcome.join().error.errno == zmq.ENOTSOCK


def test_a_new_socket_with_the_number_of_a_closed_descriptor_is_watched(sockets, ticker):
    # libzmq's reaper closes the descriptor some time after the close; the next socket may get it.
    numbers = set()
    repeated = 0
    for i in range(60):
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
        outcome = waiting(pull.recv)
        number = pull.fileno()
        repeated += number in numbers
        numbers.add(number)
        push.send(b"%d" % i)
        assert outcome.join().result == b"%d" % i
        left = waiting(pull.recv)
        pull.close()
        push.close()
        assert left.join().error.errno == zmq.ENOTSOCK
    assert repeated > 0


def test_sockets_may_be_closed_in_the_middle_of_traffic(sockets, ticker):
    ended = []

    def receive(sock):
        try:
            while True:
                sock.recv()
        except zmq.ZMQError as e:
            ended.append(e.errno)

    def send(sock):
        try:
            while True:
                sock.send_multipart([b"x", b"y" * 100])
        except zmq.ZMQError as e:
            ended.append(e.errno)

    greenlets, pairs = [], []
    for _ in range(10):
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH, left_options={"rcvhwm": 5}, right_options={"sndhwm": 5})
        pairs += [pull, push]
        greenlets += [gevent.spawn(receive, pull) for _ in range(2)]
        greenlets += [gevent.spawn(send, push) for _ in range(2)]
    for sock in pairs:
        gevent.sleep(0.01)
        sock.close()
    assert len(gevent.joinall(greenlets, timeout=5)) == len(greenlets)
    assert ended == [zmq.ENOTSOCK] * len(greenlets)


def test_what_was_received_of_a_message_and_not_taken_goes_with_the_socket(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    push.send_multipart([b"1", b"2"])
    assert pull.recv(timeout=5) == b"1"
    assert pull.rcvmore
    pull.close()
    for call in (pull.recv, pull.recv_multipart, lambda: pull.rcvmore, lambda: pull.poll(0)):
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == zmq.ENOTSOCK


def test_a_close_that_ctrl_c_breaks_off_can_be_said_again():
    class Interrupted(zmq.Context):
        def _rm_socket(self, socket):
            if not self.__dict__.setdefault("interrupted", False):
                self.__dict__["interrupted"] = True
                raise KeyboardInterrupt
            super()._rm_socket(socket)

    context = Interrupted()
    sock = context.socket(zmq.PUSH)
    sock.connect("tcp://127.0.0.1:9")
    sock.send(b"that never arrives")
    with pytest.raises(KeyboardInterrupt):
        sock.close(0)
    sock.close(0)
    assert sock.closed and not context._sockets
    with gevent.Timeout(5):
        context.term()


def test_what_was_begun_of_a_message_and_not_ended_goes_with_the_socket(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    push.send(b"1", zmq.SNDMORE)
    push.close(linger=1000)
    for flags in (zmq.SNDMORE, 0):
        with pytest.raises(zmq.ZMQError) as caught:
            push.send(b"2", flags)
        assert caught.value.errno == zmq.ENOTSOCK
    assert pull.poll(50) == 0


CALLS = {
    "recv": lambda s: s.recv(),
    "recv at once": lambda s: s.recv(zmq.NOBLOCK),
    "recv a Frame": lambda s: s.recv(copy=False),
    "recv with a timeout": lambda s: s.recv(timeout=0.1),
    "recv_multipart": lambda s: s.recv_multipart(),
    "recv_string": lambda s: s.recv_string(),
    "recv_json": lambda s: s.recv_json(),
    "recv_pyobj": lambda s: s.recv_pyobj(),
    "send": lambda s: s.send(b"x"),
    "send at once": lambda s: s.send(b"x", zmq.NOBLOCK),
    "send a part": lambda s: s.send(b"x", zmq.SNDMORE),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
    "send without a copy": lambda s: s.send(b"x" * 100_000, copy=False),
    "send_string": lambda s: s.send_string("x"),
    "send_json": lambda s: s.send_json([]),
    "send_pyobj": lambda s: s.send_pyobj([]),
    "poll": lambda s: s.poll(),
    "poll at once": lambda s: s.poll(0),
    "bind": lambda s: s.bind("inproc://x"),
    "connect": lambda s: s.connect("inproc://x"),
    "unbind": lambda s: s.unbind("inproc://x"),
    "disconnect": lambda s: s.disconnect("inproc://x"),
    "bind_to_random_port": lambda s: s.bind_to_random_port("tcp://127.0.0.1"),
    "get": lambda s: s.get(zmq.LINGER),
    "get RCVMORE": lambda s: s.get(zmq.RCVMORE),
    "get EVENTS": lambda s: s.get(zmq.EVENTS),
    "set": lambda s: s.set(zmq.LINGER, 0),
    "an option read": lambda s: s.linger,
    "an option set": lambda s: setattr(s, "linger", 0),
    "hwm": lambda s: s.hwm,
    "set_hwm": lambda s: s.set_hwm(3),
    "get_string": lambda s: s.get_string(zmq.LAST_ENDPOINT),
    "set_string": lambda s: s.set_string(zmq.ROUTING_ID, "x"),
    "fileno": lambda s: s.fileno(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_socket_says_so_to_every_call(name, sockets):
    dealer = sockets(zmq.DEALER)
    dealer.close()
    with Stopwatch() as watch, pytest.raises(zmq.ZMQError) as caught:
        CALLS[name](dealer)
    assert caught.value.errno == zmq.ENOTSOCK
    assert "closed" in str(caught.value)
    assert watch.soon
