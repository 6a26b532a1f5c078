"""What programs written for other bindings do with Sockets and Contexts, beyond test_socket_api.py."""

import array
import copy
import errno
import gc
import json
import os
import types
import unittest.mock
import warnings

import gevent
import pytest
from life import told_soon, waiting

import gzmqhelper as zmq

# ---- recv_into ---------------------------------------------------------------------------------------


def test_a_part_is_received_into_a_buffer_and_its_size_returned(pair):
    left, right = pair
    left.send_multipart([b"hello", b"there world", b"part 3", b"rest", b"", b"l" * 100_000])
    numbers = array.array("Q", [0])  # of items larger than a byte
    assert right.recv_into(numbers) == 5
    assert numbers.tobytes() == b"hello\0\0\0"
    small = bytearray(4)
    assert right.recv_into(small) == 11  # more than there was room for: the rest is gone
    assert small == b"ther"
    some = bytearray(10)
    assert right.recv_into(memoryview(some)[2:], nbytes=4) == 6
    assert some == b"\0\0part\0\0\0\0"
    assert right.rcvmore
    assert right.recv_into(memoryview(some)[:0]) == 4
    assert right.recv_into(some) == 0
    assert some == b"\0\0part\0\0\0\0"
    large = bytearray(100_000)
    assert right.recv_into(large, flags=zmq.NOBLOCK) == 100_000
    assert large == b"l" * 100_000 and not right.rcvmore


def test_it_takes_what_is_no_place_to_receive_into_for_an_error_and_the_message_stays(pair):
    left, right = pair
    left.send(b"message")
    for buffer, options, error in (
        (b"readonly", {}, BufferError),
        (memoryview(bytearray(10))[::2], {}, BufferError),
        (bytearray(10), {"nbytes": -1}, ValueError),
        (bytearray(10), {"nbytes": 11}, ValueError),
        (bytearray(10), {"nbytes": "1"}, TypeError),
        (bytearray(10), {"flags": "1"}, TypeError),
        (pytest, {}, TypeError),
        ("text", {}, TypeError),
    ):
        with pytest.raises(error):
            right.recv_into(buffer, **options)
    with pytest.raises(TypeError):
        right.recv_into(buffer=bytearray(10))
    assert right.recv() == b"message"


def test_it_waits_as_recv_does(pair, ticker):
    left, right = pair
    room = bytearray(10)
    for call in (
        lambda: right.recv_into(room, flags=zmq.NOBLOCK),
        lambda: right.recv_into(room, timeout=0),
        lambda: right.recv_into(room, timeout=0.02),
    ):
        with pytest.raises(zmq.Again):
            call()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        right.recv_into(room)
    killed, outcome = waiting(right.recv_into, room), waiting(right.recv_into, room)
    killed.greenlet.kill()
    gevent.sleep(0.02)
    assert ticker.ticks > 5
    left.send(b"hello")
    assert outcome.join().result == 5 and room == b"hello\0\0\0\0\0"
    outcome = waiting(right.recv_into, room)
    told_soon([outcome], right.close, zmq.ENOTSOCK)


def test_it_ends_with_its_context():
    context = zmq.Context()
    sock = context.socket(zmq.PULL)
    outcome = waiting(sock.recv_into, bytearray(1))
    ending = gevent.spawn(context.term)
    assert isinstance(outcome.join().error, zmq.ContextTerminated)
    sock.close()
    ending.get(timeout=2)


# ---- subclasses that know nothing of ours ------------------------------------------------------------


class OfOldTimes(zmq.Socket):
    """Overrides with pyzmq's own arguments, and no more."""

    def recv(self, flags=0, copy=True, track=False):
        return super().recv(flags, copy, track)

    def recv_multipart(self, flags=0, copy=True, track=False):
        return super().recv_multipart(flags, copy, track)

    def send(self, data, flags=0, copy=True, track=False):
        return super().send(data, flags, copy, track)

    def close(self):
        self.__dict__["said_goodbye"] = True
        super().close()


class OldContext(zmq.Context):
    _socket_class = OfOldTimes


def test_a_subclass_may_override_with_fewer_arguments_than_ours_have():
    with OldContext() as context:
        left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        left.bind("inproc://old")
        right.connect("inproc://old")
        left.send_string("a")
        left.send_json([1])
        left.send_pyobj({2})
        left.send_serialized("x", lambda x: [x.encode()])
        left.send(b"into")
        assert right.recv_string() == "a"
        assert right.recv_json() == [1]
        assert right.recv_pyobj() == {2}
        assert right.recv_serialized(list) == [b"x"]
        assert right.recv_into(bytearray(4)) == 4
        context.destroy(linger=0)
    assert left.said_goodbye and right.said_goodbye and context.closed


class Shouting(zmq.Socket):
    """Overrides send and recv alone, and means all messages by it."""

    def send(self, data, flags=0, copy=True, track=False):
        return super().send(bytes(data).upper(), flags, copy, track)

    def recv(self, flags=0, copy=True, track=False):
        return super().recv(flags, copy, track) + b"!"


class ShoutingLouder(Shouting):
    def recv(self, *args, **kwargs):
        return super().recv(*args, **kwargs) + b"!"


class Whole(Shouting):
    """Overrides send_multipart too, and so means what it says."""

    def send_multipart(self, msg_parts, *args, **kwargs):
        return super().send_multipart([b"head", *msg_parts], *args, **kwargs)


def test_a_subclass_that_overrides_send_and_recv_alone_overrides_them_for_multiparts_too(pair):
    left, right = pair
    shouting = Shouting(left)
    assert shouting.send_multipart([b"a", memoryview(b"b"), zmq.Frame(b"c")]) is None
    assert right.recv_multipart() == [b"A", b"B", b"C"]
    shouting.send_multipart(iter([b"d"]), zmq.NOBLOCK)
    shouting.send_serialized(b"e f", bytes.split)
    assert Shouting(right).recv_multipart() == [b"D!"]
    assert ShoutingLouder(right).recv_multipart(zmq.NOBLOCK) == [b"E!!", b"F!!"]
    Whole(left).send_multipart([b"g"])
    assert right.recv_multipart() == [b"HEAD", b"G"]
    with pytest.raises(TypeError, match="part 1: 5 is a int"):
        shouting.send_multipart([b"never", 5])
    with pytest.raises(ValueError, match="at least one part"):
        shouting.send_multipart([])
    with pytest.raises(zmq.Again):
        Shouting(right).recv_multipart(zmq.NOBLOCK)
    assert shouting.send_multipart([b"h", b"x" * 100_000], copy=False, track=True) is not None
    assert right.recv_multipart()[0] == b"H"


class Mixed:
    def recv(self, *args, **kwargs):
        return super().recv(*args, **kwargs) + b"?"


class ByAMixin(Mixed, zmq.Socket):
    pass


class Headless(zmq.Socket):
    def recv_multipart(self, *args, **kwargs):
        return super().recv_multipart(*args, **kwargs)[1:]


class Choosy(zmq.Socket):
    def recv(self, *args, **kwargs):
        return super().recv(*args, **kwargs).decode("ascii")


@pytest.mark.parametrize(
    "cls, sent, received",
    [
        (Shouting, [b"a", [b"b", b"c"], b"d"], [b"a!", [b"b!", b"c!"], b"d!"]),
        (ShoutingLouder, [b"a", b"b"], [b"a!!", b"b!!"]),
        (ByAMixin, [b"a", [b"b", b"c"]], [b"a?", [b"b?", b"c?"]]),
        (Headless, [[b"1", b"a"], [b"2", b"b", b"c"]], [b"a", [b"b", b"c"]]),
    ],
)
def test_what_a_subclass_overrides_it_overrides_for_many_at_once_too(pair, cls, sent, received):
    left, right = pair
    left.send_many(sent)
    assert cls(right).recv_many() == received
    left.send_many(sent)
    own = cls(right)
    assert own.recv_many(1) == received[:1]
    assert own.recv_many(flags=zmq.NOBLOCK) == received[1:]
    with pytest.raises(zmq.Again):
        own.recv_many(flags=zmq.NOBLOCK)
    with pytest.raises(ValueError, match="at least 1"):
        own.recv_many(0)


def test_a_subclass_may_receive_many_in_time_if_it_knows_of_time(pair):
    left, right = pair
    left.send_many([b"a", b"b"])
    mixed = ByAMixin(right)
    assert mixed.recv_many(timeout=1) == [b"a?", b"b?"]
    with pytest.raises(zmq.Again):
        mixed.recv_many(timeout=0.01)


def test_many_are_sent_by_the_send_that_a_subclass_has(pair):
    left, right = pair
    assert Shouting(left).send_many([b"a", (b"b", b"c"), b"d"]) == 3
    assert right.recv_many() == [b"A", [b"B", b"C"], b"D"]
    assert Whole(left).send_many([b"e", [b"f"]]) == 2
    assert right.recv_many() == [b"E", [b"HEAD", b"F"]]


def test_an_error_of_a_subclass_names_the_message_whatever_its_arguments(pair):
    class OfText(zmq.Socket):
        def send(self, data, flags=0, copy=True, track=False):
            return super().send(data.encode("ascii"), flags, copy, track)

    with pytest.raises(ValueError, match=r"message 1: .*ascii") as caught:
        OfText(pair[0]).send_many(["a", "ü"])
    assert caught.value.sent == 1 and isinstance(caught.value.__cause__, UnicodeEncodeError)
    assert pair[1].recv() == b"a"


def test_what_came_before_a_message_that_a_subclass_cannot_take_is_not_lost(pair):
    left, right = pair
    left.send_many([b"a", b"b", b"\xff", b"c"])
    choosy = Choosy(right)
    with pytest.raises(UnicodeDecodeError) as caught:
        choosy.recv_many()
    assert caught.value.received == ["a", "b"]
    assert choosy.recv_many() == ["c"]


def test_messages_of_such_a_class_are_whole_among_those_of_others(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    shouting = Shouting(push)

    def send(number):
        for _ in range(20):
            shouting.send_multipart([b"a%d" % number, b"b%d" % number])
            gevent.sleep(0)

    group = [gevent.spawn(send, number) for number in range(5)]
    for _ in range(100):
        one, other = pull.recv_multipart(timeout=5)
        assert one[:1] + other[:1] == b"AB" and one[1:] == other[1:]
    gevent.joinall(group, timeout=5, raise_error=True)


def test_a_subclass_that_overrides_neither_is_as_quick_as_a_socket():
    class Quick(zmq.Socket):
        pass

    assert Quick.send_multipart is zmq.Socket.send_multipart
    assert Quick.recv_multipart is zmq.Socket.recv_multipart
    assert Quick.recv_many is zmq.Socket.recv_many
    assert Quick._send_at_once is zmq.Socket._send_at_once


def test_a_subclass_may_receive_something_else_and_unpack_it(pair):
    left, right = pair

    class Upside(zmq.Socket):
        def recv(self, *args, **kwargs):
            return super().recv(*args, **kwargs)[::-1]

        def _deserialize(self, recvd, load):
            return load(recvd[::-1])

    upside = Upside(right)
    left.send_json({"a": 1})
    left.send_string("text")
    assert upside.recv_json() == {"a": 1}
    assert upside.recv_string() == "text"


def test_json_is_read_and_written_as_the_json_module_does(pair):
    left, right = pair
    thing = {"b": ["ü", 1.5, None], "a": "\ud800"}
    left.send_json(thing)
    assert right.recv() == json.dumps(thing).encode()
    left.send('{"b": "ü"}'.encode())
    assert right.recv_json() == {"b": "ü"}


# ---- endpoints ---------------------------------------------------------------------------------------


def test_what_bind_and_connect_return_tells_which_it_is_and_where(sockets):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
    bound, connected = pull.bind("inproc://told"), push.connect("inproc://told")
    assert (bound.kind, bound.addr, bound.socket) == ("bind", "inproc://told", pull)
    assert (connected.kind, connected.addr, connected.socket) == ("connect", "inproc://told", push)
    assert "bind='inproc://told'" in repr(bound)
    assert "connect='inproc://told'" in repr(connected)


@pytest.mark.parametrize("size", [1000, 1016, 1017, 5000, 200_000])
def test_an_endpoint_of_any_length_can_be_read_back(sockets, size):
    endpoint = "inproc://" + "x" * size
    sock = sockets(zmq.PAIR)
    with sock.bind(endpoint) as bound:
        assert bound.last_endpoint == endpoint.encode()
        assert sock.get_string(zmq.LAST_ENDPOINT) == endpoint


@pytest.mark.parametrize("addr", ["ipc://x", "inproc://x", "inproc:x"])
@pytest.mark.parametrize("ports", [(), (5000, 5010)])
def test_a_random_port_of_a_transport_without_ports_is_an_error_and_nothing_is_bound(sockets, addr, ports):
    sock = sockets(zmq.PULL)
    with pytest.raises(zmq.ZMQError, match=f"addr='{addr}' has no port") as caught:
        sock.bind_to_random_port(addr, *ports)
    assert caught.value.errno == zmq.EINVAL
    assert sock.last_endpoint == b""
    assert not os.path.exists("x:*")


def test_a_path_that_is_too_long_is_told_how_long_it_may_be(sockets):
    with pytest.raises(zmq.ZMQError, match=str(zmq.IPC_PATH_MAX_LEN)) as caught:
        sockets(zmq.PUB).bind("ipc://" + "a" * (zmq.IPC_PATH_MAX_LEN + 1))
    assert caught.value.errno == errno.ENAMETOOLONG


# ---- what they are -----------------------------------------------------------------------------------


def test_a_shadow_says_that_it_is_one(sockets):
    sock = sockets(zmq.PAIR)
    assert not sock._shadow
    for made in zmq.Socket(sock), zmq.Socket.shadow(sock.underlying), copy.copy(sock), copy.deepcopy(sock):
        assert made._shadow and made._shadow_obj
        assert made.underlying == sock.underlying and not made.closed
    shadow = zmq.Socket(sock)
    sock.close()
    assert shadow.closed


def test_the_address_that_a_shadow_tells_leads_to_the_original_too(sockets):
    """Else two of C's sockets would be owners of one of libzmq's."""
    sock = sockets(zmq.PAIR)
    shadow = zmq.Socket(zmq.Socket(sock))
    made = zmq.Socket.shadow(shadow.underlying)
    assert made._ptr == sock._ptr
    sock.close()
    assert made.closed and shadow.closed and shadow.underlying == 0


def test_a_shadow_of_one_that_has_no_length_has_its_type(sockets):
    class Empty(zmq.Socket):
        def __len__(self):
            return 0

    with Empty(sockets.context, zmq.PUSH) as sock:
        for shadow in zmq.Socket(sock), zmq.Socket(shadow=sock):
            assert shadow.type == zmq.PUSH and shadow._shadow


def test_what_another_library_made_of_an_address_may_be_shadowed(sockets):
    sock = sockets(zmq.PAIR)
    for thing, cls in (sock, zmq.Socket), (sock.context, zmq.Context):
        other = types.SimpleNamespace(underlying=thing.underlying)
        assert cls.shadow(other).underlying == thing.underlying
        with pytest.raises(TypeError, match="shadow: expected an int, got str"):
            cls.shadow("0x5")


def test_a_class_of_sockets_or_contexts_may_be_written_with_another():
    class Mine(zmq.Socket[bytes]):
        pass

    class MyContext(zmq.Context[Mine]):
        _socket_class = Mine

    with MyContext() as context, context.socket(zmq.PAIR) as sock:
        assert type(sock) is Mine
        assert repr(sock).startswith(f"<{__name__}.") and "Mine(zmq.PAIR) at 0x" in repr(sock)
        assert "MyContext(1 socket) at 0x" in repr(context)
    assert zmq.SyncSocket is zmq.Socket and zmq.SyncContext is zmq.Context


def test_sockets_and_contexts_can_be_mocked(sockets):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # socket_type is deprecated, and asked for too
        unittest.mock.Mock(spec=sockets(zmq.SUB))
        unittest.mock.Mock(spec=sockets.context)


def test_a_socket_of_the_common_context_is_had_in_one_call():
    with zmq.socket(zmq.PAIR) as sock, zmq.socket(zmq.SUB, OfOldTimes) as other:
        assert sock.context is other.context is zmq.Context.instance()
        assert type(other) is OfOldTimes
    zmq.Context.instance().term()


def test_a_stopwatch_is_deprecated_and_counts_microseconds():
    with pytest.warns(DeprecationWarning, match=r"time\.monotonic"):
        watch = zmq.Stopwatch()
    watch.start()
    gevent.sleep(0.01)
    assert 9_000 < watch.stop() < 10_000_000


def test_the_version_of_pyzmq_that_is_stood_in_for_is_told():
    assert zmq.pyzmq_version_info() >= (27, 0, 0)
    assert zmq.pyzmq_version() == ".".join(map(str, zmq.pyzmq_version_info()))
    assert zmq.__version__ != zmq.pyzmq_version() and zmq.__revision__ == ""


def test_a_secret_key_may_be_text():
    if not zmq.has("curve"):
        pytest.skip("this libzmq has no CURVE")
    public, secret = zmq.curve_keypair()
    assert zmq.curve_public(secret.decode()) == zmq.curve_public(secret) == public


# ---- contexts ----------------------------------------------------------------------------------------


def test_a_context_that_has_ended_says_so_with_the_errors_that_programs_know():
    context = zmq.Context()
    shadow = zmq.Context.shadow(context)
    context.term()
    assert context.underlying == shadow.underlying == 0
    for made, number in (context, errno.ENOTSUP), (shadow, errno.EFAULT):
        for call in (
            lambda made=made: made.socket(zmq.PAIR),
            lambda made=made: made.get(zmq.MAX_SOCKETS),
            lambda made=made: made.set(zmq.MAX_SOCKETS, 1),
        ):
            with pytest.raises(zmq.ContextTerminated, match="the context is closed; make another") as caught:
                call()
            assert isinstance(caught.value, RuntimeError)
            assert caught.value.errno == number


def test_a_context_that_is_still_ending_says_that(sockets):
    context = zmq.Context()
    sock = context.socket(zmq.PAIR)
    ending = gevent.spawn(context.term)
    gevent.sleep(0.01)
    with pytest.raises(zmq.ContextTerminated) as caught:
        context.socket(zmq.PAIR)
    assert caught.value.errno == zmq.ETERM
    sock.close()
    ending.get(timeout=2)


def test_leaving_with_warns_of_sockets_that_were_left_open():
    with pytest.warns(ResourceWarning, match=r"Destroying context with unclosed socket .*PAIR"):
        with zmq.Context() as context:
            sock = context.socket(zmq.PAIR)
    assert sock.closed and context.closed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with zmq.Context() as context:
            context.socket(zmq.PAIR).close()
        context = zmq.Context()
        sock = context.socket(zmq.PAIR)
        context.destroy()
    assert sock.closed


def test_a_context_that_is_dropped_open_warns():
    context = zmq.Context()
    with pytest.warns(ResourceWarning, match="Unclosed context"):
        del context
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = zmq.Context()
        shadow = zmq.Context(context)
        context.term()
        del context, shadow
        gc.collect()


def test_a_copy_of_a_context_is_a_shadow():
    context = zmq.Context()
    for made in copy.copy(context), copy.deepcopy(context):
        assert made._shadow and made.underlying == context.underlying
        made.socket(zmq.PAIR).close()
        del made
    assert not context.closed and not context._shadow
    context.term()
