"""Descriptors, threads, sockets, memory: when one runs out, an error says so, nothing is lost, and all
works on once there is room."""

import errno
import os
import textwrap

import gevent
import pytest
from life import Outcome
from support import POLL, run

import gzmqhelper as zmq

# What every script begins with: ways to use up what there is, and to give it back.
HEAD = """
import os
import resource
import sys
import time

import gevent
import gzmqhelper as zmq
from gevent.monkey import get_original
from life import Outcome, waiting
from support import wait_until

close = get_original("os", "close")  # under patch_all, os.close does so later
gevent.get_hub()
gevent.sleep(0.001)  # the hub has its own descriptors
held = []


def use_up_descriptors(but=0):
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for _ in range(but):
        close(held.pop())


def give_back_descriptors():
    while held:
        close(held.pop())


def few_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))


def become_nobody():
    "The limit of threads does not bind root. 54321 has no processes, so only ours count."
    if os.getuid() == 0:
        os.setgid(54321)
        os.setuid(54321)


def no_more_threads():
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))


def more_threads():
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))


def refused(call, *args, errno, says, **kwargs):
    "The call raises one clear error, which is returned."
    try:
        call(*args, **kwargs)
    except zmq.ZMQError as e:
        assert type(e) is zmq.ZMQError and e.errno == errno, repr(e)
        for words in says:
            assert words in str(e), (words, str(e))
        return e
    raise AssertionError("no error")

"""


def run_here(script, *args):
    return run(HEAD + textwrap.dedent(script), *args)


# ---- descriptors -----------------------------------------------------------------------------------


def test_wherever_the_descriptors_run_out_an_error_says_so_and_nothing_is_lost():
    # Each process of its own has one free descriptor more than the one before it.
    result = run_here(
        """
        import errno, traceback

        few_descriptors()

        def steps(say):
            ctx = yield "a context", lambda: zmq.Context()
            ctx.linger = 0
            pull = yield "a socket of type", lambda: ctx.socket(zmq.PULL)
            push = yield "a socket of type", lambda: ctx.socket(zmq.PUSH)
            def expect_nothing():
                try:
                    return pull.recv(timeout=0.001)
                except zmq.Again:
                    return None
            assert (yield "", expect_nothing) is None
            endpoint = (yield "", lambda: pull.bind("tcp://127.0.0.1:*")).addr
            yield "", lambda: pull.bind("inproc://it")
            yield "", lambda: push.connect("inproc://it")
            yield "", lambda: push.send(b"1")
            assert (yield "", lambda: pull.recv(timeout=5)) == b"1"
            yield "", lambda: pull.bind("inproc://another")
            def wait_elsewhere():
                waiter = Outcome(pull.recv)
                gevent.sleep(0.01)
                if waiter.error:
                    raise waiter.error
                return waiter
            waiter = yield "a companion", wait_elsewhere
            yield "", lambda: push.send(b"2")
            assert waiter.join().result == b"2"
            give_back_descriptors()
            push.connect(endpoint)
            for i in range(10):
                push.send(b"%d" % i)
            got = sorted(pull.recv(timeout=5) for i in range(10))
            assert got == sorted(b"%d" % i for i in range(10)), got
            push.close()
            pull.close()
            ctx.term()

        def play(free):
            use_up_descriptors(but=free)
            refusals = []
            script = steps(refusals.append)
            about, call = next(script)
            while True:
                try:
                    value = call()
                except zmq.ZMQError as e:
                    assert type(e) is zmq.ZMQError and e.errno == errno.EMFILE, repr(e)
                    assert "ulimit -n" in str(e) and about in str(e), (about, str(e))
                    refusals.append(str(e).partition("(")[2].partition(")")[0])
                    give_back_descriptors()
                    value = call()
                try:
                    about, call = script.send(value)
                except StopIteration:
                    return refusals

        # (Nothing of the library has begun before these forks.)
        for free in range(16):
            pid = os.fork()
            if pid == 0:
                try:
                    gevent.reinit()
                    gevent.sleep(0.001)
                    refusals = play(free)
                    print(free, *refusals, sep=";", flush=True)
                    os._exit(0)
                except BaseException:
                    print("with", free, "free descriptors", file=sys.stderr)
                    traceback.print_exc()
                    os._exit(1)
            _, status = os.waitpid(pid, 0)
            assert status == 0, (free, status)
        """
    )
    refused = [line.split(";")[1:] for line in result.stdout.splitlines()]
    assert refused[0] == ["a context with 1 I/O threads"]
    assert refused[-1] == []
    # Each kind of step was the one that was refused, with some number of free descriptors.
    assert {
        "a context with 1 I/O threads",
        "a socket of type PULL",
        "a companion: a thread and a descriptor",
    } <= {step for steps in refused for step in steps}


def test_without_descriptors_nobody_joins_a_device_and_the_error_says_so():
    run_here(
        """
        import errno
        from gzmqhelper import devices
        device = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH)
        few_descriptors()
        use_up_descriptors()
        refused(device.join, errno=errno.EMFILE, says=["device", "ulimit -n"])
        """
    )


def test_what_the_first_yield_opens_is_closed_at_once_where_gevent_has_patched_close():
    """Not some turns of its loop later, when the count of what is open has been taken already."""
    run("""
        import gevent.monkey; gevent.monkey.patch_all()
        import gevent
        from gzmqhelper import _helper
        from support import descriptors
        gevent.sleep(0)  # with a hub
        before = descriptors()
        _helper._ready_descriptor()
        assert descriptors() == before + 1
    """)


def test_a_second_wait_without_a_descriptor_is_refused_and_the_first_is_served():
    run_here(
        """
        import errno
        few_descriptors()
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        first = waiting(pull.recv)
        use_up_descriptors()
        second = Outcome(pull.recv).join()
        assert second.error.errno == errno.EMFILE and "ulimit -n" in str(second.error), second.error
        push.send(b"1")
        assert first.join().result == b"1"
        give_back_descriptors()
        third = waiting(pull.recv)
        push.send(b"2")
        assert third.join().result == b"2"
        """
    )


def test_a_greenlet_whose_companion_is_on_watch_gets_no_second_one_and_keeps_going():
    run_here(
        """
        import errno
        few_descriptors()
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        assert pull.poll(1) == 0  # its own companion goes on watch
        use_up_descriptors()
        for _ in range(3):
            refused(pull.bind, "inproc://it", errno=errno.EMFILE, says=["ulimit -n", "companion"])
            refused(pull.recv, errno=errno.EMFILE, says=["ulimit -n"])
        give_back_descriptors()
        pull.bind("inproc://it")
        push.connect("inproc://it")
        gevent.spawn(push.send, b"1")
        assert pull.recv() == b"1"
        others = [waiting(pull.recv) for _ in range(10)]
        for _ in others:
            push.send(b"2")
        assert all(other.join().result == b"2" for other in others)
        """
    )


def test_a_connection_that_finds_no_descriptor_is_made_when_there_is_one():
    run_here(
        """
        few_descriptors()
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        endpoint = pull.bind("tcp://127.0.0.1:*").addr
        waiter = waiting(pull.recv)
        use_up_descriptors()
        push.connect(endpoint)
        push.send(b"x")
        assert pull.poll(0) == 0
        give_back_descriptors()
        assert waiter.join().result == b"x"
        """
    )


def test_the_sockets_of_a_context_are_a_limit_that_is_named():
    ctx = zmq.Context()
    ctx.max_sockets = 3
    made = [ctx.socket(zmq.PULL) for _ in range(3)]
    with pytest.raises(zmq.ZMQError, match="MAX_SOCKETS") as caught:
        ctx.socket(zmq.PULL)
    assert caught.value.errno == errno.EMFILE
    made.pop().close()

    # libzmq's reaper frees the place in its own time.
    def again():
        while True:
            try:
                return ctx.socket(zmq.PULL)
            except zmq.ZMQError:
                gevent.sleep(0.005)

    assert Outcome(again).join().result is not None
    ctx.destroy(0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at the descriptors in Linux's /proc")
def test_the_watch_is_the_one_that_this_build_was_asked_for():
    result = run(
        """
        import os
        import gevent
        import gzmqhelper as zmq

        def sets():
            found = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    found.append(os.readlink(f"/proc/self/fd/{fd}"))
                except FileNotFoundError:  # the one that listed them
                    pass
            return found.count("anon_inode:[eventpoll]")

        gevent.sleep(0.001)  # the hub has its own set; so have libzmq's threads
        pull = zmq.Context().socket(zmq.PULL)
        before = sets()
        assert pull.poll(1) == 0
        print(sets() - before)
        """
    )
    # Else the poll(2) suite could test epoll again, and nobody would know.
    assert int(result.stdout) == (0 if POLL else 1)


# ---- threads ---------------------------------------------------------------------------------------


def test_without_threads_a_context_has_no_sockets_and_the_error_says_so():
    run_here(
        """
        become_nobody()
        no_more_threads()
        ctx = zmq.Context()
        for _ in range(3):
            refused(ctx.socket, zmq.PULL, errno=zmq.EMTHREAD, says=["thread", "ulimit -u", "a socket"])
        more_threads()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        push.send(b"x")
        assert pull.recv() == b"x"
        """
    )


def test_without_threads_no_signal_prints_a_report_and_the_error_says_so():
    run_here(
        """
        from support import descriptors
        become_nobody()
        no_more_threads()
        counts = []
        for _ in range(3):
            refused(zmq.report_on_signal, errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
            gevent.sleep(0.01)  # under patch_all, os.close does so later
            counts.append(descriptors())
        assert len(set(counts)) == 1, counts
        more_threads()
        zmq.report_on_signal()
        """
    )


def test_without_threads_the_first_wait_is_refused_and_nothing_is_queued():
    run_here(
        """
        become_nobody()
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        no_more_threads()
        refused(push.send, b"x", errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
        refused(push.send_multipart, [b"x", b"y"], errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
        for call in (pull.recv, pull.poll):
            refused(call, errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
        for call in (pull.bind, pull.unbind, push.disconnect):
            refused(call, "inproc://it", errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
        refused(ctx.term, errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
        assert not ctx.closed
        more_threads()
        pull.bind("inproc://it")
        push.connect("inproc://it")
        waiter = waiting(pull.recv)
        push.send(b"1")
        assert waiter.join().result == b"1"   # and not the b"x" that was refused
        push.close()
        pull.close()
        ctx.term()
        """
    )


def test_without_threads_those_who_wait_are_served_by_the_companion_on_watch():
    run_here(
        """
        become_nobody()
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        first = waiting(pull.recv)
        no_more_threads()
        others = [waiting(pull.recv) for _ in range(50)]
        for i in range(51):
            push.send(b"%d" % i)
        got = [int(waiter.join().result) for waiter in (first, *others)]
        assert sorted(got) == list(range(51)), got
        # A blocking call needs a thread: one of the parked does, and beyond those it is refused.
        more_threads()
        pull.unbind("inproc://it")
        """
    )


def test_without_threads_a_blocking_call_beside_a_wait_is_refused():
    run_here(
        """
        become_nobody()
        ctx = zmq.Context()
        pull = ctx.socket(zmq.PULL)
        assert pull.poll(1) == 0   # this greenlet's companion is on watch, and none is parked
        no_more_threads()
        for _ in range(3):
            refused(pull.bind, "inproc://it", errno=zmq.EMTHREAD, says=["thread", "ulimit -u"])
            assert pull.poll(1) == 0
        more_threads()
        pull.bind("inproc://it")
        """
    )


# ---- memory ----------------------------------------------------------------------------------------


def test_a_message_that_is_too_large_for_the_memory_is_refused_and_smaller_ones_go():
    run_here(
        """
        import errno
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        waiting(pull.recv, timeout=0.001).join()
        large = bytes(200_000_000)
        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + 100_000_000, resource.RLIM_INFINITY))
        for call in (
            push.send,
            lambda data: push.send_multipart([data]),
            lambda data: zmq.Frame(data, copy=True),
        ):
            refused(call, large, errno=errno.ENOMEM, says=["memory"])
        push.send(b"small")
        assert pull.recv(timeout=5) == b"small"
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        push.send(large)
        assert len(pull.recv(timeout=5)) == len(large)
        """
    )
