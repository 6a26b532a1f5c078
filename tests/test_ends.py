"""Ends meet: what greenlets, sockets, threads and the process leave behind when they go."""

import gc
import warnings

import gevent
import pytest
from life import Baseline, OsThread, kept_by_gevent, waiting
from support import Sockets, resident_kb, run, wait_until

import gzmqhelper as zmq


def warm_up():
    """What stays for good is there before anything is counted."""
    sockets = Sockets()
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    readers = [waiting(pull.recv) for _ in range(8)]
    for _ in readers:
        push.send(b"x")
    for reader in readers:
        reader.join()
    sockets.close()


def ten_thousand_short_greenlets_receive(pull, push):
    for _ in range(100):
        readers = [gevent.spawn(pull.recv) for _ in range(100)]
        gevent.sleep(0)
        for _ in readers:
            push.send(b"x")
        gevent.joinall(readers, raise_error=True, timeout=10)
        assert all(reader.value == b"x" for reader in readers)


def test_ten_thousand_short_greenlets_leave_no_thread_and_no_descriptor(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    warm_up()
    baseline = Baseline()
    ten_thousand_short_greenlets_receive(pull, push)
    baseline.check()


def test_short_greenlets_leave_nothing_either_where_threads_have_come_and_gone():
    """They get the ids of greenlets whose hub ended before them: nothing may be kept by such an id."""
    run("""
        import gevent, gzmqhelper as zmq
        from life import Baseline, OsThread, waiting
        from support import Sockets
        from test_ends import ten_thousand_short_greenlets_receive

        sockets = Sockets()
        pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

        def come_and_go():
            gevent.joinall([gevent.spawn(pull.recv, timeout=0.02) for _ in range(3)])

        for _ in range(10):
            for thread in [OsThread(come_and_go) for _ in range(4)]:
                thread.join()
        for reader in [waiting(pull.recv) for _ in range(8)]:
            push.send(b"x")  # what stays for good is there before anything is counted
        gevent.sleep(0.1)
        baseline = Baseline()
        ten_thousand_short_greenlets_receive(pull, push)
        baseline.check()
        sockets.close()
    """)


def test_greenlets_that_are_killed_while_they_wait_leave_nothing(sockets, ticker):
    pull, _ = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    warm_up()
    baseline = Baseline()
    for _ in range(20):
        readers = [gevent.spawn(pull.recv) for _ in range(50)]
        gevent.sleep(0)
        gevent.killall(readers)
    del readers
    baseline.check()


def test_four_hundred_sockets_dropped_without_close_leave_nothing(ticker):
    warm_up()
    baseline = Baseline()
    context = zmq.Context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(20):
            dropped = [context.socket(zmq.PULL) for _ in range(20)]
            for sock in dropped:
                sock.bind("tcp://127.0.0.1:*")
                with pytest.raises(zmq.Again):
                    sock.recv(timeout=0.0001)
            del sock, dropped
            gc.collect()
    context.term()
    baseline.check()


def test_a_context_dropped_with_nothing_but_unsent_messages_ends_by_itself():
    warm_up()
    baseline = Baseline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(20):
            push = zmq.Context().socket(zmq.PUSH)  # which alone keeps its context alive
            push.linger = 50
            push.connect("tcp://127.0.0.1:9")
            push.send(b"to nobody")
            del push
    baseline.check()


DROPPED_TOGETHER = {
    "a socket": """
        class Owned(zmq.Socket):
            owner = None

        pull = CONTEXT.socket(zmq.PULL)
        pull.bind("inproc://last words")

        def make():
            push = Owned(CONTEXT, zmq.PUSH)
            push.connect("inproc://last words")
            return push

        def say(push):
            push.send(b"last words")
            push.close()

        def check():
            assert pull.recv(timeout=5) == b"last words"
    """,
    "a context": """
        class Owned(zmq.Context):
            owner = None

        make = Owned

        def say(context):
            context.socket(zmq.PUSH).close()
            context.term()

        check = int
    """,
    "a frame": """
        class Owned(zmq.Frame):
            owner = None

        def make():
            return Owned(bytes(range(100)), copy=True)

        def say(frame):
            assert bytes(memoryview(frame)) == frame.bytes == bytes(range(100))

        check = int
    """,
    "a helper": """
        class Owned:
            def __init__(self):
                (self.helper,) = gevent.spawn(lambda: [zmq.helper()]).get()
                self.helper.start()

        make = Owned

        def say(owned):
            owned.helper.__del__()  # as the collector does, which may then not say it again
            owned.helper.close()

        def number():
            with zmq.helper() as helper:
                gevent.sleep(0)
                return helper.number

        def check():
            both = [gevent.spawn(number) for _ in range(2)]
            assert both[0].get() != both[1].get()
    """,
}


@pytest.mark.parametrize("dropped", DROPPED_TOGETHER)
def test_a_finalizer_may_use_what_goes_with_it_and_was_finalized_before(dropped):
    """The garbage collector calls the finalizers of a cycle in no order, and frees all of it afterwards."""
    run(f"""
        import gc, warnings, gevent, gzmqhelper as zmq
        warnings.simplefilter("ignore", ResourceWarning)
        CONTEXT = zmq.Context()
        said = []
        {DROPPED_TOGETHER[dropped]}
        class Owner:
            def __del__(self):
                said.append("began")
                say(self.owned)
                said.append("ended")

        def cycle(owner_is_first):
            first = Owner() if owner_is_first else None
            owned = make()
            owner = first or Owner()
            owned.owner, owner.owned = owner, owned

        for owner_is_first in (False, True) * 20:
            cycle(owner_is_first)
            gc.collect()
            assert said.pop() == "ended" and said.pop() == "began"
            check()
    """)


def test_waiting_and_leaving_does_not_grow(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

    def round_of_everything():
        for _ in range(100):
            readers = [gevent.spawn(pull.recv) for _ in range(20)]
            gevent.sleep(0)
            for _ in readers:
                push.send(b"x" * 10_000)
            gevent.joinall(readers, raise_error=True, timeout=10)
            with pytest.raises(zmq.Again):
                pull.recv(timeout=0.0001)
            push.send_multipart([b"a", b"b" * 70_000])
            pull.recv_multipart(copy=False)

    round_of_everything()
    gc.collect()
    before = resident_kb()
    for _ in range(3):
        round_of_everything()
    gc.collect()
    # 6,000 waits; a leak of one request or one message each would be megabytes.
    assert resident_kb() - before < 2_000


def test_os_threads_that_end_leave_nothing_of_ours(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")

    def visit():
        reader = gevent.spawn(pull.recv)
        gevent.sleep(0.001)
        push.send(b"x")
        return reader.get(timeout=5)

    OsThread(visit).join()
    warm_up()
    of_gevent = kept_by_gevent(20)
    baseline = Baseline()
    for _ in range(20):
        assert OsThread(visit).join() == b"x"
    baseline.descriptors += of_gevent
    baseline.check()


def test_an_os_thread_that_ends_leaves_its_greenlets_messages_to_others(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)

    def wait_and_end():
        for _ in range(5):
            gevent.spawn(pull.recv)
        gevent.sleep(0.01)  # they wait; and then this thread ends

    for _ in range(10):
        OsThread(wait_and_end, tidy=False).join()
        reader = waiting(pull.recv)
        push.send(b"for the living")
        assert reader.join().result == b"for the living"


SCENES = {
    "a waiting greenlet": "gevent.spawn(pull.recv); gevent.sleep(0.05)",
    "a thousand waiting greenlets": "[gevent.spawn(pull.recv) for _ in range(1000)]; gevent.sleep(0.2)",
    "unsent messages": "nowhere.send(b'x'); nowhere.send_multipart([b'a', b'b'])",
    "unsent messages of which one is read in place": "nowhere.send(bytes(10**6), copy=False)",
    "a term under way": "nowhere.send(b'x'); nowhere.close(); gevent.spawn(context.term); gevent.sleep(0.05)",
    "a dropped context": "nowhere.send(b'x'); del nowhere, pull, context",
    "a poll and a sender that wait": "gevent.spawn(pull.poll); nowhere.sndhwm = 1; "
    "full = context.socket(zmq.PUSH); gevent.spawn(full.send, b'x'); gevent.sleep(0.05)",
    "a helper": "zmq.helper().start()",
    "a greenlet that exits": "gevent.spawn(pull.recv); gevent.spawn(sys.exit, 0).join()",
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_process_exits_at_once_with(scene):
    ended = run(
        f"""
        import sys, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        import gevent
        import gzmqhelper as zmq

        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.bind("tcp://127.0.0.1:*")
        nowhere = context.socket(zmq.PUSH)
        nowhere.connect("tcp://127.0.0.1:9")
        {SCENES[scene]}
        """
    )
    assert ended.stderr == ""
    assert ended.seconds < 5


def test_ctrl_c_ends_a_wait_and_loses_no_message():
    run(
        """
        import os, signal, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        import gevent
        import gzmqhelper as zmq

        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.bind("inproc://it")
        push = context.socket(zmq.PUSH)
        push.connect("inproc://it")
        for n in range(50):
            gevent.spawn_later(0.002, os.kill, os.getpid(), signal.SIGINT)
            if n % 2:
                gevent.spawn_later(0.002, push.send, b"%d" % n)
            got = None
            try:
                got = pull.recv()
                while True:
                    gevent.sleep(1)  # the signal is still to come
            except KeyboardInterrupt:
                pass
            if n % 2:
                assert got or pull.recv(timeout=5) == b"%d" % n, n
            else:
                assert got is None
        """
    )


def test_ctrl_c_that_nobody_catches_ends_the_process_by_the_signal():
    ended = run(
        """
        import os, signal
        import gevent
        import gzmqhelper as zmq

        pull = zmq.Context().socket(zmq.PULL)
        pull.bind("inproc://it")
        gevent.spawn_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        pull.recv()
        """,
        check=False,
    )
    assert ended.returncode in (-2, 1, 130)
    assert "KeyboardInterrupt" in ended.stderr
    assert ended.seconds < 5


def test_a_greenlet_that_ends_parks_its_companion_for_the_next(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    warm_up()
    numbers = set()

    def wait_once():
        pull.recv()
        numbers.add(zmq.Helper.current().number)

    for _ in range(20):
        reader = gevent.spawn(wait_once)
        gevent.sleep(0)
        push.send(b"x")
        reader.get(timeout=5)
        assert wait_until(lambda reader=reader: reader.dead)
        del reader
        gc.collect()
    assert len(numbers) <= 4


def test_an_interrupt_while_sockets_are_made_keeps_no_context_from_ending():
    run(
        """
        import random, signal, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        import gevent
        import gzmqhelper as zmq

        class Interrupt(BaseException):
            pass

        def interrupt(*_):
            raise Interrupt

        signal.signal(signal.SIGALRM, interrupt)
        interrupted = 0
        for _ in range(100):
            context = zmq.Context()
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-4))
                made = [context.socket(zmq.PUSH) for _ in range(100)]
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupted += 1
                with gevent.Timeout(5):
                    context.destroy(linger=0)
        assert interrupted > 50
        """
    )
