"""Monitors: every kind of event that can be made to happen, who is told what, and what can wait."""

import errno
import os
import socket
import struct
from weakref import ref

import gevent
import pytest
from life import Baseline, Outcome, waiting
from support import Stopwatch, run, wait_until

import gzmqhelper as zmq
from gzmqhelper.monitor import parse_monitor_message, recv_monitor_message
from gzmqhelper.utils import monitor as by_pyzmqs_name

NOBODY = "tcp://127.0.0.1:1"


@pytest.fixture
def watch(sockets):
    """The monitor of a socket, which gives up after 5 s; closed at the end."""

    def begin(sock, *args, **kwargs):
        made = sock.get_monitor_socket(*args, **kwargs)
        made.rcvtimeo = 5000
        sockets.made.append(made)
        return made

    return begin


def until(monitor, *wanted):
    """What comes up to the last of these events, each of which has to come, as event: message."""
    seen = {}
    while not set(wanted) <= set(seen):
        message = recv_monitor_message(monitor)
        seen[message["event"]] = message
    return seen


def tcp(sock):
    """A plain tcp connection to a bound socket."""
    return socket.create_connection(("127.0.0.1", int(sock.last_endpoint.rpartition(b":")[2])))


# ---- every event -------------------------------------------------------------------------------------


def test_a_bind_tells_that_it_listens_and_an_unbind_that_it_closed(sockets, watch, ticker):
    pull = sockets(zmq.PULL)
    monitor = watch(pull)
    pull.bind("tcp://127.0.0.1:*")
    endpoint = pull.last_endpoint
    listening = recv_monitor_message(monitor)
    assert listening["event"] == zmq.EVENT_LISTENING
    assert listening["endpoint"] == endpoint
    pull.unbind(endpoint.decode())
    closed = until(monitor, zmq.EVENT_CLOSED)[zmq.EVENT_CLOSED]
    assert (closed["value"], closed["endpoint"]) == (listening["value"], endpoint)  # its descriptor


def test_a_bind_that_fails_tells_why(sockets, watch):
    taken, pull = sockets(zmq.PULL), sockets(zmq.PULL)
    taken.bind("tcp://127.0.0.1:*")
    monitor = watch(pull)
    with pytest.raises(zmq.ZMQError):
        pull.bind(taken.last_endpoint.decode())
    failed = until(monitor, zmq.EVENT_BIND_FAILED)[zmq.EVENT_BIND_FAILED]
    assert failed["value"] == errno.EADDRINUSE


def test_a_connection_is_told_at_both_ends_from_its_beginning_to_its_end(sockets, watch, ticker):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    theirs, ours = watch(pull), watch(push)
    pull.bind("tcp://127.0.0.1:*")
    push.connect(pull.last_endpoint.decode())
    seen = until(theirs, zmq.EVENT_LISTENING, zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert seen[zmq.EVENT_ACCEPTED]["endpoint"] == pull.last_endpoint
    seen = until(ours, zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert seen[zmq.EVENT_CONNECT_DELAYED]["value"] == errno.EINPROGRESS
    assert seen[zmq.EVENT_CONNECTED]["endpoint"] == pull.last_endpoint
    assert seen[zmq.EVENT_HANDSHAKE_SUCCEEDED]["value"] == 0
    push.close()
    until(theirs, zmq.EVENT_DISCONNECTED)
    until(ours, zmq.EVENT_MONITOR_STOPPED)


def test_a_connection_to_nobody_is_tried_again_and_told_each_time(sockets, watch, ticker):
    push = sockets(zmq.PUSH, reconnect_ivl=5)
    monitor = watch(push)
    push.connect(NOBODY)
    seen = until(monitor, zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED)
    assert seen[zmq.EVENT_CONNECT_RETRIED]["endpoint"] == NOBODY.encode()
    assert 5 <= seen[zmq.EVENT_CONNECT_RETRIED]["value"] < 1000  # milliseconds until then


def test_a_peer_that_hangs_up_before_it_has_said_who_it_is_fails_the_handshake(sockets, watch):
    pull = sockets(zmq.PULL)
    pull.bind("tcp://127.0.0.1:*")
    monitor = watch(pull)
    tcp(pull).close()
    until(monitor, zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)


def test_a_peer_that_speaks_otherwise_fails_the_handshake_and_the_event_says_how(sockets, watch):
    pull, push = sockets(zmq.PULL, plain_server=1), sockets(zmq.PUSH)
    pull.bind("tcp://127.0.0.1:*")
    monitor = watch(pull)
    push.connect(pull.last_endpoint.decode())
    seen = until(monitor, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    assert seen[zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL]["value"] == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH


def test_a_peer_that_is_turned_away_fails_the_handshake_with_the_status_given(sockets, watch, ticker):
    def authenticate():
        rep = sockets(zmq.REP)
        rep.bind("inproc://zeromq.zap.01")
        version, number, *_ = rep.recv_multipart()
        rep.send_multipart([version, number, b"400", b"no", b"", b""])

    gevent.spawn(authenticate)
    pull = sockets(zmq.PULL, plain_server=1)
    push = sockets(zmq.PUSH, plain_username=b"a", plain_password=b"b", reconnect_ivl=10_000)
    gevent.sleep(0.01)
    pull.bind("tcp://127.0.0.1:*")
    monitor = watch(pull)
    push.connect(pull.last_endpoint.decode())
    failed = until(monitor, zmq.EVENT_HANDSHAKE_FAILED_AUTH)[zmq.EVENT_HANDSHAKE_FAILED_AUTH]
    assert failed["value"] == 400


def test_a_peer_that_no_descriptor_is_left_for_is_told_as_not_accepted():
    # (Descriptors are a process's: this takes all of one of its own.)
    run("""
        import os, resource, socket
        import gzmqhelper as zmq
        from gzmqhelper.monitor import recv_monitor_message
        pull = zmq.Context().socket(zmq.PULL)
        pull.bind("tcp://127.0.0.1:*")
        monitor = pull.get_monitor_socket()
        client = socket.socket()
        pull.recv(timeout=0.05) if pull.poll(50) else None
        # The hub has all that it needs by now.
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        client.connect(("127.0.0.1", int(pull.last_endpoint.rpartition(b":")[2])))
        message = recv_monitor_message(monitor)
        for number in taken:
            os.close(number)
        assert message["event"] == zmq.EVENT_ACCEPT_FAILED, message
        os._exit(0)
    """)


def test_who_stops_a_monitor_is_told_that_it_stopped(sockets, watch):
    pull = sockets(zmq.PULL)
    monitor = watch(pull)
    pull.disable_monitor()
    stopped = recv_monitor_message(monitor)
    assert stopped == {"event": zmq.EVENT_MONITOR_STOPPED, "value": 0, "endpoint": b""}


def test_the_close_of_a_socket_stops_its_monitor(sockets, watch, ticker):
    pull = sockets(zmq.PULL)
    monitor = watch(pull)
    outcome = waiting(recv_monitor_message, monitor)
    pull.close()
    assert outcome.join().result["event"] == zmq.EVENT_MONITOR_STOPPED


# ---- which events, and where -------------------------------------------------------------------------


def test_only_the_events_that_were_asked_for_are_told(sockets, watch):
    pull = sockets(zmq.PULL)
    monitor = watch(pull, zmq.EVENT_CLOSED)
    pull.bind("tcp://127.0.0.1:*")
    pull.unbind(pull.last_endpoint.decode())
    assert recv_monitor_message(monitor)["event"] == zmq.EVENT_CLOSED
    pull.disable_monitor()
    assert monitor.poll(50) == 0


def test_a_monitor_may_have_an_endpoint_of_the_callers(sockets, watch):
    pull, pair = sockets(zmq.PULL), sockets(zmq.PAIR)
    assert pull.monitor("inproc://news", zmq.EVENT_LISTENING | zmq.EVENT_MONITOR_STOPPED) is None
    pair.connect("inproc://news")
    pull.bind("tcp://127.0.0.1:*")
    assert recv_monitor_message(pair)["event"] == zmq.EVENT_LISTENING
    pull.monitor(None, 0)
    assert recv_monitor_message(pair)["event"] == zmq.EVENT_MONITOR_STOPPED
    assert watch(sockets(zmq.PULL), addr="inproc://other").last_endpoint == b"inproc://other"


def test_events_are_all_of_them_when_not_said(sockets):
    pull, pair = sockets(zmq.PULL), sockets(zmq.PAIR)
    pull.monitor(b"inproc://all")
    pair.connect("inproc://all")
    pull.bind("tcp://127.0.0.1:*")
    assert recv_monitor_message(pair)["event"] == zmq.EVENT_LISTENING
    pull.monitor("inproc://minus", -1)
    assert recv_monitor_message(pair)["event"] == zmq.EVENT_MONITOR_STOPPED


def test_asked_again_it_is_the_same_monitor_until_it_is_closed_or_disabled(sockets, watch):
    pull = sockets(zmq.PULL)
    first = watch(pull)
    assert first.type == zmq.PAIR
    assert watch(pull) is first
    pull.disable_monitor()
    second = watch(pull)
    assert second is not first
    assert second.last_endpoint != first.last_endpoint
    pull.bind("tcp://127.0.0.1:*")
    assert recv_monitor_message(second)["event"] == zmq.EVENT_LISTENING
    assert [recv_monitor_message(first)["event"], first.poll(20)] == [zmq.EVENT_MONITOR_STOPPED, 0]


def test_monitors_may_come_and_go_many_times(sockets):
    baseline = Baseline()
    pull = sockets(zmq.PULL)
    for _ in range(50):
        with pull.get_monitor_socket() as monitor:
            pull.disable_monitor()
            assert recv_monitor_message(monitor)["event"] == zmq.EVENT_MONITOR_STOPPED
    baseline.check()


def test_the_monitor_is_of_the_contexts_own_class(sockets):
    class Mine(zmq.Socket):
        pass

    context = zmq.Context()
    context._socket_class = Mine
    with context, context.socket(zmq.PULL) as pull:
        assert type(pull.get_monitor_socket()) is Mine


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addr, events, number",
    [
        ("tcp://127.0.0.1:5555", zmq.EVENT_ALL, zmq.EPROTONOSUPPORT),
        ("inproc://x", zmq.EVENT_ALL_V2, zmq.EINVAL),
        ("nonsense", zmq.EVENT_ALL, zmq.EINVAL),
        ("inproc://taken", zmq.EVENT_ALL, zmq.EADDRINUSE),
    ],
)
def test_what_libzmq_does_not_take_is_an_error_that_names_it(addr, events, number, sockets, watch):
    sockets(zmq.PAIR).bind("inproc://taken")
    pull = sockets(zmq.PULL)
    for call in (lambda: pull.monitor(addr, events), lambda: pull.get_monitor_socket(events, addr)):
        with pytest.raises(zmq.ZMQError, match=f"addr='{addr}'") as caught:
            call()
        assert caught.value.errno == number
    assert watch(pull) is not None


def test_an_address_that_is_no_text_is_a_type_error(sockets):
    with pytest.raises(TypeError, match="expected str, got int"):
        sockets(zmq.PULL).monitor(5)


@pytest.mark.parametrize("arguments", [{"addr": 5}, {"addr": b"inproc://a\0b"}, {"events": "all"}], ids=str)
def test_what_is_no_argument_of_a_monitor_leaves_nothing_behind(sockets, arguments, capfd):
    pull = sockets(zmq.PULL)
    for call in (pull.get_monitor_socket, lambda addr="inproc://x", **kw: pull.monitor(addr, **kw)):
        with pytest.raises((TypeError, zmq.ZMQError)) as caught:
            call(**arguments)
        assert isinstance(caught.value, TypeError) or caught.value.errno == zmq.EINVAL
        assert len(sockets.context._sockets) == 1
    gevent.sleep(0.01)
    assert capfd.readouterr().err == ""
    assert pull.bind("tcp://127.0.0.1:*")  # no monitor, whose events nobody would take


def test_a_closed_socket_and_an_ended_context_say_so(sockets):
    closed = sockets(zmq.PULL)
    closed.close()
    for call in (closed.get_monitor_socket, closed.disable_monitor, lambda: closed.monitor("inproc://x")):
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == zmq.ENOTSOCK
    context = zmq.Context()
    left = context.socket(zmq.PULL)
    ending = Outcome(context.term)
    with pytest.raises(zmq.ContextTerminated):
        left.recv(timeout=5)  # from then on libzmq knows, too
    for call in (left.get_monitor_socket, lambda: left.monitor("inproc://x")):
        with pytest.raises(zmq.ContextTerminated):
            call()
    left.close()
    ending.join()


def test_a_stop_without_a_monitor_does_nothing(sockets):
    pull = sockets(zmq.PULL)
    pull.disable_monitor()
    pull.disable_monitor()


def test_what_is_no_event_is_an_error():
    head = struct.pack("=Hi", zmq.EVENT_CLOSED, 12)
    assert parse_monitor_message([head, b"x"]) == {"event": zmq.EVENT_CLOSED, "value": 12, "endpoint": b"x"}
    assert type(parse_monitor_message([head, b"x"])["event"]) is zmq.Event
    for wrong in ([], [head], [head, b"x", b"y"], [head + b"!", b"x"], [b"", b"x"]):
        with pytest.raises(RuntimeError, match="Invalid event message format"):
            parse_monitor_message(wrong)


def test_pyzmqs_name_for_them_is_there():
    assert by_pyzmqs_name.recv_monitor_message is recv_monitor_message
    assert by_pyzmqs_name.parse_monitor_message is parse_monitor_message


# ---- waiting -----------------------------------------------------------------------------------------


def test_reading_waits_as_any_receive_does(sockets, watch, ticker):
    pull = sockets(zmq.PULL)
    monitor = watch(pull)
    with pytest.raises(zmq.Again):
        recv_monitor_message(monitor, zmq.NOBLOCK)
    monitor.rcvtimeo = 30
    with pytest.raises(zmq.Again):
        recv_monitor_message(monitor)
    monitor.rcvtimeo = -1
    waiting(recv_monitor_message, monitor).greenlet.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        recv_monitor_message(monitor)
    outcome = waiting(recv_monitor_message, monitor)
    pull.bind("tcp://127.0.0.1:*")  # none of those that left has taken it
    assert outcome.join().result["event"] == zmq.EVENT_LISTENING
    outcome = waiting(recv_monitor_message, monitor)
    monitor.close()
    assert outcome.join().error.errno == zmq.ENOTSOCK


def test_the_end_of_the_context_ends_the_reading(ticker):
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    monitor = pull.get_monitor_socket(zmq.EVENT_LISTENING)
    outcome = waiting(recv_monitor_message, monitor)
    ending = Outcome(context.term)
    assert isinstance(outcome.join().error, zmq.ContextTerminated)
    pull.close()
    monitor.close()
    ending.join()


def unread(sockets):
    """A socket with a monitor that nobody will ever read, and that has something to tell."""
    pull = sockets(zmq.PULL)
    pull.monitor("inproc://unread", zmq.EVENT_LISTENING | zmq.EVENT_MONITOR_STOPPED)
    return pull


def test_a_monitor_that_nobody_reads_stops_who_disables_it_and_not_the_hub(sockets, ticker):
    pull = unread(sockets)
    outcome = waiting(pull.disable_monitor)
    gevent.sleep(0.1)
    assert not outcome.greenlet.dead
    reader = sockets(zmq.PAIR)
    reader.connect("inproc://unread")
    assert recv_monitor_message(reader)["event"] == zmq.EVENT_MONITOR_STOPPED
    assert outcome.join().error is None


def test_a_monitor_that_nobody_reads_stops_a_bind_and_not_the_hub(sockets, ticker):
    pull = unread(sockets)
    outcome = waiting(pull.bind, "tcp://127.0.0.1:*")
    gevent.sleep(0.1)
    assert not outcome.greenlet.dead
    reader = sockets(zmq.PAIR)
    reader.connect("inproc://unread")
    assert recv_monitor_message(reader)["event"] == zmq.EVENT_LISTENING
    assert outcome.join().error is None


@pytest.mark.parametrize("leave", ["kill", "timeout"])
def test_who_leaves_that_wait_goes_at_once_and_the_context_still_ends(leave, ticker):
    baseline = Baseline()
    for _ in range(10):  # one alone could leave what the baseline lets stay
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.monitor("inproc://unread")
        with Stopwatch() as watch:
            if leave == "kill":
                waiting(pull.disable_monitor).greenlet.kill()
            else:
                with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
                    pull.disable_monitor()
        assert watch.soon
        pull.close()
        context.term()
    baseline.check()


def test_the_close_and_the_end_of_the_context_end_that_wait(sockets, ticker):
    closed = unread(sockets)
    outcome = waiting(closed.disable_monitor)
    queued = waiting(closed.monitor, "inproc://next")
    closed.close()
    assert queued.join().error.errno == zmq.ENOTSOCK  # the other is inside libzmq
    ending = Outcome(sockets.context.term)
    assert outcome.join().error.errno in (zmq.ENOTSOCK, zmq.ETERM)
    ending.join()


def test_a_greenlet_that_is_killed_while_it_begins_a_monitor_leaves_none(sockets, ticker):
    pull = unread(sockets)
    outcome = waiting(pull.bind, "tcp://127.0.0.1:*")  # it has the socket, until the event is read
    killed = waiting(pull.get_monitor_socket)
    killed.greenlet.kill()
    reader = sockets(zmq.PAIR)
    reader.connect("inproc://unread")
    assert recv_monitor_message(reader)["event"] == zmq.EVENT_LISTENING
    assert outcome.join().error is None
    assert wait_until(lambda: len(sockets.context._sockets) == 2)
    # Had it begun one after all, that would tell the first event to nobody.
    pull.bind("tcp://127.0.0.1:*")
    assert recv_monitor_message(reader)["event"] == zmq.EVENT_LISTENING


def test_one_that_is_killed_inside_libzmq_leaves_no_monitor_either(sockets, ticker):
    pull = unread(sockets)
    killed = waiting(pull.get_monitor_socket)  # which stops the old one first, and waits in that
    gevent.sleep(0.05)
    killed.greenlet.kill()
    reader = sockets(zmq.PAIR)
    reader.connect("inproc://unread")
    assert recv_monitor_message(reader)["event"] == zmq.EVENT_MONITOR_STOPPED
    assert wait_until(lambda: len(sockets.context._sockets) == 2)
    outcome = Outcome(pull.bind, "tcp://127.0.0.1:*").join()
    assert outcome.error is None


def test_who_gives_up_to_disable_a_monitor_keeps_no_reader():
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    reader = pull.get_monitor_socket()
    for number in range(1000):
        pull.bind(f"ipc://@unread-{os.getpid()}-{number}")
        pull.unbind(pull.last_endpoint)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.1):
        pull.disable_monitor()
    kept = ref(reader)
    del reader
    assert caught.value and kept() is None
    pull.close()
    with gevent.Timeout(5):
        context.term()


@pytest.mark.timeout(60)
def test_who_kept_no_reference_to_a_monitor_may_disable_it():
    """libzmq's last event waits for its reader: who stops the monitor is not to close that first."""
    for turn in range(100):
        with zmq.Context() as context, context.socket(zmq.XSUB) as a, context.socket(zmq.XPUB) as b:
            a.bind("tcp://127.0.0.1:*")
            b.connect(a.last_endpoint)
            a.send(b"\x01")
            gevent.sleep(0.002 * (turn % 5))
            b.get_monitor_socket()
            with gevent.Timeout(10):
                b.disable_monitor()
