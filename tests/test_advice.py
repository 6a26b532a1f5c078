"""Errors that say how to mend it, and tell no secrets. (`test_errors.py` has what goes with each errno.)"""

import errno

import pytest

import gzmqhelper as zmq
from gzmqhelper.auth import GreenAuthenticator


def what_is_said(call, *args):
    with pytest.raises(zmq.ZMQError) as caught:
        call(*args)
    return caught.value.errno, str(caught.value)


WRONG = [
    ("tcp://127.0.0.1", "its port is missing, as in tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:99999", "at most 65535"),
    (b"tcp://127.0.0.1:70000", "at most 65535"),
    ("tcp://127.0.0.1:" + "9" * 5000, "at most 65535"),
    ("127.0.0.1:5555", "a transport and an address, as tcp://"),
    ("name", "a transport and an address, as tcp://"),
    ("inproc://", "what comes after inproc:// is missing"),
    ("tipc://x", "libzmq can make no address of it"),
]


@pytest.mark.parametrize(
    ("method", "addr", "advice"),
    [
        *(("bind", *wrong) for wrong in WRONG),
        *(("connect", *wrong) for wrong in WRONG),
        ("bind", "tcp://[::1]", "its port is missing"),  # connect takes it, as a name to be resolved later
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said(sockets, method, addr, advice):
    number, text = what_is_said(getattr(sockets(zmq.PULL), method), addr)
    assert number in (errno.EINVAL, errno.ENODEV)
    assert advice in text
    assert repr(addr) in text


@pytest.mark.parametrize(
    ("method", "port"),
    [("bind", "0"), ("bind", "*"), ("connect", "65535"), ("connect", "0" * 5000 + "65535")],
)
def test_a_port_that_can_be_is_none_of_these(sockets, method, port):
    getattr(sockets(zmq.PULL), method)(f"tcp://127.0.0.1:{port}")


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
        (zmq.SUBSCRIBE, b"x", "option SUBSCRIBE = b'x'): libzmq"),
    ],
)
def test_what_is_wrong_with_an_options_value_is_said(sockets, option, value, says):
    number, text = what_is_said(sockets(zmq.DEALER).set, option, value)
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


def test_a_secret_that_is_no_text_is_not_told_either(sockets):
    with pytest.raises(TypeError, match=r"PLAIN_PASSWORD.*expected str") as caught:
        sockets(zmq.DEALER).set_string(zmq.PLAIN_PASSWORD, b"TOP SECRET")
    assert "TOP" not in str(caught.value)


def test_text_for_a_number_is_not_sent_to_set_string(sockets):
    with pytest.raises(TypeError, match="LINGER: expected an int of 32 bits, got str") as caught:
        sockets(zmq.PULL).linger = "0"
    assert "set_string" not in str(caught.value)


@pytest.mark.skipif(zmq.has("draft"), reason="a libzmq with the draft API may take the option")
def test_a_draft_option_says_what_it_needs(sockets):
    number, text = what_is_said(sockets(zmq.DEALER).set, zmq.HELLO_MSG, b"x")
    assert number == errno.EINVAL
    assert "draft" in text
    assert len(text) < 400


@pytest.mark.skipif(zmq.DRAFT_API, reason="libzmq and this package have them: see test_drafts.py")
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


class Foreign:
    """As another binding's socket is, where there is none."""

    underlying = 1

    def fileno(self):
        return 0


@pytest.fixture(params=["like pyzmq's", "pyzmq's"])
def foreign(request):
    if request.param == "like pyzmq's":
        yield Foreign()
    else:
        pyzmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
        with pyzmq.Context() as context, context.socket(pyzmq.PULL) as theirs:
            yield theirs


def test_a_socket_of_another_binding_is_told_apart(sockets, foreign):
    poller = zmq.Poller()
    poller.register(foreign, zmq.POLLIN)
    with pytest.raises(TypeError, match=r"another binding: give Socket\.shadow"):
        poller.poll(0)
    name = f"{type(foreign).__module__}.{type(foreign).__qualname__}"
    with pytest.raises(TypeError, match=f"must be a gzmqhelper.Socket, got {name}"):
        zmq.proxy(foreign, sockets(zmq.PUSH))
