"""`recv_many` and `send_many`: several messages in one call, with all that holds for one."""

import array
import ctypes
import random
import time
from contextlib import suppress
from itertools import chain

import gevent
import pytest
from crowd import (
    FILLING,
    NARROW_BUFFERS,
    UNBOUNDED,
    drain,
    finish,
    greenlets,
    in_threads,
    number_of,
    numbered,
    transports,
    until,
)
from life import waiting
from support import Stopwatch, wait_until

import gzmqhelper as zmq
from gzmqhelper._many import Many


def unbounded(sockets, transport="inproc", left=zmq.PULL, right=zmq.PUSH):
    return sockets.pair(left, right, transport, UNBOUNDED, UNBOUNDED)


def narrow(sockets, transport):
    options = {"sndhwm": 2, "rcvhwm": 2, **NARROW_BUFFERS}
    return sockets.pair(zmq.PULL, zmq.PUSH, transport, options, options)


def all_there(sock, count):
    """Receive by recv_many until there are so many, each with its number first."""
    got = []
    while len(got) < count:
        got += sock.recv_many(timeout=3)
    return got


def any_message(number):
    parts = [
        *numbered(number, random.choice([1, 1, 1, 2, 5])),
        *[b"x" * random.randrange(200)] * random.randrange(2),
    ]
    return parts[0] if len(parts) == 1 else parts


# ---- receiving ---------------------------------------------------------------------------------------


@transports
def test_all_that_is_there_comes_in_one_call(sockets, ticker, transport):
    pull, push = unbounded(sockets, transport)
    sent = [b"%d" % number for number in range(3000)]
    for message in sent:
        push.send(message)
    assert all_there(pull, 3000) == sent
    with pytest.raises(zmq.Again):
        pull.recv_many(flags=zmq.NOBLOCK)


def test_not_more_come_than_are_asked_for(sockets):
    pull, push = unbounded(sockets)
    sent = [b"%d" % number for number in range(100)]
    push.send_many(sent)
    got = []
    for most in [1, 2, 50, 1, 40]:
        some = pull.recv_many(max=most)
        assert len(some) == most
        got += some
    assert [*got, *pull.recv_many(1000)] == sent


@pytest.mark.parametrize("most", [0, -1])
def test_to_ask_for_none_is_an_error(sockets, most):
    with pytest.raises(ValueError, match="max must be at least 1"):
        sockets(zmq.PULL).recv_many(most)


@transports
def test_messages_of_any_parts_and_sizes_keep_their_order_whichever_way_they_are_received(
    sockets, ticker, transport
):
    pull, push = unbounded(sockets, transport)
    sent = [any_message(number) for number in range(2000)]
    sent[::97] = [[message, b"L" * 70_000] if type(message) is bytes else message for message in sent[::97]]
    push.send_many(sent)
    got = []

    def part_by_part():
        parts = [pull.recv()]
        while pull.rcvmore:
            parts.append(pull.recv())
        return parts

    ways = [
        lambda: [pull.recv_multipart()],
        lambda: [[bytes(part) for part in pull.recv_multipart(copy=False)]],
        lambda: [part_by_part()],
        lambda: [m if type(m) is list else [m] for m in pull.recv_many(random.randrange(1, 40))],
    ]
    while len(got) < len(sent):
        got += random.choice(ways)()
    assert got == [m if type(m) is list else [m] for m in sent]


def test_what_is_left_of_a_message_received_part_by_part_comes_first(sockets):
    pull, push = unbounded(sockets)
    push.send_many([[b"a", b"b", b"c"], b"d"])
    assert pull.recv() == b"a"
    assert pull.recv_many() == [[b"b", b"c"], b"d"]


def test_it_waits_for_the_first_message(sockets, ticker):
    pull, push = unbounded(sockets)
    one = gevent.spawn(pull.recv_many)
    gevent.sleep(0.02)
    assert not one.ready()
    push.send(b"first")
    assert one.get(timeout=2) == [b"first"]


@pytest.mark.parametrize("how", ["timeout", "rcvtimeo"])
def test_it_waits_only_so_long(sockets, ticker, how):
    pull, _ = unbounded(sockets)
    if how == "rcvtimeo":
        pull.rcvtimeo = 100
    with Stopwatch() as watch, pytest.raises(zmq.Again):
        pull.recv_many(timeout=0.1 if how == "timeout" else None)
    watch.check(0.1)


@pytest.mark.parametrize("end", ["close", "term"])
def test_the_end_of_its_socket_or_context_ends_it(end):
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    waiting = gevent.spawn(pull.recv_many)
    gevent.sleep(0.02)
    if end == "close":
        pull.close()
    else:
        ending = gevent.spawn(context.term)
    with pytest.raises(zmq.ContextTerminated if end == "term" else zmq.ZMQError) as caught:
        waiting.get(timeout=2)
    assert caught.value.errno == (zmq.ETERM if end == "term" else zmq.ENOTSOCK)
    pull.close()
    context.term()
    if end == "term":
        ending.join()


@transports
def test_kills_and_timeouts_that_race_with_arrivals_lose_nothing(sockets, ticker, transport):
    pull, push = unbounded(sockets, transport)
    got = []

    def receive():
        while True:
            got.extend(map(int, pull.recv_many(random.randrange(1, 10))))

    total = 0
    readers = [gevent.spawn(receive) for _ in range(3)]
    for _ in range(2000):
        push.send_many([b"%d" % number for number in range(total, total + 2)])
        total += 2
        if random.random() < 0.3:
            index = random.randrange(3)
            readers[index].kill(block=random.random() < 0.5)
            readers[index] = gevent.spawn(receive)
        gevent.sleep(0)
    until(lambda: len(got) == total)
    gevent.killall(readers)
    assert sorted(got) == list(range(total))


@pytest.mark.parametrize("place", ["_take_at_once", "_take_several"])
def test_ctrl_c_loses_none_of_what_one_call_has_received(sockets, monkeypatch, place):
    pull, push = unbounded(sockets)
    for number in range(3000):
        push.send_multipart(numbered(number, 1 + number % 1000 // 900))
    interrupted = []
    take = getattr(Many, place)

    def interrupt(result):
        # Not again while that one is dealt with.
        if len(interrupted) % 2 == 0 and (not interrupted or random.random() < 0.2):
            interrupted.append(result)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Many, place, lambda *args: interrupt(take(*args)))
    got = []
    while len(got) < 3000:
        try:
            got += pull.recv_many(random.choice([1, 10, 1000]), timeout=1)
        except KeyboardInterrupt:
            interrupted.append("dealt with")
    assert [number_of(m if isinstance(m, list) else [m]) for m in got] == list(range(3000))
    assert interrupted


def test_what_was_sent_is_counted_where_a_send_waits_for_something_else_at_its_end(sockets):
    """A kill comes when the message has gone, and the greenlet has not run since."""
    journal = sockets(zmq.PULL)

    class Own(zmq.Socket):
        def send(self, *args, **kwargs):
            try:
                return super().send(*args, **kwargs)
            finally:
                with suppress(zmq.Again):
                    journal.recv(timeout=0.001)

    pull = sockets(zmq.PULL, rcvhwm=1)
    pull.bind("inproc://narrow")
    with Own(sockets.context, zmq.PUSH) as push:
        push.set_hwm(1)
        push.connect("inproc://narrow")
        outcome = waiting(push.send_many, [bytearray(b"x")] * 50)
        assert wait_until(lambda: [one.call for one in zmq.report().waiting] == ["Own.send"])
        got = [pull.recv(zmq.NOBLOCK)]
        end = time.monotonic() + 5
        while not zmq.report().waiting[0].answered and time.monotonic() < end:
            pass
        outcome.greenlet.kill(ZeroDivisionError)
        while pull.poll(20):
            got.append(pull.recv())
        assert outcome.error.sent == len(got)


def test_a_flood_lets_the_hub_turn(sockets, ticker):
    pull, push = unbounded(sockets)
    before, end = ticker.ticks, time.monotonic() + 0.5
    while time.monotonic() < end:
        push.send_many([b"x"] * 1000)
        got = 0
        while got < 1000:
            got += len(pull.recv_many(50))
    assert ticker.ticks - before >= 5  # and never a gap of 50 ms, says the ticker


def test_four_threads_share_all_messages(sockets):
    pull, push = unbounded(sockets, "tcp")
    total = 8000

    def receive():
        got = []
        while True:
            some = pull.recv_many(50, timeout=3)
            got += [int(m) for m in some if m != b"end"]
            for _ in range(some.count(b"end") - 1):
                push.send(b"end")
            if b"end" in some:
                return got

    def send():
        push.send_many([b"%d" % number for number in range(total)])
        push.send_many([b"end"] * 4)

    *shares, _ = in_threads(receive, receive, receive, receive, send)
    assert all(share == sorted(share) for share in shares)
    assert sorted(chain(*shares)) == list(range(total))


# ---- sending -----------------------------------------------------------------------------------------


@transports
def test_all_messages_are_sent_whole_and_in_order(sockets, ticker, transport):
    pull, push = unbounded(sockets, transport)
    sent = [any_message(number) for number in range(1500)]
    assert push.send_many(iter(sent)) == 1500
    assert drain(pull) == [m if type(m) is list else [m] for m in sent]


@pytest.mark.parametrize(
    "message",
    [b"x" * 600, b"x" * 5000, [b"x" * 300] * 2, (b"x", b"y"), bytearray(99)],
    ids=["600 B", "5 KB", "a list", "a tuple", "a bytearray"],
)
def test_large_or_odd_messages_cost_about_what_they_cost_one_by_one(sockets, message):
    """Not forty times that: all those that follow were looked through anew for each that was sent."""
    pull, push = unbounded(sockets)
    one = push.send if isinstance(message, (bytes, bytearray)) else push.send_multipart
    messages = [message] * 1000
    took = {"many": [], "one by one": []}
    for _ in range(5):
        with Stopwatch() as many:
            assert push.send_many(messages) == 1000
        with Stopwatch() as one_by_one:
            for each in messages:
                one(each)
        took["many"].append(many.seconds)
        took["one by one"].append(one_by_one.seconds)
        while pull.poll(0):
            pull.recv_many()
    assert min(took["many"]) < 8 * min(took["one by one"])


def test_each_size_arrives_as_it_was_sent_however_long_a_part_of_it_waits(sockets):
    """Small parts share memory, which each of them keeps: see csrc/load.h."""
    pull, push = unbounded(sockets)
    pulls = [pull, *(sockets(zmq.PULL, rcvhwm=0) for _ in range(2))]
    push.bind(f"inproc://sizes-{id(push)}")
    for other in pulls[1:]:
        other.connect(f"inproc://sizes-{id(push)}")
    sizes = [*range(31, 38), *range(509, 516), 0, 1, 100, 300, 2000, 2048, 2049, 5000, 99, 98, 97] * 18
    sent = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    third = len(sent) // 3
    for message in sent[:third]:
        push.send(message)
    for at in range(third, 2 * third, 3):
        push.send_multipart(sent[at : at + 3])
    assert push.send_many(sent[2 * third :]) == third
    push.close()
    got = []
    for one in reversed(pulls):  # the loads are still there, with every third of their parts
        while one.poll(0):
            got += one.recv_multipart()
    assert sorted(got) == sorted(sent)


def test_none_are_soon_sent(sockets):
    _, push = unbounded(sockets)
    assert push.send_many([]) == 0


def test_frames_buffers_and_large_messages_are_sent_too(sockets):
    pull, push = unbounded(sockets)
    large = b"L" * 1_000_000
    assert (
        push.send_many([zmq.Frame(b"frame"), bytearray(b"array"), (b"a", memoryview(b"b")), large, b"end"])
        == 5
    )
    assert drain(pull) == [[b"frame"], [b"array"], [b"a", b"b"], [large], [b"end"]]


def test_a_buffer_of_wide_items_is_sent_with_all_its_bytes(sockets):
    pull, push = unbounded(sockets)
    wide = array.array("I", [1, 2, 3])
    messages = [b"before", wide, memoryview(wide), b"after"]
    for sent in messages, [messages[1:3], *messages]:
        assert push.send_many(sent) == len(sent)
    alone = [[bytes(message)] for message in messages]
    assert drain(pull) == [*alone, [bytes(wide), bytes(wide)], *alone]


class _Longer(bytes):
    def __len__(self):
        return 1000


NOTHING = (ctypes.c_ubyte * 0 * 3)()  # of length 3


@pytest.mark.parametrize(
    "odd",
    [
        [NOTHING],
        [NOTHING, NOTHING],
        [NOTHING, array.array("I", [7])],  # whose lengths add up to the size of both
        [_Longer(b"short")],
        [b"first", _Longer(b"")],
    ],
    ids=["empty items", "several", "lengths that add up", "a lie", "a lie about nothing"],
)
def test_what_has_another_size_than_length_is_sent_as_it_is(sockets, odd):
    pull, push = unbounded(sockets)
    expected = [bytes(memoryview(message)) for message in odd]
    assert push.send_many(odd) == len(odd)
    assert push.send_many([odd, [b"begin", *odd, b"end"]]) == 2
    push.send_multipart([b"1", b"2", *odd, b"3"])
    whole = [expected, [b"begin", *expected, b"end"], [b"1", b"2", *expected, b"3"]]
    assert drain(pull) == [*[[one] for one in expected], *whole]


class _Sly:
    def __len__(self):
        raise RuntimeError("no length")


_GONE = zmq.Frame(b"gone")
_GONE.close()


@pytest.mark.parametrize("bad", ["text", 5, None, [], [b"a", "text"], _GONE, _Sly()])
def test_what_cannot_be_sent_is_named_and_what_was_sent_before_is_said(sockets, bad):
    pull, push = unbounded(sockets)
    with pytest.raises((TypeError, ValueError), match="send_many: message 2: ") as caught:
        push.send_many([b"0", b"1", bad, b"3"])
    assert caught.value.sent == 2
    assert drain(pull) == [[b"0"], [b"1"]]


def test_sndmore_is_refused(sockets):
    _, push = unbounded(sockets)
    with pytest.raises(ValueError, match="SNDMORE"):
        push.send_many([b"a"], zmq.SNDMORE)


@transports
def test_it_waits_at_the_high_water_mark_and_sends_all(sockets, ticker, transport):
    pull, push = narrow(sockets, transport)
    sent = [[b"%d" % number, FILLING] for number in range(200)]
    sending = gevent.spawn(push.send_many, sent)
    got = [pull.recv_multipart(timeout=3) for _ in sent]
    assert sending.get(timeout=2) == 200
    assert got == sent


@transports
@pytest.mark.parametrize("how", ["noblock", "timeout", "kill"])
def test_a_queue_that_is_full_halfway_says_how_many_were_sent(sockets, ticker, transport, how):
    pull, push = narrow(sockets, transport)
    messages = [[b"%d" % number, FILLING] for number in range(1000)]
    if how == "kill":
        sent = []

        def send():
            try:
                push.send_many(messages)
            except BaseException as e:
                sent.append(e.sent)
                raise

        sending = gevent.spawn(send)
        gevent.sleep(0.05)
        sending.kill()
        (count,) = sent
    else:
        arguments = {"flags": zmq.NOBLOCK} if how == "noblock" else {"timeout": 0.05}
        with pytest.raises(zmq.Again) as caught:
            push.send_many(messages, **arguments)
        count = caught.value.sent
    assert 0 < count < 1000
    assert drain(pull) == messages[:count]


def test_the_end_of_its_socket_ends_it(sockets):
    _, push = narrow(sockets, "inproc")
    sending = gevent.spawn(push.send_many, [FILLING] * 1000)
    gevent.sleep(0.02)
    push.close()
    with pytest.raises(zmq.ZMQError) as caught:
        sending.get(timeout=2)
    assert caught.value.errno == zmq.ENOTSOCK
    assert 0 < caught.value.sent < 1000


def test_ten_greenlets_send_many_and_nothing_is_torn(sockets, ticker):
    pull, push = narrow(sockets, "tcp")
    each = 50

    def send(who):
        push.send_many([[b"%d" % who, *numbered(number, 3), FILLING] for number in range(each)])

    with greenlets() as _:
        senders = [gevent.spawn(send, who) for who in range(10)]
        got = [[] for _ in range(10)]
        for _ in range(10 * each):
            who, *parts, filling = pull.recv_multipart(timeout=3)
            assert filling == FILLING
            got[int(who)].append(number_of(parts))
        finish(senders)
    assert got == [list(range(each))] * 10


def test_requests_are_sent_one_at_a_time(sockets):
    _, req = sockets.pair(zmq.REP, zmq.REQ, "inproc")
    with pytest.raises(zmq.ZMQError) as caught:
        req.send_many([b"one", b"two"])
    assert caught.value.errno == zmq.EFSM
    assert caught.value.sent == 1


def test_who_goes_on_from_what_was_sent_loses_nothing_and_repeats_nothing(sockets):
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, "inproc", {"sndhwm": 1}, {"rcvhwm": 1})
    chance = random.Random(1)
    received = []

    def receive():
        while True:
            received.append(int(pull.recv()))
            if chance.random() < 0.5:
                gevent.sleep(chance.random() * 0.002)

    receiver = gevent.spawn(receive)
    count = timeouts = 0
    while timeouts < 600:
        messages = [b"%d" % number for number in range(count, count + 10)]
        try:
            # Now and then it ends while a message goes that had to wait.
            with gevent.Timeout(chance.random() * 0.003):
                count += push.send_many(messages)
        except gevent.Timeout as e:
            count += e.sent
            timeouts += 1
    assert wait_until(lambda: len(received) >= count)
    gevent.sleep(0.01)
    receiver.kill()
    assert received == [*range(count)]
