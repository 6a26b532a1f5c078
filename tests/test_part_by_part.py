"""Messages sent and received part by part, where the socket's order or its peers have a say.

(`test_socket_base.py` and `test_send.py` have what holds for all.)
"""

import socket

import gevent
import pytest
from support import refused

import gzmqhelper as zmq


class Own(zmq.Socket):
    """Has a send of its own, which is called for each part of a multipart message."""

    def send(self, data, *args, **kwargs):
        return super().send(data, *args, **kwargs)


def send_all(socket, parts, flags=0):
    for part in parts[:-1]:
        socket.send(part, flags | zmq.SNDMORE)
    socket.send(parts[-1], flags)


# ---- a ROUTER that must deliver ----------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0, zmq.NOBLOCK], ids=["may wait", "NOBLOCK"])
@pytest.mark.parametrize("send", [send_all, Own.send_multipart], ids=["part by part", "a send of one's own"])
def test_a_router_that_must_deliver_says_that_nobody_is_there(sockets, send, flags, ticker):
    with Own(sockets.context, zmq.ROUTER) as router:
        router.router_mandatory = 1
        router.bind("tcp://127.0.0.1:*")
        with gevent.Timeout(5):
            refused(zmq.EHOSTUNREACH, send, router, [b"nobody", b"", b"hello"], flags)


def test_a_peer_whose_queue_is_full_does_not_hold_up_what_is_for_another(sockets, ticker):
    router = sockets(zmq.ROUTER, router_mandatory=1, sndhwm=1)
    router.bind("inproc://router")
    slow = sockets(zmq.DEALER, routing_id=b"slow", rcvhwm=1)
    slow.connect("inproc://router")
    with pytest.raises(zmq.Again):
        while True:
            send_all(router, [b"slow", b"x"], zmq.NOBLOCK)
    with gevent.Timeout(5):
        refused(zmq.EHOSTUNREACH, send_all, router, [b"nobody", b"x"])
    quick = sockets(zmq.DEALER, routing_id=b"quick")
    quick.connect("inproc://router")
    with gevent.Timeout(5):
        send_all(router, [b"quick", b"", b"hello"])
    assert quick.recv_multipart(timeout=5) == [b"", b"hello"]


@pytest.fixture
def full(sockets):
    """A ROUTER that must deliver, a peer, "slow", whose queue is full, and how many messages are in that."""
    router = sockets(zmq.ROUTER, router_mandatory=1, sndhwm=1)
    router.bind("inproc://router")
    slow = sockets(zmq.DEALER, routing_id=b"slow", rcvhwm=1)
    slow.connect("inproc://router")
    sent = 0
    with pytest.raises(zmq.Again):
        while True:
            router.send_multipart([b"slow", b"early"], zmq.NOBLOCK)
            sent += 1
    return router, slow, sent


@pytest.mark.parametrize("last", [0, zmq.NOBLOCK], ids=["may wait", "NOBLOCK"])
@pytest.mark.parametrize("first", ["NOBLOCK", "timeout=0"])
def test_where_the_first_part_was_not_to_wait_the_last_does_not(full, first, last):
    router, slow, sent = full
    if first == "NOBLOCK":
        router.send(b"slow", zmq.SNDMORE | zmq.NOBLOCK)
    else:
        router.send(b"slow", zmq.SNDMORE, timeout=0)
    with gevent.Timeout(5):
        refused(zmq.EAGAIN, router.send, b"x", last)
        for _ in range(sent):
            assert slow.recv(timeout=5) == b"early"
        router.send(b"x", last)  # again
    assert slow.recv(timeout=5) == b"x"
    router.send_multipart([b"slow", b"next"])
    assert slow.recv(timeout=5) == b"next"


def test_so_it_is_with_a_stream(sockets):
    stream = sockets(zmq.STREAM, sndhwm=1, sndbuf=4096)
    stream.bind("tcp://127.0.0.1:*")
    with socket.create_connection(("127.0.0.1", int(stream.last_endpoint.rpartition(b":")[2])), 10) as peer:
        who, _ = stream.recv_multipart(timeout=5)
        block = bytes(100_000)
        with pytest.raises(zmq.Again):
            while True:  # the system takes some too, and nobody reads: no room for a second is none for good
                stream.send_multipart([who, block], timeout=1)
        stream.send(who, zmq.SNDMORE | zmq.NOBLOCK)
        with gevent.Timeout(5):
            refused(zmq.EAGAIN, stream.send, b"the end")
        while True:
            try:
                stream.send(b"the end", zmq.NOBLOCK)
                break
            except zmq.Again:
                peer.recv(1_000_000)
        last = b""
        while not last.endswith(b"the end"):
            last = last[-10:] + peer.recv(1_000_000)


NEXT = {"part by part": send_all, "at once": lambda router, parts: router.send_multipart(parts)}


@pytest.mark.parametrize("following", NEXT.values(), ids=NEXT)
def test_who_gives_a_message_up_begins_another(full, sockets, following):
    router, _, _ = full
    quick = sockets(zmq.DEALER, routing_id=b"quick")
    quick.connect("inproc://router")
    for _ in range(3):
        refused(zmq.EAGAIN, send_all, router, [b"slow", b"", b"x"], zmq.NOBLOCK)
    following(router, [b"quick", b"", b"hello"])
    assert quick.recv_multipart(timeout=5) == [b"", b"hello"]


# ---- REQ and REP -------------------------------------------------------------------------------------


@pytest.fixture
def turns(sockets):
    """A REQ and a REP."""
    rep, req = sockets.pair(zmq.REP, zmq.REQ, "inproc")
    rep.rcvtimeo = req.rcvtimeo = 2000
    return req, rep


SENDS = {
    "send": lambda socket: socket.send(b"early"),
    "send a bytearray": lambda socket: socket.send(bytearray(b"early")),
    "SNDMORE": lambda socket: socket.send(b"early", zmq.SNDMORE),
    "copy=False": lambda socket: socket.send(b"early" * 20_000, copy=False),
    "send_multipart": lambda socket: socket.send_multipart([b"early", b"too"]),
    "send_many": lambda socket: socket.send_many([b"early"]),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_who_has_not_read_all_of_an_answer_does_not_ask_again(turns, send):
    req, rep = turns
    req.send(b"1")
    rep.recv()
    rep.send_multipart([b"one", b"and more"])
    assert req.recv() == b"one"
    refused(zmq.EFSM, send, req)
    assert req.recv() == b"and more"
    req.send(b"2")
    assert rep.recv() == b"2"
    rep.send(b"two")
    assert req.recv() == b"two"


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_who_has_not_read_all_of_a_request_does_not_answer(turns, send):
    req, rep = turns
    req.send_multipart([b"1", b"and more"])
    assert rep.recv() == b"1"
    refused(zmq.EFSM, send, rep)
    assert rep.recv() == b"and more"
    rep.send(b"one")
    assert req.recv() == b"one"


def test_until_then_there_is_no_room_to_be_seen(turns):
    req, rep = turns
    req.send_multipart([b"1", b"and more"])
    assert rep.recv() == b"1"
    both = zmq.POLLIN | zmq.POLLOUT
    poller = zmq.Poller()
    poller.register(rep, both)
    for _ in range(2):
        assert (rep.events, rep.poll(0, both), rep.poll(10, both)) == (zmq.POLLIN,) * 3
        assert poller.poll(0) == poller.poll(10) == [(rep, zmq.POLLIN)]
        assert rep.poll(1, zmq.POLLOUT) == 0
    assert rep.recv() == b"and more"
    assert (rep.events, rep.poll(0, both), poller.poll(0)) == (zmq.POLLOUT, zmq.POLLOUT, [(rep, zmq.POLLOUT)])


def test_a_relaxed_one_that_asks_again_reads_no_more_of_the_old_answer(turns):
    req, rep = turns
    req.req_relaxed = req.req_correlate = 1
    req.send(b"1")
    rep.recv()
    rep.send_multipart([b"one", b"and more"])
    assert req.recv() == b"one"
    assert req.poll(0, zmq.POLLOUT) == zmq.POLLOUT
    req.send(b"2")
    assert rep.recv() == b"2"
    rep.send(b"two")
    assert req.recv() == b"two"


def test_others_may_send_while_one_reads(sockets):
    """What is against the order of REQ and REP is not against that of others."""
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    left.send_multipart([b"1", b"and more"])
    assert right.recv() == b"1"
    right.send(b"early")
    assert left.recv() == b"early"
    assert right.recv() == b"and more"


# ---- all parts or none -------------------------------------------------------------------------------


def test_of_parts_with_one_that_cannot_be_sent_none_is_taken(pair):
    left, right = pair
    with pytest.raises(TypeError):
        left.send_multipart([b"head", "text"], zmq.SNDMORE)
    left.send_multipart([b"head", b"text"], zmq.SNDMORE)
    left.send(b"end")
    assert right.recv_multipart() == [b"head", b"text", b"end"]


def test_a_tracked_part_that_is_not_the_last_has_its_tracker(pair):
    left, right = pair
    head, body = (zmq.Frame(b"x" * 100_000, copy=False, track=True) for _ in range(2))
    trackers = [left.send(head, zmq.SNDMORE), left.send(body)]
    del head, body
    assert [tracker.done for tracker in trackers] == [False, False]
    right.recv_multipart()
    for tracker in trackers:
        tracker.wait(5)


@pytest.mark.parametrize("call", SENDS)
def test_the_end_of_the_context_comes_before_the_order(turns, sockets, call):
    req, rep = turns
    req.send(b"1")
    rep.recv()
    rep.send_multipart([b"one", b"and more"])
    assert req.recv() == b"one"
    ending = gevent.spawn(sockets.context.term)
    gevent.sleep(0.05)
    refused(zmq.ETERM, SENDS[call], req)
    req.close()
    rep.close()
    ending.get(timeout=5)
