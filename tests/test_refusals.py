"""What is wrong is refused at once, with an error that names it; nothing is sent, lost or left half done."""

import errno

import gevent
import pytest
from life import Outcome, waiting
from support import refused, run

import gzmqhelper as zmq


@pytest.fixture
def pair(sockets):
    """Two DEALERs that are connected; nothing that they do takes long."""
    left, right = sockets.pair(zmq.DEALER, zmq.DEALER, "inproc")
    left.rcvtimeo = right.rcvtimeo = left.sndtimeo = right.sndtimeo = 2000
    return left, right


# ---- endpoints -------------------------------------------------------------------------------------

ENDPOINTS = [
    ("", errno.EINVAL),
    ("nonsense", errno.EINVAL),
    ("tcp:127.0.0.1:5555", errno.EINVAL),
    ("tcp://", errno.EINVAL),
    ("tcp://*", errno.EINVAL),
    ("tcp://127.0.0.1:", errno.EINVAL),
    ("tcp://127.0.0.1:http", errno.EINVAL),
    ("inproc://", errno.EINVAL),
    ("ipc://", errno.EINVAL),
    ("http://127.0.0.1:80", errno.EPROTONOSUPPORT),
    ("udp://127.0.0.1:5555", zmq.ENOCOMPATPROTO),
    ("tcp://127.0.0.1\0:5555", errno.EINVAL),
    ("inproc://a\0b", errno.EINVAL),
    (f"ipc:///tmp/{'x' * 200}", errno.ENAMETOOLONG),
    (b"nonsense", errno.EINVAL),
    (b"\xff\xfe", errno.EINVAL),
]


@pytest.mark.parametrize("call", ["bind", "connect"])
@pytest.mark.parametrize(("endpoint", "number"), ENDPOINTS, ids=[repr(e)[:24] for e, _ in ENDPOINTS])
def test_an_endpoint_that_cannot_be_is_refused_and_named(call, endpoint, number, sockets):
    pull = sockets(zmq.PULL)
    refused(number, getattr(pull, call), endpoint, says=[call, repr(endpoint)])
    # The socket is as good as new.
    push = sockets(zmq.PUSH)
    pull.bind("inproc://good")
    push.connect("inproc://good")
    push.send(b"x")
    assert pull.recv(timeout=5) == b"x"


@pytest.mark.parametrize(
    ("endpoint", "number"),
    [
        ("tcp://no-such-host.invalid:5555", errno.ENODEV),
        ("tcp://300.1.1.1:5555", errno.ENODEV),
        ("tcp://192.0.2.1:5555", errno.EADDRNOTAVAIL),
        ("ipc:///no/such/directory/x", errno.ENOENT),
    ],
)
def test_a_place_that_is_not_on_this_machine_is_refused_and_named(endpoint, number, sockets):
    refused(number, sockets(zmq.PULL).bind, endpoint, says=[repr(endpoint)])


def test_the_longest_ipc_path_is_bound_and_a_longer_one_is_refused(sockets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # whose own path may leave no room for a whole one
    longest = f"ipc://{'x' * zmq.IPC_PATH_MAX_LEN}"
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    pull.bind(longest)
    push.connect(longest)
    push.send(b"x")
    assert pull.recv(timeout=5) == b"x"
    for call in (pull.bind, push.connect):
        refused(errno.ENAMETOOLONG, call, longest + "x", says=["IPC_PATH_MAX_LEN"])


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_a_taken_endpoint_is_refused_and_named(transport, sockets, tmp_path):
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    endpoint = {"tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{tmp_path}/x", "inproc": "inproc://x"}[transport]
    endpoint = first.bind(endpoint).addr
    if transport == "ipc":
        # libzmq takes the path from whoever has it, and that one hears no more of it.
        second.bind(endpoint)
    else:
        refused(errno.EADDRINUSE, second.bind, endpoint, says=[endpoint])


@pytest.mark.parametrize("call", ["unbind", "disconnect"])
def test_what_was_never_bound_or_connected_cannot_be_taken_back(call, sockets):
    pull = sockets(zmq.PULL)
    for endpoint in ("inproc://never", "tcp://127.0.0.1:9"):
        refused(errno.ENOENT, getattr(pull, call), endpoint, says=[call, endpoint])
    refused(errno.EINVAL, getattr(pull, call), "nonsense", says=[call, "nonsense"])


@pytest.mark.parametrize("call", ["bind", "connect", "unbind", "disconnect"])
@pytest.mark.parametrize("endpoint", [None, 5, 1.5, ["inproc://x"], bytearray(b"inproc://x")])
def test_an_endpoint_of_a_wrong_type_is_refused_and_shown(call, endpoint, sockets):
    with pytest.raises(TypeError, match=call):
        getattr(sockets(zmq.PULL), call)(endpoint)


def test_a_port_that_is_none_is_refused_for_a_random_one_too(sockets):
    refused(errno.ENODEV, sockets(zmq.PULL).bind_to_random_port, "tcp://no-such-host.invalid")


# ---- messages --------------------------------------------------------------------------------------

NO_BUFFERS = [None, "text", 5, 1.5, True, [], [b"x"], object(), {b"x": 1}]


@pytest.mark.parametrize("thing", NO_BUFFERS, ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize(
    "send",
    [
        lambda s, thing: s.send(thing),
        lambda s, thing: s.send(thing, copy=False),
        lambda s, thing: s.send(thing, zmq.NOBLOCK),
        lambda s, thing: s.send(thing, timeout=1),
        lambda s, thing: s.send(thing, zmq.SNDMORE),
        lambda s, thing: s.send(thing, zmq.SNDMORE, copy=False),
        lambda s, thing: s.send_multipart([thing]),
        lambda s, thing: s.send_multipart([b"lost", thing, b"lost"]),
        lambda s, thing: s.send_multipart([b"lost", thing], copy=False),
        lambda s, thing: s.send_multipart([b"lost", zmq.Frame(b"lost"), thing]),
        lambda s, thing: s.send_serialized(thing, lambda thing: [b"lost", thing]),
    ],
)
def test_what_is_no_buffer_is_refused_and_nothing_is_sent(send, thing, pair):
    left, right = pair
    with pytest.raises(TypeError) as caught:
        send(left, thing)
    if thing is not None and not isinstance(thing, bool):
        assert type(thing).__name__ in str(caught.value)
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


def test_the_part_that_is_no_buffer_is_named(pair):
    with pytest.raises(TypeError, match="part 2"):
        pair[0].send_multipart([b"a", b"b", "c", b"d"])
    with pytest.raises(TypeError, match="send_string"):
        pair[0].send("text")


def test_a_buffer_with_gaps_is_refused_and_the_part_named(pair):
    left, right = pair
    gaps = memoryview(b"abcdef")[::2]
    for send in (
        lambda: left.send(gaps),
        lambda: left.send(gaps, copy=False),
        lambda: left.send(gaps, zmq.SNDMORE),
        lambda: left.send_multipart([b"lost", gaps]),
        lambda: left.send_multipart([b"lost", gaps], copy=False),
        lambda: zmq.Frame(gaps),
    ):
        with pytest.raises(BufferError, match="contiguous"):
            send()
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


@pytest.mark.parametrize("parts", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_a_message_of_no_parts_is_refused(parts, pair):
    with pytest.raises(ValueError, match="at least one part"):
        pair[0].send_multipart(parts)


@pytest.mark.parametrize("parts", [None, 5, b"bytes", "text"], ids=repr)
def test_parts_that_are_no_sequence_of_buffers_are_refused(parts, pair):
    left, right = pair
    with pytest.raises(TypeError):
        left.send_multipart(parts)
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


def test_a_frame_that_was_closed_cannot_be_sent(pair):
    left, right = pair
    frame = zmq.Frame(b"gone", copy=True)
    frame.close()
    for send in (left.send, lambda frame: left.send_multipart([b"lost", frame])):
        with pytest.raises(ValueError, match="closed"):
            send(frame)
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


def test_a_frame_that_is_not_tracked_cannot_be_sent_as_tracked(pair):
    with pytest.raises(ValueError, match="track"):
        pair[0].send(zmq.Frame(b"x"), copy=False, track=True)


def test_text_json_and_pickles_of_the_wrong_kind_are_refused_and_nothing_is_sent(pair):
    left, right = pair
    with pytest.raises(TypeError):
        left.send_string(b"bytes")
    with pytest.raises(TypeError):
        left.send_json(object())
    with pytest.raises((TypeError, AttributeError)):
        left.send_pyobj(lambda: None)
    with pytest.raises(LookupError):
        left.send_string("x", encoding="no-such-encoding")
    with pytest.raises(UnicodeEncodeError):
        left.send_string("é", encoding="ascii")
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


def test_a_message_that_is_not_what_it_should_be_is_an_error_and_the_next_one_comes(pair):
    left, right = pair
    for receive, wrong in (
        (right.recv_string, UnicodeDecodeError),
        (right.recv_json, ValueError),
        (right.recv_pyobj, Exception),
    ):
        left.send(b"\xff\xfe\xfd")
        left.send(b"good")
        with pytest.raises(wrong):
            receive()
        assert right.recv() == b"good"


@pytest.mark.parametrize("flags", ["x", None, 1.5])
def test_flags_that_are_no_number_are_refused_and_nothing_is_lost(flags, pair):
    left, right = pair
    with pytest.raises(TypeError):
        left.send(b"lost", flags)
    with pytest.raises(TypeError):
        left.send_multipart([b"lost", b"lost"], flags)
    left.send(b"good")
    assert right.poll(1000)
    for receive in (right.recv, right.recv_multipart):
        with pytest.raises(TypeError):
            receive(flags)
    assert right.recv_multipart() == [b"good"]


@pytest.mark.parametrize("timeout", ["x", [], object()])
def test_a_timeout_that_is_no_number_is_refused_and_nothing_is_lost(timeout, pair):
    left, right = pair
    for call in (
        lambda: left.send(b"lost", timeout=timeout),
        lambda: right.recv(timeout=timeout),
        lambda: right.recv_multipart(timeout=timeout),
        lambda: right.poll(timeout),
    ):
        with pytest.raises(TypeError):
            call()
    left.send(b"good")
    assert right.recv_multipart() == [b"good"]


def test_a_socket_that_cannot_send_or_receive_says_so(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    for call in (
        lambda: pull.send(b"x"),
        lambda: pull.send(b"x", zmq.NOBLOCK),
        lambda: pull.send(b"x", zmq.SNDMORE),
        lambda: pull.send_multipart([b"x", b"y"]),
        lambda: push.recv(),
        lambda: push.recv(zmq.NOBLOCK),
        lambda: push.recv_multipart(),
    ):
        outcome = Outcome(call).join(2)
        assert outcome.error.errno == errno.ENOTSUP, outcome.error
    push.send(b"good")
    assert pull.recv(timeout=5) == b"good"


def test_a_turn_that_is_not_the_sockets_is_refused_and_its_turn_stays(sockets):
    rep, req = sockets.pair(zmq.REP, zmq.REQ, "inproc")
    refused(zmq.EFSM, req.recv, says=["REQ"])
    refused(zmq.EFSM, rep.send, b"x", says=["REQ"])
    req.send(b"1")
    refused(zmq.EFSM, req.send, b"2")
    assert rep.recv(timeout=5) == b"1"
    refused(zmq.EFSM, rep.recv)
    rep.send(b"3")
    assert req.recv(timeout=5) == b"3"


def test_what_only_draft_sockets_have_is_refused(pair):
    left, right = pair
    refused(errno.ENOTSUP, lambda: left.send(b"x", routing_id=5), says=["draft"])
    refused(errno.ENOTSUP, lambda: left.send(b"x", group="x"), says=["draft"])
    assert right.poll(20) == 0


# ---- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [9999, -1])
def test_an_unknown_option_is_refused_and_named(option, pair):
    refused(errno.EINVAL, pair[0].get, option, says=[str(option)])
    refused(errno.EINVAL, pair[0].set, option, 1, says=[str(option)])


def test_options_that_are_only_for_reading_or_setting_say_so(pair):
    refused(errno.EINVAL, pair[0].get, zmq.SUBSCRIBE, says=["SUBSCRIBE", "can only be set"])
    refused(errno.EINVAL, pair[0].set, zmq.EVENTS, 1, says=["EVENTS", "can only be read"])
    with pytest.raises(AttributeError, match="SUBSCRIBE"):
        _ = pair[0].SUBSCRIBE


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        (zmq.LINGER, "1", TypeError),
        (zmq.LINGER, b"1", TypeError),
        (zmq.LINGER, None, TypeError),
        (zmq.LINGER, 1.5, TypeError),
        (zmq.LINGER, 2**31, ValueError),
        (zmq.LINGER, 2**31, OverflowError),
        (zmq.ROUTING_ID, "text", TypeError),
        (zmq.ROUTING_ID, 5, TypeError),
        (zmq.LINGER, -2, zmq.ZMQError),
        (zmq.SNDHWM, -1, zmq.ZMQError),
        (zmq.ROUTING_ID, b"", zmq.ZMQError),
        (zmq.ROUTING_ID, b"x" * 256, zmq.ZMQError),
        (zmq.CURVE_SERVERKEY, b"short", zmq.ZMQError),
    ],
)
def test_a_value_that_does_not_suit_the_option_is_refused_and_the_option_named(option, value, error, pair):
    before = pair[0].linger
    with pytest.raises(error, match=option.name):
        pair[0].set(option, value)
    with pytest.raises(error, match=option.name):
        setattr(pair[0], option.name.lower(), value)
    assert pair[0].linger == before


@pytest.mark.parametrize("option", ["linger", None, 1.5])
def test_an_option_that_is_no_number_is_refused(option, pair):
    for call in (lambda: pair[0].get(option), lambda: pair[0].set(option, 1)):
        with pytest.raises(TypeError):
            call()


def test_a_name_that_is_no_option_is_refused_and_shown(pair):
    with pytest.raises(AttributeError, match="lingr"):
        pair[0].lingr = 0
    with pytest.raises(AttributeError, match="lingr"):
        _ = pair[0].lingr


def test_a_subscription_for_another_type_or_of_another_type_is_refused(sockets):
    refused(errno.EINVAL, sockets(zmq.PULL).subscribe, b"x", says=["SUBSCRIBE"])
    with pytest.raises(TypeError, match="SUBSCRIBE"):
        sockets(zmq.SUB).subscribe(5)


def test_a_number_is_not_read_as_text(pair):
    with pytest.raises(TypeError, match="LINGER"):
        pair[0].get_string(zmq.LINGER)
    with pytest.raises(TypeError, match="ROUTING_ID"):
        pair[0].set_string(zmq.ROUTING_ID, b"x")


# ---- contexts and sockets --------------------------------------------------------------------------


@pytest.mark.parametrize("threads", ["1", None, 1.5])
def test_a_number_of_threads_of_a_wrong_type_is_refused(threads):
    with pytest.raises(TypeError):
        zmq.Context(threads)


def test_a_number_of_threads_that_cannot_be_is_refused_and_named():
    refused(errno.EINVAL, zmq.Context, -1, says=["-1"])
    with pytest.raises(OverflowError):
        zmq.Context(2**40)


@pytest.mark.parametrize("kind", ["PULL", None, 1.5, b"x"])
def test_a_type_of_a_wrong_type_is_refused(kind, sockets):
    with pytest.raises(TypeError):
        sockets.context.socket(kind)


@pytest.mark.parametrize("kind", [999, -1])
def test_a_type_that_libzmq_does_not_know_is_refused_and_named(kind, sockets):
    refused(errno.EINVAL, sockets.context.socket, kind, says=[str(kind)])


def test_a_socket_needs_a_context():
    with pytest.raises(TypeError, match="Context"):
        zmq.Socket()
    with pytest.raises(TypeError, match="Context"):
        zmq.Socket(None, zmq.PULL)
    with pytest.raises(TypeError, match="Context"):
        zmq.Socket("context", zmq.PULL)


def test_context_options_that_cannot_be_are_refused_and_named(sockets):
    ctx = sockets.context
    refused(errno.EINVAL, ctx.get, 999, says=["999"])
    refused(errno.EINVAL, ctx.set, 999, 1, says=["999"])
    refused(errno.EINVAL, ctx.set, zmq.MAX_SOCKETS, -1, says=["-1"])
    with pytest.raises(TypeError):
        ctx.set(zmq.MAX_SOCKETS, "x")


@pytest.mark.parametrize("linger", ["x", 1.5, 2**40])
def test_a_linger_that_is_none_is_refused_and_the_socket_stays_open(linger, pair):
    left, right = pair
    waiter = waiting(right.recv)
    with pytest.raises((TypeError, OverflowError)):
        right.close(linger)
    assert not right.closed
    left.send(b"good")
    assert waiter.join().result == b"good"
    right.close(0)
    assert right.closed


def test_objects_of_others_that_are_none_of_ours_are_refused(sockets):
    for thing in ("x", 1.5, object()):
        with pytest.raises(TypeError):
            zmq.Socket.shadow(thing)
        with pytest.raises(TypeError):
            zmq.Context.shadow(thing)


def test_a_secret_key_that_is_none_is_refused():
    with pytest.raises(ValueError, match="40"):
        zmq.curve_public(b"short")


def test_wrong_input_in_the_middle_of_a_crowd_disturbs_nobody(sockets, ticker):
    left, right = sockets.pair(zmq.DEALER, zmq.DEALER)
    readers = [waiting(right.recv) for _ in range(10)]
    for wrong in (
        lambda: right.send("text"),
        lambda: right.recv("flags"),
        lambda: right.bind("nonsense"),
        lambda: right.set(zmq.LINGER, "x"),
        lambda: right.get(9999),
        lambda: right.poll("x"),
    ):
        with pytest.raises((TypeError, zmq.ZMQError)):
            wrong()
    for i in range(10):
        left.send(b"%d" % i)
    assert sorted(int(reader.join().result) for reader in readers) == list(range(10))
    gevent.sleep(0)


def test_errors_that_nobody_catches_say_what_to_do():
    result = run(
        """
        import gzmqhelper as zmq
        ctx = zmq.Context()
        sock = ctx.socket(zmq.PULL)
        sock.bind("tcp://127.0.0.1:*")
        ctx.socket(zmq.PULL).bind(sock.last_endpoint.decode())
        """,
        check=False,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("gzmqhelper.errors.ZMQError: Address already in use (bind: addr='tcp://127.0.0.1:")
    assert "choose another address" in last
