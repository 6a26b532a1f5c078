"""Errors that say how to mend it, and tell no secrets. (`test_errors.py` has what goes with each errno.)"""

import errno

import pytest
from support import run

import gzmqhelper as zmq
from gzmqhelper.auth import GreenAuthenticator


def what_is_said(call, *args):
    with pytest.raises(zmq.ZMQError) as caught:
        call(*args)
    return caught.value.errno, str(caught.value)


@pytest.mark.parametrize("method", ["bind", "connect"])
@pytest.mark.parametrize(
    ("addr", "advice"),
    [
        ("tcp://127.0.0.1", "its port is missing, as in tcp://127.0.0.1:5555"),
        ("tcp://[::1]", "its port is missing"),
        ("tcp://127.0.0.1:99999", "at most 65535"),
        (b"tcp://127.0.0.1:70000", "at most 65535"),
        ("127.0.0.1:5555", "a transport and an address, as tcp://"),
        ("name", "a transport and an address, as tcp://"),
        ("inproc://", "what comes after inproc:// is missing"),
        ("tipc://x", "libzmq can make no address of it"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said(sockets, method, addr, advice):
    if (method, addr) == ("connect", "tcp://[::1]"):
        pytest.skip("libzmq takes it for a host name, and resolves it later")
    number, text = what_is_said(getattr(sockets(zmq.PULL), method), addr)
    assert number in (errno.EINVAL, errno.ENODEV)
    assert advice in text
    assert repr(addr) in text


@pytest.mark.parametrize("port", ["0", "*", "50123 "])
def test_a_port_that_can_be_is_none_of_these(sockets, port):
    sockets(zmq.PULL).bind(f"tcp://127.0.0.1:{port}")


def test_a_name_that_something_else_has_is_not_called_a_port(sockets, tmp_path):
    number, text = what_is_said(sockets(zmq.PULL).bind, f"ipc://{tmp_path}")
    assert number == errno.EADDRINUSE
    assert "something else has its name" in text
    assert "port" not in text


def test_a_second_authenticator_is_told_of_the_first(sockets):
    first, second = GreenAuthenticator(sockets.context), GreenAuthenticator(sockets.context)
    first.start()
    try:
        number, text = what_is_said(second.start)
    finally:
        first.stop()
    assert number == errno.EADDRINUSE
    assert "an authenticator of this context runs already" in text


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        (zmq.ROUTING_ID, b"x" * 256, "1 to 255 bytes"),
        (zmq.ROUTING_ID, b"", "1 to 255 bytes"),
        (zmq.CURVE_PUBLICKEY, b"short", "32 bytes, or 40 characters of Z85"),
        (zmq.SNDHWM, -1, "does not take this value"),
        (9999, 1, "no such option"),
        (zmq.HELLO_MSG, b"x", "draft"),
        (zmq.SUBSCRIBE, b"x", "option SUBSCRIBE = b'x'): libzmq"),
    ],
)
def test_what_is_wrong_with_an_options_value_is_said(sockets, option, value, says):
    dealer = sockets(zmq.DEALER)
    if option == zmq.HELLO_MSG and zmq.DRAFT_API:
        pytest.skip("this libzmq has it")
    number, text = what_is_said(dealer.set, option, value)
    assert number == errno.EINVAL
    assert says in text
    assert len(text) < 400


@pytest.mark.parametrize("option", ["curve_secretkey", "plain_password", "socks_password", "wss_key_pem"])
def test_a_secret_that_is_refused_is_not_told(sockets, option):
    secret = b"TOP SECRET" * 100
    _, text = what_is_said(setattr, sockets(zmq.DEALER), option, secret)
    assert option.upper() in text
    assert "SECRET'" not in text
    assert "TOP" not in text


def test_text_for_a_number_is_not_sent_to_set_string(sockets):
    with pytest.raises(TypeError, match="LINGER: expected an int of 32 bits, got str") as caught:
        sockets(zmq.PULL).linger = "0"
    assert "set_string" not in str(caught.value)


@pytest.mark.skipif(zmq.DRAFT_API, reason="this libzmq has them")
@pytest.mark.parametrize("kind", [zmq.SERVER, zmq.CLIENT, zmq.RADIO, zmq.DISH, zmq.PEER, zmq.CHANNEL])
def test_a_draft_socket_says_what_it_needs(sockets, kind):
    with pytest.raises(RuntimeError, match=f"type {kind.name}.*ENABLE_DRAFTS") as caught:
        sockets.context.socket(kind)
    assert isinstance(caught.value, zmq.ZMQError)


def test_what_a_context_refuses_is_named(sockets):
    assert "a socket of type 99): libzmq has no such type" in what_is_said(sockets.context.socket, 99)[1]
    assert "context option IO_THREADS = -5" in what_is_said(sockets.context.set, zmq.IO_THREADS, -5)[1]
    assert "context option 99)" in what_is_said(sockets.context.get, 99)[1]


def test_a_signal_that_cannot_be_handled_is_said_to_be_one():
    number, text = what_is_said(zmq.report_on_signal, 9)
    assert number == errno.EINVAL
    assert "no signal that a process can handle" in text
    assert "host name" not in text


def test_sockets_of_another_binding_are_told_apart():
    """In a process of its own, as a program that has both."""
    run(
        """
        import sys
        try:
            import zmq as pyzmq
        except ImportError:
            sys.exit()
        import gzmqhelper as zmq

        theirs, ours = pyzmq.Context().socket(pyzmq.PULL), zmq.Context().socket(zmq.PUSH)
        poller = zmq.Poller()
        poller.register(theirs, zmq.POLLIN)
        for call in lambda: poller.poll(0), lambda: zmq.proxy(theirs, ours):
            try:
                call()
            except TypeError as e:
                print(e)
        theirs.close()
        """
    )
