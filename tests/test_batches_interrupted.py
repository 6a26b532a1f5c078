"""A Ctrl-C that comes when a batch (csrc/batch.c) has left C and nobody has it yet."""

import contextlib
import copy
import inspect
import signal
import sys

import gevent
import pytest
from crowd import in_threads, number_of
from flood import fill_batch, lying, pair, rest_of, send_all
from support import wait_until

import gzmqhelper as zmq
from gzmqhelper._batches import Batches
from gzmqhelper._native import lib


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
    real = Batches._share

    def interrupted(*args):
        if not lent:
            lent.append(True)
            assert wait_until(lambda: asked)
            raise KeyboardInterrupt
        real(*args)

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

    monkeypatch.setattr(Batches, "_share", interrupted)
    other = gevent.spawn(first)  # in this thread, which is the first receiver
    (found,) = in_threads(second)
    other.join()
    assert sorted(got + found + rest(pull)) == list(range(sent))


@pytest.mark.parametrize("most", [2, 1000])
def test_ctrl_c_after_recv_many_brings_nothing_of_it_back(sockets, monkeypatch, most):
    pull, push = pair(sockets)
    send_all(push, range(20))
    got = [number_of([message]) for message in pull.recv_many(most)]
    real, interrupted = Batches._share, []

    def share(*args):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(Batches, "_share", share)
    sent = 20
    while not interrupted:
        send_all(push, range(sent, sent + 20))
        sent += 20
        with contextlib.suppress(KeyboardInterrupt):
            for _ in range(20):
                got.append(number_of([pull.recv()]))
    assert got + rest(pull) == list(range(sent))


def test_a_handler_that_receives_and_raises_when_a_batch_has_left_c_loses_nothing_of_it(sockets, monkeypatch):
    pull, push = pair(sockets)
    taken, sent = fill_batch(pull, push)
    got = list(range(taken))
    there, lent = [], []
    real = Batches._share

    def handle(*_):
        there.extend(number_of([pull.recv(zmq.NOBLOCK)]) for _ in range(3))
        raise KeyboardInterrupt

    def interrupted(*args):
        if not lent:
            lent.append(True)
            send_all(push, range(sent, sent + 100))
            signal.raise_signal(signal.SIGUSR1)
        real(*args)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        monkeypatch.setattr(Batches, "_share", interrupted)
        with pytest.raises(KeyboardInterrupt):
            while True:
                if sent - len(got) < 40:
                    send_all(push, range(sent, sent + 100))
                    sent += 100
                got.append(number_of([pull.recv()]))
    finally:
        signal.signal(signal.SIGUSR1, before)
    left = rest(pull)
    assert left == sorted(left)
    assert sorted(got + there + left) == list(range(sent + 100))


# ---- at every instruction of what changes a socket's batch ---------------------------------------------


CHANGES = "_share", "_say_shared", "_put_back", "__setattr__"
CODES = {
    function.__code__
    for cls in zmq.Socket.__mro__
    for name, function in vars(cls).items()
    if name in CHANGES and inspect.isfunction(function)
}
TOOL = 4  # of sys.monitoring's six, one that the standard library leaves to others


class Interrupting:
    """Within it, at the nth instruction of those functions, this is called or KeyboardInterrupt raised."""

    def __init__(self, nth, handle=None):
        self.nth = nth
        self.seen = 0
        self.handle = handle

    @property
    def raised(self):
        return self.seen > self.nth

    # From 3.12 on a tracer may hear of a function's instructions only from its second call on.
    if sys.version_info >= (3, 12):

        def __enter__(self):
            events = sys.monitoring.events
            sys.monitoring.use_tool_id(TOOL, "tests")
            sys.monitoring.register_callback(TOOL, events.INSTRUCTION, lambda code, offset: self._see())
            for code in CODES:
                sys.monitoring.set_local_events(TOOL, code, events.INSTRUCTION)
            return self

        def __exit__(self, *_):
            for code in CODES:
                sys.monitoring.set_local_events(TOOL, code, 0)
            sys.monitoring.free_tool_id(TOOL)
    else:

        def __enter__(self):
            sys.settrace(self._call)
            return self

        def __exit__(self, *_):
            sys.settrace(None)

        def _call(self, frame, event, argument):
            if frame.f_code not in CODES:
                return None
            frame.f_trace_opcodes = True
            return self._step

        def _step(self, frame, event, argument):
            if event == "opcode":
                self._see()
            return self._step

    def _see(self):
        if not self.raised:
            self.seen += 1
            if self.raised:
                if self.handle is None:
                    raise KeyboardInterrupt
                self.handle()


def test_ctrl_c_at_any_instruction_that_shares_a_batch_loses_nothing_of_it(sockets):
    pull, push = pair(sockets)
    taken = sent = nth = 0
    while True:
        if sent - taken < 40:
            send_all(push, range(sent, sent + 100))
            sent += 100
        if lying(pull):
            assert number_of([pull.recv()]) == taken
            taken += 1
            continue
        with Interrupting(nth) as interrupting, contextlib.suppress(KeyboardInterrupt):
            assert number_of([pull.recv(timeout=5)]) == taken
            taken += 1
        assert not lib.gzh_socket_lent(pull._ptr)
        if interrupting.raised:
            nth += 1
        elif interrupting.seen:  # else it was no batch
            break
    rest_of(pull, taken, sent)
    assert nth > 20


def test_a_handler_that_receives_at_any_instruction_that_shares_a_batch_loses_nothing_of_it(sockets):
    pull, push = pair(sockets)
    got, sent, nth = [], 0, 0

    def handle():  # leaves some of a batch of its own
        got.extend(number_of([pull.recv(zmq.NOBLOCK)]) for _ in range(3))

    while True:
        if sent - len(got) < 40:
            send_all(push, range(sent, sent + 300))
            sent += 300
        if lying(pull):
            got.append(number_of([pull.recv()]))
            continue
        with Interrupting(nth, handle) as interrupting:
            got.append(number_of([pull.recv(timeout=5)]))
        if interrupting.raised:
            nth += 1
        elif interrupting.seen:
            break
    assert sorted(got + rest(pull)) == list(range(sent))
    assert nth > 20


def test_ctrl_c_at_any_instruction_that_puts_a_batch_back_loses_nothing_of_it(sockets):
    nth = 0
    while True:
        pull, push = pair(sockets)
        taken, sent = fill_batch(pull, push)
        with Interrupting(nth) as interrupting, contextlib.suppress(KeyboardInterrupt):
            other = copy.copy(pull)
            assert lying(pull) == 0
            other.close()
        assert not lib.gzh_socket_lent(pull._ptr)
        rest_of(pull, taken, sent)
        pull.close()
        push.close()
        if not interrupting.raised:
            break
        nth += 1
    assert nth > 50
