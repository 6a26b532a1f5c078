"""OS threads without greenlets: they wait in the system, and need no hub, which gevent would never free."""

import os
import textwrap

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.monkey import get_original
from life import Baseline, OsThread
from support import run

import gzmqhelper as zmq
from gzmqhelper import _helper


def plain(function, *args):
    return OsThread(function, *args, hub=False)


def raises(errno, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except zmq.ZMQError as e:
        return e.errno == errno
    return False


def exchange(pull, push):
    push.send(b"x")
    return pull.recv() == b"x"


def wait_in_vain(pull, push):
    return raises(zmq.EAGAIN, pull.recv, timeout=0.002) and pull.poll(2) == 0


def wait_for_a_descriptor(pull, push):
    read, write = os.pipe()
    poller = zmq.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(read, zmq.POLLIN)
    nothing = poller.poll(2)
    os.write(write, b"x")
    found = poller.poll(1000)
    get_original("os", "close")(read)
    get_original("os", "close")(write)
    return nothing == [] and found == [(read, zmq.POLLIN)]


def blocking_calls(pull, push):
    with zmq.Context() as context, context.socket(zmq.REP) as rep:
        rep.bind("tcp://127.0.0.1:*")
        rep.unbind(rep.last_endpoint)
    return True


def flood(pull, push):
    for _ in range(20_000):  # longer than a slice of time
        push.send(b"x")
        pull.recv()
    return True


@pytest.mark.parametrize("use", [exchange, wait_in_vain, wait_for_a_descriptor, blocking_calls, flood])
def test_threads_that_come_and_go_leave_nothing(sockets, use):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

    def once():
        return use(pull, push), get_hub_if_exists()

    assert plain(once).join() == (True, None)  # what the first one brings is kept once
    baseline = Baseline()
    for _ in range(20):
        assert plain(once).join() == (True, None)
    baseline.check()


def test_what_one_waits_for_comes(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    thread = plain(lambda: [pull.recv() for _ in range(100)])
    for number in range(100):
        gevent.sleep(0.001)
        push.send(b"%d" % number)
    assert thread.join() == [b"%d" % number for number in range(100)]


def test_a_descriptor_may_be_waited_for_in_two_ways():
    read, write = os.pipe()
    os.write(write, b"x")
    _helper._wait_for_any([(read, zmq.POLLIN), (read, zmq.POLLPRI)], 5, TimeoutError())
    get_original("os", "close")(read)
    get_original("os", "close")(write)


def test_a_wait_may_be_as_long_as_any(sockets, monkeypatch):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    monkeypatch.setattr(_helper, "_LONGEST", 0.005)
    thread = plain(lambda: (pull.recv(timeout=1e300), raises(zmq.EAGAIN, pull.recv, timeout=0.02)))
    gevent.sleep(0.02)  # several times as long
    push.send(b"x")
    assert thread.join() == (b"x", True)
    monkeypatch.undo()
    thread = plain(pull.recv, 0, True, False, 1e9)
    gevent.sleep(0.02)
    push.send(b"y")
    assert thread.join() == b"y"


def test_a_thread_that_waits_for_room_sends_in_the_end(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc", {"rcvhwm": 1}, {"sndhwm": 1})

    def send_all():
        for number in range(50):
            push.send(b"%d" % number)

    thread = plain(send_all)
    gevent.sleep(0.02)
    assert not thread.done
    assert [pull.recv(timeout=5) for _ in range(50)] == [b"%d" % number for number in range(50)]
    thread.join()


@pytest.mark.parametrize("end", ["close", "term"])
def test_a_thread_that_waits_is_told_of_the_end(end):
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    errno = zmq.ENOTSOCK if end == "close" else zmq.ETERM

    def wait():
        ended = raises(errno, pull.recv)
        pull.close()
        return ended

    thread = plain(wait)
    gevent.sleep(0.02)
    pull.close() if end == "close" else context.term()
    assert thread.join()
    context.term()


def test_threads_ask_each_other(sockets, ticker):
    rep, req = sockets.pair(zmq.REP, zmq.REQ)

    def answer():
        for _ in range(200):
            rep.send(rep.recv())

    def ask():
        answers = []
        for number in range(200):
            req.send(b"%d" % number)
            answers.append(req.recv())
        return answers

    answering, asking = plain(answer), plain(ask)
    assert asking.join() == [b"%d" % number for number in range(200)]
    answering.join()


def test_once_it_has_greenlets_they_run_while_it_waits(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def use():
        before = raises(zmq.EAGAIN, pull.recv, timeout=0.002), get_hub_if_exists()
        gevent.spawn_later(0.01, push.send, b"from a greenlet of the thread")
        try:
            return before, pull.recv(timeout=5)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    assert plain(use).join() == ((True, None), b"from a greenlet of the thread")


def test_a_child_of_such_a_thread_has_greenlets_in_its_main_thread():
    """In a process of its own; its child tells by a pipe, as gevent may wait for the child first."""
    done = run(
        """
        import os
        import gevent
        import gzmqhelper as zmq
        from gevent.monkey import get_original
        from life import OsThread

        pull = zmq.Context().socket(zmq.PULL)
        read, write = os.pipe()

        def child():
            gevent.reinit()
            with zmq.Context() as context, context.socket(zmq.PAIR) as a, context.socket(zmq.PAIR) as b:
                a.bind("inproc://child")
                b.connect("inproc://child")
                gevent.spawn_later(0.01, b.send, b"from a greenlet")
                get_original("os", "write")(write, a.recv(timeout=5))

        def fork():
            try:
                pull.recv(timeout=0.002)
            except zmq.Again:
                pass
            if get_original("os", "fork")() == 0:
                try:
                    child()
                finally:
                    os._exit(0)
            get_original("os", "close")(write)
            return get_original("os", "read")(read, 100)

        print(OsThread(fork, hub=False).join())
        """
    )
    assert done.stdout == "b'from a greenlet'\n"


IMPORTED_BY = {
    "itself": """
        import gzmqhelper as zmq
        """,
    "another": """
        from gevent.monkey import get_original  # (and not `life`, which imports it)

        def import_it():
            import gzmqhelper
            imported.append(gzmqhelper)

        imported = []
        get_original("_thread", "start_new_thread")(import_it, ())
        while not imported:
            get_original("time", "sleep")(0.01)
        [zmq] = imported
        """,
}


@pytest.mark.parametrize("imports", IMPORTED_BY.values(), ids=IMPORTED_BY)
def test_the_main_thread_has_a_hub_at_once_whoever_imports_the_library_first(imports):
    """A signal handler may begin greenlets there, which are to run while it waits."""
    run(
        textwrap.dedent(imports)
        + textwrap.dedent(
            """
            import signal
            import gevent

            context = zmq.Context()
            a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
            a.bind("inproc://main")
            b.connect("inproc://main")
            signal.signal(signal.SIGALRM, lambda *_: gevent.spawn(b.send, b"from a greenlet"))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert a.recv(timeout=10) == b"from a greenlet"
            """
        )
    )


def test_a_child_frees_once_what_a_thread_that_has_ended_has_left():
    """The thread's companion has ended too, and only its helper is there still."""
    done = run(
        """
        import os
        import time
        from gevent.monkey import get_original
        from life import OsThread
        from support import threads
        import gzmqhelper as zmq

        pull = zmq.Context().socket(zmq.PULL)
        kept = []

        def wait():
            try:
                pull.recv(timeout=0.01)
            except zmq.Again:
                kept.append(zmq.helper())

        wait()  # this one's companion goes on watch
        before = threads()
        OsThread(wait, hub=False).join()
        end = time.monotonic() + 5
        while threads() > before and time.monotonic() < end:
            get_original("time", "sleep")(0.01)
        if (child := get_original("os", "fork")()) == 0:
            kept.clear()
            os._exit(0)
        print(get_original("os", "waitpid")(child, 0)[1])
        """
    )
    assert done.stdout == "0\n"
