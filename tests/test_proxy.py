"""proxy, proxy_steerable, device: what they carry, how they are ended, and what others may do meanwhile."""

import struct
import time

import gevent
import pytest
from crowd import FILLING, NARROW, greenlets, number_of, numbered
from gevent.exceptions import BlockingSwitchOutError
from life import SOON, Baseline, OsThread, Outcome, waiting
from support import Stopwatch, run, wait_until

import gzmqhelper as zmq
from gzmqhelper.devices import monitored_queue


class Line:
    """A proxy, with a sender before it and a receiver behind it."""

    def __init__(self, sockets, kinds=(zmq.PUSH, zmq.PULL, zmq.PUSH, zmq.PULL), **options):
        def pair(left, right):
            return sockets.pair(left, right, left_options=options, right_options=options)

        self.frontend, self.sender = pair(kinds[1], kinds[0])
        self.backend, self.receiver = pair(kinds[2], kinds[3])

    def proxy(self, *more):
        return waiting(zmq.proxy, self.frontend, self.backend, *more)


@pytest.fixture
def line(sockets):
    return Line(sockets)


def carries(line, text=b"x"):
    line.sender.send(text)
    return line.receiver.recv(timeout=5) == text


# ---- what it carries -------------------------------------------------------------------------------


def test_messages_go_through_whole_and_in_order_in_both_directions(sockets, ticker):
    line = Line(sockets, (zmq.DEALER, zmq.DEALER, zmq.DEALER, zmq.DEALER))
    running = line.proxy()
    count = 3000

    def send(sock):
        for number in range(count):
            sock.send_multipart(numbered(number, 1 + number % 7))

    with greenlets(lambda: send(line.sender), lambda: send(line.receiver)):
        for sock in (line.receiver, line.sender):
            got = [number_of(sock.recv_multipart(timeout=5)) for _ in range(count)]
            assert got == list(range(count))
    running.greenlet.kill()


def test_many_clients_and_workers_meet_at_a_proxy(sockets, ticker):
    frontend, backend = sockets(zmq.ROUTER), sockets(zmq.DEALER)
    ends = [sock.bind("tcp://127.0.0.1:*").addr for sock in (frontend, backend)]
    running = waiting(zmq.proxy, frontend, backend)

    def work():
        rep = sockets(zmq.REP)
        rep.connect(ends[1])
        while True:
            rep.send(rep.recv()[::-1])

    def ask(client):
        req = sockets(zmq.REQ)
        req.connect(ends[0])
        for number in range(100):
            text = b"%d-%d" % (client, number)
            req.send(text)
            assert req.recv(timeout=10) == text[::-1]

    with greenlets(work, work, work):
        clients = [Outcome(ask, client) for client in range(10)]
        for client in clients:
            assert client.join(20).error is None, client.error
    running.greenlet.kill()


def test_a_large_message_arrives_as_it_was_sent(line):
    line.proxy()
    data = bytes(range(256)) * 40_000
    line.sender.send(data)
    assert line.receiver.recv(timeout=10) == data


def test_where_the_other_side_takes_nothing_the_sender_has_to_wait(sockets):
    line = Line(sockets, **NARROW)
    line.receiver.close()
    line.proxy()
    sent = 0
    with pytest.raises(zmq.Again):
        while True:
            line.sender.send(FILLING, timeout=0.2)
            sent += 1
            assert sent < 1000


def test_the_capture_socket_is_shown_every_message_of_both_sides(sockets):
    line = Line(sockets, (zmq.DEALER, zmq.DEALER, zmq.DEALER, zmq.DEALER))
    capture, shown = sockets.pair(zmq.PUSH, zmq.PULL)
    line.proxy(capture)
    line.sender.send_multipart([b"a", b"b"])
    assert line.receiver.recv_multipart(timeout=5) == [b"a", b"b"]
    assert shown.recv_multipart(timeout=5) == [b"a", b"b"]
    line.receiver.send(b"back")
    assert line.sender.recv(timeout=5) == b"back"
    assert shown.recv_multipart(timeout=5) == [b"back"]


def test_a_capture_socket_that_is_full_holds_all_up_and_nothing_is_lost(sockets):
    line = Line(sockets)
    capture, shown = sockets.pair(zmq.PUSH, zmq.PULL, left_options=NARROW, right_options=NARROW)
    running = line.proxy(capture)
    count = 300
    messages = [b"%d" % number + FILLING for number in range(count)]
    with greenlets(lambda: [line.sender.send(message) for message in messages]):
        gevent.sleep(0.05)
        got = [shown.recv(timeout=5) for _ in range(count)]
        assert got == messages
        assert [line.receiver.recv(timeout=5) for _ in range(count)] == messages
    running.greenlet.kill()


def test_one_socket_may_be_both_sides(sockets):
    rep, req = sockets.pair(zmq.REP, zmq.REQ)
    for call in (lambda: zmq.proxy(rep, rep), lambda: zmq.device(zmq.QUEUE, rep, -1)):
        running = waiting(call)
        for text in (b"one", b"two"):
            req.send(text)
            assert req.recv(timeout=5) == text
        running.greenlet.kill()


def test_rep_and_req_take_turns_however_many_ask_at_once(sockets):
    frontend, backend = sockets(zmq.REP), sockets(zmq.REQ)
    end = frontend.bind("tcp://127.0.0.1:*").addr
    rep = sockets(zmq.REP)
    backend.connect(rep.bind("tcp://127.0.0.1:*").addr)
    waiting(zmq.device, zmq.QUEUE, frontend, backend)
    clients = [sockets(zmq.REQ) for _ in range(5)]
    for number, client in enumerate(clients):
        client.connect(end)
        client.send(b"%d" % number)
    for _ in clients:
        rep.send(rep.recv(timeout=5))
    assert [client.recv(timeout=5) for client in clients] == [b"%d" % n for n in range(5)]


def test_a_monitored_queue_marks_what_it_shows_and_swaps_the_names_between_routers(sockets):
    ins, outs = sockets(zmq.ROUTER), sockets(zmq.ROUTER)
    mon, shown = sockets.pair(zmq.PUSH, zmq.PULL)
    a, b = sockets(zmq.DEALER, identity=b"a"), sockets(zmq.DEALER, identity=b"b")
    a.connect(ins.bind("tcp://127.0.0.1:*").addr)
    b.connect(outs.bind("tcp://127.0.0.1:*").addr)
    for sock, router in ((a, ins), (b, outs)):
        sock.send(b"here")  # a ROUTER knows its peers once they have spoken
        assert router.recv_multipart(timeout=5)[1] == b"here"
    waiting(monitored_queue, ins, outs, mon, b"from in", b"from out")
    a.send_multipart([b"b", b"hello"])
    assert b.recv_multipart(timeout=5) == [b"a", b"hello"]
    assert shown.recv_multipart(timeout=5) == [b"from in", b"b", b"a", b"hello"]
    b.send_multipart([b"a", b"well"])
    assert a.recv_multipart(timeout=5) == [b"b", b"well"]
    assert shown.recv_multipart(timeout=5) == [b"from out", b"a", b"b", b"well"]


# ---- the control socket ----------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [(zmq.REP, zmq.REQ), (zmq.PAIR, zmq.PAIR)], ids=["REP", "PAIR"])
def test_a_proxy_is_paused_resumed_asked_and_terminated(sockets, line, ticker, kinds):
    control, steering = sockets.pair(*kinds)
    running = waiting(zmq.proxy_steerable, line.frontend, line.backend, None, control)

    def say(command):
        steering.send(command)
        if kinds[0] == zmq.REP:
            assert steering.recv(timeout=5) == b""
        elif command != b"TERMINATE":
            steering.send(b"STATISTICS")  # whose answer tells that it has been heard
            assert len(steering.recv_multipart(timeout=5)) == 8

    assert carries(line, b"12345")
    say(b"PAUSE")
    say(b"nonsense")
    line.sender.send(b"held up")
    with pytest.raises(zmq.Again):
        line.receiver.recv(timeout=0.05)
    say(b"RESUME")
    assert line.receiver.recv(timeout=5) == b"held up"
    steering.send(b"STATISTICS")
    numbers = [struct.unpack("=Q", part)[0] for part in steering.recv_multipart(timeout=5)]
    assert numbers == [2, 12, 0, 0, 0, 0, 2, 12]
    say(b"TERMINATE")
    assert running.join().result == 0
    line.sender.send(b"not forwarded")
    assert line.frontend.recv(timeout=5) == b"not forwarded"


def test_commands_are_heard_in_a_flood(sockets, line, ticker):
    control, steering = sockets.pair(zmq.REP, zmq.REQ)
    running = waiting(zmq.proxy_steerable, line.frontend, line.backend, control=control)

    def flood():
        while True:
            line.sender.send(b"x")

    def drink():
        while True:
            line.receiver.recv()

    with greenlets(flood, drink):
        for _ in range(10):
            gevent.sleep(0.01)
            steering.send(b"STATISTICS")
            assert len(steering.recv_multipart(timeout=2)) == 8
        steering.send(b"TERMINATE")
        assert steering.recv(timeout=2) == b""
        assert running.join(2).result == 0


# ---- how it is ended -------------------------------------------------------------------------------


def test_a_kill_ends_it_and_the_sockets_are_free_at_once(line, ticker):
    for _ in range(20):
        running = line.proxy()
        assert carries(line)
        with Stopwatch() as took:
            running.greenlet.kill()
        assert took.seconds - took.stolen < SOON
        line.sender.send(b"to the frontend itself")
        assert line.frontend.recv(timeout=5) == b"to the frontend itself"
        line.backend.send(b"from the backend itself", zmq.NOBLOCK)
        assert line.receiver.recv(timeout=5) == b"from the backend itself"


def test_a_timeout_ends_it_and_leaves_no_trace(line, ticker):
    for _ in range(5):
        with gevent.Timeout(0.02, False):
            zmq.proxy(line.frontend, line.backend)
            raise AssertionError
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


@pytest.mark.parametrize("hwm", [{}, NARROW], ids=["free", "narrow"])
def test_proxies_killed_in_a_flood_lose_and_double_nothing_and_keep_the_order(sockets, hwm):
    # (No ticker: what four busy threads take from this one it cannot tell from what the machine does.)
    line = Line(sockets, **hwm)
    count = 2000
    got = []

    def send():
        for number in range(count):
            line.sender.send_multipart([*numbered(number, 2), FILLING if hwm else b""])

    def receive():
        while True:
            got.append(number_of(line.receiver.recv_multipart()[:2]))

    with greenlets(send, receive):
        end = time.monotonic() + 30
        while len(got) < count:
            assert time.monotonic() < end
            running = Outcome(zmq.proxy, line.frontend, line.backend)
            gevent.sleep(0.004)
            running.greenlet.kill()
            # Of what the frontend has now the greenlet itself takes one, and passes it on.
            try:
                message = line.frontend.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                continue
            line.backend.send_multipart(message)
    assert got == list(range(count))


def test_many_are_killed_at_once_and_their_sockets_are_free(sockets, ticker):
    lines = [Line(sockets) for _ in range(20)]
    running = [line.proxy() for line in lines]
    assert all(carries(line) for line in lines)
    gevent.killall([one.greenlet for one in running])
    for line in lines:
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


@pytest.mark.parametrize("which", ["frontend", "backend", "capture", "control"])
def test_closing_one_of_its_sockets_ends_it(sockets, line, ticker, which):
    capture, _ = sockets.pair(zmq.PUSH, zmq.PULL)
    control, _ = sockets.pair(zmq.PAIR, zmq.PAIR)
    of = {"frontend": line.frontend, "backend": line.backend, "capture": capture, "control": control}
    running = waiting(zmq.proxy_steerable, **of)
    gevent.sleep(0.01)
    with Stopwatch() as took:
        of[which].close()
        running.join()
    assert took.seconds - took.stolen < SOON
    assert running.error.errno == zmq.ENOTSOCK
    if which != "frontend":
        line.sender.send(b"x")
        assert line.frontend.recv(timeout=5) == b"x"


def test_the_end_of_the_context_ends_it(ticker):
    context = zmq.Context()
    frontend, backend = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    running = waiting(zmq.proxy, frontend, backend)
    ending = waiting(context.term)
    assert isinstance(running.join().error, zmq.ContextTerminated)
    frontend.close()
    backend.close()
    assert ending.join().error is None


def test_destroying_the_context_ends_it(ticker):
    context = zmq.Context()
    running = waiting(zmq.proxy, context.socket(zmq.PULL), context.socket(zmq.PUSH))
    with Stopwatch() as took:
        context.destroy(0)
    assert took.seconds - took.stolen < SOON
    assert running.join().error.errno in (zmq.ENOTSOCK, zmq.ETERM)


def test_a_router_that_knows_no_such_peer_ends_it_if_it_was_told_to_say_so(sockets):
    line = Line(sockets, (zmq.DEALER, zmq.DEALER, zmq.ROUTER, zmq.DEALER))
    line.backend.router_mandatory = 1
    running = line.proxy()
    line.sender.send_multipart([b"nobody", b"x"])
    assert running.join().error.errno == zmq.EHOSTUNREACH
    running = line.proxy()  # and that message does not stand in the way of others
    line.receiver.send(b"back")
    assert line.sender.recv_multipart(timeout=5)[-1] == b"back"
    running.greenlet.kill()


# ---- others meanwhile ------------------------------------------------------------------------------


def test_others_run_while_it_carries_a_flood(line, ticker):
    running = line.proxy()
    got = 0

    def flood():
        while True:
            line.sender.send(b"x" * 100)

    with greenlets(flood):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            line.receiver.recv(timeout=5)
            got += 1
    running.greenlet.kill()
    assert got > 1000
    assert ticker.ticks > 20


def test_who_asks_for_its_sockets_waits_until_it_has_ended(line, ticker):
    running = line.proxy()
    assert carries(line)
    with pytest.raises(zmq.Again):
        line.frontend.recv(zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        line.backend.send(b"no", zmq.NOBLOCK)
    with Stopwatch() as took, pytest.raises(zmq.Again):
        line.frontend.recv(timeout=0.1)
    took.check(0.1)
    assert line.frontend.poll(10) == 0
    receiving = waiting(line.frontend.recv)
    killed = waiting(line.frontend.recv)
    sending = waiting(line.backend.send, b"later")
    asking = waiting(line.frontend.get, zmq.EVENTS)
    binding = waiting(line.frontend.bind, "inproc://later")
    killed.greenlet.kill()
    assert carries(line)
    running.greenlet.kill()
    assert line.receiver.recv(timeout=5) == b"later"
    assert asking.join().error is None and binding.join().error is None
    assert sending.join().error is None
    line.sender.send(b"to the one that waited")
    assert receiving.join().result == b"to the one that waited"


def test_a_second_proxy_of_a_socket_begins_when_the_first_has_ended(sockets, line, ticker):
    other, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    first = line.proxy()
    second = waiting(zmq.proxy, line.frontend, other)
    third = waiting(zmq.proxy, line.frontend, other)
    assert carries(line)
    other.send(b"not held by the one that waits", zmq.NOBLOCK)
    assert receiver.recv(timeout=5) == b"not held by the one that waits"
    second.greenlet.kill()
    first.greenlet.kill()
    line.sender.send(b"y")
    assert receiver.recv(timeout=5) == b"y"
    line.frontend.close()
    assert third.join().error.errno == zmq.ENOTSOCK


def test_one_that_waits_for_its_turn_is_told_of_a_close(sockets, line, ticker):
    other, _ = sockets.pair(zmq.PUSH, zmq.PULL)
    line.proxy()
    second = waiting(zmq.proxy, line.frontend, other)
    with Stopwatch() as took:
        other.close()
        assert second.join().error.errno == zmq.ENOTSOCK
    assert took.seconds - took.stolen < SOON
    assert carries(line)


def test_proxies_crosswise_over_the_same_sockets_never_block_each_other_for_ever(sockets, ticker):
    made = [sockets(zmq.PAIR) for _ in range(4)]
    for turn in range(30):
        running = [
            Outcome(zmq.proxy, made[i % 4], made[(i + 1 + turn % 3) % 4], made[(i + 2) % 4]) for i in range(8)
        ]
        gevent.sleep(0.002)
        for outcome in running[:: 1 if turn % 2 else -1]:
            outcome.greenlet.kill()
    for sock in made:
        with pytest.raises(zmq.Again):
            sock.recv(timeout=0.01)


def test_it_runs_in_any_thread_while_others_use_the_far_ends(line, ticker):
    def there():
        try:
            zmq.proxy(line.frontend, line.backend)
        except zmq.ZMQError as e:
            return e.errno

    thread = OsThread(there)
    for _ in range(200):
        assert carries(line)
    line.frontend.close()  # by another thread than its own
    assert thread.join() == zmq.ENOTSOCK


def test_a_thread_that_ends_leaves_the_sockets_of_its_proxies(line, ticker):
    def there():
        kept.append(gevent.spawn(zmq.proxy, line.frontend, line.backend))
        gevent.sleep(0.05)  # and the greenlet never runs again

    kept = []
    OsThread(there, tidy=False).join()
    line.sender.send(b"x")
    assert line.frontend.recv(timeout=5) == b"x"


def test_threads_and_descriptors_come_back_when_many_have_run(sockets):
    lines = [Line(sockets) for _ in range(8)]
    lines[0].proxy().greenlet.kill()
    baseline = Baseline()
    for turn in range(4):
        running = [line.proxy() for line in lines]
        assert all(carries(line) for line in lines)
        for line, outcome in zip(lines, running, strict=True):
            if turn == 3:
                line.frontend.close()
                assert outcome.join().error.errno == zmq.ENOTSOCK
            outcome.greenlet.kill()
    running = outcome = None
    baseline.check()


def test_a_report_names_its_sockets_and_who_waits_for_them(line, ticker):
    running = line.proxy()
    assert carries(line)
    kept_out = waiting(line.frontend.recv)
    report = zmq.report()
    ends = [sock.last_endpoint.decode() for sock in (line.sender, line.receiver)]
    of = {one.call: one.sockets for one in report.waiting}
    assert of["proxy"] == (f"PULL {ends[0]}", f"PUSH {ends[1]}")
    assert of["Socket.recv"] == (f"PULL {ends[0]}",)
    kept_out.greenlet.kill()
    running.greenlet.kill()


# ---- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [zmq.proxy, zmq.proxy_steerable])
def test_what_is_no_open_socket_is_an_error(sockets, call):
    pull, push, closed = sockets(zmq.PULL), sockets(zmq.PUSH), sockets(zmq.PUSH)
    closed.close()
    for wrong in (None, 1, "x", object()):
        with pytest.raises(TypeError, match="backend"):
            call(pull, wrong)
        with pytest.raises(TypeError, match="frontend"):
            call(wrong, push)
    with pytest.raises(TypeError, match="capture"):
        call(pull, push, 5)
    for sides in ((pull, closed), (closed, push), (pull, push, closed)):
        with pytest.raises(zmq.ZMQError) as error:
            call(*sides)
        assert error.value.errno == zmq.ENOTSOCK


def test_a_monitored_queue_needs_sockets_and_bytes(sockets):
    pull, push, mon = sockets(zmq.PULL), sockets(zmq.PUSH), sockets(zmq.PUB)
    with pytest.raises(TypeError):
        monitored_queue(pull, push, None)
    with pytest.raises(TypeError):
        monitored_queue(pull, push, mon, "in", "out")


def test_on_the_hubs_own_greenlet_it_raises_instead_of_waiting(line):
    caught = []

    def callback():
        try:
            zmq.proxy(line.frontend, line.backend)
        except BlockingSwitchOutError as e:
            caught.append(e)

    gevent.get_hub().loop.run_callback(callback)
    assert wait_until(lambda: caught)
    line.sender.send(b"x")
    assert line.frontend.recv(timeout=5) == b"x"


def test_without_descriptors_it_says_which_limit_and_works_when_there_are_some_again():
    result = run(
        """
        import os
        import resource
        import gevent
        import gzmqhelper as zmq
        from gevent.monkey import get_original
        from life import waiting
        close = get_original("os", "close")  # under patch_all, os.close does so later
        ctx = zmq.Context()
        frontend, backend = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        frontend.bind("inproc://front")
        backend.bind("inproc://back")
        sender, receiver = ctx.socket(zmq.PUSH), ctx.socket(zmq.PULL)
        sender.connect("inproc://front")
        receiver.connect("inproc://back")
        with zmq.helper():
            taken = []
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
            gevent.sleep(0.01)
            for spare in (0, 1, 2):
                try:
                    while True:
                        taken.append(os.dup(0))
                except OSError:
                    pass
                for _ in range(spare):
                    close(taken.pop())
                try:
                    with gevent.Timeout(0.5):
                        zmq.proxy(frontend, backend)
                except zmq.ZMQError as e:
                    print(spare, os.strerror(e.errno), "ulimit" in str(e))
                except gevent.Timeout:
                    print(spare, "ran")
        for fd in taken:
            close(fd)
        running = waiting(zmq.proxy, frontend, backend)
        sender.send(b"x")
        print(receiver.recv(timeout=5))
        running.greenlet.kill()
        ctx.destroy(0)
        """
    )
    # Its own set and the pipe that gets it out: one descriptor each.
    failed = "Too many open files True"
    assert result.stdout.splitlines() == [f"0 {failed}", f"1 {failed}", "2 ran", "b'x'"]


@pytest.mark.parametrize("fork", ["plain", "gevent"])
def test_a_fork_while_proxies_run_leaves_them_to_the_parent(fork):
    result = run(
        """
        import os, sys, signal
        import gevent, gevent.os
        from gevent.monkey import get_original
        import gzmqhelper as zmq
        from life import Outcome, waiting
        from support import Sockets, wait_until
        import warnings
        warnings.simplefilter("ignore")
        sockets = Sockets()
        frontend, sender = sockets.pair(zmq.PULL, zmq.PUSH)
        backend, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
        running = waiting(zmq.proxy, frontend, backend)
        second = waiting(zmq.proxy, frontend, backend)
        sender.send(b"before")
        assert receiver.recv(timeout=5) == b"before"
        def child():
            signal.alarm(10)
            gevent.get_hub().exception_stream = None
            try:
                zmq.proxy(frontend, backend)
                raise AssertionError
            except zmq.ZMQError as e:
                assert "fork" in str(e), e
            frontend.close()
            made = Sockets()
            front, far = made.pair(zmq.PULL, zmq.PUSH)
            back, near = made.pair(zmq.PUSH, zmq.PULL)
            own = waiting(zmq.proxy, front, back)
            far.send(b"in the child")
            assert near.recv(timeout=5) == b"in the child"
            own.greenlet.kill()
            made.close()
        if sys.argv[1] == "plain":
            pid = get_original("os", "fork")()
            if pid == 0:
                gevent.reinit()
        else:
            pid = gevent.os.fork_gevent()
        if pid == 0:
            status = 1
            try:
                child()
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        ended = []
        def look():
            found, status = get_original("os", "waitpid")(pid, os.WNOHANG)
            if found:
                ended.append(status)
            return bool(ended)
        assert wait_until(look, 15) and ended == [0], ended
        for number in range(100):
            sender.send(b"%d" % number)
            assert receiver.recv(timeout=5) == b"%d" % number
        running.greenlet.kill()
        second.greenlet.kill()
        sockets.close()
        """,
        fork,
    )
    assert result.stderr == ""


def test_the_process_ends_though_a_proxy_runs():
    result = run(
        """
        import gevent
        import gzmqhelper as zmq
        ctx = zmq.Context.instance()
        gevent.spawn(zmq.proxy, ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH))
        gevent.sleep(0.05)
        print("end")
        """,
        timeout=10,
    )
    assert result.stdout == "end\n"
