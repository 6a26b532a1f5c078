"""A poll lets greenlets that are ready run before it waits: what they send it needs no other thread for."""

from unittest.mock import Mock

import gevent
import pytest
from crowd import poller_of
from gevent.exceptions import BlockingSwitchOutError
from gevent.queue import Queue
from life import waiting

import gzmqhelper as zmq
from gzmqhelper import _helper, _messages, _poll


@pytest.fixture
def turns():
    """What is remembered of the last times, which is nothing; the hub has no business left."""
    gevent.sleep(0.01)
    turns = _helper.turns_here()
    turns.fruitless = turns.pass_by = 0
    return turns


def the_hub_turns():
    """Else it may be made to in the poll, as the slice of time is over, and others run then."""
    gevent.sleep(0.001)


@pytest.fixture
def waits(monkeypatch):
    """What a poll waits with, which counts."""
    counting = Mock(wraps=_helper.wait)
    monkeypatch.setattr(_poll, "wait", counting)
    monkeypatch.setattr(_messages, "wait", counting)
    return counting


@pytest.fixture
def rounds_of_others(monkeypatch):
    """What lets others run, which counts."""
    counting = Mock(wraps=_helper.sleep)
    monkeypatch.setattr(_helper, "sleep", counting)
    return counting


def polls(kind, pulls, milliseconds=5000):
    """A function that polls them, and gives those that are ready."""
    if kind == "poll":
        return lambda: [pulls[0]] if pulls[0].poll(milliseconds) else []
    if kind == "select":
        return lambda: zmq.select(pulls, [], [], milliseconds / 1000)[0]
    poller = poller_of(*pulls)
    return lambda: [pull for pull, _ in poller.poll(milliseconds)]


KINDS = {"poll": 1, "select": 2, "Poller": 20}


def ask_for(pushes, asked):
    """A greenlet that sends when it is asked to, by turns."""

    def send():
        for turn in range(10**9):
            number = asked.get()
            pushes[turn % len(pushes)].send(number)

    return gevent.spawn(send)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_greenlet_that_is_ready_sends_is_there_without_a_wait(sockets, turns, waits, ticker, kind):
    pairs = [sockets.pair(zmq.PULL, zmq.PUSH, "inproc") for _ in range(KINDS[kind])]
    pulls = [pull for pull, _ in pairs]
    asked = Queue()
    sender = ask_for([push for _, push in pairs], asked)
    gevent.sleep(0.01)
    poll = polls(kind, pulls)
    for number in range(3000):
        asked.put(b"%d" % number)
        assert [pull.recv(zmq.NOBLOCK) for pull in poll()] == [b"%d" % number]
    sender.kill()
    assert (
        waits.call_count < 300
    )  # (Of 3,000: at the end of a slice of time the hub turns, and finds others.)


@pytest.mark.parametrize("kind", KINDS)
def test_where_others_bring_nothing_they_are_soon_let_run_first_seldom(
    sockets, turns, rounds_of_others, kind
):
    poll = polls(kind, [sockets(zmq.PULL) for _ in range(KINDS[kind])], 6)
    for _ in range(100):
        gevent.spawn(int)
        assert not poll()
    assert 5 <= rounds_of_others.call_count <= 8


def test_who_has_no_time_lets_nobody_run(sockets, turns, rounds_of_others):
    pull = sockets(zmq.PULL)
    for _ in range(20):
        gevent.spawn(int)
        assert not pull.poll(1)
        gevent.spawn(int)
        assert not poller_of(pull).poll(1)
    assert rounds_of_others.call_count == 0


def test_where_many_are_ready_they_come_before_no_timer(sockets, turns, rounds_of_others):
    """They would come before everything that is not ready yet, also where each takes its time."""
    pull = sockets(zmq.PULL)
    for poll in (pull.poll, poller_of(pull).poll):
        busy = [gevent.spawn(gevent.sleep) for _ in range(_helper._READY + 1)]
        assert not poll(10)
        gevent.joinall(busy)
        assert rounds_of_others.call_count == 0
    the_hub_turns()
    busy = [gevent.spawn(gevent.sleep) for _ in range(_helper._READY)]
    assert not pull.poll(10)
    assert rounds_of_others.call_count == 1


def test_one_that_brought_something_is_let_run_first_again(sockets, turns, rounds_of_others):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    turns.fruitless, turns.pass_by = 6, 1
    for expected in (0, 1, 2, 3):
        the_hub_turns()
        gevent.spawn(push.send, b"x")
        assert pull.poll(1000)
        assert pull.recv(zmq.NOBLOCK) == b"x"
        assert rounds_of_others.call_count == expected


@pytest.mark.parametrize("kind", KINDS)
def test_who_finds_something_or_only_looks_lets_nobody_run(sockets, turns, rounds_of_others, kind):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    gevent.spawn(int)
    assert not polls(kind, [pull], 0)()
    push.send(b"x")
    assert polls(kind, [pull])()
    assert rounds_of_others.call_count == 0


def test_nobody_is_let_run_where_nobody_is_ready(sockets, turns, rounds_of_others):
    pull = sockets(zmq.PULL)
    assert not pull.poll(1)
    assert not poller_of(pull, sockets(zmq.PULL)).poll(1)
    assert rounds_of_others.call_count == 0


def test_on_the_hub_a_poll_says_that_it_may_not_wait_and_lets_nobody_run(sockets, turns, rounds_of_others):
    pull = sockets(zmq.PULL)
    said = Queue()

    def callback(poll):
        gevent.get_hub().loop.run_callback(int)  # somebody is ready
        try:
            poll(1000)
        except BlockingSwitchOutError as e:
            said.put(e)

    for poll in (pull.poll, poller_of(pull).poll):
        gevent.get_hub().loop.run_callback(callback, poll)
        assert "hub" in str(said.get(timeout=5))
    assert rounds_of_others.call_count == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_while_others_run_ends_the_poll_and_takes_nothing(sockets, turns, waits, kind):
    pairs = [sockets.pair(zmq.PULL, zmq.PUSH, "inproc") for _ in range(KINDS[kind])]
    pulls = [pull for pull, _ in pairs]
    poll = polls(kind, pulls)
    poller = gevent.spawn(poll)

    loop = gevent.get_hub().loop
    loop.run_callback(pairs[0][1].send, b"x")  # while the poller lets others run
    loop.run_callback(poller.throw, gevent.GreenletExit)
    poller.join(timeout=5)
    assert poller.dead and isinstance(poller.value, gevent.GreenletExit)
    assert waits.call_count == 0
    assert pulls[0].recv(timeout=5) == b"x"


def test_a_close_while_others_run_is_told(sockets, turns, waits):
    pulls = [sockets(zmq.PULL), sockets(zmq.PULL)]
    poller = poller_of(*pulls)
    for poll in (pulls[0].poll, poller.poll):
        gevent.spawn(pulls[0].close)
        with pytest.raises(zmq.ZMQError) as caught:
            poll(1000)
        assert caught.value.errno == zmq.ENOTSOCK
    assert waits.call_count == 0


def test_who_waits_longer_than_others_run_is_woken_as_ever(sockets, turns):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "tcp")
    polling = waiting(poller_of(pull).poll)
    for _ in range(5):
        gevent.sleep(0)
    push.send(b"x")
    assert polling.join().result == [(pull, zmq.POLLIN)]
