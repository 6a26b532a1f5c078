"""`Poller` and `select`: what is registered, what is told, how a poll of several sockets ends."""

import gc
import time
import weakref

import gevent
import pytest
from crowd import poller_of
from gevent.exceptions import BlockingSwitchOutError
from life import Baseline, Outcome, told_soon, waiting
from support import Stopwatch, nobody_else_runs, wait_until

import gzmqhelper as zmq


@pytest.fixture
def crowd(sockets):
    """Five PULL sockets, and for each a PUSH that is connected to it."""
    pairs = [sockets.pair(zmq.PULL, zmq.PUSH, "inproc") for _ in range(5)]
    return [pull for pull, _ in pairs], [push for _, push in pairs]


# ---- what is registered ------------------------------------------------------------------------------


def test_what_is_registered_is_listed_with_its_flags_in_order(sockets):
    a, b = sockets(zmq.PULL), sockets(zmq.PUSH)
    poller = zmq.Poller()
    assert poller.sockets == []
    poller.register(a, zmq.POLLIN)
    poller.register(b)
    poller.register(0, flags=zmq.POLLIN)
    assert poller.sockets == [(a, zmq.POLLIN), (b, zmq.POLLIN | zmq.POLLOUT), (0, zmq.POLLIN)]
    assert a in poller
    assert 0 in poller
    assert 1 not in poller


def test_what_is_registered_again_keeps_its_place_and_has_the_new_flags(sockets):
    a, b = sockets(zmq.DEALER), sockets(zmq.DEALER)
    poller = poller_of(a, b)
    poller.register(a, zmq.POLLOUT)
    assert poller.sockets == [(a, zmq.POLLOUT), (b, zmq.POLLIN)]
    poller.modify(b, zmq.POLLOUT)
    poller.modify(a)
    assert poller.sockets == [(a, zmq.POLLIN | zmq.POLLOUT), (b, zmq.POLLOUT)]


def test_without_flags_it_is_not_registered_any_more(sockets):
    a, b = sockets(zmq.DEALER), sockets(zmq.DEALER)
    poller = poller_of(a)
    poller.register(b, 0)
    assert b not in poller
    poller.register(a, 0)
    assert poller.sockets == []
    poller.register(a, zmq.POLLIN)
    poller.modify(a, 0)
    assert a not in poller


def test_unregister_takes_it_out_and_knows_what_it_never_had(sockets):
    a, b, c = (sockets(zmq.DEALER) for _ in range(3))
    poller = poller_of(a, b, c)
    poller.unregister(b)
    assert [thing for thing, _ in poller.sockets] == [a, c]
    with pytest.raises(KeyError):
        poller.unregister(b)
    poller.unregister(a)
    poller.unregister(c)
    assert poller.sockets == []


def test_between_two_polls_it_may_change(crowd):
    pulls, pushes = crowd
    poller = poller_of(*pulls)
    for push in pushes:
        push.send(b"x")
    assert dict(poller.poll()) == dict.fromkeys(pulls, zmq.POLLIN)
    poller.unregister(pulls[0])
    assert dict(poller.poll()) == dict.fromkeys(pulls[1:], zmq.POLLIN)
    poller.modify(pulls[1], 0)
    assert dict(poller.poll()) == dict.fromkeys(pulls[2:], zmq.POLLIN)
    poller.register(pulls[0], zmq.POLLIN)
    assert [sock for sock, _ in poller.poll()] == [*pulls[2:], pulls[0]]


def test_what_changes_during_a_poll_is_for_the_next_one(crowd):
    pulls, pushes = crowd
    poller = poller_of(pulls[0])
    polling = waiting(poller.poll)
    poller.register(pulls[1], zmq.POLLIN)
    poller.unregister(pulls[0])
    pushes[1].send(b"x")
    gevent.sleep(0.01)
    assert polling.result is None
    pushes[0].send(b"x")
    assert polling.join().result == [(pulls[0], zmq.POLLIN)]
    assert poller.poll() == [(pulls[1], zmq.POLLIN)]


# ---- what is told ------------------------------------------------------------------------------------


def test_events_that_are_there_are_told_at_once(sockets):
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    poller = poller_of(a, b, flags=zmq.POLLIN | zmq.POLLOUT)
    assert dict(poller.poll()) == {a: zmq.POLLOUT, b: zmq.POLLOUT}
    a.send(b"x")
    events = poller.poll(0)
    assert events == [(a, zmq.POLLOUT), (b, zmq.POLLIN | zmq.POLLOUT)]
    assert all(type(mask) is int for _, mask in events)
    b.recv()
    assert dict(poller.poll(-1)) == {a: zmq.POLLOUT, b: zmq.POLLOUT}


def test_a_poll_waits_until_one_of_its_sockets_has_a_message(crowd, ticker):
    pulls, pushes = crowd
    poller = poller_of(*pulls)
    for pull, push in zip(pulls, pushes, strict=True):
        polling = waiting(poller.poll)
        gevent.sleep(0.02)
        push.send(b"x")
        assert polling.join().result == [(pull, zmq.POLLIN)]
        assert pull.recv() == b"x"


def test_a_poll_waits_until_one_of_its_sockets_has_room(sockets, ticker):
    options = {"sndhwm": 1, "rcvhwm": 1}
    pairs = [sockets.pair(zmq.PUSH, zmq.PULL, "inproc", options, options) for _ in range(3)]
    for push, _ in pairs:
        push.send(b"x")
        push.send(b"x")
    poller = poller_of(*(push for push, _ in pairs))
    for push, _ in pairs:
        poller.register(push, zmq.POLLIN | zmq.POLLOUT)
    polling = waiting(poller.poll)
    pairs[1][1].recv()
    assert polling.join().result == [(pairs[1][0], zmq.POLLOUT)]


def test_req_and_rep_are_ready_when_it_is_their_turn(sockets, ticker):
    rep, req = sockets.pair(zmq.REP, zmq.REQ)
    poller = poller_of(rep, req, flags=zmq.POLLIN | zmq.POLLOUT)
    assert wait_until(lambda: dict(poller.poll(0)) == {req: zmq.POLLOUT})
    req.send(b"question")
    assert dict(poller.poll()) == {rep: zmq.POLLIN}
    rep.recv()
    assert dict(poller.poll()) == {rep: zmq.POLLOUT}
    rep.send(b"answer")
    assert dict(poller.poll()) == {req: zmq.POLLIN}
    req.recv()
    assert dict(poller.poll()) == {req: zmq.POLLOUT}


def test_all_that_is_ready_when_it_ends_is_told(crowd):
    pulls, pushes = crowd
    polling = waiting(poller_of(*pulls).poll)
    for push in pushes:
        push.send(b"x")
    assert dict(polling.join().result) == dict.fromkeys(pulls, zmq.POLLIN)


def test_of_a_message_received_part_by_part_the_rest_is_there(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    other = sockets(zmq.PULL)
    push.send_multipart([b"a", b"b"])
    assert pull.recv() == b"a"
    poller = poller_of(other, pull)
    assert poller.poll() == [(pull, zmq.POLLIN)]
    assert poller.poll(0) == [(pull, zmq.POLLIN)]
    assert poller_of(pull, flags=zmq.POLLERR).poll(0) == []
    assert Outcome(poller.poll, 10).join().result == []  # it is this greenlet's
    assert pull.recv() == b"b"
    assert poller.poll(0) == []


def test_a_socket_and_its_shadow_are_two_and_both_are_told(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    shadow = zmq.Socket.shadow(pull)
    polling = waiting(poller_of(pull, shadow).poll)
    push.send(b"x")
    assert polling.join().result == [(pull, zmq.POLLIN), (shadow, zmq.POLLIN)]
    shadow.close()
    with pytest.raises(zmq.ZMQError) as e:
        poller_of(pull, shadow).poll()
    assert e.value.errno == zmq.ENOTSOCK


def test_sockets_of_different_contexts_are_polled_together(sockets, crowd):
    with zmq.Context() as other:
        pull, push = other.socket(zmq.PULL), other.socket(zmq.PUSH)
        pull.bind("inproc://x")
        push.connect("inproc://x")
        polling = waiting(poller_of(*crowd[0], pull).poll)
        push.send(b"x")
        assert polling.join().result == [(pull, zmq.POLLIN)]
        polling = waiting(poller_of(crowd[0][0], pull, flags=zmq.POLLOUT).poll)
    assert isinstance(polling.join().error, zmq.ZMQError)


def test_one_socket_that_is_busy_with_a_bind_keeps_no_other_from_being_told(crowd, sockets):
    pulls, pushes = crowd
    pulls[0].bind("tcp://127.0.0.1:*")
    polling = waiting(poller_of(*pulls).poll)
    for _ in range(20):
        Outcome(pulls[0].bind, "tcp://127.0.0.1:*")
    pushes[3].send(b"x")
    assert polling.join().result == [(pulls[3], zmq.POLLIN)]


# ---- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [100, 100.0, 99.6])
def test_a_timeout_is_in_milliseconds(crowd, ticker, timeout):
    with Stopwatch() as watch:
        assert poller_of(*crowd[0]).poll(timeout) == []
    watch.check(0.1)


def test_a_timeout_of_zero_never_waits_and_never_lets_others_run(crowd):
    poller = poller_of(*crowd[0])
    end = time.monotonic() + 0.05
    with nobody_else_runs():
        while time.monotonic() < end:
            assert poller.poll(0) == []


@pytest.mark.parametrize("timeout", [None, -1, -0.5])
def test_without_a_timeout_it_waits_as_long_as_it_takes(crowd, ticker, timeout):
    pulls, pushes = crowd
    polling = waiting(poller_of(*pulls).poll, timeout)
    gevent.sleep(0.1)
    assert polling.result is None
    pushes[2].send(b"x")
    assert polling.join().result == [(pulls[2], zmq.POLLIN)]


def test_a_timeout_of_less_than_a_millisecond_is_kept(crowd, ticker):
    with Stopwatch() as watch:
        assert poller_of(*crowd[0]).poll(0.005) == []
    watch.check(0.001)


def test_with_nothing_registered_it_waits_for_the_time_alone(ticker):
    with Stopwatch() as watch:
        assert zmq.Poller().poll(60) == []
    watch.check(0.06)
    assert zmq.Poller().poll() == []  # for ever would be for nothing
    assert zmq.Poller().poll(0) == []


@pytest.mark.parametrize("registered", ["sockets", "nothing"])
def test_polls_that_never_have_to_wait_let_the_hub_turn(crowd, ticker, registered):
    pulls, pushes = crowd
    poller = zmq.Poller()
    if registered == "sockets":
        pushes[0].send(b"x")
        poller = poller_of(*pulls)
    enough, limit = ticker.ticks + 20, time.monotonic() + 20
    while ticker.ticks < enough:
        poller.poll()
        assert time.monotonic() < limit


# ---- leaving early, and the ends ---------------------------------------------------------------------


def test_a_kill_and_a_timeout_leave_no_trace(crowd, ticker):
    pulls, pushes = crowd
    poller = poller_of(*pulls)
    for _ in range(20):
        polling = waiting(poller.poll)
        polling.greenlet.kill()
        with gevent.Timeout(0.001, False):
            poller.poll()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            poller.poll(10_000)
    for number, push in enumerate(pushes):
        push.send(b"%d" % number)
    assert dict(poller.poll()) == dict.fromkeys(pulls, zmq.POLLIN)
    assert [pull.recv() for pull in pulls] == [b"0", b"1", b"2", b"3", b"4"]
    assert poller.poll(0) == []


def test_a_greenlet_that_polls_again_after_a_kill_is_not_woken_by_the_past(crowd):
    pulls, pushes = crowd
    poller = poller_of(*pulls)

    def poll():
        try:
            poller.poll()
        except gevent.GreenletExit:
            pulls[0].recv()
            return poller.poll(20)

    for _ in range(20):
        polling = waiting(poll)
        pushes[0].send(b"x")  # granted, and then killed
        polling.greenlet.kill()
        assert polling.result == []


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_socket_that_is_closed_meanwhile_is_an_error_that_names_it(crowd, ticker, index):
    pulls, _ = crowd
    polling = [waiting(poller_of(*pulls).poll, timeout) for timeout in (None, 20_000)]
    told_soon(polling, pulls[index].close, zmq.ENOTSOCK)
    assert all(f"{id(pulls[index]):#x}" in str(one.error) for one in polling)


def test_a_closed_socket_is_an_error_and_never_another_descriptor(crowd, sockets):
    pulls, _ = crowd
    poller = poller_of(*pulls)
    pulls[1].close()
    sockets(zmq.PULL)  # which has its number now, perhaps
    for timeout in (0, 10, None):
        with pytest.raises(zmq.ZMQError) as e:
            poller.poll(timeout)
        assert e.value.errno == zmq.ENOTSOCK
    poller.unregister(pulls[1])
    assert poller.poll(0) == []


def test_a_context_that_ends_ends_the_polls_on_its_sockets(ticker):
    context = zmq.Context()
    pulls = [context.socket(zmq.PULL) for _ in range(3)]
    polling = [waiting(poller_of(*pulls).poll, timeout) for timeout in (None, 20_000)]
    term = Outcome(context.term)
    told_soon(polling, lambda: gevent.sleep(0), zmq.ETERM)
    with pytest.raises(zmq.ContextTerminated):
        poller_of(*pulls).poll(0)
    for pull in pulls:
        pull.close()
    assert term.join().error is None
    assert context.closed


def test_a_message_left_by_a_killed_receiver_wakes_a_poll(crowd, ticker):
    pulls, pushes = crowd
    for _ in range(50):
        receiver = waiting(pulls[2].recv)
        polling = waiting(poller_of(*pulls).poll)
        pushes[2].send(b"x")
        receiver.greenlet.kill()
        if receiver.result is None:
            assert polling.join().result == [(pulls[2], zmq.POLLIN)]
            assert pulls[2].recv() == b"x"
        else:
            polling.greenlet.kill()


def test_on_the_hubs_own_greenlet_one_may_look_but_not_wait(crowd):
    pulls, pushes = crowd
    poller = poller_of(*pulls)
    pushes[1].send(b"x")
    results = []

    def call():
        results.append(poller.poll(0))
        results.append(poller.poll())
        pulls[1].recv()
        try:
            poller.poll(10)
        except BlockingSwitchOutError as e:
            results.append(e)

    gevent.get_hub().loop.run_callback(call)
    assert wait_until(lambda: len(results) == 3)
    assert results[:2] == [[(pulls[1], zmq.POLLIN)]] * 2
    pushes[1].send(b"x")
    assert poller.poll() == results[0]


def test_polls_leave_no_threads_descriptors_or_sockets_behind():
    with zmq.Context() as context:
        context.socket(zmq.PULL).poll(1)  # somebody is on watch
        baseline = Baseline()
        pulls = [context.socket(zmq.PULL) for _ in range(20)]
        polling = [waiting(poller_of(*pulls).poll, timeout) for timeout in [None, 10] * 20]
        for one in polling[::2]:
            one.greenlet.kill()
        for one in polling:
            one.join()
        for pull in pulls:
            pull.close(0)
        del pulls, polling, one, pull
        gc.collect()
        baseline.check()


def test_a_poller_keeps_its_sockets_until_they_are_unregistered(sockets):
    sock = sockets.context.socket(zmq.PULL)
    poller = poller_of(sock)
    assert poller.poll(0) == []
    sock.close()
    still = weakref.ref(sock)
    del sock
    gc.collect()
    assert still() is not None
    poller.unregister(still())
    gc.collect()
    assert still() is None


# ---- select, zmq_poll, dispatch ----------------------------------------------------------------------


def test_select_gives_back_those_that_are_ready(sockets, ticker):
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    assert zmq.select([a, b], [a, b], [a, b]) == ([], [a, b], [])
    a.send(b"x")
    assert zmq.select([a, b], [a], []) == ([b], [a], [])
    b.recv()
    selecting = waiting(zmq.select, [a, b], [], [])
    b.send(b"x")
    assert selecting.join().result == ([a], [], [])


@pytest.mark.parametrize("timeout", [0.1, 0])
def test_selects_timeout_is_in_seconds(sockets, ticker, timeout):
    a = sockets(zmq.PULL)
    with Stopwatch() as watch:
        assert zmq.select([a], [], [a], timeout) == ([], [], [])
    watch.check(timeout)


def test_select_waits_for_ever_with_a_negative_timeout(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    selecting = waiting(zmq.select, [pull], [], [], -1)
    push.send(b"x")
    assert selecting.join().result == ([pull], [], [])
    pull.close()
    with pytest.raises(zmq.ZMQError):
        zmq.select([pull], [], [])


def test_zmq_poll_takes_what_pollers_list(sockets):
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    a.send(b"x")
    poller = poller_of(a, b)
    assert zmq.zmq_poll(poller.sockets) == zmq.zmq_poll(poller.sockets, 10) == [(b, zmq.POLLIN)]
    b.recv()
    assert zmq.zmq_poll(poller.sockets, timeout=0) == []


def test_dispatch_calls_the_handlers_of_what_is_ready(crowd, ticker):
    pulls, pushes = crowd
    got = []

    def take(sock):
        got.append((sock, sock.recv()))

    handlers = dict.fromkeys(pulls, take)
    dispatching = waiting(zmq.Poller.dispatch, handlers)
    pushes[3].send(b"three")
    assert dispatching.join().result == 1
    assert got == [(pulls[3], b"three")]
    for push in pushes:
        push.send(b"x")
    assert zmq.Poller.dispatch(handlers, timeout=1) == 5
    assert got[1:] == [(pull, b"x") for pull in pulls]
    assert zmq.Poller().dispatch(handlers, 0) == 0


def test_dispatch_calls_on_timeout_when_the_time_has_passed(crowd, ticker):
    called = []
    handlers = dict.fromkeys(crowd[0], called.append)
    with Stopwatch() as watch:
        assert zmq.Poller.dispatch(handlers, timeout=0.1, on_timeout=lambda: called.append("late")) == 0
    watch.check(0.1)
    assert called == ["late"]
    assert zmq.Poller.dispatch(handlers, timeout=0.01) == 0
    assert zmq.Poller.dispatch({}, timeout=0.01, on_timeout=lambda: called.append("nobody")) == 0
    assert called == ["late", "nobody"]


def test_dispatch_waits_for_other_events_where_flags_are_given(sockets):
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    called = []
    assert zmq.Poller.dispatch({a: called.append, b: (zmq.POLLOUT, called.append)}) == 1
    assert called == [b]


def test_what_a_handler_raises_ends_the_dispatch(crowd):
    pulls, pushes = crowd
    called = []
    for push in pushes:
        push.send(b"x")
    with pytest.raises(ZeroDivisionError):
        zmq.Poller.dispatch({pulls[0]: called.append, pulls[1]: lambda _: 1 // 0, pulls[2]: called.append})
    assert called == [pulls[0]]


def test_a_closed_socket_is_an_error_of_dispatch_too(crowd):
    pulls, _ = crowd
    dispatching = waiting(zmq.Poller.dispatch, dict.fromkeys(pulls, print))
    pulls[0].close()
    assert dispatching.join().error.errno == zmq.ENOTSOCK
