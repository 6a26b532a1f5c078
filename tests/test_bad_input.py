"""Calls that cannot be made: on closed sockets, with wrong types, on the hub's greenlet. The next call works.

`test_refusals.py` has more of it: endpoints, values, turns.
"""

import os
import warnings

import gevent
import pytest

import gzmqhelper as zmq
from gzmqhelper import _socket


@pytest.fixture
def pair(pair):
    """As everywhere; and after the test a message still goes each way."""
    left, right = pair
    yield left, right
    left.send_multipart([b"there", b"and"])
    assert right.recv_multipart() == [b"there", b"and"]
    right.send(b"back")
    assert left.recv() == b"back"


# ---- closed sockets ----------------------------------------------------------------------------------

# What is no call, or works on a closed socket too.
HARMLESS = {
    "close",
    "closed",
    "context",
    "copy_threshold",
    "hwm",  # below, as an attribute
    "shadow",  # below, as a call of the class
    "socket_type",
    "type",
    "underlying",
}
CALLS = {
    "bind": lambda s: s.bind("tcp://127.0.0.1:*"),
    "bind_to_random_port": lambda s: s.bind_to_random_port("tcp://127.0.0.1"),
    "connect": lambda s: s.connect("tcp://127.0.0.1:9"),
    "disable_monitor": lambda s: s.disable_monitor(),
    "disconnect": lambda s: s.disconnect("tcp://127.0.0.1:9"),
    "fileno": lambda s: s.fileno(),
    "get": lambda s: s.get(zmq.LINGER),
    "get_hwm": lambda s: s.get_hwm(),
    "get_string": lambda s: s.get_string(zmq.LAST_ENDPOINT),
    "get_monitor_socket": lambda s: s.get_monitor_socket(),
    "getsockopt": lambda s: s.getsockopt(zmq.RCVMORE),
    "getsockopt_string": lambda s: s.getsockopt_string(zmq.LAST_ENDPOINT),
    "getsockopt_unicode": lambda s: s.getsockopt_unicode(zmq.LAST_ENDPOINT),
    "join": lambda s: s.join("x"),
    "leave": lambda s: s.leave("x"),
    "monitor": lambda s: s.monitor("inproc://m"),
    "poll": lambda s: s.poll(),
    "recv": lambda s: s.recv(),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recv_json": lambda s: s.recv_json(),
    "recv_many": lambda s: s.recv_many(),
    "recv_multipart": lambda s: s.recv_multipart(),
    "recv_pyobj": lambda s: s.recv_pyobj(),
    "recv_serialized": lambda s: s.recv_serialized(list),
    "recv_string": lambda s: s.recv_string(),
    "recv_unicode": lambda s: s.recv_unicode(),
    "send": lambda s: s.send(b"x"),
    "send_json": lambda s: s.send_json(1),
    "send_many": lambda s: s.send_many([b"x"]),
    "send_multipart": lambda s: s.send_multipart([b"x"]),
    "send_pyobj": lambda s: s.send_pyobj(1),
    "send_serialized": lambda s: s.send_serialized(b"x", lambda x: [x]),
    "send_string": lambda s: s.send_string("x"),
    "send_unicode": lambda s: s.send_unicode("x"),
    "set": lambda s: s.set(zmq.LINGER, 0),
    "set_hwm": lambda s: s.set_hwm(1),
    "set_string": lambda s: s.set_string(zmq.ROUTING_ID, "x"),
    "setsockopt": lambda s: s.setsockopt(zmq.LINGER, 0),
    "setsockopt_string": lambda s: s.setsockopt_string(zmq.ROUTING_ID, "x"),
    "setsockopt_unicode": lambda s: s.setsockopt_unicode(zmq.ROUTING_ID, "x"),
    "subscribe": lambda s: s.subscribe("x"),
    "unbind": lambda s: s.unbind("tcp://127.0.0.1:9"),
    "unsubscribe": lambda s: s.unsubscribe("x"),
    # the same in other ways
    "a shadow": lambda s: zmq.Socket.shadow(s),
    "poll at once": lambda s: s.poll(0),
    "poll for POLLOUT": lambda s: s.poll(10, zmq.POLLOUT),
    "read an option": lambda s: s.linger,
    "read hwm": lambda s: s.hwm,
    "receive a Frame": lambda s: s.recv(copy=False),
    "receive at once": lambda s: s.recv(zmq.NOBLOCK),
    "receive for some time": lambda s: s.recv(timeout=1),
    "send a Frame": lambda s: s.send(zmq.Frame(b"x")),
    "send a first part": lambda s: s.send(b"x", zmq.SNDMORE),
    "send first parts": lambda s: s.send_multipart([b"x"], zmq.SNDMORE),
    "send without a copy": lambda s: s.send(b"x" * 100_000, copy=False),
    "set an option": lambda s: setattr(s, "linger", 1),
    "set subscribe": lambda s: setattr(s, "subscribe", b""),
}


def check_says_closed(sock):
    wrong = []
    for name, call in CALLS.items():
        with warnings.catch_warnings(), gevent.Timeout(5, AssertionError(f"{name} waits")):
            warnings.simplefilter("error")
            try:
                wrong.append((name, call(sock)))
            except zmq.ZMQError as e:
                if e.errno != zmq.ENOTSOCK or "closed" not in str(e):
                    wrong.append((name, e))
    assert wrong == []


@pytest.mark.parametrize("kind", ["PAIR", "REQ", "REP", "PUB", "SUB", "PUSH", "PULL", "ROUTER"])
def test_every_call_on_a_closed_socket_of_any_type_says_so(sockets, kind):
    sock = sockets(zmq.SocketType[kind])
    sock.close()
    check_says_closed(sock)
    assert list(sock) == []
    sock.close()
    assert sock.closed and sock.underlying == 0 and sock.type == zmq.SocketType[kind]


@pytest.mark.parametrize("kind", ["REQ", "PULL", "PAIR"])
def test_a_shadow_of_a_socket_that_was_closed_says_so_too(sockets, kind):
    sock = sockets(zmq.SocketType[kind])
    shadow = zmq.Socket.shadow(sock)
    sock.close()
    check_says_closed(shadow)


@pytest.mark.parametrize("kind", ["REQ", "PULL", "PAIR"])
@pytest.mark.parametrize(
    "shadow",
    [
        zmq.Socket,
        lambda s: zmq.Socket.shadow(s.underlying),
        lambda s: zmq.Socket.shadow(zmq.Socket(s)),
        lambda s: zmq.Socket(s.context, shadow=unknown_address(s)),
    ],
    ids=["of a socket", "of its address", "of a shadow", "of an address that is not ours"],
)
def test_a_shadow_that_was_closed_says_so_while_its_socket_works_on(sockets, kind, shadow):
    sock = sockets(zmq.SocketType[kind])
    sock.bind("inproc://original")
    other = shadow(sock)
    other.close()
    check_says_closed(other)
    assert list(other) == []
    assert other.closed and other.underlying == 0 and other.type == zmq.SocketType[kind]
    other.close()
    assert not sock.closed and sock.last_endpoint == b"inproc://original"
    peer = sockets({zmq.REQ: zmq.REP, zmq.PULL: zmq.PUSH, zmq.PAIR: zmq.PAIR}[sock.type])
    peer.connect("inproc://original")
    if kind == "PULL":
        peer.send(b"x")
        assert sock.recv(timeout=2) == b"x"
    else:
        sock.send(b"x", timeout=2)
        assert peer.recv(timeout=2) == b"x"


def unknown_address(sock):
    """The address of a socket, as another binding has it: nothing of ours is known by it."""
    address = sock.underlying
    _socket._by_address.pop(address)
    return address


def test_a_poller_hears_that_a_shadow_was_closed_since_its_last_poll(sockets):
    shadow = zmq.Socket(sockets(zmq.PULL))
    poller = zmq.Poller()
    poller.register(shadow, zmq.POLLIN)
    assert poller.poll(0) == []
    shadow.close()
    with pytest.raises(zmq.ZMQError) as caught:
        poller.poll(0)
    assert caught.value.errno == zmq.ENOTSOCK


def test_every_method_of_a_socket_is_among_those_tried():
    options = {spelled for name in zmq.SocketOption.__members__ for spelled in (name, name.lower())}
    methods = {name for name in dir(zmq.Socket) if not name.startswith("_")} - options
    assert methods - HARMLESS - set(CALLS) == set()


# ---- wrong types -------------------------------------------------------------------------------------

WRONG_TYPES = {
    "send a str": (lambda s: s.send("text"), "'text' is a str.*encode.*send_string"),
    "send an int": (lambda s: s.send(5), "5 is a int.*buffer"),
    "send None": (lambda s: s.send(None), "NoneType.*buffer"),
    "send a list": (lambda s: s.send([b"x"]), r"\[b'x'\] is a list.*buffer"),
    "an int without a copy": (lambda s: s.send(5, copy=False), "5 is a int.*buffer"),
    "None without a copy": (lambda s: s.send(None, copy=False), "NoneType.*buffer"),
    "a str as a first part": (lambda s: s.send("text", zmq.SNDMORE), "'text' is a str.*send_string"),
    "a first part without a copy": (lambda s: s.send(None, zmq.SNDMORE, copy=False), "NoneType.*buffer"),
    "a part, not copied": (lambda s: s.send_multipart([b"a", b"b", 3], copy=False), "part 2: 3 is a int"),
    "a str as a multipart": (lambda s: s.send_multipart("text"), "part 0: 't' is a str"),
    "bytes as a multipart": (lambda s: s.send_multipart(b"text"), "part 0: 116 is a int"),
    "a long thing": (lambda s: s.send("x" * 1000), r"^part 0: 'x+\.\.\. is a str"),
    "send_string of bytes": (lambda s: s.send_string(b"x"), "expected str, got bytes"),
    "Frame of a str": (lambda s: zmq.Frame("x"), "encode the text, or use Frame.from_string"),
    "Frame of a list": (lambda s: zmq.Frame([1]), "bytes-like object is required, not 'list'"),
    "Frame of a bool": (lambda s: zmq.Frame(True), "bytes-like object is required, not 'bool'"),
    "Frame of an int": (lambda s: zmq.Frame(5), "bytes-like object is required, not 'int'"),
    "Frame of data and a size": (lambda s: zmq.Frame(b"x", size=1), "not both"),
    "Frame of a size of text": (lambda s: zmq.Frame(size="1"), "size: expected an int, got str"),
    "a Frame's property": (lambda s: zmq.Frame().get(None), "expected int or str, got NoneType"),
    "a tracker of an int": (lambda s: zmq.MessageTracker(5), "expected a Frame or a MessageTracker, got int"),
    "bind": (lambda s: s.bind(5), "bind: expected str, got int: 5"),
    "connect": (lambda s: s.connect(["tcp://x"]), "connect: expected str, got list"),
    "an option by name": (lambda s: s.get("LINGER"), "option: expected an int, got str"),
    "None for an int": (lambda s: setattr(s, "linger", None), "LINGER: expected an int.*got NoneType"),
    "an int for bytes": (lambda s: setattr(s, "routing_id", 1), "ROUTING_ID: expected bytes, got int"),
    "a str for bytes": (lambda s: setattr(s, "routing_id", "x"), "ROUTING_ID: unicode.*use set_string"),
    "set_string of a number": (lambda s: s.set_string(zmq.LINGER, "1"), "LINGER: expected an int.*got bytes"),
    "set_string of bytes": (lambda s: s.set_string(zmq.ROUTING_ID, b"x"), "ROUTING_ID: expected str, got b"),
    "subscribe to an int": (lambda s: s.subscribe(5), "SUBSCRIBE.*expected bytes, got int"),
    "a Socket of no Context": (lambda s: zmq.Socket(5, zmq.PAIR), "needs a Context, got int"),
    "a type by name": (lambda s: s.context.socket("PUB"), "socket_type: expected an int, got str"),
    "a context's option": (lambda s: s.context.set(zmq.IO_THREADS, "1"), "optval: expected an int, got str"),
    "has": (lambda s: zmq.has(5), "expected str, got int"),
    "curve_public": (lambda s: zmq.curve_public(5), "expected bytes, got int"),
    "flags of recv": (lambda s: s.recv("x"), "flags: expected an int, got str"),
    "flags of recv, a float": (lambda s: s.recv(1.0), "flags: expected an int, got float"),
    "flags of recv without a copy": (lambda s: s.recv(None, False), "flags: expected an int, got NoneType"),
    "flags of recv_multipart": (lambda s: s.recv_multipart("x"), "flags: expected an int, got str"),
    "flags of send": (lambda s: s.send(b"x", "y"), "flags: expected an int, got str"),
    "flags of send, a float": (lambda s: s.send(b"x", 1.0), "flags: expected an int, got float"),
    "flags of send without a copy": (lambda s: s.send(b"x", None, False), "flags: expected an int, got N"),
    "flags of send_multipart": (lambda s: s.send_multipart([b"x"], "y"), "flags: expected an int, got str"),
    "flags of send_string": (lambda s: s.send_string("x", []), "flags: expected an int, got list"),
    "flags of poll": (lambda s: s.poll(0, "x"), "flags: expected an int, got str"),
    "timeout of poll": (lambda s: s.poll("1"), "timeout: expected a number or None, got str"),
    "timeout of recv": (lambda s: s.recv(timeout="1"), "timeout: expected a number or None, got str"),
    "timeout of recv_multipart": (lambda s: s.recv_multipart(timeout=[]), "timeout: .*got list"),
    "timeout of send": (lambda s: s.send(b"x", timeout="1"), "timeout: expected a number or None, got str"),
    "timeout of send_multipart": (lambda s: s.send_multipart([b"x"], timeout=b""), "timeout: .*got bytes"),
    "timeout of a tracker": (lambda s: zmq.MessageTracker().wait("1"), "timeout: expected .*got str"),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_thing_of_the_wrong_type_is_refused_and_the_right_one_named(pair, name):
    call, says = WRONG_TYPES[name]
    left, right = pair
    with pytest.raises(TypeError, match=says), gevent.Timeout(2):
        call(left)
    assert right.poll(0) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.poll(float("nan")),
        lambda s: s.recv(timeout=float("nan")),
        lambda s: s.recv_multipart(timeout=float("nan")),
        lambda s: s.recv_string(timeout=float("nan")),
        lambda s: s.send(b"x", timeout=float("nan")),
        lambda s: s.send_multipart([b"x"], timeout=float("nan")),
        lambda s: zmq.MessageTracker().wait(float("nan")),
    ],
)
def test_a_time_that_is_no_number_is_refused_and_not_waited_for(pair, call):
    with pytest.raises(ValueError, match="timeout: NaN"), gevent.Timeout(2):
        call(pair[0])
    assert pair[1].poll(0) == 0


def test_a_bad_part_in_the_middle_leaves_the_begun_ones(pair):
    left, right = pair
    left.send(b"first", zmq.SNDMORE)
    with pytest.raises(TypeError):
        left.send("second", zmq.SNDMORE)
    left.send(b"third")
    assert right.recv_multipart() == [b"first", b"third"]


def test_what_comes_after_a_bad_last_part_is_a_new_message(pair):
    left, right = pair
    left.send(b"first", zmq.SNDMORE)
    with pytest.raises(TypeError):
        left.send("last")
    left.send(b"new")
    assert right.recv_multipart() == [b"new"]


def test_a_multipart_without_parts_begins_nothing(pair):
    left, right = pair
    for parts in [], (), iter(()):
        for flags in 0, zmq.NOBLOCK, zmq.SNDMORE:
            with pytest.raises(ValueError, match="at least one part"):
                left.send_multipart(parts, flags)
    assert right.poll(0) == 0


# ---- options and endpoints ---------------------------------------------------------------------------

READ_ONLY = {
    "fd": 5,
    "type": zmq.PUB,
    "TYPE": zmq.PUB,
    "rcvmore": 1,
    "events": 1,
    "last_endpoint": b"x",
    "mechanism": 0,
}


@pytest.mark.parametrize("name", READ_ONLY)
def test_an_attribute_that_can_only_be_read_says_so_and_keeps_its_value(pair, name):
    before = getattr(pair[0], name)
    with pytest.raises(zmq.ZMQError, match=f"{name.upper()}, which can only be read") as caught:
        setattr(pair[0], name, READ_ONLY[name])
    assert caught.value.errno == zmq.EINVAL
    assert getattr(pair[0], name) == before


@pytest.mark.parametrize("name", ["SUBSCRIBE", "router_mandatory", "XPUB_VERBOSE"])
def test_an_attribute_that_can_only_be_set_has_no_value(pair, name):
    with pytest.raises(AttributeError, match=f"{name.upper()}, which can only be set"):
        getattr(pair[0], name)
    assert not hasattr(pair[0], name)


@pytest.mark.skipif(zmq.has("draft"), reason="this libzmq has the draft types")
def test_a_type_of_the_draft_api_says_that_it_is_not_there(pair):
    with pytest.raises(zmq.ZMQError, match="type SERVER"):
        pair[0].context.socket(zmq.SERVER)


def test_frames_of_no_possible_size_are_refused(pair):
    with pytest.raises(ValueError, match="-1 bytes"):
        zmq.Frame(size=-1)
    with pytest.raises((MemoryError, OverflowError)):
        zmq.Frame(size=1 << 62)


@pytest.mark.parametrize("call", ["bind", "connect"])
def test_after_an_endpoint_that_is_none_the_socket_has_the_ones_it_had(pair, call):
    before = pair[0].last_endpoint
    for endpoint in "", "tcp://", "nosuch://x", "inproc://a\0b", "ipc:///tmp/" + "x" * zmq.IPC_PATH_MAX_LEN:
        with pytest.raises(zmq.ZMQError) as caught:
            getattr(pair[0], call)(endpoint)
        assert f"{call}: addr={endpoint!r}" in str(caught.value)
    assert pair[0].last_endpoint == before


def test_a_path_need_not_be_text(sockets):
    raw = b"ipc://@gzmq-\xff-%d" % os.getpid()
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    with pull.bind(raw) as bound:
        assert bound.last_endpoint == raw
    bound = pull.bind(raw + b"2")
    push.connect(bound.addr)
    push.send(b"x")
    assert pull.recv(timeout=2) == b"x"
