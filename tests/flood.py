"""Floods, of which some messages lie between C and Python (csrc/batch.c), for the tests of that."""

import gevent
import pytest
from crowd import UNBOUNDED, number_of, numbered

import gzmqhelper as zmq


def pair(sockets, left=zmq.PULL, right=zmq.PUSH, transport="inproc", **left_options):
    return sockets.pair(left, right, transport, {**UNBOUNDED, **left_options}, UNBOUNDED)


def send_all(push, numbers, parts=1):
    for number in numbers:
        push.send_multipart(numbered(number, parts))


def lying(sock):
    """How many messages lie in the batch."""
    return sum(message is not False for message in sock._lying())


def fill_batch(pull, push, least=8):
    """Send and receive numbers until `least` lie in the batch: the next one, and how many were sent."""
    sent = taken = 0
    with gevent.Timeout(20, AssertionError("no batch of that size")):
        while lying(pull) < least:
            if sent - taken < 40:
                send_all(push, range(sent, sent + 200))
                sent += 200
            assert number_of([pull.recv()]) == taken
            taken += 1
    return taken, sent


def rest_of(pull, taken, sent):
    assert [number_of(pull.recv_multipart(timeout=5)) for _ in range(sent - taken)] == list(
        range(taken, sent)
    )
    with pytest.raises(zmq.Again):
        pull.recv(zmq.NOBLOCK)
