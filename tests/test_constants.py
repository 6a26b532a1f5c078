"""constants.py: its two lists of names agree, and its values are those of libzmq."""

from __future__ import annotations

import errno
from enum import IntEnum, IntFlag

import pytest

from gzmqhelper import constants as c

# How an enum's members are called as names of the module, where that is not simply the same.
PREFIXES: dict[type[IntEnum | IntFlag], str] = {
    c.RouterNotify: "NOTIFY_",
    c.ReconnectStop: "RECONNECT_STOP_",
    c.NormMode: "NORM_",
    c.GssapiNameType: "GSSAPI_NT_",
    c.Event: "EVENT_",
}
ENUMS: list[type[IntEnum | IntFlag]] = [
    value
    for name, value in vars(c).items()
    if isinstance(value, type) and value.__module__ == c.__name__ and name[0] != "_"
]


def name_of(enum: type[IntEnum | IntFlag], member: str) -> str:
    return member if member.startswith("PROTOCOL_ERROR_") else PREFIXES.get(enum, "") + member


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_each_member_is_a_name_of_the_module_and_the_very_same(
    enum: type[IntEnum | IntFlag],
) -> None:
    for member, value in enum.__members__.items():
        assert getattr(c, name_of(enum, member)) is value


def test_each_name_of_the_module_is_a_member_or_listed_here_with_its_value() -> None:
    members = {name_of(enum, member) for enum in ENUMS for member in enum.__members__}
    others = {name: vars(c)[name] for name in vars(c)["__all__"] if name not in members}
    assert others == {enum.__name__: enum for enum in ENUMS} | {
        "IO_THREADS_DFLT": 1,
        "MAX_SOCKETS_DFLT": 1023,
        "THREAD_PRIORITY_DFLT": -1,
        "THREAD_SCHED_POLICY_DFLT": -1,
        "GROUP_MAX_LENGTH": 255,
        "MSG_PROPERTY_ROUTING_ID": "Routing-Id",
        "MSG_PROPERTY_SOCKET_TYPE": "Socket-Type",
        "MSG_PROPERTY_USER_ID": "User-Id",
        "MSG_PROPERTY_PEER_ADDRESS": "Peer-Address",
    }


def test_no_two_names_are_one_by_oversight() -> None:
    aliases = {
        (enum.__name__, name): value.name
        for enum in ENUMS
        for name, value in enum.__members__.items()
        if name != value.name
    }
    assert aliases == {
        ("SocketType", "XREQ"): "DEALER",
        ("SocketType", "XREP"): "ROUTER",
        ("Flag", "NOBLOCK"): "DONTWAIT",
        ("ContextOption", "THREAD_PRIORITY"): "SOCKET_LIMIT",
        ("SocketOption", "IDENTITY"): "ROUTING_ID",
        ("SocketOption", "CONNECT_RID"): "CONNECT_ROUTING_ID",
        ("SocketOption", "DELAY_ATTACH_ON_CONNECT"): "IMMEDIATE",
        ("SocketOption", "FAIL_UNROUTABLE"): "ROUTER_MANDATORY",
        ("SocketOption", "ROUTER_BEHAVIOR"): "ROUTER_MANDATORY",
        ("Event", "ALL"): "ALL_V1",
    }


def test_a_star_import_brings_constants_and_nothing_else() -> None:
    names: dict[str, object] = {}
    exec("from gzmqhelper.constants import *", names)
    assert {"PUB", "SocketType", "EVENT_ALL"} <= set(names)
    assert {"errno", "IntEnum", "IntFlag"}.isdisjoint(names)


def test_a_constant_is_an_int() -> None:
    assert c.PUB == 1
    assert c.DONTWAIT | c.SNDMORE == 3
    assert {c.RCVTIMEO: "x"}[c.SocketOption(27)] == "x"


def test_errnos_are_the_systems_and_libzmqs_own() -> None:
    assert errno.EAGAIN == c.EAGAIN
    assert errno.EADDRINUSE == c.EADDRINUSE
    assert (c.EFSM - 51, c.ENOCOMPATPROTO - 52, c.ETERM - 53, c.EMTHREAD - 54) == (156384712,) * 4


def test_an_event_is_known_by_its_number_alone_or_in_company() -> None:
    assert c.Event(0x0020) is c.EVENT_ACCEPTED
    assert c.Event(0x10000003) is c.PROTOCOL_ERROR_ZMTP_KEY_EXCHANGE
    assert c.EVENT_LISTENING in c.Event(0x0028)
    assert c.EVENT_ALL_V2 == c.EVENT_ALL | c.EVENT_PIPES_STATS == 0x1FFFF


def test_every_name_that_pyzmq_has_is_here_with_pyzmqs_value() -> None:
    theirs = pytest.importorskip("zmq.constants", reason="compares with pyzmq, which is not here")
    if not theirs.__file__ or not hasattr(theirs, "SocketOption") or theirs is c:
        pytest.skip("the zmq that is imported here is not pyzmq")
    members = {
        name: {member: int(number) for member, number in value.__members__.items()}
        for name, value in vars(theirs).items()
        if name[0] != "_" and hasattr(value, "__members__") and value.__module__ == theirs.__name__
    }
    assert members
    for enum, values in members.items():
        ours = getattr(c, enum).__members__
        assert {name: ours.get(name) for name in values} == values
    for name in theirs.__all__:
        if isinstance(vars(theirs)[name], int):
            assert getattr(c, name) == vars(theirs)[name], name
            assert type(getattr(c, name)).__name__ == type(vars(theirs)[name]).__name__, name
