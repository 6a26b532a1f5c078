"""SocketBase (csrc/base.c): what it does itself and what it leaves to Python; nobody can tell which."""

import contextlib
import gc
import pickle
import signal
import sys

import gevent
import pytest
from crowd import number_of
from flood import fill_batch, lying, pair, rest_of, send_all

import gzmqhelper as zmq
from gzmqhelper import _parts
from gzmqhelper._native import ffi

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


@pytest.mark.parametrize("parts", [1, 3])
def test_behind_each_eight_messages_of_a_batch_there_is_a_mark(sockets, parts):
    pull, push = pair(sockets)
    for _ in range(100):
        send_all(push, range(300), parts)
        for _ in range(300):
            pull.recv_multipart()
            if lying(pull) > 40:
                batch = iter(pull._lying())
                before = next(index for index, message in enumerate(batch) if message is False)
                assert before <= 8  # it was begun
                marks = [index for index, message in enumerate(batch) if message is False]
                assert marks == [*range(8, 9 * len(marks), 9)]
                return
    pytest.fail("no batch of that size")


@pytest.mark.parametrize("parts", [1, 3])
def test_a_flood_leaves_no_objects(sockets, parts):
    pull, push = pair(sockets)

    def flood(count):
        for _ in range(count):
            send_all(push, range(300), parts)
            for _ in range(300):
                pull.recv_multipart()
        with pytest.raises(zmq.Again):
            pull.recv(zmq.NOBLOCK)  # which lets go of the last batch
        gc.collect()
        return sys.getallocatedblocks()

    before = flood(20)
    assert flood(400) < before + 200  # 120,000 messages, in 470 batches at least


def test_a_subclass_may_have_methods_of_the_names_of_those_in_python(sockets):
    class Packing(zmq.Socket):
        _address = "anywhere"

        def _send(self, thing):
            return self.send(pickle.dumps(thing))

        def _recv(self):
            return pickle.loads(self.recv())

        _own = _recv_multipart = _send_multipart = None

    left, right = Packing(sockets.context, zmq.PAIR), Packing(sockets.context, zmq.PAIR)
    sockets.made += [left, right]
    left._address = "inproc://packed"
    left.bind(left._address)
    right.connect(left._address)
    left._send({"a": 1})
    assert right._recv() == {"a": 1}
    left.send(bytearray(b"b"))
    assert right.recv(copy=False).bytes == b"b"
    left.send_multipart([bytearray(b"c"), b"d"])
    assert right.recv_multipart(copy=False)[1].bytes == b"d"


def test_a_greenlet_that_waits_carries_no_large_stack(sockets):
    push = sockets(zmq.PUSH)  # connected to nobody
    plain, multipart = gevent.spawn(push.send, b"x"), gevent.spawn(push.send_multipart, [b"x", b"y"])
    gevent.sleep(0.01)
    assert 0 < multipart._stack_saved < 1.5 * plain._stack_saved


@pytest.mark.parametrize("flags", [1 << 31, 1 << 32, 1 << 80])
def test_flags_that_are_too_large_are_an_error(sockets, flags):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    right.send(b"x")
    for call in (left.recv, left.recv_multipart, left.recv_many):
        with pytest.raises(OverflowError):
            call(flags=flags)
    for call in (left.send, left.send_multipart, left.send_many):
        with pytest.raises(OverflowError):
            call([b"x"] if call != left.send else b"x", flags=flags)
    assert left.recv(timeout=5) == b"x"


class Signals:
    """SIGALRM every half millisecond, whose handler raises KeyboardInterrupt while it is armed.

    For calls that never let the hub turn: in the middle of gevent's own code it is not always heard.
    """

    def __enter__(self):
        gc.collect()  # it might be raised in a finalizer, and heard by nobody
        self.armed, self.raised = False, 0
        self.before = signal.signal(signal.SIGALRM, self._handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    @contextlib.contextmanager
    def on(self):
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def _handle(self, *_):
        if self.armed:
            self.armed = False
            self.raised += 1
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["recv", "recv_multipart"])
def test_ctrl_c_in_a_flood_hardly_ever_takes_a_message_with_it(sockets, method):
    """(It may, between the call's return and the name that the message gets.)"""
    pull, push = pair(sockets)
    receive, got, sent = getattr(pull, method), [], 0
    with Signals() as signals:
        while signals.raised < 100:
            send_all(push, range(sent, sent + 500))
            sent += 500
            with contextlib.suppress(KeyboardInterrupt, zmq.Again), signals.on():
                while True:
                    message = receive(zmq.NOBLOCK)
                    got.append(message)
    with contextlib.suppress(zmq.Again):
        while True:
            got.append(receive(zmq.NOBLOCK))
    numbers = [number_of([message] if method == "recv" else message) for message in got]
    assert numbers == sorted(set(numbers))
    assert sent - len(numbers) <= signals.raised / 5


def test_ctrl_c_in_send_many_does_not_keep_it_from_saying_how_many_were_sent(sockets):
    pull, push = pair(sockets)
    wrong = 0
    with Signals() as signals:
        while signals.raised < 50:
            sent = 20_000
            try:
                with signals.on():
                    push.send_many([b"x" * 100] * 20_000, zmq.NOBLOCK)
            except KeyboardInterrupt as e:
                sent = getattr(e, "sent", None)  # None: before it, or after it
            received = 0
            with contextlib.suppress(zmq.Again):
                while True:
                    received += len(pull.recv_many(1000, zmq.NOBLOCK))
            wrong += received != sent and not (sent is None and received in (0, 20_000))
    assert wrong <= signals.raised / 5


SMALL, LARGE = b"small", b"x" * zmq.COPY_THRESHOLD


@pytest.mark.parametrize("data", [SMALL, LARGE, bytearray(SMALL)], ids=["small", "large", "bytearray"])
def test_of_what_is_copied_though_it_need_not_be_one_hears_that_it_may_be_changed_at_once(sockets, data):
    pull, push = pair(sockets)
    expected = zmq._FINISHED_TRACKER if len(data) < zmq.COPY_THRESHOLD else None
    assert push.send(data, copy=False) is expected
    assert push.send_multipart([data, data], copy=False) is expected
    assert push.send(data, zmq.SNDMORE, copy=False) is expected
    assert push.send(data, copy=False) is expected
    assert push.send(data) is push.send_multipart([data, data]) is None
    assert push.send(data, zmq.SNDMORE) is push.send(data) is None
    one, two = [bytes(data)], [bytes(data)] * 2
    assert [pull.recv_multipart(timeout=5) for _ in range(6)] == [one, two, two, one, two, two]


def test_where_only_some_parts_are_small_the_others_are_read_in_place(sockets):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    left.send_multipart([SMALL, LARGE], copy=False)
    left.send(SMALL, zmq.SNDMORE, copy=False)
    left.send(LARGE, copy=False)
    for _ in range(2):
        small, large = right.recv_multipart(copy=False, timeout=5)
        assert small.bytes == SMALL
        assert large.bytes == LARGE
        assert ffi.from_buffer(large.buffer) == ffi.from_buffer(LARGE)


@pytest.mark.parametrize("threshold", [0, -1, 1 << 80, True])
def test_any_number_may_be_the_threshold(sockets, threshold):
    pull, push = pair(sockets)
    push.copy_threshold = threshold
    tracker = push.send(SMALL, copy=False)
    assert (tracker is zmq._FINISHED_TRACKER) == (len(SMALL) < threshold)
    assert pull.recv(timeout=5) == SMALL


@pytest.mark.parametrize("send", ["send", "send_multipart"])
def test_a_threshold_that_cannot_be_had_is_told(sockets, send):
    class Odd(zmq.Socket):
        @property
        def copy_threshold(self):
            raise KeyboardInterrupt

    pull = sockets(zmq.PULL)
    push = Odd(sockets.context, zmq.PUSH)
    sockets.made.append(push)
    pull.bind("inproc://odd")
    push.connect("inproc://odd")
    data = SMALL if send == "send" else [SMALL]
    with pytest.raises(KeyboardInterrupt):
        getattr(push, send)(data, copy=False)
    assert getattr(push, send)(data) is None
    assert pull.recv(timeout=5) == SMALL


@pytest.mark.parametrize("event", range(12))
def test_what_a_signal_handler_sends_between_two_lines_takes_nothing_of_a_message(sockets, event):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    left.send_multipart([b"1", b"2", b"3"])
    seen = []

    def handler(frame, *_):
        if frame.f_code.co_filename == _parts.__file__:
            seen.append(frame)
            if len(seen) == event + 1:
                right.send(b"sent")

    sys.setprofile(handler)  # it comes where a signal may
    try:
        received = [right.recv()]
        right.send(b"a", zmq.SNDMORE)
        received += [right.recv(), right.recv()]
        right.send(b"b")
    finally:
        sys.setprofile(None)
    assert received == [b"1", b"2", b"3"]
    sent = [left.recv_multipart(timeout=5) for _ in range(2 if len(seen) > event else 1)]
    assert sent in (
        [[b"sent"], [b"a", b"b"]],
        [[b"a", b"b"], [b"sent"]],
        [[b"a", b"sent"], [b"b"]],
        [[b"a", b"b"]],
    )
    assert not right._unread and not right._unsent


def test_who_is_in_the_middle_of_a_message_keeps_nobody_from_the_quick_way_in_the_other_direction(
    sockets, monkeypatch
):
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    left.send_multipart([b"1", b"2"])
    assert right.recv() == b"1"
    with monkeypatch.context() as quick:
        quick.setattr(zmq.Socket, "_send_in_python", None)
        right.send(b"sent", zmq.NOBLOCK)  # (Else it yields where its slice of time is over, in Python.)
    left.send(b"begun", zmq.SNDMORE)
    with monkeypatch.context() as quick:
        quick.setattr(zmq.Socket, "_recv_in_python", None)
        assert left.recv(zmq.NOBLOCK) == b"sent"
    left.send(b"ended")
    assert [right.recv() for _ in range(3)] == [b"2", b"begun", b"ended"]


def test_without_a_threshold_of_its_own_a_socket_has_that_of_all(sockets):
    pull, push = pair(sockets)
    push.copy_threshold = None
    for data, tracker in (SMALL, zmq._FINISHED_TRACKER), (LARGE, None):
        assert push.send(data, copy=False) is tracker
        assert push.send(data, zmq.SNDMORE, copy=False) is tracker
        assert push.send(b"", copy=False) is zmq._FINISHED_TRACKER
        assert pull.recv_multipart(timeout=5) == [data]
        assert pull.recv_multipart(timeout=5) == [data, b""]
