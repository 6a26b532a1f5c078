"""What a Socket offers besides waiting: options, kinds of messages, endpoints, shadows, subclasses."""

import array
import copy
import errno
import json
import pickle
import sys
import warnings

import gevent
import pytest
from support import run, wait_until

import gzmqhelper as zmq

SIZES = [0, 1, 100, 65535, 65536, 65537, 1 << 20]


def filling(size):
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


# ---- options -----------------------------------------------------------------------------------------


def test_an_option_is_read_and_set_by_number_and_by_name_in_small_and_capital_letters(sockets):
    sock = sockets(zmq.DEALER)
    sock.set(zmq.LINGER, 10)
    assert sock.get(zmq.LINGER) == sock.linger == sock.LINGER == 10
    sock.linger = 20
    assert sock.getsockopt(zmq.LINGER) == 20
    sock.LINGER = 30
    assert sock.linger == 30
    sock.setsockopt(zmq.LINGER, 40)
    assert sock.LINGER == 40


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sndhwm", 7),
        ("rcvtimeo", 50),
        ("ipv6", 1),
        ("maxmsgsize", 1 << 40),
        ("affinity", 3),
        ("routing_id", b"a\0b"),
        ("identity", b"me"),
        ("plain_username", b"ann"),
        ("tcp_keepalive", 1),
        ("reconnect_ivl", 250),
    ],
)
def test_what_was_set_is_read_again(sockets, name, value):
    sock = sockets(zmq.DEALER)
    setattr(sock, name, value)
    assert getattr(sock, name) == getattr(sock, name.upper()) == value
    assert type(getattr(sock, name)) is type(value)


def test_what_libzmq_tells_of_itself_can_be_read(sockets):
    sock = sockets(zmq.REP)
    assert sock.type == sock.TYPE == zmq.REP
    assert sock.type is zmq.SocketType.REP
    assert sock.fd == sock.FD == sock.fileno() > 2
    assert sock.mechanism == zmq.NULL
    assert sock.rcvmore == 0
    assert sock.events == 0
    sock.bind("tcp://127.0.0.1:*")
    assert sock.last_endpoint.startswith(b"tcp://127.0.0.1:")
    assert sock.context.closed is False
    assert sock.underlying != 0


def test_the_old_name_of_the_type_warns_and_tells(sockets):
    with pytest.warns(DeprecationWarning, match=r"use Socket\.type"):
        assert sockets(zmq.SUB).socket_type == zmq.SUB


def test_options_of_bytes_are_read_and_set_as_text(sockets):
    sock = sockets(zmq.DEALER)
    sock.set_string(zmq.ROUTING_ID, "Käthe")
    assert sock.get_string(zmq.ROUTING_ID) == "Käthe"
    assert sock.routing_id == "Käthe".encode()
    sock.setsockopt_string(zmq.ROUTING_ID, "Käthe", "latin-1")
    assert sock.getsockopt_string(zmq.ROUTING_ID, "latin-1") == "Käthe"
    sock.setsockopt_unicode(zmq.ROUTING_ID, "x")
    assert sock.getsockopt_unicode(zmq.ROUTING_ID) == "x"


def test_hwm_is_both_high_water_marks(sockets):
    sock = sockets(zmq.DEALER)
    sock.hwm = 5
    assert (sock.hwm, sock.sndhwm, sock.rcvhwm) == (5, 5, 5)
    sock.set_hwm(6)
    assert (sock.get_hwm(), sock.sndhwm, sock.rcvhwm) == (6, 6, 6)


def test_a_context_gives_its_sockets_their_defaults(sockets):
    sockets.context.linger = 17
    sockets.context.SNDHWM = 3
    sockets.context.setsockopt(zmq.RCVHWM, 4)
    sockets.context.subscribe = b""  # means nothing to most types
    with sockets.context.socket(zmq.PUSH) as sock:
        assert (sock.linger, sock.sndhwm, sock.rcvhwm) == (17, 3, 4)
    with sockets.context.socket(zmq.SUB) as sock:
        assert sock.linger == 17
    assert sockets.context.linger == sockets.context.getsockopt(zmq.LINGER) == 17
    del sockets.context.linger
    with sockets.context.socket(zmq.PUSH) as sock:
        assert sock.linger == -1


@pytest.mark.parametrize(
    "subscribe",
    [
        lambda s, topic: s.subscribe(topic),
        lambda s, topic: s.subscribe(topic.decode()),
        lambda s, topic: s.set(zmq.SUBSCRIBE, topic),
        lambda s, topic: s.setsockopt_string(zmq.SUBSCRIBE, topic.decode()),
        lambda s, topic: setattr(s, "subscribe", topic),
        lambda s, topic: setattr(s, "SUBSCRIBE", topic),
    ],
    ids=["bytes", "str", "set", "set_string", "attribute", "ATTRIBUTE"],
)
def test_every_way_to_subscribe_and_unsubscribe(sockets, subscribe):
    pub, sub = sockets.pair(zmq.XPUB, zmq.SUB, "inproc")
    subscribe(sub, b"a")
    assert pub.recv(timeout=2) == b"\1a"
    pub.send_multipart([b"b", b"no"])
    pub.send_multipart([b"a", b"yes"])
    assert sub.recv_multipart(timeout=2) == [b"a", b"yes"]
    assert callable(sub.subscribe)
    sub.unsubscribe("a")
    assert pub.recv(timeout=2) == b"\0a"


def test_unsubscribe_is_an_attribute_too(sockets):
    pub, sub = sockets.pair(zmq.XPUB, zmq.SUB, "inproc")
    for name in "unsubscribe", "UNSUBSCRIBE":
        sub.subscribe = b"t"
        assert pub.recv(timeout=2) == b"\1t"
        setattr(sub, name, b"t")
        assert pub.recv(timeout=2) == b"\0t"


def test_poll_tells_what_is_there_and_asks_in_milliseconds(pair):
    left, right = pair
    assert right.poll(0) == 0
    assert right.poll(0, zmq.POLLOUT) == zmq.POLLOUT
    assert right.poll(0, zmq.POLLIN | zmq.POLLOUT) == zmq.POLLOUT
    left.send(b"x")
    assert right.poll(1000) == right.poll(1000.5) == right.poll() == right.poll(-1) == zmq.POLLIN
    assert right.poll(timeout=0, flags=zmq.POLLIN | zmq.POLLOUT) == zmq.POLLIN | zmq.POLLOUT
    assert right.recv() == b"x"
    assert right.poll(0) == 0


# ---- what can be sent --------------------------------------------------------------------------------

KINDS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of a bytearray": lambda data: memoryview(bytearray(data)),
    "Frame": zmq.Frame,
    "Frame, not copied": lambda data: zmq.Frame(data, copy=False),
    "array": lambda data: array.array("B", data),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_buffer_of_every_size_arrives(pair, kind, size):
    left, right = pair
    data = filling(size)
    for keep in True, False:
        left.send(KINDS[kind](data), copy=keep)
        assert right.recv() == data
        left.send(KINDS[kind](data), copy=keep)
        frame = right.recv(copy=False)
        assert type(frame) is zmq.Frame
        assert frame.bytes == data
        left.send_multipart([b"head", KINDS[kind](data), b""], copy=keep)
        assert right.recv_multipart() == [b"head", data, b""]


@pytest.mark.parametrize("keep", [True, False], ids=["copy=True", "copy=False"])
@pytest.mark.parametrize("count", [1, 5, 20_000])
@pytest.mark.parametrize("code", ["h", "i", "d"])
def test_items_of_several_bytes_count_as_their_bytes(pair, code, count, keep):
    left, right = pair
    numbers = array.array(code, [1, 2, 3] * count)
    left.send(numbers, copy=keep)
    left.send(memoryview(numbers), copy=keep)
    left.send_multipart([numbers, b"x", memoryview(numbers)], copy=keep)
    left.send(memoryview(numbers), zmq.SNDMORE, copy=keep)
    left.send(b"end")
    assert right.recv() == numbers.tobytes()
    assert right.recv() == numbers.tobytes()
    assert right.recv_multipart() == [numbers.tobytes(), b"x", numbers.tobytes()]
    assert right.recv_multipart() == [numbers.tobytes(), b"end"]


def test_a_view_of_two_dimensions_counts_as_its_bytes(pair):
    left, right = pair
    left.send(memoryview(b"abcdef").cast("B", (2, 3)))
    left.send_multipart([memoryview(b"abcdef").cast("B", (3, 2)), b"x"])
    assert right.recv() == b"abcdef"
    assert right.recv_multipart() == [b"abcdef", b"x"]


@pytest.mark.parametrize("count", [2, 63, 64, 65, 1000])
@pytest.mark.parametrize("keep", [True, False], ids=["copy=True", "copy=False"])
def test_a_message_of_many_parts_arrives_whole(pair, count, keep):
    left, right = pair
    parts = [b"%d" % number for number in range(count)]
    left.send_multipart(parts, copy=keep)
    assert right.recv_multipart() == parts
    left.send_multipart(parts, copy=keep)
    frames = right.recv_multipart(copy=False)
    assert [frame.bytes for frame in frames] == parts
    assert [frame.more for frame in frames] == [True] * (count - 1) + [False]


def test_a_message_may_have_parts_of_all_kinds_and_sizes(pair):
    left, right = pair
    parts = [
        b"",
        bytearray(b"b"),
        memoryview(filling(70_000)),
        zmq.Frame(b"f"),
        array.array("i", [1, 2]),
        b"",
    ]
    flat = [p.bytes if isinstance(p, zmq.Frame) else bytes(memoryview(p).cast("B")) for p in parts]
    for keep in True, False:
        left.send_multipart(parts, copy=keep)
        left.send_multipart(tuple(parts), copy=keep)
        left.send_multipart(iter(parts), copy=keep)
        for _ in range(3):
            assert right.recv_multipart() == flat
    left.send_multipart(part for part in [b"of", b"an", b"iterator"])
    assert right.recv_multipart() == [b"of", b"an", b"iterator"]


@pytest.mark.parametrize("large", [False, True])
def test_parts_may_be_sent_and_received_one_by_one(pair, large):
    left, right = pair
    data = filling(100_000 if large else 10)
    left.send(data, zmq.SNDMORE)
    left.send(bytearray(data), flags=zmq.SNDMORE, copy=False)
    left.send_multipart([zmq.Frame(data), b"y"], zmq.SNDMORE)
    assert right.poll(0) == 0
    left.send(b"z")
    received = [right.recv()]
    while right.rcvmore:
        received.append(right.recv())
    assert received == [data, data, data, b"y", b"z"]


def test_a_frame_may_be_closed_as_soon_as_it_was_given(pair):
    left, right = pair
    with zmq.Frame(b"head") as head:
        left.send(head, zmq.SNDMORE)
    with zmq.Frame(b"tail") as tail:
        left.send(tail)
    assert right.recv_multipart() == [b"head", b"tail"]


def test_flags_copy_and_track_may_be_given_by_position(pair):
    left, right = pair
    assert left.send(b"a", 0, True, False) is None
    assert left.send(b"b", zmq.NOBLOCK, False, True).done
    assert left.send_multipart([b"c", b"d"], 0, False, True).done
    assert right.recv(0, True, False) == b"a"
    frame = right.recv(zmq.NOBLOCK, False, True)
    assert frame.bytes == b"b"
    assert [frame.bytes for frame in right.recv_multipart(0, False, True)] == [b"c", b"d"]


def test_a_tracker_is_given_for_each_part_that_is_sent_alone(pair):
    left, right = pair
    data = filling(100_000)
    first = left.send(data, zmq.SNDMORE, copy=False, track=True)
    assert left.send(data, zmq.SNDMORE, copy=False) is None
    last = left.send(data, copy=False, track=True)
    assert not first.done and not last.done
    assert right.recv_multipart() == [data] * 3
    first.wait(2)
    last.wait(2)
    assert first.done and last.done


# ---- formats -----------------------------------------------------------------------------------------


def test_text_is_sent_and_received_in_any_encoding(pair):
    left, right = pair
    left.send_string("grün")
    left.send_string("grün", encoding="utf-16")
    left.send_unicode("grün", zmq.SNDMORE, False, "latin-1")
    left.send_string("")
    assert right.recv_string() == "grün"
    assert right.recv_string(0, "utf-16") == "grün"
    assert right.recv_unicode(encoding="latin-1") == "grün"
    assert right.recv_string() == ""


def test_text_that_is_none_is_an_error_and_the_next_message_comes(pair):
    left, right = pair
    left.send(b"\xff")
    left.send_string("next")
    with pytest.raises(UnicodeDecodeError):
        right.recv_string()
    assert right.recv_string() == "next"


def test_json_takes_the_arguments_of_the_module_and_of_send(pair):
    left, right = pair
    left.send_json({"b": [1, 2.5, None, "ü"], "a": True})
    left.send_json({"b": 1, "a": 2}, sort_keys=True, timeout=1)
    left.send_json([1], zmq.SNDMORE)
    left.send_json({"x": 1.5})
    assert right.recv() == rb'{"b": [1, 2.5, null, "\u00fc"], "a": true}'
    assert right.recv() == b'{"a": 2, "b": 1}'
    assert right.recv_json() == [1]
    assert right.recv_json(parse_float=str) == {"x": "1.5"}


def test_python_objects_are_pickled_in_the_protocol_asked_for(pair):
    left, right = pair
    thing = {"set": {1, 2}, "complex": 1j}
    left.send_pyobj(thing)
    left.send_pyobj(thing, zmq.NOBLOCK, 0)
    left.send_pyobj(thing, protocol=pickle.HIGHEST_PROTOCOL)
    assert right.recv_pyobj() == thing
    assert right.recv() == pickle.dumps(thing, 0)
    assert right.recv_pyobj(zmq.NOBLOCK) == thing


@pytest.mark.parametrize("keep", [True, False], ids=["copy=True", "copy=False"])
def test_a_format_of_ones_own_packs_and_unpacks_whole_messages(pair, keep):
    left, right = pair
    left.send_serialized(
        {"a": 1}, lambda d: [b"%s=%d" % (k.encode(), v) for k, v in d.items()] * 2, copy=keep
    )
    assert right.recv_serialized(lambda parts: [bytes(part) for part in parts], copy=keep) == [b"a=1"] * 2


# ---- endpoints ---------------------------------------------------------------------------------------


def test_leaving_with_unbinds_and_disconnects(sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    with pull.bind("tcp://127.0.0.1:*") as bound:
        assert bound is pull
        address = pull.last_endpoint.decode()
        with push.connect(address) as connected:
            assert connected is push
            push.send(b"x")
            assert pull.recv(timeout=2) == b"x"
        with pytest.raises(zmq.ZMQError) as caught:
            push.disconnect(address)
        assert caught.value.errno == errno.ENOENT
        assert address in str(caught.value)
    with pytest.raises(zmq.ZMQError, match=r"unbind: addr='tcp://127"):
        pull.unbind(address)


def test_unbind_and_disconnect_take_back_what_was_given(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    address = pull.last_endpoint.decode()
    push.send(b"x")
    assert pull.recv(timeout=2) == b"x"
    push.disconnect(address)
    with pytest.raises(zmq.Again):
        push.send(b"to nobody", zmq.NOBLOCK)
    pull.unbind(address)
    other = sockets(zmq.PULL)

    def is_free():
        try:
            other.bind(address)
        except zmq.ZMQError as e:
            assert e.errno == zmq.EADDRINUSE
            return False
        return True

    assert wait_until(is_free)  # libzmq closes it on its own thread
    push.connect(address)
    push.send(b"y")
    assert other.recv(timeout=2) == b"y"


def test_a_random_port_is_bound_and_a_range_that_is_taken_is_an_error_of_its_own(sockets):
    taken = sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1")
    assert 0 < taken < 65536
    sock = sockets(zmq.PULL)
    with pytest.raises(zmq.ZMQBindError, match=f"between {taken} and {taken + 1}"):
        sock.bind_to_random_port("tcp://127.0.0.1", taken, taken + 1, max_tries=3)
    assert not issubclass(zmq.ZMQBindError, zmq.ZMQError)
    port = sock.bind_to_random_port("tcp://127.0.0.1")
    push = sockets(zmq.PUSH)
    push.connect(f"tcp://127.0.0.1:{port}")
    push.send(b"x")
    assert sock.recv(timeout=2) == b"x"


def test_a_random_port_is_not_tried_again_where_the_endpoint_itself_is_wrong(sockets):
    with pytest.raises(zmq.ZMQError, match="nosuch://"):
        sockets(zmq.PULL).bind_to_random_port("nosuch://x", 50_000, 50_010)


# ---- loops, shadows, copies --------------------------------------------------------------------------


def test_a_loop_ends_when_the_socket_is_closed(pair):
    left, right = pair
    for number in range(3):
        left.send(b"%d" % number)
    received = []
    for message in right:
        received.append(message)
        if message == b"2":
            gevent.spawn_later(0.01, right.close)
    assert received == [b"0", b"1", b"2"]


def test_a_loop_ends_when_the_context_does():
    context = zmq.Context()
    sock = context.socket(zmq.PULL)
    reader = gevent.spawn(list, sock)
    gevent.sleep(0.01)
    ending = gevent.spawn(context.term)
    assert reader.get(timeout=2) == []
    sock.close()
    ending.get(timeout=2)


@pytest.mark.parametrize(
    "shadow",
    [zmq.Socket.shadow, zmq.Socket, lambda s: zmq.Socket(shadow=s), copy.copy, copy.deepcopy],
    ids=["shadow", "Socket(socket)", "Socket(shadow=socket)", "copy", "deepcopy"],
)
def test_a_shadow_is_the_same_socket_and_its_close_leaves_that_open(pair, shadow):
    left, right = pair
    other = shadow(left)
    assert other is not left
    assert (other.underlying, other.type, other.context) == (left.underlying, left.type, left.context)
    other.send(b"x")
    assert right.recv() == b"x"
    other.linger = 5
    assert left.linger == 5
    other.close()
    assert other.closed and not left.closed
    left.send(b"y")
    assert right.recv() == b"y"


def test_a_shadow_of_a_closed_socket_says_so(pair):
    left, _ = pair
    other = zmq.Socket.shadow(left)
    left.close()
    with pytest.raises(zmq.ZMQError, match="closed"):
        other.send(b"x")
    with pytest.raises(zmq.ZMQError, match="closed"):
        other.send(b"x", zmq.SNDMORE)


def test_a_socket_that_is_dropped_open_warns():
    context = zmq.Context()
    sock = context.socket(zmq.PAIR)
    with pytest.warns(ResourceWarning, match=r"Unclosed socket .*PAIR"):
        del sock
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sock = context.socket(zmq.PAIR)
        sock.close()
        del sock
    context.term()


def test_repr_tells_type_and_state(sockets):
    sock = sockets(zmq.XPUB)
    assert "<zmq.Socket(zmq.XPUB) at 0x" in repr(sock) and "closed" not in repr(sock)
    sock.close()
    assert repr(sock).endswith(" closed>")


# ---- subclasses --------------------------------------------------------------------------------------


class Counting(zmq.Socket):
    sent = 0  # declared by its value
    note: str  # declared by its type

    def __init__(self, *args, prefix=b"", **kwargs):
        super().__init__(*args, **kwargs)
        self.prefix_set = False
        self.__dict__["prefix"] = prefix
        self.note = "fresh"

    prefix_set: bool

    def send(self, data, flags=0, copy=True, track=False, **kwargs):
        self.sent += 1
        return super().send(self.prefix + bytes(data), flags, copy, track, **kwargs)

    def recv(self, flags=0, copy=True, track=False, **kwargs):
        return super().recv(flags, copy, track, **kwargs)


class CountingContext(zmq.Context):
    _socket_class = Counting
    made = 0

    def __init__(self, name="none", **kwargs):
        super().__init__(**kwargs)
        self.__dict__["name"] = name

    def socket(self, *args, **kwargs):
        self.made += 1
        return super().socket(*args, **kwargs)


def test_subclasses_have_their_own_init_and_attributes():
    with CountingContext("mine", io_threads=2) as context:
        assert (context.name, context.io_threads) == ("mine", 2)
        left, right = context.socket(zmq.PAIR, prefix=b">"), context.socket(zmq.PAIR)
        assert type(left) is Counting and context.made == 2
        assert (left.prefix, left.prefix_set, left.note) == (b">", False, "fresh")
        left.bind("inproc://counting")
        right.connect("inproc://counting")
        left.send(b"a")
        left.send_string("b")
        left.send_json([])
        assert left.send(b"c", copy=False, track=True).done
        assert [right.recv(timeout=2) for _ in range(4)] == [b">a", b">b", b">[]", b">c"]
        assert (left.sent, right.sent) == (4, 0)
        left.send(b"d")
        assert right.recv(zmq.NOBLOCK, copy=False).bytes == b">d"
        left.prefix = b"!"  # once it is there it may be set
        left.note = "old"
        left.linger = 0
        assert (left.prefix, left.note, left.linger) == (b"!", "old", 0)


def test_a_name_that_nobody_declared_is_refused_and_named():
    with CountingContext() as context, context.socket(zmq.PAIR) as sock:
        for thing in sock, context:
            with pytest.raises(AttributeError, match=f"{type(thing).__name__}.*'lingr'"):
                thing.lingr = 0
            with pytest.raises(AttributeError, match="lingr"):
                _ = thing.lingr
            assert not hasattr(thing, "lingr")
            thing.__dict__["lingr"] = 1
            thing.lingr = 2
            assert thing.lingr == 2
            del thing.lingr


def test_a_class_may_be_given_for_one_socket(sockets):
    with sockets.context.socket(zmq.PAIR, Counting, prefix=b"x") as sock:
        assert type(sock) is Counting and sock.prefix == b"x"
    with sockets.context.socket(zmq.PAIR, socket_class=Counting) as sock:
        assert type(sock) is Counting


def test_a_copy_threshold_may_be_given_to_a_socket_or_set(sockets):
    with sockets.context.socket(zmq.PAIR, copy_threshold=10) as sock:
        assert sock.copy_threshold == 10
        sock.copy_threshold = 20
        assert sock.copy_threshold == 20
    assert sockets(zmq.PAIR).copy_threshold == zmq.Socket.copy_threshold == zmq.COPY_THRESHOLD


@pytest.mark.parametrize("more", [0, zmq.SNDMORE], ids=["alone", "SNDMORE"])
def test_the_copy_threshold_decides_what_is_not_copied(pair, more):
    left, right = pair
    left.copy_threshold = 10
    for size, pinned in (9, False), (10, True):
        tracker = left.send(filling(size), more, copy=False, track=True)
        assert tracker.done is not pinned
        if more:
            left.send(b"")
        right.recv_multipart()
        tracker.wait(2)


# ---- memory ------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the most memory that was used")
def test_a_large_message_is_copied_once_or_not_at_all():
    finished = run("""
        import gc
        import json
        import gzmqhelper as zmq

        SIZE = 64_000_000
        context = zmq.Context()
        left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        left.bind("inproc://large")
        right.connect("inproc://large")
        data = b"x" * SIZE
        figures = {}

        def memory(what):
            with open("/proc/self/status") as f:
                return next(int(line.split()[1]) * 1024 for line in f if line.startswith(what))

        def copies(name, call):
            gc.collect()
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")  # what was used most is now what is used
            before = memory("VmRSS:")
            kept = call()
            figures[name] = (memory("VmHWM:") - before) / SIZE

        def sends(name, call):
            copies(name, call)
            right.recv_multipart(copy=False)

        def receives(name, call):
            left.send_multipart([b"", data], copy=False)
            copies(name, call)

        sends("send", lambda: left.send(data))
        sends("send a view", lambda: left.send(memoryview(data)))
        sends("send a Frame", lambda: left.send(zmq.Frame(data)))
        sends("send without a copy", lambda: left.send(data, copy=False))
        sends("send_multipart", lambda: left.send_multipart([b"", data]))
        sends("send_multipart without a copy", lambda: left.send_multipart([b"", data], copy=False))
        sends("SNDMORE", lambda: (left.send(data, zmq.SNDMORE), left.send(b"")))
        receives("recv", lambda: (right.recv(), right.recv()))
        receives("recv without a copy", lambda: (right.recv(copy=False), right.recv(copy=False)))
        receives("recv_multipart", lambda: right.recv_multipart())
        receives("recv_multipart without a copy", lambda: right.recv_multipart(copy=False))
        print(json.dumps(figures))
    """)
    figures = json.loads(finished.stdout)
    assert len(figures) == 11
    for name, copies in figures.items():
        allowed = 0 if "without" in name or "Frame" in name else 1
        assert allowed - 0.1 < copies < allowed + 0.1, figures
