"""Log records as messages."""

import logging

import pytest

import gzmqhelper as zmq
from gzmqhelper.log.handlers import PUBHandler, TopicLogger


@pytest.fixture
def logger():
    made = logging.Logger("test")
    yield made
    for handler in made.handlers:
        handler.close()


@pytest.fixture
def subscribed(sockets, logger):
    """A handler, and a socket that gets all it publishes."""
    pub, sub = sockets.pair(zmq.XPUB, zmq.SUB)
    sub.subscribe("")
    pub.recv()  # the subscription has come
    handler = PUBHandler(pub, root_topic="root")
    logger.addHandler(handler)
    return handler, sub


def test_a_record_is_published_with_its_level_as_the_topic(logger, subscribed):
    _, sub = subscribed
    logger.info("said %s", "ü")
    assert sub.recv_multipart() == [b"root.INFO", "said ü\n".encode()]
    logger.debug("where")
    topic, text = sub.recv_multipart()
    assert topic == b"root.DEBUG"
    assert text.startswith(b"DEBUG test_log.py:") and text.endswith(b" - where\n")


def test_the_text_may_name_a_topic_of_its_own(logger, subscribed):
    _, sub = subscribed
    logger.warning("a.b::text")
    topic, text = sub.recv_multipart()
    assert topic == b"root.WARNING.a.b" and text.endswith(b" - text\n")


def test_the_root_topic_can_be_changed_and_left_out(logger, subscribed):
    handler, sub = subscribed
    handler.root_topic = b"other"
    assert handler.root_topic == "other"
    logger.info("x")
    handler.setRootTopic("")
    logger.info("y")
    assert [sub.recv_multipart()[0] for _ in range(2)] == [b"other.INFO", b"INFO"]


def test_a_format_is_for_one_level_or_for_all(logger, subscribed):
    handler, sub = subscribed
    handler.setFormatter(logging.Formatter("all %(message)s"))
    handler.setFormatter(logging.Formatter("info %(message)s"), logging.INFO)
    logger.error("x")
    logger.info("y")
    logger.log(logging.INFO + 5, "between")
    assert [sub.recv_multipart()[1] for _ in range(3)] == [b"all x", b"info y", b"info between"]


def test_other_handlers_get_the_record_as_it_was(logger, subscribed):
    seen = []

    class Other(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    logger.addHandler(Other())
    logger.info("topic::text")
    assert seen == ["topic::text"]


def test_a_record_that_cannot_be_formatted_is_an_error_of_logging_alone(logger, subscribed, capsys):
    logger.info("%d", "no number")
    assert "no number" in capsys.readouterr().err


def test_a_handler_binds_the_endpoint_that_it_is_given():
    with zmq.Context() as ctx:
        handler = PUBHandler("tcp://127.0.0.1:*", ctx)
        assert handler.ctx is ctx and handler.socket.type == zmq.PUB
        with pytest.raises(zmq.ZMQError):
            PUBHandler(handler.socket.last_endpoint.decode(), ctx)
        for sock in list(ctx._sockets):
            sock.close()
    own = PUBHandler("inproc://log")
    assert own.ctx is not ctx
    own.socket.close()
    own.ctx.term()


def test_a_topic_logger_takes_the_topic_first(sockets, subscribed):
    handler, sub = subscribed
    topical = TopicLogger("topics")
    topical.addHandler(handler)
    topical.info("a", "x %d", 1)
    topical.log(logging.INFO, "b", "y")
    topical.error("c", "z")
    topics, texts = zip(*(sub.recv_multipart() for _ in range(3)), strict=True)
    assert topics == (b"root.INFO.a", b"root.INFO.b", b"root.ERROR.c")
    assert texts[:2] == (b"x 1\n", b"y\n")
    assert texts[2].startswith(b"ERROR test_log.py:"), "where it was logged"
    try:
        raise KeyError("why")
    except KeyError:
        topical.exception("d", "failed")
    topic, text = sub.recv_multipart()
    assert topic == b"root.ERROR.d" and b"KeyError: 'why'" in text
