"""A Ctrl-C that comes when a batch (csrc/batch.c) has left C and nobody has it yet."""

import contextlib

import gevent
import pytest
from crowd import in_threads, number_of
from flood import fill_batch, lying, pair, send_all
from support import wait_until

import gzmqhelper as zmq
from gzmqhelper import _messages


def rest(pull):
    got = []
    with contextlib.suppress(zmq.Again):
        while True:
            got.append(number_of([pull.recv(zmq.NOBLOCK)]))
    return got


def test_ctrl_c_loses_no_batch_for_which_another_thread_has_lost_its_patience(sockets, monkeypatch):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    got = list(range(taken)) + [number_of([pull.recv()]) for _ in range(lying(pull))]
    lent, asked = [], []
    real = _messages._recv

    def interrupted(*args):
        rc = real(*args)
        if rc == _messages._SEVERAL and not lent:
            lent.append(True)
            assert wait_until(lambda: asked)
            raise KeyboardInterrupt
        return rc

    def first():
        nonlocal sent
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                if sent - len(got) < 40:
                    send_all(push, range(sent, sent + 200))
                    sent += 200
                got.append(number_of([pull.recv()]))

    def second():
        assert wait_until(lambda: lent)
        try:
            return [number_of([pull.recv(zmq.NOBLOCK)])]  # after it has waited for the batch in vain
        except zmq.Again:
            return []
        finally:
            asked.append(True)

    monkeypatch.setattr(_messages, "_recv", interrupted)
    other = gevent.spawn(first)  # in this thread, which is the first receiver
    (found,) = in_threads(second)
    other.join()
    assert sorted(got + found + rest(pull)) == list(range(sent))


@pytest.mark.parametrize("most", [2, 1000])
def test_ctrl_c_after_recv_many_brings_nothing_of_it_back(sockets, monkeypatch, most):
    pull, push = pair(sockets)
    send_all(push, range(20))
    got = [number_of([message]) for message in pull.recv_many(most)]

    def interrupted(*args):
        raise KeyboardInterrupt  # before C was asked

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_messages, "_recv", interrupted)
        pull.recv()
    assert got + rest(pull) == list(range(20))
