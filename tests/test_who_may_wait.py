"""Who may wait: greenlets with their companions, signal handlers with another, the hub's greenlet never."""

import gc

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError
from life import OsThread, Outcome, on_the_hub, waiting
from support import run, wait_until

import gzmqhelper as zmq
from gzmqhelper import _helper
from gzmqhelper._native import lib


def in_greenlet(call, *args):
    """What a call returns that is made in a new greenlet, which ends then."""
    outcome = Outcome(call, *args).join()
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


# ---- helper() --------------------------------------------------------------------------------------


def test_a_helper_gives_the_greenlet_its_companion_at_once():
    def use():
        assert zmq.Helper.current() is None
        with zmq.helper() as mine:
            assert type(mine) is zmq.Helper
            assert zmq.Helper.current() is mine
            assert mine.number >= 1
            assert repr(mine) == f"<Helper, companion {mine.number}>"
        return mine.number

    assert in_greenlet(use) is None


def test_nested_helpers_of_a_greenlet_are_one(sockets):
    pull = sockets(zmq.PULL)

    def use():
        with zmq.helper() as outer:
            number = outer.number
            with zmq.helper() as inner, zmq.helper() as innermost:
                assert inner is innermost is outer
                assert inner.number == number
            assert outer.number == number  # the inner end does not end it
            assert pull.poll(1) == 0
            assert outer.number == number
        assert outer.number is None
        with zmq.helper() as again:
            assert again.number is not None

    in_greenlet(use)


def test_the_end_of_the_with_gives_the_companion_to_the_next_greenlet():
    def use():
        with zmq.helper() as mine:
            return mine.number

    first = in_greenlet(use)
    assert in_greenlet(use) == first


def test_an_error_within_the_with_gives_it_up_too():
    def use():
        with pytest.raises(ZeroDivisionError), zmq.helper():
            raise ZeroDivisionError
        return zmq.Helper.current().number

    assert in_greenlet(use) is None


def test_the_end_of_a_greenlet_gives_it_up_too():
    numbers = []

    def use():
        zmq.helper().start()
        numbers.append(zmq.Helper.current().number)

    for _ in range(20):
        in_greenlet(use)
    gc.collect()
    assert len(set(numbers)) < 8  # the park's few


def test_greenlets_at_the_same_time_have_one_each(sockets):
    def use():
        with zmq.helper() as mine:
            gevent.sleep(0.01)
            return mine.number

    outcomes = [Outcome(use) for _ in range(20)]
    assert len({outcome.join().result for outcome in outcomes}) == 20


def test_a_greenlet_without_a_companion_that_only_does_what_is_done_at_once_gets_none(sockets):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")

    def use():
        left.send(b"at once")
        assert right.recv() == b"at once"
        assert right.poll(0) == 0
        with pytest.raises(zmq.Again):
            right.recv(zmq.NOBLOCK)
        return zmq.Helper.current() is None or zmq.Helper.current().number is None

    assert in_greenlet(use)


def test_without_it_a_greenlet_gets_its_companion_when_it_first_must_wait(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

    def use():
        push.send(b"at once")
        assert pull.recv() == b"at once"
        assert zmq.Helper.current() is None or zmq.Helper.current().number is None
        with pytest.raises(zmq.Again):
            pull.recv(timeout=0.01)
        first = zmq.Helper.current().number
        assert first >= 1
        pull.poll(1)
        assert zmq.Helper.current().number == first

    in_greenlet(use)


def test_a_helper_may_be_started_and_closed_by_hand():
    def use():
        mine = zmq.helper()
        mine.close()
        assert mine.number is None
        assert repr(mine) == "<Helper, no companion>"
        mine.start()
        number = mine.number
        mine.start()
        assert mine.number == number
        mine.close()
        mine.close()
        assert mine.number is None
        mine.start()
        assert mine.number is not None

    in_greenlet(use)


def test_the_companion_on_watch_stays_there_when_its_greenlet_ends():
    # A process of its own: here, that of an earlier test is on watch.
    run(
        """
        import gzmqhelper as zmq
        from life import Outcome, waiting
        from support import Sockets

        def first():
            assert pull.poll(1) == 0
            return zmq.helper().number

        sockets = Sockets()
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
        number = Outcome(first).join().result
        assert number is not None
        for i in range(3):
            assert zmq.report().on_watch == number, zmq.report()
            waiter = waiting(pull.recv)
            push.send(b"%d" % i)
            assert waiter.join().result == b"%d" % i
        assert zmq.report().on_watch == number, zmq.report()
        sockets.close()
        """
    )


def test_a_wait_works_within_a_with_and_after_it(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def use():
        got = []
        with zmq.helper() as mine:
            number = mine.number
            got.append(pull.recv())
            got.append(pull.recv())
            assert mine.number == number is not None
        got.append(pull.recv())
        return got

    outcome = Outcome(use)
    for i in range(3):
        gevent.sleep(0.01)
        push.send(b"%d" % i)
    assert outcome.join().result == [b"0", b"1", b"2"]


def test_a_thread_of_the_system_has_helpers_too():
    def use():
        with zmq.helper() as mine:
            return mine.number, zmq.Helper.current() is mine

    here = in_greenlet(use)
    number, is_current = OsThread(use).join()
    assert here[1]
    assert is_current
    assert number is not None


# ---- a wait within a wait, as a signal handler makes it ------------------------------------------------


@pytest.fixture
def interrupted(monkeypatch):
    """Makes a handler run on the waiting greenlet, between its request and its wait."""
    real = _helper.wait_read
    handlers = []

    def lying(*args):
        while handlers:
            handlers.pop()()
        return real(*args)

    monkeypatch.setattr(_helper, "wait_read", lying)
    return handlers.append


def test_a_handler_that_runs_on_a_waiting_greenlet_may_wait_itself(sockets, interrupted):
    outer, push = sockets.pair(zmq.PULL, zmq.PUSH)
    inner, to_inner = sockets.pair(zmq.PULL, zmq.PUSH)
    got = []

    def handler():
        got.append(inner.recv(timeout=5))
        inner.bind("inproc://within")

    interrupted(handler)
    waiter = Outcome(outer.recv)
    gevent.sleep(0.01)
    push.send(b"outer")
    to_inner.send(b"inner")
    assert waiter.join().result == b"outer"
    assert got == [b"inner"]


def test_a_handler_may_receive_from_the_very_socket_on_which_its_greenlet_waits(sockets, interrupted):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    got = []
    interrupted(lambda: got.append(pull.recv(timeout=5)))
    waiter = Outcome(pull.recv)
    gevent.sleep(0.01)
    push.send(b"1")
    push.send(b"2")
    assert {waiter.join().result, *got} == {b"1", b"2"}


def test_a_handler_may_use_a_helper_of_its_own_and_the_wait_goes_on(sockets, interrupted):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def handler():
        with zmq.helper() as mine:
            assert mine.number is not None
        zmq.helper().close()

    interrupted(handler)
    waiter = waiting(pull.recv)
    others = [waiting(pull.poll, 100) for _ in range(3)]
    for other in others:
        other.join()
    push.send(b"x")
    assert waiter.join().result == b"x"


def test_a_handler_that_raises_ends_the_wait_and_loses_nothing(sockets, interrupted):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def handler():
        push.send(b"x")
        raise ZeroDivisionError

    interrupted(handler)
    assert isinstance(Outcome(pull.recv).join().error, ZeroDivisionError)
    assert pull.recv(timeout=5) == b"x"


def test_a_handler_that_closes_the_socket_ends_the_wait_with_an_error(sockets, interrupted):
    pull = sockets(zmq.PULL)
    interrupted(pull.close)
    assert Outcome(pull.recv).join().error.errno == zmq.ENOTSOCK


# ---- the hub's own greenlet -----------------------------------------------------------------------------


def test_on_the_hub_what_can_be_done_at_once_is_done(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    assert on_the_hub(push.send, b"1") is None
    assert on_the_hub(pull.recv) == b"1"
    assert on_the_hub(push.send_multipart, [b"2", b"3"]) is None
    assert on_the_hub(pull.recv_multipart) == [b"2", b"3"]
    on_the_hub(push.send_multipart, [b"4", b"5"], copy=False)
    assert on_the_hub(pull.poll) == zmq.POLLIN
    assert on_the_hub(pull.recv_multipart) == [b"4", b"5"]
    on_the_hub(lambda: (push.send(b"6", zmq.SNDMORE), push.send(b"7")))
    assert on_the_hub(lambda: (pull.recv(), pull.rcvmore, pull.recv())) == (b"6", 1, b"7")
    for how in ({"flags": zmq.NOBLOCK}, {"timeout": 0}):
        with pytest.raises(zmq.Again):
            on_the_hub(pull.recv, **how)
    assert on_the_hub(pull.poll, 0) == 0
    assert on_the_hub(push.poll, flags=zmq.POLLOUT) == zmq.POLLOUT
    assert on_the_hub(pull.get, zmq.LINGER) == 0
    assert on_the_hub(pull.set, zmq.LINGER, 5) is None
    on_the_hub(push.connect, "inproc://later")
    made = on_the_hub(sockets, zmq.PULL)
    assert isinstance(made, zmq.Socket)
    assert on_the_hub(made.close) is None
    assert made.closed


def test_on_the_hub_a_flood_does_not_yield(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", right_options={"sndhwm": 0})

    def flood():
        for i in range(20_000):
            push.send(b"%d" % i)
        return [int(pull.recv()) for _ in range(20_000)]

    assert on_the_hub(flood) == list(range(20_000))


WAITS = {
    "recv": lambda pull, push: pull.recv(),
    "recv with a timeout": lambda pull, push: pull.recv(timeout=1),
    "recv_multipart": lambda pull, push: pull.recv_multipart(),
    "recv a Frame": lambda pull, push: pull.recv(copy=False),
    "loop": lambda pull, push: next(iter(pull)),
    "poll": lambda pull, push: pull.poll(),
    "poll with a timeout": lambda pull, push: pull.poll(100),
    "send": lambda pull, push: push.send(b"lost"),
    "send with a timeout": lambda pull, push: push.send(b"lost", timeout=1),
    "send without a copy": lambda pull, push: push.send(bytearray(100_000), copy=False),
    "send_multipart": lambda pull, push: push.send_multipart([b"lost", b"lost"]),
    "send a part": lambda pull, push: push.send(b"lost", zmq.SNDMORE),
    "bind": lambda pull, push: pull.bind("inproc://hub"),
    "bind by tcp": lambda pull, push: pull.bind("tcp://127.0.0.1:*"),
    "unbind": lambda pull, push: pull.unbind("inproc://hub"),
    "disconnect": lambda pull, push: pull.disconnect("inproc://hub"),
    "term": lambda pull, push: pull.context.term(),
}


@pytest.mark.parametrize("name", WAITS)
def test_on_the_hub_a_call_that_must_wait_says_so_and_asks_for_nothing(name, sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    endpoint = pull.last_endpoint
    with pytest.raises(BlockingSwitchOutError, match=r"NOBLOCK, or gevent\.spawn"):
        on_the_hub(WAITS[name], pull, push)
    assert pull.last_endpoint == endpoint
    assert not pull.context.closed
    # Nothing was queued: the messages are all there for others, and no message was sent.
    reader = waiting(pull.recv_multipart)
    pull.bind("inproc://hub")
    push.connect("inproc://hub")
    for i in range(4):
        push.send(b"%d" % i)
    assert reader.join().result == [b"0"]
    assert [pull.recv_multipart(timeout=5) for _ in range(3)] == [[b"1"], [b"2"], [b"3"]]
    assert pull.poll(0) == 0


def test_on_the_hub_an_answer_that_is_there_is_received(sockets):
    req, rep = sockets.pair(zmq.REQ, zmq.REP, "inproc")
    req.send(b"question")
    with pytest.raises(BlockingSwitchOutError):
        on_the_hub(req.recv)
    for _ in range(2):
        assert rep.recv() == b"question"
        rep.send(b"answer")
        assert on_the_hub(req.recv) == b"answer"
        req.send(b"question")


def test_on_the_hub_a_call_that_may_wait_says_so_whatever_rcvtimeo_says(sockets):
    req, rep = sockets.pair(zmq.REQ, zmq.REP, "inproc", {"rcvtimeo": 0}, {"rcvtimeo": 0})
    req.send(b"question")
    assert rep.recv(timeout=5) == b"question"
    for sock in req, sockets(zmq.PULL, rcvtimeo=0):
        with pytest.raises(BlockingSwitchOutError):
            on_the_hub(sock.recv, timeout=5)


def test_on_the_hub_a_receive_is_refused_in_the_same_way_when_its_slice_is_over(sockets):
    pull = sockets(zmq.PULL)

    def refused():
        lib.gzh_slice(20_000)
        with pytest.raises(BlockingSwitchOutError):
            pull.recv()

    on_the_hub(lambda: [refused() for _ in range(2000)])


def test_an_answer_that_a_poll_has_told_of_is_received_at_once(sockets):
    req, rep = sockets.pair(zmq.REQ, zmq.REP, "inproc")
    for tell in (req.poll, lambda: req.events & zmq.POLLIN, lambda: zmq.select([req], [], [])[0]):
        req.send(b"question")
        rep.send(rep.recv())
        assert wait_until(tell)
        assert req._ask(0) == b"question"


def test_on_the_hub_a_tracker_is_waited_for_only_if_it_is_done(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    nowhere = sockets(zmq.PUSH, linger=0)
    nowhere.connect("tcp://127.0.0.1:1")
    tracker = nowhere.send(bytes(100_000), copy=False, track=True)
    with pytest.raises(BlockingSwitchOutError):
        on_the_hub(tracker.wait)
    tracker = push.send(bytes(100_000), copy=False, track=True)
    pull.recv()
    assert wait_until(lambda: tracker.done)
    on_the_hub(tracker.wait)


def test_a_close_on_the_hub_tells_those_who_wait(sockets):
    pull = sockets(zmq.PULL)
    waiter = waiting(pull.recv)
    assert on_the_hub(pull.close) is None
    assert waiter.join().error.errno == zmq.ENOTSOCK


def test_a_context_that_has_ended_may_be_ended_again_on_the_hub(sockets):
    ctx = zmq.Context()
    ctx.term()
    assert on_the_hub(ctx.term) is None
    assert on_the_hub(ctx.destroy) is None


def test_a_finalizer_on_the_hub_may_close_and_send_at_once(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    other = sockets(zmq.PULL)
    waiter = waiting(other.recv)

    class Last:
        def __del__(self):
            push.send(b"from a finalizer")
            other.close()

    last = [Last()]
    on_the_hub(last.clear)
    assert pull.recv(timeout=5) == b"from a finalizer"
    assert waiter.join().error.errno == zmq.ENOTSOCK


def test_a_signal_handler_that_finds_the_hub_running_may_do_what_can_be_done_at_once():
    run(
        """
        import os, signal
        import gevent
        import gzmqhelper as zmq
        from gevent.exceptions import BlockingSwitchOutError

        ctx = zmq.Context()
        pull, push, closing = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH), ctx.socket(zmq.PULL)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        seen = []

        def handler(*_):
            seen.append(gevent.getcurrent() is gevent.get_hub())
            try:
                closing.recv()
            except BlockingSwitchOutError:
                seen.append("may not wait")
            closing.close()
            push.send(b"from the handler")

        signal.signal(signal.SIGUSR1, handler)
        gevent.get_hub()
        import _thread, time
        from gevent.monkey import get_original

        def later():
            get_original("time", "sleep")(0.2)
            os.kill(os.getpid(), signal.SIGUSR1)

        get_original("_thread", "start_new_thread")(later, ())
        assert pull.recv() == b"from the handler"
        assert seen == [True, "may not wait"], seen
        """
    )
