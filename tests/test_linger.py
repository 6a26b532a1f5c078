"""A greenlet that is alone in its hub stays awake for a quick answer, and never at another's cost."""

import os

import gevent
import pytest
from gevent.socket import wait_read

import gzmqhelper as zmq
from gzmqhelper import _helper


@pytest.fixture
def pair(sockets, monkeypatch):
    """A PAIR that has seen all its news and asked something, and its peer; on however few processors."""
    monkeypatch.setattr(_helper, "_MAY_LINGER", True)
    turns = _helper.turns_here()
    turns.waiting = turns.answers = turns.in_vain = turns.skip = 0
    one, peer = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    peer.send(b"connected")
    assert one.recv() == b"connected"
    with pytest.raises(zmq.Again):
        one.recv(zmq.NOBLOCK)
    one.send(b"asked")
    gevent.sleep(0.01)  # the hub's own business is done: it may have been made to turn
    turns.waiting = turns.answers = turns.in_vain = turns.skip = 0
    return one, peer


def test_news_for_the_socket_are_seen_awake(pair):
    one, peer = pair
    peer.send(b"quick", zmq.NOBLOCK)
    assert _helper.linger(one._ptr)
    assert one.recv(zmq.NOBLOCK) == b"quick"


def test_it_is_not_tried_where_no_answer_is_expected(pair):
    one, peer = pair
    peer.send(b"answer", zmq.NOBLOCK)
    assert _helper.linger(one._ptr)
    assert one.recv(zmq.NOBLOCK) == b"answer"
    peer.send(b"more", zmq.NOBLOCK)
    assert not _helper.linger(one._ptr)
    assert _helper.turns_here().in_vain == 0


def test_without_news_it_ends_after_a_moment_and_is_tried_less_and_less(pair):
    one, peer = pair
    tried = 0
    for _ in range(300):
        before = _helper.turns_here().skip
        one.send(b"asked", zmq.NOBLOCK)
        assert not _helper.linger(one._ptr)
        tried += _helper.turns_here().skip > before
    assert 5 <= tried <= 10
    _helper.turns_here().skip = 0
    one.send(b"asked", zmq.NOBLOCK)
    peer.send(b"quick", zmq.NOBLOCK)
    assert _helper.linger(one._ptr)
    assert _helper.turns_here().in_vain == 0


def test_it_is_not_tried_while_a_greenlet_of_this_hub_waits(pair, sockets):
    one, peer = pair
    other = gevent.spawn(sockets(zmq.PULL).recv)
    gevent.sleep(0.01)
    peer.send(b"quick", zmq.NOBLOCK)
    assert not _helper.linger(one._ptr)
    other.kill()
    gevent.sleep(0.01)
    _helper.turns_here().skip = 0  # the other had lingered too, in vain
    assert _helper.linger(one._ptr)


def test_it_is_not_tried_while_a_greenlet_of_this_hub_can_run(pair):
    one, peer = pair
    peer.send(b"quick", zmq.NOBLOCK)
    other = gevent.spawn(int)
    assert not _helper.linger(one._ptr)
    other.join()
    assert _helper.linger(one._ptr)


def test_it_gives_way_to_a_descriptor_that_the_hub_waits_for(pair):
    one, peer = pair
    read, write = os.pipe()
    other = gevent.spawn(wait_read, read)
    gevent.sleep(0.01)
    os.write(write, b"x")
    peer.send(b"quick", zmq.NOBLOCK)
    assert not _helper.linger(one._ptr)
    other.join()
    os.read(read, 1)
    os.close(read)
    os.close(write)


def test_the_hub_turns_after_so_many_answers(pair):
    one, peer = pair
    lingered = []
    for _ in range(_helper._ANSWERS + 1):
        one.send(b"asked", zmq.NOBLOCK)
        peer.send(b"quick", zmq.NOBLOCK)
        lingered.append(_helper.linger(one._ptr))
        one.recv(zmq.NOBLOCK)
        with pytest.raises(zmq.Again):
            one.recv(zmq.NOBLOCK)
    assert lingered == [True] * _helper._ANSWERS + [False]


def test_a_timeout_is_kept_while_news_come_that_are_no_message(pair, monkeypatch):
    one, _ = pair
    tried = []
    monkeypatch.setattr("gzmqhelper._messages.linger", lambda pointer: not tried.append(pointer))
    with pytest.raises(zmq.Again):
        one.recv(timeout=0.02)
    assert len(tried) == 3
