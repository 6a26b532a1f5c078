"""Receiving: waiting for a message, sharing a socket with other receivers."""

import gevent

import gzmqhelper as zmq


def test_a_waiting_greenlet_receives_what_is_sent_later(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    waiting = gevent.spawn(pull.recv)
    gevent.sleep(0.05)
    push.send(b"hello")
    assert waiting.get(timeout=5) == b"hello"
