"""What the tests of fork share: `run_forking` in the test, the rest in its script, which forks.

A child reports what it saw as the exit status of its process and on stderr, which is the parent's too.
"""

import os
import signal
import sys
import textwrap
import traceback

import gevent
import gevent.os
from gevent.monkey import get_original
from life import waiting
from support import Stopwatch, run, wait_until

import gzmqhelper as zmq

FORKS = ["plain", "gevent"]

# What every script begins with.
HEAD = """
import os
import signal
import sys
import time
import warnings

import gevent
import gzmqhelper as zmq
from forks import FORK, in_child, is_refused_in_child, use_afresh, wait_for
from gevent.monkey import get_original
from life import OsThread, Outcome, waiting
from support import Sockets, Stopwatch, wait_until

warnings.simplefilter("ignore", DeprecationWarning)  # "fork in a process with threads": the point of this

"""


def run_forking(fork, script):
    """Run a script in which FORK is one of FORKS, and which says nothing on stderr."""
    result = run(HEAD + textwrap.dedent(script), fork)
    assert result.stderr == ""
    return result


def plain_fork():
    """os.fork as it is; gevent asks that its child then says reinit()."""
    pid = get_original("os", "fork")()
    if pid == 0:
        gevent.reinit()
    return pid


# The one that the script is run with. (Of gevent's own, the one that leaves waitpid alone: gevent.os.waitpid
# misses a child that ends at once.)
FORK = gevent.os.fork_gevent if sys.argv[1:] == ["gevent"] else plain_fork


def in_child(work, seconds=10):
    """Fork, and run work() in the child: a test of its own, with a time limit. Returns its number."""
    pid = FORK()
    if pid == 0:
        status = 1
        try:
            signal.alarm(seconds)  # whatever hangs ends here
            gevent.get_hub().exception_stream = None  # copied greenlets end with errors, rightly
            work()
            status = 0
        except BaseException:
            print("in the child:", file=sys.stderr)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def wait_for(pid, seconds=15):
    """The child ends, and has nothing to complain of."""
    ended = []

    def look():
        found, status = get_original("os", "waitpid")(pid, os.WNOHANG)
        if found:
            ended.append(status)
        return bool(ended)

    assert wait_until(look, seconds), "the child still runs"
    assert ended[0] == 0, f"the child's status: {ended[0]:#x}"


def is_refused_in_child(call, *args):
    """The call answers, soon, that the object is the parent's."""
    with Stopwatch() as watch:
        try:
            call(*args)
        except zmq.ZMQError as e:
            error = e
        else:
            raise AssertionError(f"no error from {call}")
    assert error.errno == zmq.ENOTSOCK or isinstance(error, zmq.ContextTerminated), repr(error)
    assert "fork" in str(error), str(error)
    assert watch.soon


def use_afresh(instance=False):
    """All kinds of waits, in a new context."""
    ctx = zmq.Context.instance() if instance else zmq.Context()
    pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
    endpoint = pull.bind("tcp://127.0.0.1:*").addr
    waiter = waiting(pull.recv)
    push.connect(endpoint)
    push.send(b"1")
    assert waiter.join().result == b"1"
    try:
        pull.recv(timeout=0.01)
        raise AssertionError
    except zmq.Again:
        pass
    gevent.spawn_later(0.01, push.send, b"2")
    assert pull.recv(timeout=5) == b"2"
    many = [waiting(pull.recv) for _ in range(20)]
    for _ in many:
        push.send(b"3")
    assert all(one.join().result == b"3" for one in many)
    push.close()
    pull.close()
    ctx.term()
