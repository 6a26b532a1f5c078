"""SocketBase (csrc/base.c): what it does itself and what it leaves to Python; nobody can tell which."""

import gc
import sys

import pytest
from crowd import number_of
from flood import fill_batch, lying, pair, rest_of

import gzmqhelper as zmq

SPELLINGS = [
    ((), {}),
    ((zmq.NOBLOCK,), {}),
    ((0, True), {}),
    ((0, True, False), {}),
    ((), {"flags": zmq.NOBLOCK, "copy": True}),
    ((), {"timeout": 5}),
    ((), {"timeout": 5.5, "flags": 0}),
    ((), {"timeout": 0}),
    ((), {"timeout": None, "copy": 1}),
    ((), {"timeout": 1 << 80}),
    ((), {"timeout": True}),
]


@pytest.mark.parametrize("args, kwargs", SPELLINGS)
@pytest.mark.parametrize("lies", [False, True], ids=["in libzmq", "in a batch"])
def test_a_call_may_be_spelled_in_any_way(sockets, args, kwargs, lies):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    for _ in range(0 if lies else lying(pull)):
        pull.recv()
        taken += 1
    assert number_of([pull.recv(*args, **kwargs)]) == taken
    assert number_of(pull.recv_multipart(*args, **kwargs)) == taken + 1
    rest_of(pull, taken + 2, sent)
    push.send(b"a", *args, **kwargs)
    push.send_multipart([b"b", b"c"], *args, **kwargs)
    push.send_multipart((b"d", bytearray(b"e")), *args, **kwargs)
    assert [pull.recv_multipart(timeout=5) for _ in range(3)] == [[b"a"], [b"b", b"c"], [b"d", b"e"]]


@pytest.mark.parametrize(
    "args, kwargs, error",
    [
        ((0, True, False, 5, None), {}, TypeError),
        ((0,), {"flags": 0}, TypeError),
        ((), {"flag": 0}, TypeError),
        (("now",), {}, TypeError),
        ((), {"flags": None}, TypeError),
        ((), {"timeout": "soon"}, TypeError),
        ((), {"timeout": float("nan")}, ValueError),
    ],
)
@pytest.mark.parametrize("method", ["recv", "recv_multipart"])
def test_a_call_that_is_wrong_takes_nothing(sockets, method, args, kwargs, error):
    pull, push = pair(sockets)
    fill_batch(pull, push)
    before = lying(pull)
    with pytest.raises(error) as caught:
        getattr(pull, method)(*args, **kwargs)
    assert lying(pull) == before
    for name in kwargs:
        assert name in str(caught.value)


def test_a_method_of_a_subclass_of_that_name_is_not_passed_by(sockets):
    class Counting(zmq.Socket):
        received = 0

        def recv(self, *args, **kwargs):
            self.received += 1
            return super().recv(*args, **kwargs)

    pull, push = Counting(sockets.context, zmq.PULL), sockets(zmq.PUSH)
    sockets.made.append(pull)
    pull.bind("inproc://counts")
    push.connect("inproc://counts")
    for _ in range(10):
        push.send(b"x")
    assert [pull.recv(timeout=5) for _ in range(10)] == [b"x"] * 10
    assert pull.received == 10


def test_one_that_was_never_made_refuses(sockets):
    never_made = zmq.Socket.__new__(zmq.Socket)
    for call in (never_made.recv, never_made.recv_multipart, lambda: never_made.send(b"x")):
        with pytest.raises(AttributeError):
            call()


@pytest.mark.parametrize("refused", [False, True], ids=["sent", "refused"])
def test_what_is_sent_is_held_no_longer_than_the_call(sockets, refused):
    _, push = pair(sockets)
    if refused:
        push = sockets(zmq.PUSH)  # connected to nobody
    part = bytes(100)
    before = sys.getrefcount(part)
    for messages in ([part] * 20, [[part] * 20], [part, [part, 3]], [[part] * 2000]):
        for send in (push.send_many, push.send_multipart):
            try:
                send(messages if send == push.send_many else messages[0], zmq.NOBLOCK)
            except (zmq.Again, TypeError):
                pass
    del messages
    gc.collect()
    assert sys.getrefcount(part) == before


def test_its_memory_goes_with_it(sockets):
    count = sum(isinstance(thing, zmq.Socket) for thing in gc.get_objects())
    kinds = sys.getrefcount(zmq.Socket)
    for _ in range(100):
        sockets.context.socket(zmq.PUSH).close()
    gc.collect()
    assert sum(isinstance(thing, zmq.Socket) for thing in gc.get_objects()) == count
    assert sys.getrefcount(zmq.Socket) <= kinds + 1
