"""errors.py: the right class for each errno, and messages that help."""

from __future__ import annotations

import copy
import errno
import os
import pickle

import pytest

import gzmqhelper
from gzmqhelper import constants as c
from gzmqhelper.errors import (
    Again,
    ContextClosed,
    ContextTerminated,
    DraftFDWarning,
    InterruptedSystemCall,
    NotDone,
    ZMQBaseError,
    ZMQBindError,
    ZMQError,
    ZMQVersionError,
    check,
    error,
    no_drafts,
    strerror,
    zmq_errno,
)

OF_THEIR_OWN = [
    (Again, errno.EAGAIN),
    (ContextTerminated, c.ETERM),
    (InterruptedSystemCall, errno.EINTR),
]


@pytest.mark.parametrize("rc", [0, 1, 156384765])
def test_a_result_of_zero_or_more_is_handed_through(rc: int) -> None:
    assert check(rc, "tcp://*:5555") == rc


@pytest.mark.parametrize(("cls", "number"), OF_THEIR_OWN)
def test_a_negative_result_raises_the_class_of_its_errno(cls: type[ZMQError], number: int) -> None:
    with pytest.raises(cls) as caught:
        check(-number)
    assert caught.value.errno == number


def test_an_errno_without_a_class_of_its_own_raises_zmqerror() -> None:
    with pytest.raises(ZMQError) as caught:
        check(-errno.EADDRINUSE)
    assert type(caught.value) is ZMQError
    assert caught.value.errno == c.EADDRINUSE == errno.EADDRINUSE


def test_the_message_says_what_with_what_and_how_to_mend_it() -> None:
    message = str(error(errno.EADDRINUSE, "tcp://*:5555"))
    assert message.startswith(f"{os.strerror(errno.EADDRINUSE)} (tcp://*:5555): ")
    assert "port 0" in message


def test_the_message_does_without_what_it_is_not_given() -> None:
    assert str(error(errno.EADDRINUSE)).startswith(f"{os.strerror(errno.EADDRINUSE)}: ")
    assert str(error(errno.EXDEV, "ipc:///x")) == f"{os.strerror(errno.EXDEV)} (ipc:///x)"
    assert str(error(errno.EXDEV)) == os.strerror(errno.EXDEV)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.EMFILE, "MAX_SOCKETS"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "ulimit -v"),
        (errno.ENOTSOCK, "the socket is closed"),
        (errno.ENAMETOOLONG, "IPC_PATH_MAX_LEN"),
        (errno.ENAMETOOLONG, str(gzmqhelper.IPC_PATH_MAX_LEN)),
        (errno.EHOSTUNREACH, "ROUTER_MANDATORY"),
        (errno.EPROTONOSUPPORT, "has()"),
        (errno.EADDRNOTAVAIL, "*"),
        (errno.ENODEV, "*"),
        (errno.EINVAL, "option"),
        (errno.EAGAIN, "time"),
        (errno.ENOTSUP, "type"),
        (c.EFSM, "REQ_RELAXED"),
        (c.ETERM, "closed"),
        (c.EMTHREAD, "IO_THREADS"),
        (c.ENOCOMPATPROTO, "udp"),
    ],
)
def test_the_usual_causes_come_with_their_remedy(number: int, remedy: str) -> None:
    assert remedy in str(error(number, "about"))


def test_libzmqs_own_errnos_have_a_meaning_and_the_systems_keep_theirs() -> None:
    own = [strerror(number) for number in (c.EFSM, c.ENOCOMPATPROTO, c.ETERM, c.EMTHREAD)]
    assert len(set(own)) == 4
    assert not any("nknown" in meaning for meaning in own)
    assert strerror(errno.EINVAL) == os.strerror(errno.EINVAL)


def test_an_again_is_caught_as_such_and_as_the_errno() -> None:
    with pytest.raises(Again):
        raise error(errno.EAGAIN)
    with pytest.raises(ZMQError) as caught:
        raise Again
    assert caught.value.errno == c.EAGAIN


def test_zmqerror_stays_zmqerror_whatever_its_errno() -> None:
    assert type(ZMQError(errno.EAGAIN)) is ZMQError


def test_zmqerror_takes_an_errno_a_message_both_or_neither() -> None:
    def parts(e: ZMQError) -> tuple[int | None, str, str]:
        return e.errno, e.strerror, str(e)

    assert parts(ZMQError(errno.EINVAL)) == (errno.EINVAL, *[os.strerror(errno.EINVAL)] * 2)
    assert parts(ZMQError(errno.EINVAL, "oh")) == (errno.EINVAL, "oh", "oh")
    assert parts(ZMQError(errno=c.EFSM, msg="oh")) == (c.EFSM, "oh", "oh")
    assert parts(ZMQError("oh")) == (None, "oh", "oh")


def test_zmqerror_without_an_errno_has_that_of_the_last_error() -> None:
    error(errno.EADDRINUSE)
    assert zmq_errno() == errno.EADDRINUSE
    assert ZMQError().errno == ZMQError(msg="oh").errno == errno.EADDRINUSE
    assert str(ZMQError()) == os.strerror(errno.EADDRINUSE)
    assert str(ZMQError(msg="oh")) == "oh"
    with pytest.raises(ZMQError):
        check(-c.EFSM)
    assert zmq_errno() == c.EFSM


def test_what_another_library_calls_a_runtimeerror_is_one_too() -> None:
    closed = ContextClosed(errno.EFAULT, "oh")
    assert isinstance(closed, RuntimeError) and isinstance(closed, ContextTerminated)
    assert (closed.errno, str(closed)) == (errno.EFAULT, "oh")
    drafts = no_drafts("Frame.group")
    assert isinstance(drafts, RuntimeError) and isinstance(drafts, ZMQError)
    assert drafts.errno == c.ENOTSUP
    assert "Frame.group" in str(drafts) and "ENABLE_DRAFTS" in str(drafts)


@pytest.mark.parametrize(("cls", "number"), OF_THEIR_OWN)
def test_a_class_with_an_errno_of_its_own_keeps_it(cls: type[ZMQError], number: int) -> None:
    assert cls().errno == cls(errno.EINVAL).errno == cls("ignored").errno == number
    assert str(cls()) == strerror(number)
    assert str(cls(number, "oh")) == "oh"


def test_repr_shows_the_class_and_the_message() -> None:
    assert repr(ZMQError(errno.EINVAL, "oh")) == "ZMQError('oh')"
    assert repr(Again(msg="oh")) == "Again('oh')"


def test_a_message_may_be_added_to() -> None:
    e = error(errno.EINTR)
    e.strerror += " (again)"
    assert str(e).endswith(" (again)")


@pytest.mark.parametrize("number", [errno.EAGAIN, c.ETERM, errno.EINTR, errno.EMFILE, c.EFSM])
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_an_error_survives_pickle_and_copy(number: int, copied: object) -> None:
    assert callable(copied)
    for e in (error(number, "tcp://*:5555"), ZMQError(errno=number, msg="oh"), ZMQError(number)):
        twin = copied(e)
        assert type(twin) is type(e)
        assert (twin.errno, twin.strerror, repr(twin)) == (e.errno, e.strerror, repr(e))


def test_an_interrupted_call_is_the_builtin_error_too() -> None:
    with pytest.raises(InterruptedError) as caught:
        check(-errno.EINTR, "recv")
    assert caught.value.errno == errno.EINTR
    assert "recv" in str(caught.value)


def test_the_family_is_one() -> None:
    for cls in (ZMQError, Again, ContextTerminated, InterruptedSystemCall, ZMQBindError, NotDone):
        assert issubclass(cls, ZMQBaseError)
    assert issubclass(ZMQVersionError, NotImplementedError)
    assert issubclass(DraftFDWarning, RuntimeWarning)


def test_a_version_error_says_what_needs_which_version() -> None:
    e = ZMQVersionError("4.3.5", "TOPICS_COUNT", version="4.3.4")
    assert str(e) == "TOPICS_COUNT requires libzmq >= 4.3.5, have 4.3.4"
    version = gzmqhelper.zmq_version()
    assert str(ZMQVersionError("9.9.9")) == f"Feature requires libzmq >= 9.9.9, have {version}"
    twin = pickle.loads(pickle.dumps(e))
    assert (str(twin), twin.min_version, twin.version) == (str(e), "4.3.5", "4.3.4")


def test_the_draft_warning_has_words_of_its_own_or_yours() -> None:
    assert "descriptor" in str(DraftFDWarning())
    assert str(DraftFDWarning("oh")) == "oh"
