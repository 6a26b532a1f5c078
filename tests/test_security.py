"""NULL, PLAIN and CURVE between sockets, and the handler of libzmq's questions written by hand."""

import gevent
import pytest
from life import Outcome, waiting

import gzmqhelper as zmq
from gzmqhelper.utils import z85


def zap_handler(sockets, status=b"200", metadata=b"", asked=None):
    """A greenlet that answers every question so."""
    rep = sockets(zmq.REP)
    rep.bind("inproc://zeromq.zap.01")

    def answer():
        for _ in range(100):
            message = rep.recv_multipart()
            if asked is not None:
                asked.append(message)
            version, number = message[:2]
            rep.send_multipart([version, number, status, b"text", b"somebody", metadata])

    return waiting(answer)


def connect(server, client):
    server.bind("tcp://127.0.0.1:*")
    client.connect(server.last_endpoint.decode())
    return server, client


def plain(sockets, username=b"admin", password=b"secret", **options):
    server = sockets(zmq.DEALER, plain_server=1, **options)
    return connect(server, sockets(zmq.DEALER, plain_username=username, plain_password=password))


def curve(sockets, wrong=False):
    public, secret = zmq.curve_keypair()
    mine, my_secret = zmq.curve_keypair()
    server = sockets(zmq.DEALER, curve_secretkey=secret, curve_publickey=public, curve_server=1)
    known = zmq.curve_keypair()[0] if wrong else public
    return connect(
        server,
        sockets(zmq.DEALER, curve_serverkey=known, curve_publickey=mine, curve_secretkey=my_secret),
    )


def bounce(server, client, ticker=None):
    client.send_multipart([b"there", b"and back"])
    frames = server.recv_multipart(copy=False, timeout=5)
    server.send_multipart(frames)
    assert client.recv_multipart(timeout=5) == [b"there", b"and back"]
    return frames


def test_the_mechanism_of_a_socket_follows_from_its_options(sockets):
    assert sockets(zmq.DEALER).mechanism == zmq.NULL
    server, client = plain(sockets)
    assert (server.mechanism, client.mechanism) == (zmq.PLAIN, zmq.PLAIN)
    assert (server.plain_server, client.plain_server) == (1, 0)
    assert (client.plain_username, client.plain_password) == (b"admin", b"secret")
    server, client = curve(sockets)
    assert (server.mechanism, client.mechanism) == (zmq.CURVE, zmq.CURVE)
    assert (server.curve_server, client.curve_server) == (1, 0)


def test_null_lets_everybody_in(sockets, ticker):
    bounce(*connect(sockets(zmq.DEALER), sockets(zmq.DEALER)))


def test_plain_lets_in_whom_the_handler_lets_in(sockets, ticker):
    asked = []
    zap_handler(sockets, metadata=b"\x05Hello\0\0\0\x05World", asked=asked)
    frames = bounce(*plain(sockets, identity=b"me", zap_domain=b"here"))
    assert asked[0][0] == b"1.0"
    assert asked[0][2:] == [b"here", b"127.0.0.1", b"me", b"PLAIN", b"admin", b"secret"]
    for frame in frames:
        assert frame["User-Id"] == frame.get(zmq.MSG_PROPERTY_USER_ID) == "somebody"
        assert frame["Hello"] == "World"
        assert frame["Socket-Type"] == "DEALER"
        assert frame["Peer-Address"] == "127.0.0.1"
        with pytest.raises(zmq.ZMQError) as caught:
            frame["Nothing"]
        assert caught.value.errno == zmq.EINVAL


@pytest.mark.parametrize("status", [b"300", b"400", b"500"])
def test_whom_the_handler_turns_away_gets_nothing_through(status, sockets, ticker):
    zap_handler(sockets, status)
    server, client = plain(sockets)
    client.send(b"x")
    with pytest.raises(zmq.Again):
        server.recv(timeout=0.1)


def test_curve_carries_messages_and_asks_if_there_is_a_handler(sockets, ticker):
    bounce(*curve(sockets))
    asked = []
    zap_handler(sockets, asked=asked)
    frames = bounce(*curve(sockets))
    assert asked[0][5] == b"CURVE"
    assert len(asked[0][6]) == 32
    assert frames[0]["User-Id"] == "somebody"


def test_curve_with_the_wrong_key_of_the_server_gets_nothing_through(sockets, ticker):
    server, client = curve(sockets, wrong=True)
    client.send(b"x")
    with pytest.raises(zmq.Again):
        server.recv(timeout=0.1)


def test_null_asks_only_for_sockets_with_a_domain(sockets, ticker):
    asked = []
    zap_handler(sockets, b"400", asked=asked)
    bounce(*connect(sockets(zmq.DEALER), sockets(zmq.DEALER)))
    assert asked == []
    server, client = connect(sockets(zmq.DEALER, zap_domain=b"here"), sockets(zmq.DEALER))
    client.send(b"x")
    with pytest.raises(zmq.Again):
        server.recv(timeout=0.1)
    assert asked[0][5] == b"NULL"


def test_who_waits_on_a_peer_that_is_never_let_in_is_told_of_the_close(sockets, ticker):
    zap_handler(sockets, b"400")
    server, client = plain(sockets)
    outcome = waiting(server.recv)
    waiting(server.recv).greenlet.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        server.recv()
    server.close()
    assert outcome.join().error.errno == zmq.ENOTSOCK
    lonely = waiting(client.recv)
    ending = Outcome(sockets.context.term)
    assert isinstance(lonely.join().error, zmq.ContextTerminated)
    for sock in sockets.made:
        sock.close()
    ending.join()


def test_new_keys_are_z85_and_the_public_one_follows_from_the_secret_one():
    public, secret = zmq.curve_keypair()
    assert (type(public), len(public), type(secret), len(secret)) == (bytes, 40, bytes, 40)
    assert len(z85.decode(public)) == len(z85.decode(secret)) == 32
    assert zmq.curve_public(secret) == public
    assert zmq.curve_keypair() != (public, secret)
