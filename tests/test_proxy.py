"""proxy, proxy_steerable, device: what they carry, what steers them, and what they refuse."""

import struct

import gevent
import pytest
from crowd import FILLING, NARROW, greenlets, number_of, numbered
from gevent.exceptions import BlockingSwitchOutError
from life import Outcome, on_the_hub, waiting
from lines import Line, carries
from support import POLL, run

import gzmqhelper as zmq
from gzmqhelper.devices import monitored_queue


@pytest.fixture
def line(sockets):
    return Line(sockets)


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
    with pytest.raises(BlockingSwitchOutError):
        on_the_hub(zmq.proxy, line.frontend, line.backend)
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
    # The pipe that gets it out, and its own set: one descriptor each; a set of poll(2)'s has none.
    failed = "Too many open files True"
    none, one, *rest = result.stdout.splitlines()
    assert none == f"0 {failed}"
    assert one == ("1 ran" if POLL else f"1 {failed}")
    assert rest == ["2 ran", "b'x'"]
