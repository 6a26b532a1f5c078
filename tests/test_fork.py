"""fork: the child begins afresh and leaves alone what is its parent's; the parent notices nothing."""

import pytest
from forks import FORKS, run_forking

both_forks = pytest.mark.parametrize("fork", FORKS)


@both_forks
def test_a_child_uses_the_library_afresh(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        pull = ctx.socket(zmq.PULL)
        assert pull.poll(1) == 0             # this greenlet has a companion, which is on watch
        others = [waiting(pull.recv) for _ in range(5)]
        wait_for(in_child(use_afresh))
        """,
    )


@both_forks
def test_a_child_of_a_process_that_has_never_waited_uses_it_afresh_too(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        def work():
            is_refused_in_child(pull.recv)
            is_refused_in_child(pull.recv, zmq.NOBLOCK)
            is_refused_in_child(push.send, b"x")
            use_afresh()
            pull.close()
            ctx.term()
        wait_for(in_child(work))
        """,
    )


@both_forks
def test_a_child_has_an_instance_of_its_own(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context.instance()
        ctx.socket(zmq.PULL).poll(1)
        def work():
            assert ctx.closed
            mine = zmq.Context.instance()
            assert mine is not ctx and not mine.closed
            use_afresh(instance=True)
        wait_for(in_child(work))
        assert zmq.Context.instance() is ctx and not ctx.closed
        """,
    )


@both_forks
def test_a_child_has_an_instance_though_another_thread_was_making_one(fork):
    run_forking(
        fork,
        """
        zmq.Context._instance_lock.acquire()
        wait_for(in_child(lambda: use_afresh(instance=True)))
        zmq.Context._instance_lock.release()
        """,
    )


@both_forks
def test_a_child_counts_its_own_waits_and_not_its_parents(fork):
    run_forking(
        fork,
        """
        from gzmqhelper import _helper

        ctx = zmq.Context()
        pull = ctx.socket(zmq.PULL)
        assert pull.poll(1) == 0
        others = [waiting(pull.recv) for _ in range(5)]
        assert _helper.turns_here().waiting == 5

        def work():
            assert _helper.turns_here().waiting == 0
            use_afresh()
            assert _helper.turns_here().waiting == 0
            seen = []
            gevent.spawn_later(0.01, lambda: seen.append(_helper.turns_here().waiting))
            with zmq.Context() as mine, mine.socket(zmq.PULL) as own:
                assert own.poll(50) == 0
            assert seen == [1]

        wait_for(in_child(work))
        assert _helper.turns_here().waiting == 5
        """,
    )


@both_forks
def test_a_shadow_that_a_child_makes_and_closes_says_that_it_is_closed(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        zmq.Socket(ctx.socket(zmq.PAIR)).close()
        inherited = zmq.Socket(ctx.socket(zmq.PAIR))

        def work():
            inherited.close()
            is_refused_in_child(inherited.send, b"x")
            mine = zmq.Context()
            sock = mine.socket(zmq.PAIR)
            shadow = zmq.Socket(sock)
            shadow.close()
            try:
                shadow.send(b"x")
            except zmq.ZMQError as e:
                assert e.errno == zmq.ENOTSOCK and "fork" not in str(e), str(e)
            else:
                raise AssertionError
            sock.close()
            mine.term()

        wait_for(in_child(work))
        """,
    )


@both_forks
def test_what_a_child_inherits_answers_with_a_clear_error(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        dealer, pub = ctx.socket(zmq.DEALER), ctx.socket(zmq.PUB)
        dealer.bind("inproc://it")
        pub.connect("tcp://127.0.0.1:1")
        dealer.poll(1)
        frame = zmq.Frame(b"of the parent", copy=True)
        large = zmq.Frame(bytes(100_000), copy=False)

        def work():
            is_refused_in_child(dealer.recv)
            is_refused_in_child(dealer.recv, zmq.NOBLOCK)
            is_refused_in_child(lambda: dealer.recv(timeout=1))
            is_refused_in_child(dealer.recv_multipart)
            is_refused_in_child(dealer.send, b"x")
            is_refused_in_child(dealer.send, b"x", zmq.NOBLOCK)
            is_refused_in_child(dealer.send, b"x", zmq.SNDMORE)
            is_refused_in_child(dealer.send_multipart, [b"x", b"y"])
            is_refused_in_child(pub.send, b"x")
            is_refused_in_child(dealer.poll)
            is_refused_in_child(dealer.poll, 0)
            is_refused_in_child(dealer.bind, "inproc://other")
            is_refused_in_child(dealer.connect, "inproc://other")
            is_refused_in_child(dealer.unbind, "inproc://it")
            is_refused_in_child(dealer.get, zmq.LINGER)
            is_refused_in_child(dealer.set, zmq.LINGER, 0)
            is_refused_in_child(dealer.fileno)
            is_refused_in_child(ctx.get, zmq.MAX_SOCKETS)
            is_refused_in_child(ctx.set, zmq.MAX_SOCKETS, 10)
            is_refused_in_child(ctx.socket, zmq.PULL)
            is_refused_in_child(zmq.Socket, ctx, zmq.PULL)
            repr(ctx), repr(dealer)
            # Memory is the child's own.
            assert frame.bytes == b"of the parent" and len(large) == 100_000

        wait_for(in_child(work))
        """,
    )


@both_forks
def test_a_child_that_closes_and_ends_what_it_inherits_does_no_harm(fork):
    run_forking(
        fork,
        """
        import gc
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        endpoint = pull.bind("tcp://127.0.0.1:*").addr
        push.connect(endpoint)
        push.send(b"1")
        assert pull.recv() == b"1"
        waiter = waiting(pull.recv)

        def work():
            global pull, push, ctx
            for linger in (None, 0):
                pull.close(linger)
                push.close(linger)
            assert pull.closed and push.closed
            with Stopwatch() as watch:
                ctx.term()
                ctx.destroy(0)
                with ctx:
                    pass
            assert watch.soon
            pull = push = ctx = None
            gc.collect()

        wait_for(in_child(work))
        push.send(b"2")
        assert waiter.join().result == b"2"
        waiter = waiting(pull.recv)
        wait_for(in_child(work))
        push.send(b"3")
        assert waiter.join().result == b"3"
        """,
    )


@both_forks
def test_copied_greenlets_that_wait_take_nothing_of_the_parents_and_burn_nothing(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        push.connect(pull.bind("tcp://127.0.0.1:*").addr)
        got = []

        def receive():
            while True:
                got.append(int(pull.recv()))

        readers = [gevent.spawn(receive) for _ in range(10)]
        pollers = [waiting(pull.poll) for _ in range(2)]
        senders = [waiting(ctx.socket(zmq.PUSH).send, b"x") for _ in range(2)]

        def work():
            # The copies of the readers wait on in the child. It is idle, for a while.
            began, cpu = time.monotonic(), time.process_time()
            gevent.sleep(0.6)
            burnt = time.process_time() - cpu
            assert burnt < 0.2, f"{burnt:.3f} s of CPU time in {time.monotonic() - began:.3f} s"
            assert got_before == got, "a child received"
            use_afresh()

        def send():
            # In the parent, while the child lives.
            for i in range(3000):
                push.send(b"%d" % i)
                if i % 50 == 0:
                    gevent.sleep(0.01)

        got_before = list(got)
        pid = in_child(work)
        send()
        assert wait_until(lambda: len(got) == 3000), len(got)
        assert sorted(got) == list(range(3000))
        wait_for(pid)
        for one in pollers:
            assert one.join().result == zmq.POLLIN
        assert not any(one.ended for one in senders)
        """,
    )


@both_forks
def test_a_parent_that_forks_under_traffic_loses_no_message_and_no_wakeup(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        router, dealers = ctx.socket(zmq.ROUTER), []
        endpoint = router.bind("tcp://127.0.0.1:*").addr
        stop = False

        def serve():
            while True:
                router.send_multipart(router.recv_multipart())

        def ask(dealer):
            # One request at a time: a lost wake-up would be the end of it.
            done = 0
            while not stop:
                dealer.send(b"%d" % done)
                assert dealer.recv(timeout=5) == b"%d" % done
                done += 1
            return done

        servers = [gevent.spawn(serve) for _ in range(3)]
        for _ in range(10):
            dealer = ctx.socket(zmq.DEALER)
            dealer.connect(endpoint)
            dealers.append(dealer)
        asking = [Outcome(ask, dealer) for dealer in dealers]

        def work():
            use_afresh()

        for _ in range(6):
            gevent.sleep(0.03)
            wait_for(in_child(work))
        stop = True
        for one in asking:
            assert one.join(10).error is None, one.error
            assert one.result > 20, one.result
        """,
    )


@both_forks
def test_a_fork_while_threads_are_inside_the_library_leaves_no_lock_held(fork):
    run_forking(
        fork,
        """
        stop = []

        def hammer():
            # Waits, wake-ups, sockets and contexts that come and go.
            while not stop:
                ctx = zmq.Context()
                pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
                pull.bind("inproc://it")
                push.connect("inproc://it")
                for _ in range(20):
                    waiter = gevent.spawn(pull.recv)
                    gevent.sleep(0)
                    push.send(b"x" * 100_000, copy=False)
                    assert waiter.get(timeout=10)
                ctx.destroy(0)
                running.add(get_original("_thread", "get_ident")())

        running = set()
        threads = [OsThread(hammer) for _ in range(3)]
        # libuv: a child of a fork while another thread makes its first loop hangs in uv_loop_fork.
        assert wait_until(lambda: len(running) == len(threads), 10)
        for _ in range(8):
            gevent.sleep(0.01)
            wait_for(in_child(use_afresh))
        stop.append(True)
        for thread in threads:
            thread.join()
        """,
    )


@both_forks
def test_a_grandchild_works_too(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        ctx.socket(zmq.PULL).poll(1)

        def work():
            mine = zmq.Context()
            sock = mine.socket(zmq.PULL)
            sock.poll(1)
            waiter = waiting(sock.recv)

            def deeper():
                is_refused_in_child(sock.recv)
                use_afresh()
                sock.close()
                mine.term()

            wait_for(in_child(deeper))
            sock.close()
            assert waiter.join().error.errno == zmq.ENOTSOCK
            mine.term()

        wait_for(in_child(work))
        """,
    )


@both_forks
def test_a_child_that_falls_off_its_end_ends_quietly(fork):
    result = run_forking(
        fork,
        """
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        push.linger = -1
        push.connect("tcp://127.0.0.1:1")
        push.send(b"never sent")
        waiters = [waiting(pull.recv) for _ in range(3)]
        pid = FORK()
        if pid == 0:
            signal.alarm(10)
            use_afresh()
            sys.exit(0)          # with all of Python's clean-up
        wait_for(pid)
        """,
    )
    assert result.seconds < 8


@both_forks
def test_the_helper_of_the_greenlet_that_forks_begins_afresh(fork):
    run_forking(
        fork,
        """
        with zmq.helper() as mine:
            before = mine.number

            def work():
                with zmq.helper() as again:
                    pass
                use_afresh()
                with zmq.helper() as again:
                    assert again.number is not None
                    use_afresh()

            wait_for(in_child(work))
            assert mine.number == before
            use_afresh()
        """,
    )


@both_forks
def test_a_message_in_the_middle_stays_with_the_parent(fork):
    run_forking(
        fork,
        """
        ctx = zmq.Context()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        pull.bind("inproc://it")
        push.connect("inproc://it")
        push.send_multipart([b"1", b"2", b"3"])
        assert pull.recv() == b"1"
        push.send(b"4", zmq.SNDMORE)

        def work():
            is_refused_in_child(push.send, b"5")
            push.close()
            pull.close()

        wait_for(in_child(work))
        assert pull.recv() == b"2"
        assert pull.recv() == b"3"
        push.send(b"5")
        assert pull.recv_multipart() == [b"4", b"5"]
        """,
    )


def test_a_process_of_multiprocessing_uses_the_library_afresh():
    run_forking(
        "plain",
        """
        import multiprocessing

        ctx = zmq.Context.instance()
        pull, push = ctx.socket(zmq.PULL), ctx.socket(zmq.PUSH)
        endpoint = pull.bind("tcp://127.0.0.1:*").addr
        waiter = waiting(pull.recv)

        def work(endpoint):
            signal.alarm(10)
            gevent.reinit()
            use_afresh(instance=True)
            with zmq.Context.instance() as mine, mine.socket(zmq.PUSH) as to_parent:
                to_parent.connect(endpoint)
                to_parent.send(b"from the child")

        process = multiprocessing.get_context("fork").Process(target=work, args=(endpoint,))
        process.start()
        assert waiter.join(10).result == b"from the child"
        assert wait_until(lambda: process.exitcode is not None)
        assert process.exitcode == 0
        """,
    )


def test_a_process_that_is_spawned_inherits_no_descriptor():
    run_forking(
        "plain",
        """
        import subprocess
        ctx = zmq.Context()
        pull = ctx.socket(zmq.PULL)
        pull.bind("tcp://127.0.0.1:*")
        waiters = [waiting(pull.recv) for _ in range(3)]
        list_them = "ls -l /proc/self/fd"
        out = subprocess.run(list_them, shell=True, close_fds=False, capture_output=True, text=True).stdout
        assert "pipe" in out and "event" not in out, out
        """,
    )
