"""`PUBHandler`: log records, published by a PUB socket; `TopicLogger`: a logger that names topics.

A whole feature on top of `Context` and `Socket`; the standard module `logging` calls it, on the
greenlet that logs. A PUB socket never waits: what its subscribers cannot take it drops.
"""

from __future__ import annotations

import logging
from copy import copy
from typing import Any, Final

from .._context import Context
from .._socket import Socket
from ..constants import PUB

__all__ = ["TOPIC_DELIM", "PUBHandler", "TopicLogger"]

TOPIC_DELIM: Final = "::"

_SHORT: Final = "%(message)s\n"
_LONG: Final = "%(levelname)s %(filename)s:%(lineno)d - %(message)s\n"
_FORMATS: Final = {
    logging.DEBUG: _LONG,
    logging.INFO: _SHORT,
    logging.WARNING: _LONG,
    logging.ERROR: _LONG.replace("\n", " - %(exc_info)s\n"),
    logging.CRITICAL: _LONG,
}


class PUBHandler(logging.Handler):
    """Publishes each log record as a message of two parts: its topic, and the text.

    interface_or_socket: a Socket, or the endpoint that a new PUB socket binds; context: where that
    is made, if not in one of its own. The topic is "root_topic.LEVEL", and ".more" if the text is
    "more::the rest": then only the rest is the text.
    Raises on making `ZMQError`, if the endpoint cannot be bound.
    """

    def __init__(
        self, interface_or_socket: str | Socket, context: Context | None = None, root_topic: str = ""
    ) -> None:
        super().__init__()
        self.root_topic = root_topic
        self.formatters: dict[int, logging.Formatter | None] = {
            level: logging.Formatter(text) for level, text in _FORMATS.items()
        }
        if isinstance(interface_or_socket, Socket):
            self.socket = interface_or_socket
            self.ctx = self.socket.context
        else:
            self.ctx = context or Context()
            self.socket = self.ctx.socket(PUB)
            self.socket.bind(interface_or_socket)

    @property
    def root_topic(self) -> str:
        """What each topic begins with; "" for nothing."""
        return self._root_topic

    @root_topic.setter
    def root_topic(self, value: str | bytes) -> None:
        self.setRootTopic(value)

    def setRootTopic(self, root_topic: str | bytes) -> None:
        """Set the `root_topic`."""
        self._root_topic = root_topic.decode() if isinstance(root_topic, bytes) else root_topic

    def setFormatter(self, fmt: logging.Formatter | None, level: int = logging.NOTSET) -> None:
        """Set the format for one level; for all of them if none is given."""
        for which in list(self.formatters) if level == logging.NOTSET else [level]:
            self.formatters[which] = fmt

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record. A level that has no format of its own has the next lower one's."""
        levels = sorted(self.formatters)
        level = next((n for n in reversed(levels) if n <= record.levelno), levels[0])
        return (self.formatters[level] or logging.Formatter()).format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Publish a record. Errors go where logging's errors go: to stderr, if at all."""
        try:
            topic, delimiter, text = str(record.msg).partition(TOPIC_DELIM)
            if delimiter:
                record = copy(record)  # which other handlers get too
                record.msg = text
            topics = [self.root_topic, record.levelname, topic if delimiter else ""]
            text = self.format(record)
            self.socket.send_multipart([".".join(filter(None, topics)).encode(), text.encode()])
        except Exception:
            self.handleError(record)


class TopicLogger(logging.Logger):
    """A logger whose methods take a topic before the message: ``log.info("sub.topic", "text")``."""

    def log(self, level: int, topic: str, msg: object, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]  # that is what it is for
        """Log a message with a topic."""
        # The record tells where this was called, and not this line.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, f"{topic}{TOPIC_DELIM}{msg}", *args, **kwargs)


def _method(level: int, **also: Any) -> Any:
    def log(self: TopicLogger, topic: str, msg: object, *args: Any, **kwargs: Any) -> None:
        kwargs = {**also, **kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1}
        self.log(level, topic, msg, *args, **kwargs)

    log.__doc__ = f"Log a message with a topic, at level {logging.getLevelName(level)}."
    return log


for _name in ("debug", "info", "warning", "warn", "error", "critical", "fatal"):
    setattr(TopicLogger, _name, _method(getattr(logging, _name.upper())))
TopicLogger.exception = _method(logging.ERROR, exc_info=True)  # type: ignore[method-assign]  # with a topic, as all of them
