"""Threads of the system, each with its hub and its greenlets: they share sockets, come, and go."""

import threading

import gevent
from gevent.monkey import get_original
from life import Baseline, OsThread, Outcome, kept_by_gevent, waiting
from support import wait_until

import gzmqhelper as zmq

sleep_for_real = get_original("time", "sleep")


def test_threads_share_a_socket_and_each_message_comes_once(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    count = 4000

    def receive_some():
        got = []

        def receive():
            while True:
                parts = pull.recv_multipart()
                if parts == [b"end"]:
                    return
                assert parts[0] == parts[1], "a torn message"
                got.append(int(parts[0]))

        greenlets = [gevent.spawn(receive) for _ in range(4)]
        gevent.joinall(greenlets, timeout=20, raise_error=True)
        return got

    def send_some(start):
        for i in range(start, count, 2):
            push.send_multipart([b"%d" % i] * 2)

    receivers = [OsThread(receive_some) for _ in range(3)]
    senders = [OsThread(send_some, start) for start in range(2)]
    for sender in senders:
        sender.join(20)
    for _ in range(12):
        push.send(b"end")
    got = [number for receiver in receivers for number in receiver.join(20)]
    assert sorted(got) == list(range(count))


def test_threads_ask_and_answer_over_one_socket_each_way(sockets, ticker):
    router, dealer = sockets.pair(zmq.ROUTER, zmq.DEALER)

    def answer():
        def serve():
            while True:
                who, number = router.recv_multipart()
                if number == b"end":
                    return
                router.send_multipart([who, b"%d" % (int(number) + 1)])

        gevent.joinall([gevent.spawn(serve) for _ in range(2)], timeout=20, raise_error=True)

    threads = [OsThread(answer) for _ in range(2)]
    for i in range(300):
        dealer.send(b"%d" % i)
    assert sorted(int(dealer.recv(timeout=10)) for _ in range(300)) == list(range(1, 301))
    for _ in range(4):
        dealer.send(b"end")
    for thread in threads:
        thread.join()


def test_a_socket_may_be_made_used_and_closed_by_different_threads(sockets):
    pull = OsThread(sockets, zmq.PULL).join()
    endpoint = OsThread(lambda: pull.bind("tcp://127.0.0.1:*").addr).join()
    push = sockets(zmq.PUSH)
    push.connect(endpoint)
    waiter = waiting(pull.recv)
    OsThread(push.send, b"1").join()
    assert waiter.join().result == b"1"
    push.send(b"2")
    assert OsThread(pull.recv).join() == b"2"
    OsThread(pull.close).join()
    assert pull.closed


def test_a_context_may_be_ended_by_another_thread():
    ctx = zmq.Context()
    pull = ctx.socket(zmq.PULL)

    def receive():
        try:
            pull.recv()
        except zmq.ContextTerminated:
            pull.close()
            return "told"

    waiter = waiting(receive)
    OsThread(ctx.term).join()
    assert waiter.join().result == "told"
    assert ctx.closed


def test_a_thread_that_blocks_its_own_hub_stops_nobody_elses_messages(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    asleep = []

    def block():
        gevent.spawn(pull.recv)  # waits, first in the line
        gevent.sleep(0.01)
        asleep.append(True)
        sleep_for_real(0.3)  # a hub that does not turn: its greenlet is granted one message, and keeps it
        return True

    thread = OsThread(block, tidy=False)
    assert wait_until(lambda: asleep)
    for i in range(20):
        push.send(b"%d" % i)
    got = [int(pull.recv(timeout=5)) for _ in range(19)]
    assert not thread.done
    assert len(set(got)) == 19
    thread.join()
    # ... and passes it on when its thread ends.
    last = int(pull.recv(timeout=5))
    assert sorted([*got, last]) == list(range(20))


def test_what_was_granted_to_greenlets_of_a_thread_that_ends_goes_to_others(sockets, ticker):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    seen = []

    def wait_and_end():
        for _ in range(10):
            gevent.spawn(pull.recv)
        gevent.sleep(0.01)
        seen.append("waiting")
        # Granted while this hub does not turn; and then the thread ends.
        while "sent" not in seen:
            sleep_for_real(0.001)
        sleep_for_real(0.05)

    thread = OsThread(wait_and_end, tidy=False)
    assert wait_until(lambda: seen)
    for i in range(20):
        push.send(b"%d" % i)
    seen.append("sent")
    thread.join()
    assert [int(pull.recv(timeout=5)) for _ in range(20)] == list(range(20))


def test_senders_of_a_thread_that_ends_send_nothing_and_stop_nobody(sockets, ticker):
    pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)

    def wait_and_end():
        for _ in range(5):
            gevent.spawn(push.send, b"of the dead")
            gevent.spawn(push.poll, None, zmq.POLLOUT)
        gevent.sleep(0.01)

    OsThread(wait_and_end, tidy=False).join()
    living = waiting(push.send, b"of the living")
    pull.bind("inproc://there")
    push.connect("inproc://there")
    living.join()
    assert pull.recv(timeout=5) == b"of the living"
    assert pull.poll(20) == 0


def test_a_thread_that_ends_during_a_term_leaves_it_to_go_on():
    ctx = zmq.Context()
    sock = ctx.socket(zmq.PULL)

    def begin_and_end():
        gevent.spawn(ctx.term)
        gevent.sleep(0.01)

    OsThread(begin_and_end, tidy=False).join()
    assert ctx.closed
    later = waiting(ctx.term)
    sock.close()
    assert later.join().error is None


def test_a_companion_of_a_thread_that_ended_during_a_call_serves_its_next_greenlet_only(sockets):
    # The old greenlet's helper is collected while the companion, out of the park, is another's.
    ctx = zmq.Context()
    sock = ctx.socket(zmq.PULL)
    helpers = []

    def begin():
        helpers.append(zmq.helper())
        ctx.term()

    def begin_and_end():
        gevent.spawn(begin)
        gevent.sleep(0.01)

    waiting(sockets(zmq.PULL).recv)  # somebody else's companion is on watch
    OsThread(begin_and_end, tidy=False).join()
    number = helpers[0].number
    sock.close()
    ctx.term()

    # Use up what is parked, until it would be its turn.
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    numbers = range(70)  # the park holds 64 at most
    waiters = [waiting(pull.recv) for _ in numbers]
    helpers.pop().__del__()
    for i in numbers:
        push.send(b"%d" % i)
    assert sorted(int(waiter.join().result) for waiter in waiters) == list(numbers), number


def test_a_thread_that_was_never_patched_or_told_of_gevent_may_use_what_is_at_once(sockets):
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH, "inproc")
    got = []

    def plain():
        push.send(b"x")
        got.append(pull.recv(zmq.NOBLOCK))

    get_original("_thread", "start_new_thread")(plain, ())
    assert wait_until(lambda: got)
    assert got == [b"x"]


def test_threads_that_come_and_go_at_once_leave_nothing(sockets):
    pull = sockets(zmq.PULL)
    waiting(pull.recv).greenlet.kill()
    of_gevent = kept_by_gevent(20)
    before = Baseline()

    def use():
        greenlets = [gevent.spawn(pull.recv, timeout=0.02) for _ in range(3)]
        gevent.joinall(greenlets)
        return [g.value for g in greenlets if g.value is not None]

    for _ in range(5):
        threads = [OsThread(use) for _ in range(4)]
        for thread in threads:
            thread.join()
    before.descriptors += of_gevent
    before.check()


def test_the_threading_module_works_as_ever(sockets):
    # Patched, these are greenlets of this thread; else threads with hubs of their own.
    pull, push = sockets.pair(zmq.PULL, zmq.PUSH)
    gevent.get_hub()
    got = []
    thread = threading.Thread(target=lambda: got.append(pull.recv()))
    thread.start()
    assert Outcome(push.send, b"x").join().error is None
    assert wait_until(lambda: got)
    assert got == [b"x"]
