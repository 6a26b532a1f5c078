"""What programs written for other bindings do with Frames: as buffers, as mappings, with drafts."""

import array
import copy
import gc
import io
import struct
import sys
import weakref

import gevent
import pytest

import gzmqhelper as zmq

LARGE = 100_000


# ---- buffers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, LARGE])
def test_a_frame_is_a_buffer(pair, size):
    left, right = pair
    left.send(b"x" * size)
    frame = right.recv(copy=False)
    view = memoryview(frame)
    assert (view.ndim, view.shape, view.format, view.readonly) == (1, (size,), "B", False)
    assert view == b"x" * size
    assert b"".join([b"a", frame]) == b"a" + b"x" * size
    assert bytearray(frame) == array.array("B", bytes(frame)).tobytes() == frame.bytes
    assert io.BytesIO().write(frame) == size


def test_what_is_written_to_it_as_a_buffer_is_what_is_sent(pair):
    left, right = pair
    frame = zmq.Frame(size=8)
    struct.pack_into("<q", frame, 0, 258)
    assert struct.unpack("<q", frame) == (258,)
    left.send(frame)
    assert right.recv() == b"\2\1" + bytes(6)


def test_a_frame_of_a_frame_is_a_frame_of_its_bytes(pair):
    left, right = pair
    for how in True, False:
        assert zmq.Frame(zmq.Frame(b"abc"), copy=how).bytes == b"abc"
        left.send(memoryview(zmq.Frame(b"x" * LARGE)), copy=how)
        assert right.recv() == b"x" * LARGE


def test_a_view_of_it_holds_its_memory_and_keeps_the_data_from_changing_size():
    data = bytearray(b"a" * LARGE)
    frame = zmq.Frame(data, copy=False)
    gone = weakref.ref(frame)
    view = memoryview(frame)
    del frame
    gc.collect()
    assert gone() is not None and view[-1] == ord("a")
    with pytest.raises(BufferError):
        data.append(1)
    view.release()
    del view
    gc.collect()
    assert gone() is None


def test_bytes_that_are_read_in_place_cannot_be_written_to():
    view = memoryview(zmq.Frame(b"x" * LARGE, copy=False))
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 0


def test_the_buffer_of_an_array_is_its_bytes(pair):
    numbers = array.array("d", [1, 2])
    frame = zmq.Frame(memoryview(numbers), copy=False)
    assert (frame.buffer.format, frame.buffer.shape) == ("B", (16,))
    assert len(frame) == 16
    frame.buffer[:8] = struct.pack("d", 7)
    assert numbers[0] == 7


def test_the_buffer_is_the_same_while_it_is_held():
    frame = zmq.Frame(b"abc")
    view = frame.buffer
    assert view is frame.buffer


def test_subclasses_are_buffers_too():
    class Mine(zmq.Frame):
        pass

    assert bytes(memoryview(Mine(b"abc"))) == b"abc"


def test_no_buffer_is_had_from_a_frame_that_is_closed():
    frame = zmq.Frame(b"abc")
    frame.close()
    # Before Python 3.12 a class's own error cannot be raised there.
    with pytest.raises(ValueError if sys.version_info >= (3, 12) else SystemError):
        memoryview(frame)


# ---- properties --------------------------------------------------------------------------------------


def test_numbered_properties_are_attributes_too(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    push.send_multipart([b"a", b"b"])
    first, last = pull.recv_multipart(copy=False, timeout=2)
    assert (first.more, first.MORE, last.MORE) == (True, 1, 0)
    assert first.shared == first.get(zmq.SHARED) == 0
    assert first[b"Socket-Type"] == first["Socket-Type"] == "PUSH"
    for name in "apple", "LINGER":
        assert not hasattr(first, name)
    with pytest.raises(AttributeError, match="Frame has no attribute or option 'apple'"):
        _ = first.apple


@pytest.mark.skipif(zmq.DRAFT_API, reason="this libzmq has the draft API")
def test_without_drafts_what_needs_them_says_so(pair):
    left, right = pair
    frame = zmq.Frame(b"x")
    for name, call in {
        "Frame.routing_id": lambda: frame.routing_id,
        "Frame.group": lambda: frame.group,
        "Frame.routing_id = 5": lambda: setattr(frame, "routing_id", 5),
        "Frame.group = 'g'": lambda: frame.set("group", "g"),
        "Frame.routing_id = 1": lambda: left.send(b"x", routing_id=1),
        "Frame.group = 'h'": lambda: left.send(b"x", group="h"),
        "Frame.group = 'i'": lambda: left.send_json(1, group="i"),
        "Socket.join": lambda: left.join("g"),
        "Socket.leave": lambda: left.leave(b"g"),
    }.items():
        with pytest.raises(RuntimeError, match=r"draft API.*ENABLE_DRAFTS") as caught:
            call()
        assert isinstance(caught.value, zmq.ZMQError) and caught.value.errno == zmq.ENOTSUP
        assert f"({name}" in str(caught.value)
    for name in "routing_id", "group":
        with pytest.raises(RuntimeError, match=f"Frame.{name}"):
            _ = frame[name]
    left.send(b"next")
    assert right.recv_multipart() == [b"next"]


def test_a_copy_is_had_by_any_of_its_names():
    frame = zmq.Frame(b"x" * LARGE, track=True)
    for made in copy.copy(frame), frame.copy():
        assert made == frame and made.tracker is frame.tracker
    deep = copy.deepcopy(frame)
    assert deep == frame and deep.tracker is None


# ---- trackers ----------------------------------------------------------------------------------------


def test_what_was_copied_has_the_tracker_of_all_that_is_done(pair):
    left, _ = pair
    done = zmq._FINISHED_TRACKER
    assert left.send(b"small", copy=False) is done
    assert left.send(b"small", copy=False, track=True) is done
    assert left.send(zmq.Frame(b"small", track=True)) is done
    assert left.send(b"small") is None
    assert left.send(zmq.Frame(b"small")) is None
    large = zmq.Frame(b"x" * LARGE, track=True)
    assert left.send(large) is large.tracker
    assert left.send_multipart([b"a", large]) is large.tracker
    # Small enough to be copied on the way, were they no Frames.
    small = zmq.Frame(b"y" * 100, copy=False, track=True)
    assert left.send_multipart([b"a", small]) is small.tracker and not small.tracker.done
    assert left.send_multipart([small, b"a"]) is None
    with pytest.raises(ValueError, match="track=True"):
        left.send_multipart([b"a", zmq.Frame(b"b"), b"c"], track=True)


def test_what_is_received_to_be_tracked_has_a_tracker_and_may_be_sent_on(pair):
    left, right = pair
    left.send(b"a")
    left.send_multipart([b"b", b"c"])
    frame = right.recv(copy=False, track=True)
    frames = right.recv_multipart(0, False, True)
    assert {f.tracker for f in (frame, *frames)} == {zmq._FINISHED_TRACKER}
    assert right.send(frame, copy=False, track=True).done
    left.send(b"d")
    assert right.recv(copy=False).tracker is None


def test_a_tracker_s_wait_is_for_ever_if_it_is_false(pair):
    left, right = pair
    tracker = left.send(b"x" * LARGE, copy=False, track=True)
    waiting = gevent.spawn(tracker.wait, False)
    gevent.sleep(0.01)
    assert not waiting.dead
    right.recv()
    waiting.get(timeout=2)


def test_an_option_that_libzmq_has_not_for_a_message_is_no_attribute():
    frame = zmq.Frame(b"x")
    assert not hasattr(frame, "srcfd")
    assert getattr(frame, "SRCFD", "none") == "none"
    with pytest.raises(zmq.ZMQError):
        frame.get(zmq.MessageOption.SRCFD)
