"""`report`: who waits, for what, since when, and where; and by a signal, in any state of a program."""

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path

import gevent
import pytest
from gevent.socket import wait_read
from life import OsThread, waiting
from support import PATCHED, run, wait_until

import gzmqhelper as zmq
from gzmqhelper import _helper, _report
from gzmqhelper.auth import GreenAuthenticator
from gzmqhelper.monitor import recv_monitor_message

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(autouse=True)
def nobody_waits_yet():
    gc.collect()
    assert wait_until(lambda: not zmq.report().waiting), str(zmq.report())


def of(outcome):
    """What the report says of a greenlet that waits."""
    (found,) = (one for one in zmq.report().waiting if one.greenlet == outcome.greenlet.name)
    return found


def iterate(socket):
    for _ in socket:
        pass


def track(sockets):
    push = sockets(zmq.PUSH)
    push.connect("tcp://127.0.0.1:1")
    tracker = push.send(b"x" * 100_000, copy=False, track=True)
    return tracker.wait


CALLS = {
    "recv": (zmq.PULL, "Socket.recv", lambda s: s.recv()),
    "recv with a timeout": (zmq.PULL, "Socket.recv", lambda s: s.recv(timeout=20)),
    "recv_multipart": (zmq.PULL, "Socket.recv_multipart", lambda s: s.recv_multipart()),
    "recv_json": (zmq.PULL, "Socket.recv_json", lambda s: s.recv_json()),
    "a loop": (zmq.PULL, "Socket.__iter__", iterate),
    "poll": (zmq.PULL, "Socket.poll", lambda s: s.poll()),
    "send": (zmq.PUSH, "Socket.send", lambda s: s.send(b"x")),
    "send_string": (zmq.PUSH, "Socket.send_string", lambda s: s.send_string("x")),
    "the first part": (zmq.PUSH, "Socket.send", lambda s: s.send(b"x", zmq.SNDMORE)),
    "a monitor": (zmq.PAIR, "recv_monitor_message", recv_monitor_message),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_waits_is_reported_with_its_socket_and_its_place(name, sockets, ticker):
    kind, call, function = CALLS[name]
    sock = sockets(kind)
    sock.bind("inproc://here")

    def here():
        function(sock)

    outcome = waiting(here)
    said = of(outcome)
    assert said.call == call
    assert said.sockets == (f"{kind.name} inproc://here",)
    assert said.stack[0].file == __file__
    (place,) = (place for place in said.stack if place.function == "here")
    assert (place.file, place.line) == (__file__, here.__code__.co_firstlineno + 1)
    assert said.thread == _report._thread_number()
    assert not said.answered
    outcome.greenlet.kill()
    assert outcome.greenlet.name not in str(zmq.report())


def test_a_blocking_call_is_reported_with_its_endpoint(sockets, ticker):
    pull = sockets(zmq.PULL)
    pull.monitor("inproc://nobody-reads")  # so this will wait
    outcome = waiting(pull.bind, "tcp://127.0.0.1:*")
    assert of(outcome).call == "Socket.bind(addr='tcp://127.0.0.1:*')"
    assert of(outcome).sockets[0].startswith("PULL")
    outcome.greenlet.kill()
    left = zmq.report().left
    assert len(left) == 1
    assert f"Still in a call that its greenlet has left: companion {left[0]}." in str(zmq.report())


def test_the_end_of_a_context_is_reported_with_what_keeps_it(sockets, ticker):
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.bind("inproc://still-open")
    outcome = waiting(context.term)
    assert (of(outcome).call, len(of(outcome).sockets)) == ("Context.term", 1)
    assert "in Context.term, while open are PULL" in str(of(outcome))
    pull.close()
    outcome.join()


def test_a_poll_is_reported_with_all_that_it_watches(sockets, ticker):
    pull, req = sockets(zmq.PULL), sockets(zmq.REQ)
    pull.bind("inproc://pulls")
    req.bind("inproc://asks")
    ours, theirs = os.pipe()
    poller = zmq.Poller()
    for thing in (pull, req, ours):
        poller.register(thing, zmq.POLLIN)
    polls = {"Poller.poll": poller.poll, "select": lambda: zmq.select([pull, req, ours], [], [])}
    for call, function in polls.items():
        outcome = waiting(function)
        said = of(outcome)
        assert said.call == call
        assert set(said.sockets) == {"PULL inproc://pulls", "REQ inproc://asks", f"descriptor {ours}"}
        outcome.greenlet.kill()
    os.close(ours)
    os.close(theirs)


def test_a_proxy_is_reported_with_both_ends_though_it_keeps_them_to_itself(sockets, ticker):
    front, back = sockets(zmq.PULL), sockets(zmq.PUSH)
    front.bind("inproc://front")
    back.connect("inproc://back")
    outcome = waiting(zmq.proxy, front, back)
    said = of(outcome)
    assert said.call == "proxy"
    assert set(said.sockets) == {"PULL inproc://front", "PUSH inproc://back"}
    outcome.greenlet.kill()


def test_an_authenticator_is_reported_with_where_the_program_started_it(sockets):
    authenticator = GreenAuthenticator(sockets.context)
    authenticator.start()
    assert wait_until(lambda: zmq.report().waiting)
    (said,) = zmq.report().waiting
    assert (said.call, said.sockets) == ("Socket.recv_multipart", ("REP inproc://zeromq.zap.01",))
    assert (said.stack, said.started.function) == ((), sys._getframe().f_code.co_name)
    authenticator.stop()


def test_an_object_for_the_same_socket_has_the_same_endpoint(sockets):
    pull = sockets(zmq.PULL)
    pull.bind("inproc://one")
    for shadow in (zmq.Socket.shadow(pull), zmq.Socket(sockets.context, shadow=pull.underlying)):
        outcome = waiting(shadow.recv)
        assert of(outcome).sockets == ("PULL inproc://one",)
        outcome.greenlet.kill()


def test_a_tracker_is_reported(sockets):
    outcome = waiting(track(sockets))
    assert of(outcome).call == "MessageTracker.wait"
    outcome.greenlet.kill()


def test_a_class_of_the_programs_own_is_called_by_its_name_and_the_place_is_in_it(sockets):
    class Mine(zmq.Socket):
        def recv(self, *args):
            return super().recv(*args)

    with sockets.context.socket(zmq.PULL, Mine) as mine:
        outcome = waiting(mine.recv)
        assert (of(outcome).call, of(outcome).stack[0].function) == ("Mine.recv", "recv")
        outcome.greenlet.kill()


def test_a_wait_is_as_long_as_it_is(sockets, ticker):
    pull = sockets(zmq.PULL)
    before = time.time()
    outcome = waiting(pull.recv)
    gevent.sleep(0.1)
    said = of(outcome)
    assert 0.08 < said.seconds < 5
    assert abs(said.since - before) < said.seconds
    pull.bind("inproc://x")
    other = sockets(zmq.PUSH)
    other.connect("inproc://x")
    other.send(b"x")
    outcome.join()
    again = waiting(pull.recv)
    assert of(again).seconds < 0.08
    assert [one.greenlet for one in zmq.report().waiting] == [again.greenlet.name]


def test_who_has_waited_longest_comes_first(sockets):
    outcomes = []
    for _ in range(3):
        outcomes.append(waiting(sockets(zmq.PULL).recv))
        gevent.sleep(0.02)
    assert [one.greenlet for one in zmq.report().waiting] == [o.greenlet.name for o in outcomes]


def test_where_a_greenlet_has_no_frame_of_the_programs_its_start_is_told(sockets):
    pull = sockets(zmq.PULL)
    greenlet = gevent.spawn(pull.recv)
    assert wait_until(lambda: zmq.report().waiting)
    (said,) = zmq.report().waiting
    assert (said.stack, said.started.function) == ((), sys._getframe().f_code.co_name)
    greenlet.kill()


def test_the_main_greenlet_is_reported_too(sockets):
    pull = sockets(zmq.PULL)
    reports = []
    gevent.spawn_later(0.02, lambda: reports.append(zmq.report()))
    with pytest.raises(zmq.Again):
        pull.recv(timeout=0.1)
    (said,) = reports[0].waiting
    if not PATCHED:
        assert said.greenlet == "The main greenlet"
    assert said.stack[0].function == sys._getframe().f_code.co_name


def test_greenlets_of_other_threads_are_reported_with_their_thread(sockets, ticker):
    pull = sockets(zmq.PULL)
    ours = waiting(pull.recv)
    numbers = []

    def elsewhere():
        numbers.append(_report._thread_number())
        with pytest.raises(zmq.ZMQError):
            pull.recv()

    thread = OsThread(elsewhere)
    assert wait_until(lambda: len(zmq.report().waiting) == 2)
    report = zmq.report()
    theirs = next(one for one in report.waiting if one.thread != _report._thread_number())
    assert [theirs.thread] == numbers
    assert theirs.stack[0].function == "elsewhere"
    assert f"OS thread {theirs.thread}:" in str(report)
    assert report.running == {}
    pull.close()
    thread.join()
    ours.join()


def test_a_thread_that_is_busy_is_reported_with_what_it_does(sockets, ticker):
    pull = sockets(zmq.PULL)
    done = []

    def elsewhere():
        gevent.spawn(pull.recv)
        gevent.sleep(0.02)
        while not done:  # its hub never runs
            time_of_the_standard_library.sleep(0.001)
        pull.close()
        gevent.sleep(0.02)

    time_of_the_standard_library = type(sys)("sleeper")
    time_of_the_standard_library.sleep = _helper.original("time", "sleep")
    thread = OsThread(elsewhere)
    assert wait_until(lambda: zmq.report().running)
    ((number, place),) = zmq.report().running.items()
    assert (number, place.function) == (zmq.report().waiting[0].thread, "elsewhere")
    assert f"Its hub is busy\n    at {place}" in str(zmq.report())
    done.append(True)
    thread.join()


def test_one_that_was_answered_and_has_not_run_says_so(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    outcome = waiting(pull.recv)
    push.send(b"x")
    end = time.monotonic() + 5
    while not of(outcome).answered and time.monotonic() < end:
        pass  # and the hub does not run
    assert "has been answered, but its hub does not let it run" in str(of(outcome))
    assert outcome.join().result == b"x"


def test_companions_are_counted(sockets):
    outcomes = [waiting(sockets(zmq.PULL).recv) for _ in range(3)]
    report = zmq.report()
    numbers = [one.companion for one in report.waiting]
    assert len(set(numbers)) == 3
    assert all(number > 0 for number in numbers)
    assert report.on_watch is not None
    assert report.companions >= 3
    assert abs(report.taken - time.time()) < 5
    for outcome in outcomes:
        outcome.greenlet.kill()
    outcomes.clear()
    del outcome
    gc.collect()
    assert wait_until(lambda: zmq.report().parked > 0)
    text = str(zmq.report())
    assert text.startswith("gzmqhelper: 0 greenlets wait. Companions: ")
    assert f"number {report.on_watch} on watch" in text


def test_of_very_many_some_are_printed(sockets):
    pull = sockets(zmq.PULL)
    greenlets = [gevent.spawn(pull.recv) for _ in range(300)]
    assert wait_until(lambda: len(zmq.report().waiting) == 300)
    text = str(zmq.report())
    assert text.count(" has waited ") == 100
    assert text.endswith("And 200 more.")
    gevent.killall(greenlets)


def test_of_a_deep_stack_the_innermost_places_are_printed(sockets):
    pull = sockets(zmq.PULL)

    def deep(depth):
        return pull.recv() if depth == 0 else deep(depth - 1)

    said = of(waiting(deep, 10))
    assert len(said.stack) > 11
    assert str(said).count("called from") == 4
    assert re.search(r"and \d+ more", str(said))


def test_the_endpoint_of_a_socket_without_one_is_none(sockets):
    pull = sockets(zmq.PULL)
    assert of(waiting(pull.recv)).sockets == ("PULL without an endpoint",)


def test_it_works_on_the_hubs_own_greenlet_and_in_a_signal_handler(sockets):
    outcome = waiting(sockets(zmq.PULL).recv)
    reports = []
    gevent.get_hub().loop.run_callback(lambda: reports.append(zmq.report()))
    gevent.sleep(0.01)
    before = signal.signal(signal.SIGUSR2, lambda *_: reports.append(zmq.report()))
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert wait_until(lambda: len(reports) == 2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    for report in reports:
        assert [one.greenlet for one in report.waiting] == [outcome.greenlet.name]


def test_it_keeps_nothing_alive(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    outcome = waiting(pull.recv)
    report = zmq.report()
    push.send(b"x")
    outcome.join()
    greenlet, socket = weakref.ref(outcome.greenlet), weakref.ref(pull)
    pull.close()
    sockets.made.clear()
    del outcome, pull, push
    gevent.sleep(0.01)
    gc.collect()
    assert (greenlet(), socket()) == (None, None)
    assert report.waiting


def test_greenlets_that_have_ended_are_forgotten(sockets):
    pull = sockets(zmq.PULL)
    gc.collect()
    before = len(_helper.helpers())
    greenlets = [gevent.spawn(pull.recv, timeout=0.01) for _ in range(50)]
    gevent.joinall(greenlets)
    for greenlet in greenlets:
        assert isinstance(greenlet.exception, zmq.Again)
    greenlets.clear()
    del greenlet
    gc.collect()
    assert len(_helper.helpers()) <= before + 1


# ---- on a signal -------------------------------------------------------------------------------------

HEAD = """
import os, signal, sys
import gevent
from gevent.monkey import get_original
import gzmqhelper as zmq

zmq.report_on_signal(signal.SIGUSR1)
pull = zmq.Context().socket(zmq.PULL)
pull.bind("inproc://waits-here")
waits = gevent.spawn(pull.recv)
gevent.sleep(0.05)

def ready():
    print("ready", flush=True)

def spins():
    ready()
    while True:
        pass

# To read what is printed to the standard error, which wakes no hub.
def hear():
    global heard
    heard, ours = os.pipe()
    os.dup2(ours, 2)

def hear_a_report():
    data = b""
    while b"started at" not in data:
        data += os.read(heard, 65536)
    return data.decode()
"""

STATES = {
    "a greenlet keeps the hub busy": "spins()",
    "the hub sleeps": "ready(); gevent.sleep(1000)",
    "everything waits": "ready(); pull.recv()",
    "a call blocks the thread": "ready(); get_original('time', 'sleep')(1000)",
    # (It begins anew after each signal, and the interpreter has no say.)
    "a call in C hears no signal": "import ctypes; libc = ctypes.CDLL(None); ready()\n"
    "while True: libc.usleep(10**8)",
}


def until_it_says(stream, wanted, seconds=20):
    """What comes until then; an error if it does not."""
    text = ""
    with gevent.Timeout(seconds, AssertionError(f"{wanted!r} did not come")):
        while wanted not in text:
            wait_read(stream.fileno())
            more = os.read(stream.fileno(), 65536).decode()
            assert more, text
            text += more
    return text


@pytest.mark.parametrize("state", STATES)
def test_a_signal_prints_a_report_whatever_the_program_does(state):
    head = "import gevent.monkey; gevent.monkey.patch_all()\n" if PATCHED else ""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{head}{HEAD}\n{STATES[state]}\n"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent,
    )
    try:
        until_it_says(process.stdout, "ready")
        for _ in range(3):
            process.send_signal(signal.SIGUSR1)
            text = until_it_says(process.stderr, "started at")
            assert "in Socket.recv of PULL inproc://waits-here (companion " in text
            assert "Traceback" not in text
            gevent.sleep(0.02)  # to where it stays
        if STATES[state] == "spins()":
            assert re.search(r"Its hub is busy\n    at .* in spins", text)
    finally:
        process.kill()
        process.communicate()


def test_a_forked_child_prints_its_own():
    result = run(
        HEAD
        + """
child = os.fork()
if child == 0:
    hear()
    push = zmq.Context().socket(zmq.PUSH)
    push.bind("inproc://in-the-child")
    waits = gevent.spawn(push.send, b"x")
    gevent.sleep(0.05)
    os.kill(os.getpid(), signal.SIGUSR1)
    text = hear_a_report()
    os._exit(0 if text.count("has waited") == 1 and "PUSH inproc://in-the-child" in text else 1)
_, status = os.waitpid(child, 0)
hear()
os.kill(os.getpid(), signal.SIGUSR1)
text = hear_a_report()
assert text.count("has waited") == 1 and "PULL inproc://waits-here" in text, text
print("child", status, flush=True)
os._exit(0)
"""
    )
    assert result.stdout == "child 0\n"
    assert "has waited" not in result.stderr


def test_it_may_be_said_often_and_of_several_signals():
    result = run(
        HEAD
        + """
hear()
zmq.report_on_signal()
zmq.report_on_signal(signal.SIGUSR2)
threads = len(os.listdir("/proc/self/task"))
zmq.report_on_signal(signal.SIGUSR2)
assert len(os.listdir("/proc/self/task")) == threads
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
    os.kill(os.getpid(), number)
    assert hear_a_report().count("has waited") == 1
signal.signal(signal.SIGUSR2, lambda *_: print("the program's own", flush=True))
os.kill(os.getpid(), signal.SIGUSR2)
gevent.sleep(0.1)
os.set_blocking(heard, False)
try:
    print(os.read(heard, 1000), flush=True)
except BlockingIOError:
    pass
os._exit(0)
"""
    )
    assert (result.stdout, result.stderr) == ("the program's own\n", "")


def test_what_is_no_signal_is_an_error():
    run("""
        import gzmqhelper as zmq
        for wrong in (0, 9, 1000, -1):
            try:
                zmq.report_on_signal(wrong)
            except zmq.ZMQError as e:
                assert e.errno == zmq.EINVAL and str(wrong) in str(e), (wrong, e)
            else:
                raise AssertionError(wrong)
    """)


def test_the_readme_shows_it_on_a_deadlock(tmp_path):
    text = README.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (program,) = (block for block in blocks if "zmq.report()" in block)
    # It ends with the report: its context is still in use.
    (tmp_path / "deadlock.py").write_text(program)
    result = run(
        "import os, runpy, sys; runpy.run_path(sys.argv[1]); sys.stdout.flush(); os._exit(0)",
        tmp_path / "deadlock.py",
    )
    assert result.stdout.startswith("gzmqhelper: 2 greenlets wait.")
    for endpoint in ("inproc://left", "inproc://right"):
        assert re.search(rf"in Socket.recv of REQ {endpoint} \(companion \d\)", result.stdout)
    # What the README shows is what it prints, but for times, numbers and paths.
    shown = text.split(program)[1].split("prints\n\n", 1)[1]
    shown = textwrap.dedent(re.match(r"(?:    .*\n|\n)+", shown)[0])

    def plain(printed):
        return sorted(re.sub(r"\S*deadlock|[\d.:]+", "#", printed.strip()).splitlines())

    assert plain(shown) == plain(result.stdout)


def test_those_that_came_at_once_stand_in_their_order(sockets):
    pull = sockets(zmq.PULL)
    readers = [gevent.spawn(pull.recv) for _ in range(20)]
    gevent.sleep(0.02)
    came = [(one.since, one.companion) for one in zmq.report().waiting]
    assert came == sorted(came)
    assert len(came) == 20
    gevent.killall(readers)


@pytest.mark.timeout(60)
def test_several_threads_may_make_reports_though_garbage_is_collected_meanwhile():
    """Finalizers let other threads run, which must not be in the midst of a look at all frames."""
    run(
        """
        import gc
        import time
        import gzmqhelper as zmq
        from gzmqhelper import _helper
        from gevent.monkey import get_original
        from life import OsThread

        end = time.monotonic() + 1

        def garbage():
            helper = _helper.Helper()
            helper.start()
            cycle = [helper]
            cycle.append(cycle)

        def reports():
            while time.monotonic() < end:
                garbage()
                zmq.report()

        def deep(n=0):
            return deep(n + 1) if n < 30 else get_original("time", "sleep")(0.0001)

        def spin():
            while time.monotonic() < end:
                deep()

        gc.set_threshold(1)
        threads = [OsThread(function, hub=False) for function in [reports, reports, spin, spin, spin]]
        for thread in threads:
            thread.join()
        """,
        timeout=20,
    )


def test_a_report_leaves_the_collector_as_it_is():
    for collects in True, False:
        (gc.enable if collects else gc.disable)()
        try:
            zmq.report()
            assert gc.isenabled() == collects
        finally:
            gc.enable()


def test_the_frames_of_other_threads_are_not_kept_while_it_is_made(sockets, monkeypatch):
    """CPython frees those of a greenlet that goes with its thread, whoever has them."""
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    numbers = []
    thread = OsThread(lambda: (numbers.append(_report._thread_number()), pull.recv()))
    assert wait_until(lambda: zmq.report().waiting)

    def references():
        return sys.getrefcount(sys._current_frames()[numbers[0]])

    before, during = references(), []
    real = _report._describe
    monkeypatch.setattr(_report, "_describe", lambda thing: (during.append(references()), real(thing))[1])
    assert [one.call for one in zmq.report().waiting] == ["Socket.recv"]
    assert during == [before]
    push.send(b"x")
    thread.join()
