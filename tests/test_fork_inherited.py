"""What a forked child may still ask of a socket that its parent has made: nothing that could wait."""

from support import run


def test_an_inherited_socket_has_no_address_and_says_so_where_it_is_asked_for_parts():
    run("""
        import os, gevent.os
        import gzmqhelper as zmq
        sock = zmq.Context().socket(zmq.PULL)
        shadow = zmq.Socket.shadow(sock)
        pid = gevent.os.fork_gevent()
        if pid == 0:
            status = 1
            try:
                assert (sock.underlying, shadow.closed) == (0, True)
                for ask in (lambda: sock.rcvmore, lambda: sock.join("group")):
                    try:
                        ask()
                        raise AssertionError
                    except zmq.ZMQError as e:
                        assert e.errno == zmq.ENOTSOCK and "fork" in str(e), e
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert sock.underlying and not shadow.closed and sock.rcvmore == 0
        sock.close()
    """)
