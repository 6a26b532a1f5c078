"""Draft sockets: their waits, addresses and groups. Where libzmq has none, nothing of it can be run."""

import warnings

import gevent
import pytest
from life import waiting
from support import wait_until

import gzmqhelper as zmq

pytestmark = pytest.mark.skipif(not zmq.DRAFT_API, reason="this libzmq is built without its draft API")


def test_a_server_answers_the_client_that_asked(sockets):
    server, client = sockets.pair(zmq.SERVER, zmq.CLIENT)
    other = sockets(zmq.CLIENT)
    other.connect(server.last_endpoint)
    asked = waiting(server.recv, copy=False)
    client.send(b"question")
    frame = asked.join().result
    assert (
        frame.bytes == b"question" and frame.routing_id == frame.get("routing_id") == frame["routing_id"] > 0
    )
    server.send(b"answer", routing_id=frame.routing_id)
    assert client.recv(timeout=5) == b"answer"
    frame.move()
    other.send(b"another")
    server.send(server.recv(copy=False, timeout=5))  # a Frame keeps its address
    assert other.recv(timeout=5) == b"another"
    with pytest.raises(zmq.Again):
        client.recv(zmq.NOBLOCK)


def test_many_clients_are_answered_by_many_greenlets(sockets, ticker):
    server = sockets(zmq.SERVER)
    server.bind("tcp://127.0.0.1:*")

    def serve():
        while True:
            frame = server.recv(copy=False)
            server.send(frame.bytes * 2, routing_id=frame.routing_id)

    def ask(number):
        client = sockets(zmq.CLIENT)
        client.connect(server.last_endpoint)
        for count in range(20):
            client.send(b"%d %d;" % (number, count))
            assert client.recv(timeout=10) == b"%d %d;" % (number, count) * 2

    serving = [gevent.spawn(serve) for _ in range(3)]
    gevent.joinall([gevent.spawn(ask, number) for number in range(10)], timeout=20, raise_error=True)
    gevent.killall(serving)


def test_a_message_that_was_not_asked_for_has_no_routing_id():
    with pytest.raises(zmq.ZMQError, match="routing_id: the message has none"):
        _ = zmq.Frame(b"x").routing_id
    frame = zmq.Frame(b"x")
    frame.routing_id = 5
    assert frame.routing_id == frame.copy().routing_id == 5
    with pytest.raises(zmq.ZMQError, match="routing_id = 0"):
        frame.routing_id = 0
    with pytest.raises(TypeError, match="routing_id: expected an int, got str"):
        frame.set("routing_id", "5")


def test_a_dish_receives_from_a_radio_what_it_has_joined(sockets, ticker):
    dish, radio = sockets.pair(zmq.DISH, zmq.RADIO)
    dish.join("weather")
    dish.join(b"news")
    frame = []

    def heard():
        radio.send(b"sun", group="weather")
        radio.send(b"noise", group="other")
        if dish.poll(20):
            frame.append(dish.recv(copy=False))
        return frame

    assert wait_until(heard)
    assert (frame[0].bytes, frame[0].group, frame[0]["group"]) == (b"sun", "weather", "weather")
    dish.leave("weather")
    with pytest.raises(zmq.ZMQError, match="leave: group='weather'") as caught:
        dish.leave("weather")
    assert caught.value.errno == zmq.EINVAL
    for group in "x" * (zmq.GROUP_MAX_LENGTH + 1), "x\0y":
        with pytest.raises(zmq.ZMQError, match=r"group=.*up to 255 bytes"):
            dish.join(group)


def test_a_group_is_text_that_a_frame_keeps():
    frame = zmq.Frame(b"x")
    assert frame.group == ""
    frame.group = "weather"
    assert frame.group == frame.copy().group == frame.get("group") == "weather"
    with pytest.raises(zmq.ZMQError, match="group"):
        frame.group = "x" * (zmq.GROUP_MAX_LENGTH + 1)
    with pytest.raises(TypeError, match="group: expected str, got int"):
        frame.group = 5


def test_waits_on_a_draft_socket_end_as_others_do(sockets, ticker):
    client = sockets(zmq.CLIENT)
    for call in lambda: client.recv(timeout=0.02), lambda: client.send(b"to nobody", timeout=0.02):
        with pytest.raises(zmq.Again):
            call()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        client.recv()
    killed = waiting(client.recv)
    killed.greenlet.kill()
    receiving, polling = waiting(client.recv), waiting(client.poll)
    client.close()
    assert receiving.join().error.errno == polling.join().error.errno == zmq.ENOTSOCK
    context = zmq.Context()
    sock = context.socket(zmq.SERVER)
    receiving = waiting(sock.recv)
    ending = gevent.spawn(context.term)
    assert isinstance(receiving.join().error, zmq.ContextTerminated)
    sock.close()
    ending.get(timeout=2)
    assert ticker.ticks > 5


def test_its_descriptor_is_had_with_a_warning(sockets):
    server = sockets(zmq.SERVER)
    with pytest.warns(zmq.DraftFDWarning):
        descriptor = server.fileno()
    with pytest.warns(zmq.DraftFDWarning):
        assert server.get(zmq.FD) == descriptor
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sockets(zmq.PAIR).fileno()


def test_a_draft_socket_takes_no_messages_of_parts(sockets):
    server, client = sockets.pair(zmq.SERVER, zmq.CLIENT)
    with pytest.raises(zmq.ZMQError) as caught:
        client.send_multipart([b"a", b"b"])
    assert caught.value.errno == zmq.EINVAL
    client.send(b"c")
    assert server.recv(timeout=5) == b"c"
