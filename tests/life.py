"""Tools of the tests that begin and end things: waits that can be seen, OS threads, baselines."""

import gc
import time

import gevent
from gevent.event import AsyncResult
from gevent.monkey import get_original
from support import Stopwatch, descriptors, threads, wait_until

import gzmqhelper as zmq
from gzmqhelper import _helper


def waits(greenlet):
    """Whether a greenlet waits inside the library at this moment."""
    helper = greenlet.__dict__.get(_helper._OWN)
    return greenlet.gr_frame is not None and helper is not None and helper._waits_for is not None


class Outcome:
    """A greenlet that makes a call, and what came of it."""

    def __init__(self, call, *args, **kwargs):
        self.result = self.error = self.ended = None
        self.greenlet = gevent.spawn(self._run, call, args, kwargs)

    def _run(self, call, args, kwargs):
        try:
            self.result = call(*args, **kwargs)
        except Exception as e:
            self.error = e
        finally:
            self.ended = time.monotonic()

    def join(self, seconds=5):
        self.greenlet.join(seconds)
        assert self.greenlet.dead, f"still waits after {seconds} s"
        return self


def waiting(call, *args, **kwargs):
    """An Outcome that already waits inside the library."""
    outcome = Outcome(call, *args, **kwargs)
    gevent.sleep(0)
    assert wait_until(lambda: waits(outcome.greenlet)), (outcome.result, outcome.error)
    return outcome


def told_soon(outcomes, act, errno):
    """Act; then all of them end with that error, soon."""
    with Stopwatch() as watch:
        act()
        for outcome in outcomes:
            outcome.join()
    for outcome in outcomes:
        assert isinstance(outcome.error, zmq.ZMQError), (outcome.result, outcome.error)
        assert outcome.error.errno == errno, outcome.error
    assert watch.soon, f"{watch.seconds:.3f} s"


def on_the_hub(call, *args, **kwargs):
    """Make a call on the greenlet of the hub, as a callback or a signal handler does; what comes of it."""
    done = AsyncResult()

    def callback():
        try:
            done.set(call(*args, **kwargs))
        except BaseException as e:
            done.set_exception(e)

    gevent.get_hub().loop.run_callback(callback)
    return done.get(timeout=5)


# Under patch_all, threads that make their hubs at the same time wait for each other for ever, in gevent:
# a hub is made with imports, and the import lock needs a hub.
_one_by_one = get_original("_thread", "allocate_lock")()


class OsThread:
    """A thread of the system, with a hub of its own or without. Patched or not."""

    def __init__(self, function, *args, hub=True, tidy=True):
        self.result = self.error = None
        self.done = False
        self._hub, self._tidy = hub, hub and tidy
        self._function, self._args = function, args
        gevent.get_hub()
        get_original("_thread", "start_new_thread")(self._run, ())

    def _run(self):
        try:
            if self._hub:
                with _one_by_one:
                    gevent.get_hub()
            self.result = self._function(*self._args)
        except BaseException as e:
            self.error = e
        finally:
            if self._tidy:
                gevent.get_hub().destroy(destroy_loop=True)
            self.done = True

    def join(self, seconds=10):
        assert wait_until(lambda: self.done, seconds), "the thread still runs"
        if self.error is not None:
            raise self.error
        return self.result


def kept_by_gevent(count):
    """How many descriptors gevent keeps of so many OS threads that had a hub: of some versions, two each."""
    OsThread(gevent.sleep, 0).join()  # what the first one brings is kept once
    before = descriptors()
    for _ in range(5):
        OsThread(gevent.sleep, 0).join()
    return (descriptors() - before) * count // 5


# The companion on watch, and those in the park (csrc/companion.c, PARK_ROOM), may stay.
MAY_STAY = 5


class Baseline:
    """The descriptors and threads of the process: to come back to."""

    def __init__(self):
        gc.collect()
        self.descriptors, self.threads = descriptors(), threads()

    def check(self, seconds=5):
        """They are back, within the time. Each companion that may stay has a descriptor."""

        def back():
            return (
                descriptors() <= self.descriptors + MAY_STAY + 2  # the set, the always ready one
                and threads() <= self.threads + MAY_STAY
            )

        gc.collect()
        assert wait_until(back, seconds), (
            f"descriptors: {self.descriptors} -> {descriptors()}, threads: {self.threads} -> {threads()}"
        )
