"""A greenlet whose hub has nothing else to do stays a moment for what comes quickly, at nobody's cost."""

import os
import time

import gevent
import pytest
from gevent.monkey import get_original
from gevent.socket import wait_read
from life import OsThread, waiting
from support import POLL, Stopwatch

import gzmqhelper as zmq
from gzmqhelper import _helper, _poll
from gzmqhelper._native import lib

sleep = get_original("time", "sleep")

LIBUV = "libuv" in type(gevent.get_hub().loop).__module__
beside_others = pytest.mark.skipif(
    LIBUV, reason="on libuv nobody stays while others wait, which has a test of its own"
)


def linger(sock):
    return _helper.linger_for(sock)


@pytest.fixture
def pair(sockets, monkeypatch):
    """A PAIR that has seen all its news and asked something, and its peer; on however few processors."""
    monkeypatch.setattr(_helper, "_MAY_LINGER", True)
    ready_to_linger()
    one, peer = connected(sockets)
    one.send(b"asked")
    ready_to_linger()
    return one, peer


def connected(sockets):
    one, peer = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    peer.send(b"connected")
    assert one.recv() == b"connected"
    with pytest.raises(zmq.Again):
        one.recv(zmq.NOBLOCK)
    return one, peer


def later(peer, message):
    def send():
        sleep(0.01)
        peer.send(message, zmq.NOBLOCK)

    return OsThread(send)


def ready_to_linger():
    gevent.sleep(0.01)  # the hub's own business is done: it may have been made to turn
    turns = _helper.turns_here()
    turns.answers = turns.in_vain = turns.gave_way = turns.skip = 0
    return turns


def test_news_for_the_socket_are_seen_awake(pair):
    one, peer = pair
    peer.send(b"quick", zmq.NOBLOCK)
    assert linger(one)
    assert one.recv(zmq.NOBLOCK) == b"quick"


def test_it_is_not_tried_where_no_answer_is_expected_and_no_wait_has_just_ended(pair):
    one, peer = pair
    peer.send(b"answer", zmq.NOBLOCK)
    assert linger(one)
    assert one.recv(zmq.NOBLOCK) == b"answer"
    peer.send(b"more", zmq.NOBLOCK)
    assert not linger(one)
    assert _helper.turns_here().in_vain == 0


def test_without_news_it_ends_after_a_moment_and_is_tried_less_and_less(pair):
    one, peer = pair
    tried = 0
    for _ in range(300):
        before = _helper.turns_here().skip
        one.send(b"asked", zmq.NOBLOCK)
        assert not linger(one)
        tried += _helper.turns_here().skip > before
    assert 5 <= tried <= 10
    _helper.turns_here().skip = 0
    one.send(b"asked", zmq.NOBLOCK)
    peer.send(b"quick", zmq.NOBLOCK)
    assert linger(one)
    assert _helper.turns_here().in_vain == 0


@beside_others
def test_other_greenlets_of_this_hub_may_wait(pair, sockets):
    one, peer = pair
    waiting(sockets(zmq.PULL).recv)
    ready_to_linger()
    peer.send(b"quick", zmq.NOBLOCK)
    assert linger(one)


@pytest.mark.skipif(not LIBUV, reason="on libev one may stay: its loop keeps descriptors between waits")
def test_on_libuv_nobody_stays_while_others_wait(pair, sockets):
    one, peer = pair
    waiting(sockets(zmq.PULL).recv)
    turns = ready_to_linger()
    peer.send(b"quick", zmq.NOBLOCK)
    assert not linger(one)
    assert turns.in_vain == 0


@beside_others
@pytest.mark.parametrize("others", [1, _helper._FEW, _helper._FEW + 1])
def test_it_gives_way_to_the_message_of_another_greenlet(pair, sockets, others):
    one, peer = pair
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    other = waiting(pull.recv)
    for _ in range(others - 1):
        waiting(sockets(zmq.PULL).recv)
    ready_to_linger()
    push.send(b"x", zmq.NOBLOCK)
    sleep(0.05)  # its companion has it by now
    peer.send(b"quick", zmq.NOBLOCK)
    assert not linger(one)
    assert _helper.turns_here().in_vain == (others > _helper._FEW)  # of more, soon hardly any tries
    assert other.join().result == b"x"


@beside_others
@pytest.mark.skipif(POLL, reason="what poll(2) tells, it tells the watch alone: none can help it")
@pytest.mark.parametrize("others", [1, _helper._FEW + 1])
def test_it_brings_another_greenlet_its_message_itself(pair, sockets, others):
    one, _ = pair
    pairs = [sockets.pair(zmq.PULL, zmq.PUSH, "inproc") for _ in range(others)]
    receiving = [waiting(pull.recv) for pull, _ in pairs]
    for _ in range(500):
        turns = ready_to_linger()
        turns.in_vain = 2
        one.send(b"asked", zmq.NOBLOCK)
        pairs[0][1].send(b"x", zmq.NOBLOCK)
        assert not linger(one)
        assert receiving[0].join().result == b"x"
        if turns.in_vain < 2:  # else the watch was there first
            return
        receiving[0] = waiting(pairs[0][0].recv)
    pytest.fail("it never did")


@pytest.mark.parametrize("call", ["recv", "poll"])
def test_it_is_not_tried_where_another_waits_for_the_same(pair, call):
    one, peer = pair
    other = waiting(getattr(one, call))
    one.send(b"asked")
    ready_to_linger()
    assert not linger(one)
    assert _helper.turns_here().in_vain == 0
    peer.send(b"quick")
    other.join()


@beside_others
def test_where_many_wait_and_hardly_any_lingers_in_time_few_try(pair, sockets):
    one, peer = pair
    waiting(sockets(zmq.PULL).recv)
    turns = ready_to_linger()
    tried = 0
    for _ in range(1500):
        before = turns.skip
        one.send(b"asked", zmq.NOBLOCK)
        assert not linger(one)
        tried += turns.skip > before
    assert 8 <= tried <= 11
    turns.skip = 0
    one.send(b"asked", zmq.NOBLOCK)
    peer.send(b"quick", zmq.NOBLOCK)
    assert linger(one)
    assert one.recv(zmq.NOBLOCK) == b"quick"
    with pytest.raises(zmq.Again):
        one.recv(zmq.NOBLOCK)
    one.send(b"asked", zmq.NOBLOCK)
    assert not linger(one)
    assert turns.skip >= 256  # one that came in time does not make all try again


@pytest.mark.parametrize("company", [0, pytest.param(1, marks=beside_others)])
def test_a_receive_lingers_before_it_waits(pair, sockets, monkeypatch, company):
    one, peer = pair
    monkeypatch.setattr("gzmqhelper._helper._MOMENT", 1_000_000_000)
    for _ in range(company):
        waiting(sockets(zmq.PULL).recv)
    ready_to_linger()
    answering = later(peer, b"answer")
    _helper.current().close()
    assert one.recv() == b"answer"
    assert _helper.current().number is None  # it had no companion to wait with
    answering.join()


@pytest.fixture
def no_turn():
    """The hub need not turn meanwhile, for which a receive would leave C."""
    lib.gzh_slice(60_000_000_000)
    yield
    lib.gzh_slice(0)


def test_a_receive_waits_after_some_news_that_were_no_message(pair, no_turn, monkeypatch):
    one, peer = pair
    tried = []

    def lying(sock):
        tried.append(sock)
        sleep(0.005)
        return True

    monkeypatch.setattr(_helper, "linger_for", lying)
    peer.send(b"first")
    receiving = waiting(lambda: [one.recv(), one.recv()])
    assert tried == [one] * _helper.LINGERS
    peer.send(b"x")
    assert receiving.join().result == [b"first", b"x"]


def test_an_exception_while_it_lingers_is_the_receives(pair, no_turn, monkeypatch):
    one, peer = pair
    peer.send(b"first")
    assert one.recv() == b"first"
    with monkeypatch.context() as patched:
        patched.setattr(_helper, "linger_for", lambda sock: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one.recv()
    peer.send(b"x")
    assert one.recv() == b"x"


def test_it_is_not_tried_while_a_greenlet_of_this_hub_can_run(pair):
    one, peer = pair
    peer.send(b"quick", zmq.NOBLOCK)
    other = gevent.spawn(int)
    assert not linger(one)
    other.join()
    assert linger(one)


@pytest.mark.parametrize("asked", [True, False])
def test_it_gives_way_to_a_descriptor_that_the_hub_waits_for(pair, asked):
    one, peer = pair
    read, write = os.pipe()
    other = gevent.spawn(wait_read, read)
    gevent.sleep(0.01)
    if not asked:
        wait_once(one, peer)
    os.write(write, b"x")
    peer.send(b"quick", zmq.NOBLOCK)
    assert not linger(one)
    other.join()
    os.read(read, 1)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("others", [0, pytest.param(1, marks=beside_others)])
def test_where_the_hub_is_busy_with_something_else_soon_few_try(pair, sockets, others):
    one, _ = pair
    read, write = os.pipe()
    os.write(write, b"x")
    busy = gevent.get_hub().loop.io(read, 1)
    for _ in range(others):
        waiting(sockets(zmq.PULL).recv)
    turns = ready_to_linger()
    busy.start(int)
    gevent.sleep(0.001)
    tried = 0
    for _ in range(500):
        before = turns.skip
        one.send(b"asked", zmq.NOBLOCK)
        assert not linger(one)
        tried += turns.skip >= before
    busy.stop()
    busy.close()
    os.close(read)
    os.close(write)
    assert tried <= (16 if others else 0) + 15


def test_what_was_brought_to_another_threads_greenlet_is_in_vain_for_this_hub():
    turns = ready_to_linger()
    assert not _helper.linger(None, lambda *_: lib.GZH_HELPED)
    assert turns.in_vain == 1
    turns.skip = 0


def test_the_hub_turns_after_so_many_answers(pair):
    one, peer = pair
    lingered = []
    for _ in range(_helper._ANSWERS + 1):
        one.send(b"asked", zmq.NOBLOCK)
        peer.send(b"quick", zmq.NOBLOCK)
        lingered.append(linger(one))
        one.recv(zmq.NOBLOCK)
        with pytest.raises(zmq.Again):
            one.recv(zmq.NOBLOCK)
    assert lingered == [True] * _helper._ANSWERS + [False]


def test_a_timeout_is_kept_while_news_come_that_are_no_message(pair, monkeypatch):
    one, _ = pair
    tried = []
    for name in "_messages.linger_for", "_poll.linger":
        monkeypatch.setattr(f"gzmqhelper.{name}", lambda *_: not tried.append(1))
    with pytest.raises(zmq.Again):
        one.recv(timeout=0.02)
    assert len(tried) == 3
    for poll in POLLS.values():
        tried.clear()
        assert poll(one, 20) == 0
        assert len(tried) == 3


# ---- for what just comes: asleep, where the hub has turned in this moment ----------------------------


def wait_once(one, peer):
    """A wait on this thread, which ends: its hub has turned then. No answer is expected, nothing there."""
    turns = _helper.turns_here()
    gevent.spawn_later(0.005, peer.send, b"awaited")
    assert one.recv(timeout=5) == b"awaited"
    with pytest.raises(zmq.Again):
        one.recv(zmq.NOBLOCK)
    turns.answers = turns.in_vain = turns.skip = 0


def test_what_comes_soon_after_a_wait_is_dozed_for(pair):
    one, peer = pair
    for _ in range(20):
        wait_once(one, peer)
        peer.send(b"more", zmq.NOBLOCK)
        dozed = linger(one)
        assert one.recv(zmq.NOBLOCK) == b"more"
        if dozed:  # else the machine took its time
            return
    pytest.fail("it never dozed")


def test_a_doze_ends_after_a_moment_and_the_next_ones_are_spared(pair):
    one, peer = pair
    for _ in range(20):
        wait_once(one, peer)
        with Stopwatch() as watch:
            assert not linger(one)
        assert watch.soon
        if _helper.turns_here().skip:
            return
    pytest.fail("it never dozed")


def test_a_hub_that_has_not_turned_for_a_while_is_not_kept_longer(pair):
    one, peer = pair
    wait_once(one, peer)
    end = time.monotonic() + 0.005
    while time.monotonic() < end:
        pass
    peer.send(b"more", zmq.NOBLOCK)
    assert not linger(one)
    assert _helper.turns_here().in_vain == 0


def test_none_dozes_while_another_waits(pair, sockets):
    one, peer = pair
    waiting(sockets(zmq.PULL).recv)
    turns = _helper.turns_here()
    for _ in range(20):
        wait_once(one, peer)
        assert not linger(one)
        assert turns.in_vain == 0


def test_timers_are_kept_while_a_greenlet_dozes_between_many_messages(sockets, ticker, monkeypatch):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    dozed = []
    monkeypatch.setattr(
        "gzmqhelper._messages.linger_for", lambda *it: _helper.linger_for(*it) and not dozed.append(it)
    )

    def send():
        for number in range(3000):
            push.send(b"%d" % number)
            sleep(0.0002)  # (One that kept Python's lock would have the receiver wait for that, not doze.)

    sending = OsThread(send)
    assert [int(pull.recv(timeout=5)) for _ in range(3000)] == list(range(3000))
    sending.join()
    assert ticker.ticks > 20
    assert dozed


def polled(sock, milliseconds):
    poller = zmq.Poller()
    poller.register(sock, zmq.POLLIN)
    return dict(poller.poll(milliseconds)).get(sock, 0)


POLLS = {"poll": lambda sock, milliseconds: sock.poll(milliseconds), "Poller": polled}


def test_a_short_timeout_has_no_moment_to_spare(pair):
    one, _ = pair
    turns = _helper.turns_here()
    with pytest.raises(zmq.Again):
        one.recv(timeout=0.003)
    one.rcvtimeo = 2
    with pytest.raises(zmq.Again):
        one.recv()
    for poll in POLLS.values():
        assert poll(one, 2) == 0
    assert turns.in_vain == 0
    with pytest.raises(zmq.Again):
        one.recv(timeout=0.02)
    assert turns.in_vain == 1


@pytest.mark.parametrize("poll", POLLS.values(), ids=POLLS)
def test_a_poll_of_one_socket_lingers_too(pair, monkeypatch, poll):
    one, peer = pair
    monkeypatch.setattr("gzmqhelper._helper._MOMENT", 1_000_000_000)
    monkeypatch.setattr(f"gzmqhelper.{'_messages' if poll is not polled else '_poll'}.wait", None)
    answering = later(peer, b"answer")
    assert poll(one, 2000) == zmq.POLLIN
    assert one.recv(zmq.NOBLOCK) == b"answer"
    answering.join()


@pytest.mark.parametrize("mask", [zmq.POLLIN | zmq.POLLOUT, zmq.POLLOUT])
@pytest.mark.parametrize("poll", POLLS.values(), ids=POLLS)
def test_a_poll_that_asks_for_room_does_not_linger(sockets, monkeypatch, poll, mask):
    monkeypatch.setattr("gzmqhelper._messages.linger_for", lambda *_: pytest.fail("it lingered"))
    monkeypatch.setattr("gzmqhelper._poll.linger", lambda *_: pytest.fail("it lingered"))
    push = sockets(zmq.PUSH)  # without a peer, and so without room
    if poll is polled:
        poller = zmq.Poller()
        poller.register(push, mask)
        assert poller.poll(20) == []
    else:
        assert push.poll(20, mask) == 0


# ---- a poll of several sockets -----------------------------------------------------------------------


@pytest.fixture
def two(pair, sockets):
    """Two of them, with their peers."""
    other = connected(sockets)
    pair[0].send(b"asked")
    ready_to_linger()
    return pair, other


def poll_both(two, milliseconds, more=()):
    poller = zmq.Poller()
    for sock, _ in two:
        poller.register(sock, zmq.POLLIN)
    for thing, mask in more:
        poller.register(thing, mask)
    return dict(poller.poll(milliseconds))


@pytest.mark.parametrize("which", [0, 1])
def test_a_poll_of_several_lingers_for_any_of_them(two, monkeypatch, which):
    monkeypatch.setattr("gzmqhelper._helper._MOMENT", 1_000_000_000)
    monkeypatch.setattr("gzmqhelper._poll.wait", None)
    sock, peer = two[which]
    answering = later(peer, b"answer")
    assert poll_both(two, 2000) == {sock: zmq.POLLIN}
    assert sock.recv(zmq.NOBLOCK) == b"answer"
    answering.join()


def test_nobody_stays_awake_for_the_messages_of_one_while_the_answer_of_another_is_awaited(two, monkeypatch):
    monkeypatch.setattr("gzmqhelper._helper._MOMENT", 2_000_000_000)
    _, (sock, peer) = two
    sending = later(peer, b"of the other")
    assert poll_both(two, 5000) == {sock: zmq.POLLIN}
    assert sock.recv(zmq.NOBLOCK) == b"of the other"
    sending.join()
    with pytest.raises(zmq.Again):
        sock.recv(zmq.NOBLOCK)
    gevent.sleep(0.01)  # the hub's own business is done
    with Stopwatch() as watch:
        assert poll_both(two, 20) == {}
    assert watch.soon


def test_where_several_were_asked_one_lingers_once_in_vain_and_then_waits(two, monkeypatch):
    waits = []
    wait = _helper.wait
    monkeypatch.setattr("gzmqhelper._poll.wait", lambda *it: waits.append(it) or wait(*it))
    two[1][0].send(b"asked too")
    assert poll_both(two, 20) == {}
    assert _helper.turns_here().in_vain == 1
    assert waits  # (On libuv, whose timers may come early, perhaps twice.)


def test_a_poll_of_something_else_besides_does_not_linger(two, sockets, monkeypatch):
    monkeypatch.setattr("gzmqhelper._poll.linger", lambda *_: pytest.fail("it lingered"))
    read, write = os.pipe()
    push = sockets(zmq.PUSH)  # without a peer, and so without room
    assert poll_both(two, 20, [(read, zmq.POLLIN)]) == {}
    assert poll_both(two, 20, [(push, zmq.POLLOUT)]) == {}
    assert zmq.Poller().poll(20) == []
    os.close(read)
    os.close(write)


def test_a_poll_of_very_many_does_not_linger(two, sockets):
    pulls = [(sockets(zmq.PULL), zmq.POLLIN) for _ in range(7)]
    two[1][1].send(b"quick", zmq.NOBLOCK)
    items = [(sock, zmq.POLLIN) for sock, _ in two] + pulls
    assert _helper.linger(None, lib.gzh_poll_linger, *as_items(items[:-1]))
    two[0][0].send(b"asked")
    assert not _helper.linger(None, lib.gzh_poll_linger, *as_items(items))
    assert zmq.zmq_poll(items, 1000) == [(two[1][0], zmq.POLLIN)]


def as_items(wanted):
    """What C is given."""
    plan = _poll._Plan(wanted)
    return plan.items, plan.count
