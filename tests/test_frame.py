"""Frame and MessageTracker: what a message's memory holds, who shares it, and when it may go."""

import array
import gc
import weakref

import gevent
import pytest
from support import resident_kb, run

import gzmqhelper as zmq
from gzmqhelper import _pins
from gzmqhelper._native import ffi

LARGE = 100_000


def address(buffer):
    return int(ffi.cast("size_t", ffi.from_buffer(buffer)))


class Memory(bytearray):
    """A buffer whose end can be seen."""


# ---- what it holds -----------------------------------------------------------------------------------


def test_a_frame_is_empty_or_has_a_size_or_holds_any_buffer():
    assert zmq.Frame().bytes == b""
    assert zmq.Frame(size=5).bytes == bytes(5)
    assert zmq.Frame(size=0).bytes == b""
    assert zmq.Frame(b"abc").bytes == b"abc"
    assert zmq.Frame(bytearray(b"abc")).bytes == b"abc"
    assert zmq.Frame(memoryview(b"abc")[1:]).bytes == b"bc"
    numbers = array.array("d", [1, 2])
    assert zmq.Frame(numbers).bytes == numbers.tobytes()
    assert len(zmq.Frame(numbers)) == 16


@pytest.mark.parametrize("copy", [True, False, None])
@pytest.mark.parametrize("size", [0, 1, 33, 34, 65535, 65536, 65537, 1 << 20])
def test_a_frame_of_any_size_holds_what_it_was_given(size, copy):
    data = b"\xa5" * size
    frame = zmq.Frame(data, copy=copy)
    assert len(frame) == size
    assert frame.bytes == bytes(frame) == bytes(frame.buffer) == data
    assert frame == data


def test_message_is_its_other_name():
    assert zmq.Message is zmq.Frame


def test_a_frame_of_a_size_is_written_through_its_buffer(pair):
    left, right = pair
    frame = zmq.Frame(size=5)
    frame.buffer[:] = b"hello"
    assert (frame.bytes, str(frame), frame) == (b"hello", "hello", b"hello")
    frame.buffer[0] = ord("J")
    assert (frame.bytes, str(frame), frame) == (b"Jello", "Jello", b"Jello")
    left.send(frame)
    assert right.recv() == b"Jello"


def test_what_was_written_after_the_bytes_were_asked_for_shows():
    frame = zmq.Frame(b"abc")
    assert frame.bytes == b"abc"
    frame.buffer[1] = ord("B")
    assert frame.bytes == b"aBc"
    assert frame == b"aBc"


def test_the_caller_s_data_is_not_written_to_through_a_copy():
    data = bytearray(b"abc")
    zmq.Frame(data).buffer[0] = 0
    assert data == b"abc"
    data = b"x" * LARGE
    assert zmq.Frame(data).buffer.readonly


def test_text_is_encoded_and_decoded():
    assert zmq.Frame.from_string("grün").bytes == "grün".encode()
    assert zmq.Frame.from_string("grün", "latin-1").bytes == b"gr\xfcn"
    assert str(zmq.Frame("grün".encode())) == "grün"
    assert str(zmq.Frame(b"a\xffb")) == "a\N{REPLACEMENT CHARACTER}b"


def test_the_bytes_are_copied_only_once():
    frame = zmq.Frame(bytearray(b"abc"))
    assert frame.bytes is frame.bytes
    data = b"x" * LARGE
    assert zmq.Frame(data).bytes is data


def test_frames_are_compared_by_their_bytes():
    assert zmq.Frame(b"a") == zmq.Frame(b"a")
    assert zmq.Frame(b"a") == b"a" == zmq.Frame(b"a")
    assert zmq.Frame(b"a") == bytearray(b"a")
    assert zmq.Frame(b"a") != zmq.Frame(b"b")
    assert zmq.Frame(b"a") != "a"
    assert zmq.Frame(b"a") != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(zmq.Frame())


def test_repr_shows_the_beginning_and_the_size():
    def shown(size):
        return repr(zmq.Frame(b"a" * size, copy=False)).replace("a" * 12, "...")

    assert repr(zmq.Frame(b"abc")) == "<zmq.Frame(b'abc')>"
    assert shown(16) == "<zmq.Frame(b'...aaaa')>"
    assert shown(17) == "<zmq.Frame(b'...'...17B)>"
    assert shown(2000) == "<zmq.Frame(b'...'...2kB)>"
    assert shown(2_000_000) == "<zmq.Frame(b'...'...2MB)>"

    class Mine(zmq.Frame):
        pass

    assert "test_frame." in repr(Mine()) and "Mine(b'')>" in repr(Mine())


def test_properties_are_read_by_name_and_number(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    push.send_multipart([b"a", b"b"])
    first, last = pull.recv_multipart(copy=False, timeout=2)
    assert (first.more, last.more) == (True, False)
    assert (first.get(zmq.MORE), last[zmq.MORE]) == (1, 0)
    assert first["Peer-Address"] == first.get("Peer-Address") == "127.0.0.1"
    assert first["Socket-Type"] == "PUSH"
    assert zmq.Frame(b"").get(zmq.SHARED) == 0
    with pytest.raises(zmq.ZMQError, match="'Nobody'"):
        _ = first["Nobody"]
    with pytest.raises(zmq.ZMQError, match="Peer-Address"):
        first.set("Peer-Address", "x")


# ---- copy, move, close, with -------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"short", b"l" * LARGE], ids=["empty", "short", "large"])
@pytest.mark.parametrize("seen", [False, True], ids=["", "after its buffer was asked for"])
def test_a_copy_lives_on_without_the_original(pair, data, seen):
    left, right = pair
    frame = zmq.Frame(data)
    frame.more = True
    if seen:
        assert frame.buffer == data
    copy = frame.copy()
    assert copy.more
    frame.close()
    assert copy.bytes == bytes(copy.buffer) == data
    left.send(copy)
    assert right.recv() == data


def test_a_copy_that_is_written_to_is_what_is_sent(pair):
    left, right = pair
    frame = zmq.Frame(size=5)
    assert frame.buffer == bytes(5)
    copy = frame.copy()
    copy.buffer[:] = b"hello"
    left.send(copy)
    assert (copy.bytes, right.recv()) == (b"hello", b"hello")


def test_a_copy_of_a_large_frame_shares_its_memory(pair):
    left, right = pair
    left.send(b"x" * LARGE)
    frame = right.recv(copy=False)
    assert address(frame.copy().buffer) == address(frame.buffer)
    data = bytearray(LARGE)
    assert address(zmq.Frame(data, copy=False).copy().buffer) == address(data)


def test_a_move_leaves_a_closed_frame():
    frame = zmq.Frame(b"abc")
    other = frame.move()
    assert other.bytes == b"abc"
    assert frame.closed and not other.closed
    with pytest.raises(ValueError, match="closed"):
        frame.move()


def test_a_frame_that_is_closed_says_so(pair):
    left, right = pair
    frame = zmq.Frame(b"abc")
    assert not frame.closed
    frame.close()
    frame.close()
    assert frame.closed and repr(frame) == "<zmq.Frame closed>"
    for use in (
        lambda: frame.buffer,
        lambda: frame.bytes,
        lambda: len(frame),
        lambda: str(frame),
        lambda: frame.copy(),
        lambda: frame["Peer-Address"],
        lambda: left.send(frame),
        lambda: left.send(frame, copy=False),
        lambda: left.send(frame, zmq.SNDMORE),
        lambda: left.send_multipart([b"a", frame]),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    left.send(b"only this")
    assert right.recv_multipart() == [b"only this"]


def test_leaving_with_closes_it():
    with zmq.Frame(b"abc") as frame:
        assert frame.bytes == b"abc"
    assert frame.closed
    with pytest.raises(KeyError), zmq.Frame(b"abc") as frame:
        raise KeyError
    assert frame.closed


def test_a_frame_may_be_sent_twice_and_kept(pair):
    left, right = pair
    for data in b"short", b"l" * LARGE:
        for copy in True, False:
            frame = zmq.Frame(data, copy=copy)
            left.send(frame)
            left.send(frame, copy=False)
            left.send_multipart([frame, frame])
            assert frame.bytes == data
            assert [right.recv(), right.recv(), *right.recv_multipart()] == [data] * 4


def test_a_frame_that_was_received_may_be_sent_on(pair):
    left, right = pair
    left.send_multipart([b"a", b"l" * LARGE])
    for frame in right.recv_multipart(copy=False):
        right.send(frame, zmq.SNDMORE if frame.more else 0)
    assert left.recv_multipart() == [b"a", b"l" * LARGE]


# ---- memory ------------------------------------------------------------------------------------------


def test_a_buffer_outlives_its_frame_its_socket_and_its_context():
    context = zmq.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://memory")
    right.connect("inproc://memory")
    views = []
    for size in 3, 33, 34, 1000, LARGE:
        left.send(b"v" * size)
        views.append(right.recv(copy=False).buffer)
    left.send(b"w" * LARGE)
    frame = right.recv(copy=False)
    views.append(frame.buffer[:50])
    frame.close()
    for sock in left, right:
        sock.close(0)
    context.term()
    del frame, left, right, sock, context
    gc.collect()
    scribble = [bytes([i]) * LARGE for i in range(20)]
    assert [bytes(v[:3]) for v in views] == [b"vvv"] * 5 + [b"www"]
    assert [set(bytes(v)) for v in views] == [{ord("v")}] * 5 + [{ord("w")}]
    del scribble


def test_memory_goes_with_the_last_who_holds_it(pair):
    left, right = pair
    data = Memory(LARGE)
    gone = weakref.ref(data)
    left.send(data, copy=False)
    del data
    frame = right.recv(copy=False)
    view = frame.buffer[10:20]
    frame.close()
    del frame
    gc.collect()
    assert gone() is not None
    del view
    gc.collect()
    gevent.sleep(0.01)
    right.send(b"the first call of a new slice of time")
    assert gone() is None


def test_memory_goes_though_the_sender_only_receives_from_then_on(pair):
    left, right = pair
    data = Memory(LARGE)
    gone = weakref.ref(data)
    left.send(data, copy=False)
    del data
    assert len(right.recv()) == LARGE
    for _ in range(3):
        gevent.sleep(0.01)
        right.send(b"next")
        left.recv()
    assert gone() is None


def test_memory_goes_with_the_socket_that_held_the_last_message(pair):
    left, right = pair
    data = Memory(LARGE)
    gone = weakref.ref(data)
    left.send(data, copy=False)
    del data
    right.recv()
    right.close()
    assert gone() is None


def test_memory_goes_with_the_context_whose_messages_nobody_took():
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.linger = 0
    push.connect("tcp://127.0.0.1:9")
    data = Memory(LARGE)
    gone = weakref.ref(data)
    push.send(data, copy=False)
    del data
    push.close()
    context.term()
    assert gone() is None


def test_a_frame_that_was_never_sent_lets_its_memory_go():
    data = Memory(LARGE)
    gone = weakref.ref(data)
    frame = zmq.Frame(data, copy=False, track=True)
    tracker = frame.tracker
    del data
    assert gone() is not None and not tracker.done
    frame.close()
    assert tracker.done
    assert gone() is None


def test_a_thousand_large_messages_leave_no_memory_behind(pair):
    left, right = pair

    def traffic(count):
        for _ in range(count):
            left.send(bytearray(1 << 20), copy=False)
            right.recv(copy=False)

    traffic(20)
    gc.collect()
    before = resident_kb()
    pins = len(_pins.pins)
    traffic(300)
    assert len(_pins.pins) < pins + 5
    assert resident_kb() - before < 50_000


def test_what_libzmq_still_reads_at_exit_stays():
    finished = run("""
        import gzmqhelper as zmq
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.connect("tcp://127.0.0.1:9")
        push.send(bytearray(10_000_000), copy=False)
        tracker = push.send(b"x" * 10_000_000, copy=False, track=True)
        assert not tracker.done
    """)
    assert "Traceback" not in finished.stderr


# ---- nothing is copied -------------------------------------------------------------------------------


def test_without_a_copy_the_receiver_reads_the_very_memory_of_the_sender(pair):
    left, right = pair
    data = bytearray(b"a" * LARGE)
    left.send(data, copy=False)
    frame = right.recv(copy=False)
    assert address(frame.buffer) == address(data)
    data[7] = ord("b")
    assert frame.buffer[7] == ord("b")


def test_with_a_copy_a_later_change_does_not_show(pair):
    left, right = pair
    for more in 0, zmq.SNDMORE:
        data = bytearray(b"a" * LARGE)
        left.send(data, more)
        data[7] = ord("b")
        if more:
            left.send(b"")
        assert right.recv_multipart()[0] == b"a" * LARGE


def test_each_part_of_a_message_is_read_in_place_from_the_threshold_on(pair):
    left, right = pair
    large, small = bytearray(zmq.COPY_THRESHOLD), bytearray(zmq.COPY_THRESHOLD - 1)
    left.send_multipart([large, small, memoryview(large)], copy=False)
    addresses = [address(frame.buffer) for frame in right.recv_multipart(copy=False)]
    assert addresses[0] == addresses[2] == address(large)
    assert addresses[1] != address(small)


def test_a_frames_own_threshold_and_copy_decide():
    data = bytearray(100)
    for how, pinned in (
        ({}, False),
        ({"copy": False}, True),
        ({"copy": True}, False),
        ({"copy_threshold": 100}, True),
        ({"copy_threshold": 101}, False),
        ({"copy": True, "copy_threshold": 1}, False),
    ):
        assert (address(zmq.Frame(data, **how).buffer) == address(data)) is pinned, how


def test_a_buffer_that_may_be_resized_is_held_while_libzmq_reads_it(pair):
    left, right = pair
    data = bytearray(LARGE)
    tracker = left.send(data, copy=False, track=True)
    with pytest.raises(BufferError):
        data.extend(b"more")
    right.recv()
    tracker.wait(2)
    data.extend(b"more")


# ---- trackers ----------------------------------------------------------------------------------------


def test_a_tracker_tells_when_libzmq_has_done(pair):
    left, right = pair
    tracker = left.send(bytes(LARGE), copy=False, track=True)
    assert not tracker.done
    frame = right.recv(copy=False)
    assert not tracker.done
    frame.close()
    assert tracker.done
    tracker.wait()
    tracker.wait(0)


def test_what_is_copied_needs_no_tracking(pair):
    left, right = pair
    assert left.send(b"small", copy=False, track=True).done
    assert left.send(b"copied", track=True) is None
    assert left.send(bytes(LARGE), copy=False) is None
    assert zmq.Frame(b"small", track=True).tracker.done
    assert zmq.Frame(b"small").tracker is None
    right.recv(), right.recv(), right.recv()
    assert zmq.MessageTracker().done


def test_waiting_for_libzmq_lets_others_run(pair, ticker):
    left, right = pair
    tracker = left.send(bytes(LARGE), copy=False, track=True)
    waiting = [gevent.spawn(tracker.wait) for _ in range(3)]
    gevent.sleep(0.05)
    ticks = ticker.ticks
    assert not any(greenlet.dead for greenlet in waiting)
    right.recv()
    gevent.joinall(waiting, timeout=2, raise_error=True)
    assert all(greenlet.successful() for greenlet in waiting)
    assert tracker.done and ticks > 5


def test_a_wait_that_is_not_over_in_time_says_not_done(pair, ticker):
    left, right = pair
    tracker = left.send(bytes(LARGE), copy=False, track=True)
    for seconds in 0, 0.02, 0.02:
        with pytest.raises(zmq.NotDone, match=f"after {seconds} s"):
            tracker.wait(seconds)
    assert ticker.ticks > 5
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        tracker.wait()
    right.recv()
    tracker.wait(2)


def test_one_that_is_killed_while_it_waits_leaves_the_others_waiting(pair):
    left, right = pair
    tracker = left.send(bytes(LARGE), copy=False, track=True)
    one, other = gevent.spawn(tracker.wait), gevent.spawn(tracker.wait)
    gevent.sleep(0.01)
    one.kill()
    right.recv()
    other.get(timeout=2)


def test_a_tracker_of_several_is_done_with_the_last(pair):
    left, right = pair
    frames = [zmq.Frame(bytes(LARGE), track=True) for _ in range(3)]
    together = zmq.MessageTracker(frames[0], zmq.MessageTracker(frames[1], frames[2].tracker))
    sent = left.send_multipart([frames[0], b"small", frames[1]], copy=False)
    received = right.recv_multipart(copy=False)
    frames[2].close()
    frames[0].close()
    frames[1].close()
    assert not together.done and not sent.done
    received[0].close()
    assert not together.done and not sent.done
    received[2].close()
    assert together.done and sent.done
    together.wait(0)


def test_over_tcp_libzmq_has_done_once_the_message_is_on_its_way(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    data = bytes(range(256)) * 8192
    tracker = push.send(data, copy=False, track=True)
    tracker.wait(5)
    assert tracker.done
    assert pull.recv(timeout=5) == data


def test_a_message_that_is_dropped_unsent_is_done(sockets):
    push = sockets(zmq.PUSH)
    push.connect("tcp://127.0.0.1:9")
    tracker = push.send(bytes(LARGE), copy=False, track=True)
    assert not tracker.done
    push.close(0)
    tracker.wait(5)


def test_a_send_that_raised_again_holds_no_memory(sockets):
    push = sockets(zmq.PUSH)
    others = set(_pins.pins)
    frame = zmq.Frame(bytes(LARGE), track=True)
    for call in (
        lambda: push.send(frame, zmq.NOBLOCK),
        lambda: push.send_multipart([b"x", frame], timeout=0.01),
        lambda: push.send(bytearray(LARGE), copy=False, timeout=0.01),
    ):
        with pytest.raises(zmq.Again):
            call()
    assert not frame.tracker.done
    frame.close()
    assert frame.tracker.done  # which also lets go of what else is done
    assert set(_pins.pins) <= others


def test_a_frame_without_a_tracker_cannot_be_tracked(pair):
    left, right = pair
    for call in (
        lambda: left.send(zmq.Frame(b"x"), track=True),
        lambda: left.send(zmq.Frame(b"x"), zmq.SNDMORE, track=True),
        lambda: left.send_multipart([b"a", zmq.Frame(b"x")], copy=False, track=True),
        lambda: zmq.MessageTracker(zmq.Frame(b"x")),
    ):
        with pytest.raises(ValueError, match="track=True"):
            call()
    left.send(b"next")
    assert right.recv_multipart() == [b"next"]
