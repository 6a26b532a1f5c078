"""Contexts: how they end, with messages unsent and greenlets waiting; instances, options, shadows."""

import gc
import signal
import time
import weakref

import gevent
import pytest
from life import Baseline, OsThread, Outcome, told_soon, waiting, waits
from support import Stopwatch, run, threads, wait_until

import gzmqhelper as zmq

NOWHERE = "tcp://127.0.0.1:1"  # nobody listens on it


@pytest.fixture
def ctx():
    """A context that its test ends in its own way, and that is ended after it in any case."""
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


def with_unsent(ctx, linger):
    push = ctx.socket(zmq.PUSH)
    push.linger = linger
    push.connect(NOWHERE)
    push.send(b"never arrives")
    push.close()


# ---- the end: term ---------------------------------------------------------------------------------


def test_a_term_takes_the_linger_period_and_others_run_meanwhile(ctx, ticker):
    with_unsent(ctx, 300)
    began = time.monotonic()
    ctx.term()
    assert 0.28 < time.monotonic() - began < 2
    assert ticker.ticks > 50


def test_a_term_ends_as_soon_as_the_messages_are_sent(ctx, ticker):
    push, pull = ctx.socket(zmq.PUSH), zmq.Context.instance().socket(zmq.PULL)
    push.linger = 20_000
    push.bind("tcp://127.0.0.1:*")
    endpoint = push.last_endpoint.decode()
    pull.connect(endpoint)
    for i in range(50):
        push.send(b"%d" % i)
    push.close()
    began = time.monotonic()
    ctx.term()
    assert time.monotonic() - began < 5
    assert [pull.recv(timeout=5) for _ in range(50)] == [b"%d" % i for i in range(50)]
    pull.close()


def test_a_term_without_sockets_is_over_at_once(ctx):
    with Stopwatch() as watch:
        ctx.term()
    assert watch.soon
    assert ctx.closed


WAITS = {
    "recv": lambda s: s.recv(),
    "recv with a timeout": lambda s: s.recv(timeout=20),
    "recv_multipart": lambda s: s.recv_multipart(),
    "send": lambda s: s.send(b"x"),
    "send a part": lambda s: s.send(b"x", zmq.SNDMORE),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
    "poll": lambda s: s.poll(),
    "poll to send": lambda s: s.poll(20_000, zmq.POLLOUT),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_greenlet_that_waits_is_told_when_the_context_ends(name, ctx, ticker):
    dealer = ctx.socket(zmq.DEALER)
    outcome = waiting(WAITS[name], dealer)
    term = Outcome(ctx.term)
    told_soon([outcome], lambda: gevent.sleep(0), zmq.ETERM)
    assert isinstance(outcome.error, zmq.ContextTerminated)
    assert waits(term.greenlet)
    with Stopwatch() as watch:
        dealer.close()
        term.join()
    assert watch.soon
    assert term.error is None


def test_every_one_of_many_that_wait_is_told_and_closes_and_the_context_ends(ctx, ticker):
    def use(call, sock):
        try:
            call(sock)
        finally:
            sock.close()

    outcomes = [
        waiting(use, call, sock)
        for sock in [ctx.socket(zmq.DEALER) for _ in range(20)]
        for call in WAITS.values()
    ]
    with Stopwatch() as watch:
        ctx.term()
        for outcome in outcomes:
            outcome.join()
    assert watch.soon
    # The first of a socket's waiters to run closes it; some of the others may see only that.
    assert all(outcome.error.errno in (zmq.ETERM, zmq.ENOTSOCK) for outcome in outcomes)
    assert sum(o.error.errno == zmq.ETERM for o in outcomes) >= 20


def test_a_loop_over_a_socket_ends_with_the_context(ctx):
    def loop():
        with ctx.socket(zmq.PULL) as pull:
            return list(pull)

    outcome = waiting(loop)
    ctx.term()
    assert outcome.join().result == []


CALLS = {
    "recv": lambda s: s.recv(),
    "recv at once": lambda s: s.recv(zmq.NOBLOCK),
    "send": lambda s: s.send(b"x"),
    "send at once": lambda s: s.send(b"x", zmq.NOBLOCK),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
    "poll": lambda s: s.poll(),
    "poll at once": lambda s: s.poll(0),
    "bind": lambda s: s.bind("inproc://x"),
    "connect": lambda s: s.connect("inproc://x"),
    "unbind": lambda s: s.unbind("inproc://x"),
    "another socket": lambda s: s.context.socket(zmq.PULL),
    "get of the context": lambda s: s.context.get(zmq.MAX_SOCKETS),
    "set of the context": lambda s: s.context.set(zmq.MAX_SOCKETS, 10),
}


@pytest.mark.parametrize("name", CALLS)
def test_once_a_context_ends_every_call_but_close_says_so(name, ctx):
    dealer = ctx.socket(zmq.DEALER)
    term = waiting(ctx.term)
    # Until its companion has begun the term, a call may still be answered as before.
    assert isinstance(Outcome(dealer.poll).join().error, zmq.ContextTerminated)
    with pytest.raises(zmq.ContextTerminated):
        CALLS[name](dealer)
    dealer.close()
    assert term.join().error is None


def test_a_context_is_closed_as_soon_as_it_begins_to_end(ctx):
    sock = ctx.socket(zmq.PULL)
    assert not ctx.closed
    term = waiting(ctx.term)
    assert ctx.closed
    sock.close()
    term.join()
    assert ctx.closed


def test_a_second_term_joins_the_first(ctx):
    sock = ctx.socket(zmq.PULL)
    terms = [waiting(ctx.term) for _ in range(5)]
    other = OsThread(ctx.term)
    gevent.sleep(0.02)
    assert all(waits(term.greenlet) for term in terms)
    assert not other.done
    sock.close()
    for term in terms:
        assert term.join().error is None
    other.join()


def test_a_term_after_the_end_returns_at_once(ctx):
    ctx.term()
    for _ in range(3):
        with Stopwatch() as watch:
            ctx.term()
        assert watch.soon


@pytest.mark.parametrize("leave", ["kill", "timeout"])
def test_a_term_that_was_left_goes_on(leave, ctx, ticker):
    sock = ctx.socket(zmq.PULL)
    if leave == "kill":
        term = waiting(ctx.term)
        with Stopwatch() as watch:
            term.greenlet.kill()
        assert watch.soon
    else:
        with Stopwatch() as watch, pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            ctx.term()
        watch.check(0.05)
    assert ctx.closed
    with pytest.raises(zmq.ContextTerminated):
        sock.recv()
    later = waiting(ctx.term)
    with Stopwatch() as watch:
        sock.close()
        later.join()
    assert watch.soon


def test_a_term_that_was_left_and_joined_by_nobody_gives_its_thread_back():
    zmq.Context().term()
    before = Baseline()
    for _ in range(8):
        ctx = zmq.Context()
        sock = ctx.socket(zmq.PULL)
        term = waiting(ctx.term)
        term.greenlet.kill()
        sock.close()
        del ctx, sock, term
    before.check()


def test_a_greenlet_that_left_a_term_may_wait_for_something_else(sockets, ctx):
    sock = ctx.socket(zmq.PULL)
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def go_on():
        with gevent.Timeout(0.02, False):
            ctx.term()
        first = pull.recv(timeout=5)
        sock.close()
        ctx.term()
        return first, pull.recv(timeout=5)

    outcome = Outcome(go_on)
    gevent.sleep(0.05)
    push.send(b"1")
    push.send(b"2")
    assert outcome.join().result == (b"1", b"2")


def test_signals_do_not_cut_a_term_short():
    run(
        """
        import signal, time
        import gzmqhelper as zmq

        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        ctx = zmq.Context()
        push = ctx.socket(zmq.PUSH)
        push.linger = 400
        push.connect("tcp://127.0.0.1:1")
        push.send(b"x")
        push.close()
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        began = time.monotonic()
        ctx.term()
        took = time.monotonic() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert 0.38 < took < 2, took
        assert len(seen) > 2, len(seen)
        """
    )


def test_ctrl_c_ends_the_wait_for_a_term_and_the_term_goes_on():
    result = run(
        """
        import os, signal, time
        import gevent
        import gzmqhelper as zmq

        ctx = zmq.Context()
        push = ctx.socket(zmq.PUSH)
        push.linger = 300
        push.connect("tcp://127.0.0.1:1")
        push.send(b"x")
        push.close()
        gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)  # prints no traceback
        gevent.spawn_later(0.1, os.kill, os.getpid(), signal.SIGINT)
        began = time.monotonic()
        try:
            ctx.term()
        except KeyboardInterrupt:
            print(time.monotonic() - began < 0.25)
        ctx.term()
        print(0.28 < time.monotonic() - began < 2)
        """
    )
    assert result.stdout.split() == ["True", "True"]
    assert signal.getsignal(signal.SIGINT) is not None


# ---- destroy, with ---------------------------------------------------------------------------------


def test_destroy_closes_all_sockets_and_ends_the_context(ctx):
    made = [ctx.socket(kind) for kind in (zmq.PUSH, zmq.PULL, zmq.PUB, zmq.DEALER)]
    outcome = waiting(made[1].recv)
    ctx.destroy()
    assert ctx.closed
    assert all(sock.closed for sock in made)
    assert outcome.join().error.errno in (zmq.ENOTSOCK, zmq.ETERM)


def test_destroy_twice_and_term_after_it_are_safe(ctx):
    ctx.socket(zmq.PULL)
    ctx.destroy()
    ctx.destroy()
    ctx.term()
    ctx.destroy(linger=0)
    assert ctx.closed


def test_destroy_with_a_linger_of_zero_drops_what_was_not_sent(ctx):
    push = ctx.socket(zmq.PUSH)
    push.linger = -1
    push.connect(NOWHERE)
    push.send(b"x")
    began = time.monotonic()
    ctx.destroy(linger=0)
    assert time.monotonic() - began < 1


def test_destroy_without_linger_keeps_each_sockets_own(ctx, ticker):
    push = ctx.socket(zmq.PUSH)
    push.linger = 200
    push.connect(NOWHERE)
    push.send(b"x")
    began = time.monotonic()
    ctx.destroy()
    assert 0.18 < time.monotonic() - began < 2


def test_destroy_closes_the_sockets_that_a_term_under_way_waits_for(ctx):
    ctx.socket(zmq.PULL)
    kept = ctx.socket(zmq.PULL)
    term = waiting(ctx.term)
    ctx.destroy()
    assert kept.closed
    assert term.join(1).error is None


def test_a_with_block_closes_sockets_and_ends(ctx):
    with ctx as entered:
        assert entered is ctx
        pull = ctx.socket(zmq.PULL)
    assert pull.closed
    assert ctx.closed


def test_a_with_block_that_fails_ends_too(ctx):
    with pytest.raises(ZeroDivisionError), ctx:
        ctx.socket(zmq.PULL)
        raise ZeroDivisionError
    assert ctx.closed


def test_nothing_is_made_of_an_ended_context(ctx):
    ctx.term()
    with pytest.raises(zmq.ContextTerminated):
        ctx.socket(zmq.PULL)


# ---- dropped without an end ------------------------------------------------------------------------


def test_a_socket_alone_keeps_its_context_alive():
    pull = zmq.Context().socket(zmq.PULL)
    gc.collect()
    pull.bind("tcp://127.0.0.1:*")
    with zmq.Context().socket(zmq.PUSH) as push:
        push.connect(pull.last_endpoint.decode())
        push.send(b"still there")
        assert pull.recv(timeout=5) == b"still there"
    pull.close()


def test_contexts_that_are_dropped_end_in_the_background():
    waiting(zmq.Context().socket(zmq.PULL).recv).greenlet.kill()  # what is started once
    before = Baseline()
    for _ in range(10):
        ctx = zmq.Context()
        ctx.socket(zmq.PULL).close()
        del ctx
    before.check()


def test_dropping_a_context_with_unsent_messages_does_not_stop_the_hub(ticker):
    ctx = zmq.Context()
    with_unsent(ctx, 300)
    alive = weakref.ref(ctx)
    before = threads()
    del ctx
    assert alive() is None
    assert wait_until(lambda: threads() < before)  # libzmq's own are gone


# ---- instance --------------------------------------------------------------------------------------


def test_the_instance_is_one_until_it_ends_and_then_another():
    class Mine(zmq.Context):
        _instance = None

    first = Mine.instance()
    assert type(first) is Mine
    assert Mine.instance() is first
    first.term()
    second = Mine.instance()
    assert second is not first
    assert not second.closed
    second.term()


def test_a_subclass_has_the_instance_of_its_base_class_or_if_it_says_so_its_own():
    class Heir(zmq.Context):
        pass

    class Own(zmq.Context):
        _instance = None

    base = zmq.Context.instance()
    assert Heir.instance() is base
    own = Own.instance()
    assert type(own) is Own and Own.instance() is own
    own.term()
    assert not base.closed
    base.term()
    heir = Heir.instance()  # asked first now
    assert type(heir) is Heir
    assert type(zmq.Context.instance()) is zmq.Context
    heir.term()
    zmq.Context.instance().term()


def test_all_threads_get_the_same_instance():
    class Mine(zmq.Context):
        _instance = None

    seen = [thread.join() for thread in [OsThread(Mine.instance) for _ in range(8)]]
    assert len({id(ctx) for ctx in seen}) == 1
    seen[0].term()


def test_all_greenlets_get_the_same_instance_though_making_it_lets_others_run(ticker):
    class Slow(zmq.Context):
        _instance = None

        def __init__(self, *args, **kwargs):
            gevent.sleep(0.02)
            super().__init__(*args, **kwargs)

    group = [gevent.spawn(Slow.instance) for _ in range(5)]
    seen = {greenlet.get(timeout=5) for greenlet in group}
    assert seen == {Slow.instance()}
    seen.pop().term()


def test_an_instance_that_another_thread_makes_meanwhile_is_the_one():
    class Mine(zmq.Context):
        _instance = meanwhile = None

        @property
        def closed(self):
            if Mine.meanwhile:
                meanwhile, Mine.meanwhile = Mine.meanwhile, None
                meanwhile()
            return super().closed

    Mine.instance().term()
    made = []
    Mine.meanwhile = lambda: made.append(Mine.instance())
    mine = Mine.instance()
    assert [mine] == made and not mine.closed
    mine.term()


def test_the_instance_takes_a_number_of_threads_when_it_is_made():
    class Mine(zmq.Context):
        _instance = None

    ctx = Mine.instance(io_threads=3)
    assert ctx.get(zmq.IO_THREADS) == 3
    ctx.term()


# ---- options ---------------------------------------------------------------------------------------


def test_options_are_read_and_set_by_number_and_as_attributes(ctx):
    assert ctx.get(zmq.IO_THREADS) == ctx.io_threads == ctx.IO_THREADS == 1
    ctx.max_sockets = 10
    assert ctx.get(zmq.MAX_SOCKETS) == ctx.MAX_SOCKETS == 10
    ctx.set(zmq.MAX_SOCKETS, 20)
    assert ctx.max_sockets == 20
    assert zmq.Context(3).io_threads == 3
    assert zmq.Context(io_threads=2).io_threads == 2


def test_socket_options_are_defaults_for_sockets_made_later(ctx):
    before = ctx.socket(zmq.PUSH)
    ctx.linger = 123
    ctx.SNDHWM = 7
    ctx.setsockopt(zmq.RCVHWM, 9)
    after = ctx.socket(zmq.PUSH)
    assert (after.linger, after.sndhwm, after.rcvhwm) == (123, 7, 9)
    assert (before.linger, before.sndhwm) == (-1, 1000)
    assert ctx.linger == ctx.getsockopt(zmq.LINGER) == 123
    del ctx.linger
    assert ctx.socket(zmq.PUSH).linger == -1
    with pytest.raises(AttributeError):
        _ = ctx.linger


def test_a_default_that_does_not_suit_a_type_of_socket_is_passed_over(ctx):
    ctx.setsockopt(zmq.SUBSCRIBE, b"topic")
    push = ctx.socket(zmq.PUSH)
    sub, pub = ctx.socket(zmq.SUB), ctx.socket(zmq.XPUB)
    pub.bind("inproc://pub")
    sub.connect("inproc://pub")
    assert pub.recv(timeout=5) == b"\x01topic"
    assert push.linger == -1


def test_a_name_that_is_no_option_is_refused(ctx):
    with pytest.raises(AttributeError, match="lingr"):
        ctx.lingr = 0
    with pytest.raises(AttributeError, match="lingr"):
        _ = ctx.lingr
    with pytest.raises(AttributeError):
        del ctx.lingr


def test_dir_shows_the_options(ctx):
    assert {"IO_THREADS", "MAX_SOCKETS", "term", "socket"} <= set(dir(ctx))


def test_the_address_of_libzmqs_context_is_told(ctx):
    assert isinstance(ctx.underlying, int)
    assert ctx.underlying != 0


def test_repr_tells_how_many_sockets_there_are_and_whether_it_is_closed(ctx):
    assert "<zmq.Context() at 0x" in repr(ctx)
    kept = ctx.socket(zmq.PULL)
    assert "<zmq.Context(1 socket) at 0x" in repr(ctx)
    kept.close()
    assert "<zmq.Context() at 0x" in repr(ctx)
    ctx.term()
    assert "closed" in repr(ctx)


# ---- shadows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: zmq.Context.shadow(ctx.underlying),
        lambda ctx: zmq.Context.shadow(ctx),
        lambda ctx: zmq.Context(shadow=ctx),
        lambda ctx: zmq.Context(ctx),
    ],
    ids=["its address", "the object", "by name", "by place"],
)
def test_a_shadow_shares_what_is_inproc(make, ctx):
    other = make(ctx)
    assert other is not ctx
    assert other.underlying == ctx.underlying
    pull, push = ctx.socket(zmq.PULL), other.socket(zmq.PUSH)
    pull.bind("inproc://shared")
    push.connect("inproc://shared")
    push.send(b"x")
    assert pull.recv(timeout=5) == b"x"
    push.close()


def test_a_shadow_that_goes_leaves_the_context_alone(ctx):
    other = zmq.Context.shadow(ctx)
    other.socket(zmq.PULL).close()
    other.term()
    assert other.closed
    assert not ctx.closed
    del other
    gc.collect()
    ctx.socket(zmq.PULL).close()


def test_a_shadow_keeps_its_original_alive():
    original = zmq.Context()
    shadow = zmq.Context.shadow(original)
    alive = weakref.ref(original)
    del original
    gc.collect()
    assert alive() is not None
    shadow.socket(zmq.PULL).close()
    alive().term()


def test_a_shadow_of_an_ended_context_says_so():
    original = zmq.Context()
    shadow = zmq.Context.shadow(original)
    original.term()
    with pytest.raises(zmq.ContextTerminated):
        shadow.socket(zmq.PULL)
    with pytest.raises(zmq.ContextTerminated):
        shadow.get(zmq.MAX_SOCKETS)
    with pytest.raises(zmq.ContextTerminated):
        zmq.Context.shadow(original).socket(zmq.PULL)


def test_a_shadow_of_an_address_outlives_the_last_name_of_the_original():
    original = zmq.Context()
    shadow = zmq.Context.shadow(original.underlying)
    del original
    gc.collect()
    pull, push = shadow.socket(zmq.PULL), shadow.socket(zmq.PUSH)
    pull.bind("inproc://it")
    push.connect("inproc://it")
    waiter = waiting(pull.recv)
    push.send(b"x")
    assert waiter.join().result == b"x"
    pull.close()
    push.close()


def test_the_many_threads_of_one_process_may_make_and_end_contexts_at_once():
    def make_and_end():
        for _ in range(10):
            with zmq.Context() as mine:
                pull, push = mine.socket(zmq.PULL), mine.socket(zmq.PUSH)
                pull.bind("inproc://x")
                push.connect("inproc://x")
                push.send(b"x")
                assert pull.recv() == b"x"

    for thread in [OsThread(make_and_end) for _ in range(4)]:
        thread.join()


def test_nobody_is_left_waiting_when_contexts_end_under_traffic(ticker):
    for _ in range(5):
        ctx = zmq.Context()
        ctx.linger = 0
        ended = []

        def work(ctx, kind, bound, call, ended=ended):
            try:
                with ctx.socket(kind) as sock:
                    (sock.bind if bound else sock.connect)("inproc://work")
                    while True:
                        call(sock)
            except zmq.ContextTerminated:
                ended.append(True)

        greenlets = [gevent.spawn(work, ctx, zmq.PULL, True, lambda s: s.recv())]
        greenlets += [
            gevent.spawn(work, ctx, zmq.PUSH, False, lambda s: s.send_multipart([b"x"] * 3)) for _ in range(5)
        ]
        gevent.sleep(0.02)
        with gevent.Timeout(5):
            ctx.term()
        assert len(gevent.joinall(greenlets, timeout=5)) == len(greenlets) == len(ended)
