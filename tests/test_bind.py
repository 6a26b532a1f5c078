"""bind, connect and their opposites; a bind that takes its time stops nobody but its own socket."""

import errno
import os
import subprocess
import textwrap

import gevent
import pytest
from life import Outcome, waiting
from support import Stopwatch, run

import gzmqhelper as zmq

# A resolver that thinks for as many milliseconds as the name says, and then answers 127.0.0.1:
# libzmq resolves the names of a bind in the thread that makes it.
SLOW_RESOLVER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && strncmp(name, "slow-", 5) == 0) {
        long ms = atol(name + 5);
        struct timespec span = {ms / 1000, ms % 1000 * 1000000};
        close(open(getenv("SLOW_BEGUN"), O_CREAT | O_WRONLY, 0600));
        nanosleep(&span, NULL);
        name = "127.0.0.1";
    }
    return real(name, service, hints, out);
}
"""

# What every script begins with.
HEAD = """
import os
import time
import gevent
import gzmqhelper as zmq
from life import Baseline, Outcome, told_soon, waiting, waits
from support import SOON, Ticker, wait_until

ctx = zmq.Context()
ctx.linger = 0

def under_way():
    "Whether the first slow bind is in the resolver."
    return os.path.exists(os.environ["SLOW_BEGUN"])

def bound(sock):
    "A port of the socket, given by the system, and not by name."
    sock.bind("tcp://127.0.0.1:*")
    return sock.last_endpoint.decode()

def timed(call, *args):
    began = time.monotonic()
    try:
        call(*args)
    except zmq.ZMQError as e:
        return time.monotonic() - began, e
    return time.monotonic() - began, None

"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Runs a script in which a host called slow-<ms> takes that long to be resolved."""
    folder = tmp_path_factory.mktemp("resolver")
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(SLOW_RESOLVER)
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"the slow resolver could not be compiled: {e}")

    def run_slowly(script):
        begun = folder / "begun"
        begun.unlink(missing_ok=True)
        env = {"LD_PRELOAD": str(library), "SLOW_BEGUN": str(begun)}
        return run(HEAD + textwrap.dedent(script), env=env)

    return run_slowly


# ---- slow ones -------------------------------------------------------------------------------------


def test_a_slow_bind_stops_neither_the_hub_nor_other_sockets_nor_those_who_leave_its_own(slow):
    result = slow(
        """
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        push.connect(bound(pull))
        binder = ctx.socket(zmq.PULL)
        endpoint = bound(binder)

        with Ticker() as ticker:
            slow = waiting(timed, binder.bind, "tcp://slow-3000:*")
            began = time.monotonic()
            kept = waiting(binder.recv)       # gets the first message after the bind
            killed = waiting(binder.recv)
            polling = waiting(binder.poll, 200)
            timed_out = waiting(binder.recv, timeout=0.2)

            at_once, error = timed(binder.recv, zmq.NOBLOCK)
            assert at_once < SOON and isinstance(error, zmq.Again), (at_once, error)
            left, _ = timed(killed.greenlet.kill)
            assert left < SOON, left

            # Other sockets, at full speed: waits and at-once calls.
            rounds = 0
            def send():
                while True:
                    push.send(b"x")
            sender = gevent.spawn(send)
            while slow.ended is None:
                assert pull.recv(timeout=5) == b"x"
                rounds += 1
            sender.kill()

            assert polling.join().result == 0
            assert isinstance(timed_out.join().error, zmq.Again)
            assert 0.19 < timed_out.ended - began < 1, timed_out.ended - began
            took, error = slow.join().result
            assert 2.9 < took < 5 and error is None, (took, error)
            with ctx.socket(zmq.PUSH) as other:
                other.connect(endpoint)
                other.send(b"for the one that waited all along")
                assert kept.join().result == b"for the one that waited all along"
        ticker.check()
        print(rounds)
        """
    )
    assert int(result.stdout) > 10_000


def test_closing_during_a_slow_bind_tells_all_who_wait_and_ends_when_the_bind_does(slow):
    slow(
        """
        binder = ctx.socket(zmq.DEALER)
        with Ticker() as ticker:
            slow = waiting(timed, binder.bind, "tcp://slow-700:*")
            assert wait_until(under_way)
            waiters = [
                waiting(call)
                for call in (
                    binder.recv,
                    binder.poll,
                    lambda: binder.recv(timeout=9),
                    binder.recv_multipart,
                    lambda: binder.send(b"x"),
                )
            ]
            waiters.append(waiting(binder.bind, "tcp://127.0.0.1:*"))
            waiters.append(waiting(binder.get, zmq.LINGER))
            told_soon(waiters, binder.close, zmq.ENOTSOCK)
            assert timed(binder.recv)[1].errno == zmq.ENOTSOCK
            took, error = slow.join().result
            assert took < 2, took
            assert error.errno == zmq.ENOTSOCK, error
            ctx.term()
        ticker.check()
        """
    )


def test_a_programs_own_watcher_asks_for_events_in_the_hub_during_a_slow_bind(slow):
    slow(
        """
        binder = ctx.socket(zmq.PULL)
        endpoint = bound(binder)
        push = ctx.socket(zmq.PUSH)
        seen = []
        watcher = gevent.get_hub().loop.io(binder.fd, 1)
        # gevent stops a watcher whose callback raises.
        watcher.start(lambda: seen.append(binder.getsockopt(zmq.EVENTS)))
        slow = waiting(timed, binder.bind, "tcp://slow-300:*")
        assert wait_until(under_way)
        push.connect(endpoint)
        push.send(b"1")
        assert wait_until(lambda: seen)
        assert slow.ended is not None or set(seen) == {0}
        assert slow.join().result[1] is None
        assert binder.recv(timeout=5) == b"1"
        assert binder.getsockopt(zmq.EVENTS) == 0  # or libzmq need not signal again
        seen.clear()
        push.send(b"2")
        assert wait_until(lambda: zmq.POLLIN in seen), seen
        assert binder.recv(zmq.NOBLOCK) == b"2"
        watcher.close()
        """
    )


def test_a_greenlet_that_leaves_a_slow_bind_goes_on_and_the_bind_too(slow):
    slow(
        """
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        push.connect(bound(pull))
        binder, other = ctx.socket(zmq.PULL), ctx.socket(zmq.PULL)

        with Ticker() as ticker:
            began = time.monotonic()
            try:
                with gevent.Timeout(0.1):
                    binder.bind("tcp://slow-800:*")
                raise AssertionError("no Timeout")
            except gevent.Timeout:
                assert 0.09 < time.monotonic() - began < 0.1 + SOON
            # Waits, at-once calls and blocking calls on other sockets go on at once.
            gevent.spawn_later(0.05, push.send, b"1")
            assert pull.recv() == b"1"
            bound(other)
            assert pull.poll(10) == 0
            assert time.monotonic() - began < 0.6
            # This socket is busy until the bind has returned, and then bound.
            endpoint = binder.last_endpoint.decode()
            assert 0.7 < time.monotonic() - began < 2
            assert endpoint.startswith("tcp://127.0.0.1:"), endpoint
            with ctx.socket(zmq.PUSH) as to:
                to.connect(endpoint)
                to.send(b"2")
                assert binder.recv(timeout=5) == b"2"
        ticker.check()
        """
    )


def test_slow_binds_of_several_sockets_take_their_time_together(slow):
    slow(
        """
        waiting(ctx.socket(zmq.PULL).recv)  # one companion is on watch
        binders = [ctx.socket(zmq.PULL) for _ in range(10)]
        began = time.monotonic()
        slow = [waiting(timed, binder.bind, "tcp://slow-500:*") for binder in binders]
        for one in slow:
            assert one.join().result[1] is None
        assert time.monotonic() - began < 1.5, time.monotonic() - began
        """
    )


def test_two_slow_binds_of_one_socket_are_made_one_after_the_other(slow):
    slow(
        """
        binder = ctx.socket(zmq.PULL)
        began = time.monotonic()
        slow = [waiting(timed, binder.bind, "tcp://slow-200:*") for _ in range(3)]
        for index, one in enumerate(slow, 1):
            one.join()
            assert one.result[1] is None
            assert one.ended - began > 0.2 * index - 0.02, (index, one.ended - began)
        """
    )


def test_the_companion_on_watch_stays_there_when_its_greenlet_binds_slowly(slow):
    slow(
        """
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        push.connect(bound(pull))
        assert pull.poll(1) == 0              # this greenlet's companion goes on watch
        waiter = waiting(pull.recv)
        gevent.spawn_later(0.1, push.send, b"x")
        binder = ctx.socket(zmq.PULL)
        began = time.monotonic()
        binder.bind("tcp://slow-500:*")
        assert waiter.result == b"x"
        assert waiter.ended - began < 0.1 + SOON
        """
    )


def test_companions_of_slow_binds_that_were_left_come_back(slow):
    slow(
        """
        waiting(ctx.socket(zmq.PULL).recv).greenlet.kill()
        before = Baseline()
        for _ in range(4):
            binders = [ctx.socket(zmq.PULL) for _ in range(8)]
            slow = [waiting(binder.bind, "tcp://slow-100:*") for binder in binders]
            gevent.killall([one.greenlet for one in slow])
            for binder in binders:
                binder.close()
            del binders, slow, binder
        before.check()
        """
    )


def test_a_context_ends_after_a_slow_bind_of_one_of_its_sockets(slow):
    slow(
        """
        binder = ctx.socket(zmq.PULL)

        def bind():
            try:
                binder.bind("tcp://slow-400:*")
                binder.recv()
            finally:
                binder.close()

        with Ticker() as ticker:
            slow = waiting(bind)
            assert wait_until(under_way)
            began = time.monotonic()
            ctx.term()
            took = time.monotonic() - began
            assert 0.3 < took < 2, took
            assert isinstance(slow.join().error, zmq.ContextTerminated), slow.error
        ticker.check()
        """
    )


def test_the_program_may_end_during_a_slow_bind(slow):
    result = slow(
        """
        waiting(ctx.socket(zmq.PULL).bind, "tcp://slow-20000:*")
        """
    )
    assert result.seconds < 10
    assert result.stderr == ""


# ---- the usual ones --------------------------------------------------------------------------------


def test_a_taken_address_is_named(sockets):
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    first.bind("tcp://127.0.0.1:*")
    endpoint = first.last_endpoint.decode()
    with pytest.raises(zmq.ZMQError) as caught:
        second.bind(endpoint)
    assert caught.value.errno == zmq.EADDRINUSE
    assert endpoint in str(caught.value)
    second.bind("tcp://127.0.0.1:*")


def test_a_taken_inproc_name_is_named(sockets):
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    first.bind("inproc://taken")
    with pytest.raises(zmq.ZMQError, match="inproc://taken") as caught:
        second.bind("inproc://taken")
    assert caught.value.errno == zmq.EADDRINUSE


def test_a_bind_and_a_connect_may_be_taken_back_by_with(sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    with pull.bind("tcp://127.0.0.1:*") as entered:
        assert entered is pull
        endpoint = pull.last_endpoint.decode()
        with push.connect(endpoint) as entered:
            assert entered is push
            push.send(b"x")
            assert pull.recv(timeout=5) == b"x"
    with pytest.raises(zmq.ZMQError) as caught:
        pull.unbind(endpoint)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(zmq.ZMQError) as caught:
        push.disconnect(endpoint)
    assert caught.value.errno == errno.ENOENT
    assert endpoint in str(caught.value)


def test_the_result_of_a_bind_tells_the_address_that_the_system_chose(sockets):
    bound = sockets(zmq.PULL).bind("tcp://127.0.0.1:*")
    assert bound.addr.startswith("tcp://127.0.0.1:")
    assert "*" not in bound.addr
    assert bound.addr in repr(bound)


def test_a_with_of_a_bind_may_close_the_socket_within(sockets):
    pull = sockets(zmq.PULL)
    with pull.bind("tcp://127.0.0.1:*"):
        pull.close()


def test_an_address_is_free_again_after_unbind(sockets):
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    first.bind("tcp://127.0.0.1:*")
    endpoint = first.last_endpoint.decode()
    first.unbind(endpoint)

    def bind():
        # libzmq closes the listener in its own time.
        while True:
            try:
                return second.bind(endpoint)
            except zmq.ZMQError as e:
                assert e.errno == zmq.EADDRINUSE
                gevent.sleep(0.01)

    Outcome(bind).join()
    assert second.last_endpoint.decode() == endpoint


def test_bytes_are_an_address_too(sockets):
    pull = sockets(zmq.PULL)
    pull.bind(b"inproc://bytes")
    sockets(zmq.PUSH).connect(b"inproc://bytes")


def test_a_random_port_is_free_and_told(sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    port = pull.bind_to_random_port("tcp://127.0.0.1")
    assert isinstance(port, int)
    push.connect(f"tcp://127.0.0.1:{port}")
    push.send(b"x")
    assert pull.recv(timeout=5) == b"x"


def test_a_range_without_a_port_is_refused(sockets):
    with pytest.raises(ValueError, match=r"bind_to_random_port: no port is in \[30000, 30000\)"):
        sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1", min_port=30_000, max_port=30_000)


def test_a_random_port_lies_in_the_range_given(sockets):
    ports = [
        sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1", min_port=30_000, max_port=30_100)
        for _ in range(5)
    ]
    assert len(set(ports)) == 5
    assert all(30_000 <= port < 30_100 for port in ports)


def test_no_free_port_in_the_range_is_an_error_of_its_own(sockets):
    first = sockets(zmq.PULL)
    port = first.bind_to_random_port("tcp://127.0.0.1")
    with pytest.raises(zmq.ZMQBindError, match=str(port)):
        sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1", port, port + 1, max_tries=3)


def test_a_bind_does_not_wait_for_messages_and_a_receiver_does_not_stop_a_bind(sockets, ticker):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    outcome = waiting(pull.recv)
    began = Outcome(pull.bind, "tcp://127.0.0.1:*")
    began.join(1)
    push.connect(began.result.addr)
    push.send(b"x")
    assert outcome.join().result == b"x"


def test_a_bind_that_fails_leaves_those_who_wait_in_peace(sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    pull.bind("inproc://peace")
    outcome = waiting(pull.recv)
    for _ in range(5):
        with pytest.raises(zmq.ZMQError):
            pull.bind("nonsense://x")
    push.connect("inproc://peace")
    push.send(b"x")
    assert outcome.join().result == b"x"


def test_one_socket_binds_many_addresses_of_many_transports(sockets, tmp_path):
    pull = sockets(zmq.PULL)
    endpoints = ["inproc://many", f"ipc://{tmp_path}/many"]
    for endpoint in endpoints:
        pull.bind(endpoint)
    for _ in range(3):
        endpoints.append(pull.bind("tcp://127.0.0.1:*").addr)
    for index, endpoint in enumerate(endpoints):
        push = sockets(zmq.PUSH)
        push.connect(endpoint)
        push.send(b"%d" % index)
        assert pull.recv(timeout=5) == b"%d" % index


def test_many_greenlets_bind_and_unbind_one_socket(sockets, ticker):
    pull = sockets(zmq.PULL)

    def bind(index):
        for turn in range(5):
            with pull.bind(f"inproc://{index}-{turn}"):
                gevent.sleep(0)

    outcomes = [Outcome(bind, index) for index in range(20)]
    for outcome in outcomes:
        assert outcome.join().error is None, outcome.error


def test_a_connect_answers_before_anybody_is_there(sockets):
    push = sockets(zmq.PUSH)
    with Stopwatch() as watch:
        push.connect("tcp://127.0.0.1:1")
    assert watch.soon
