"""_options.py: values to bytes and back, as libzmq wants them, and errors that name the option."""

from __future__ import annotations

import struct

import pytest

from gzmqhelper import _options as o
from gzmqhelper import constants as c

FUTURE = 9999  # an option that no libzmq has yet
INTS = [c.LINGER, c.RCVTIMEO, c.EVENTS, c.FD, c.USE_FD, c.NORM_MODE, FUTURE]
TEXTS = [c.LAST_ENDPOINT, c.PLAIN_USERNAME, c.ZAP_DOMAIN, c.SOCKS_PROXY, c.BINDTODEVICE]
KEYS = [c.CURVE_PUBLICKEY, c.CURVE_SECRETKEY, c.CURVE_SERVERKEY]


@pytest.mark.parametrize("option", INTS)
@pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_most_options_are_a_c_int(option: int, value: int) -> None:
    raw = o.encode(option, value)
    assert raw == struct.pack("i", value)
    assert len(raw) == o.size(option) == 4
    assert o.decode(option, raw) == value


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63)])
def test_maxmsgsize_is_a_signed_int_of_64_bits(value: int) -> None:
    raw = o.encode(c.MAXMSGSIZE, value)
    assert raw == struct.pack("q", value)
    assert o.size(c.MAXMSGSIZE) == 8
    assert o.decode(c.MAXMSGSIZE, raw) == value


@pytest.mark.parametrize(
    "option",
    [c.AFFINITY, c.VMCI_BUFFER_SIZE, c.VMCI_BUFFER_MIN_SIZE, c.VMCI_BUFFER_MAX_SIZE],
)
def test_a_set_of_threads_and_a_size_of_vmci_are_unsigned(option: int) -> None:
    raw = o.encode(option, 2**64 - 1)
    assert raw == b"\xff" * 8
    assert o.size(option) == 8
    assert o.decode(option, raw) == 2**64 - 1


def test_an_affinity_of_minus_one_is_all_threads() -> None:
    assert o.encode(c.AFFINITY, -1) == o.encode(c.AFFINITY, 2**64 - 1)


def test_a_bool_or_an_enums_member_is_an_int() -> None:
    assert o.encode(c.IMMEDIATE, True) == struct.pack("i", 1)
    assert o.encode(c.NORM_MODE, c.NORM_CCE) == struct.pack("i", 3)


@pytest.mark.parametrize("value", [b"", b"topic", b"\0\xff\0", b"x" * 5000])
def test_bytes_go_as_they_are(value: bytes) -> None:
    assert o.encode(c.SUBSCRIBE, value) == value


def test_a_routing_id_comes_as_it_is_to_the_last_nul() -> None:
    assert o.decode(c.ROUTING_ID, b"id\0") == b"id\0"
    assert o.size(c.ROUTING_ID) >= 255


@pytest.mark.parametrize("option", TEXTS)
def test_a_text_comes_without_the_nul_that_libzmq_adds(option: int) -> None:
    assert o.decode(option, b"abc\0") == b"abc"
    assert o.decode(option, b"abc\0\0") == b"abc\0"
    assert o.decode(option, b"\0") == b""
    assert o.decode(option, b"") == b""
    assert o.size(option) == 1024


@pytest.mark.parametrize("option", KEYS)
def test_a_curve_key_comes_in_40_characters(option: int) -> None:
    assert o.size(option) == 41
    assert o.decode(option, b"k" * 40 + b"\0") == b"k" * 40


def test_an_option_of_the_future_is_taken_for_an_int() -> None:
    assert o.encode(FUTURE, 7) == struct.pack("i", 7)
    with pytest.raises(TypeError, match="option 9999: expected an int of 32 bits, got bytes"):
        o.encode(FUTURE, b"abc")
    assert o.decode(FUTURE, struct.pack("i", 7)) == 7
    assert o.readable(FUTURE)
    assert o.writable(FUTURE)


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        (c.SUBSCRIBE, "use set_string"),
        (c.LINGER, "expected an int of 32 bits, got str"),
        (c.MAXMSGSIZE, "expected an int of 64 bits, got str"),
        (FUTURE, "expected an int"),
    ],
)
def test_a_str_is_refused_and_set_string_offered_where_that_helps(option: int, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        o.encode(option, "abc")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (c.LINGER, b"abc", "option LINGER: expected an int of 32 bits, got bytes"),
        (c.LINGER, 1.5, "option LINGER: expected an int of 32 bits, got float"),
        (c.LINGER, None, "option LINGER: expected an int of 32 bits, got NoneType"),
        (c.MAXMSGSIZE, b"abc", "option MAXMSGSIZE: expected an int of 64 bits, got bytes"),
        (c.SUBSCRIBE, 3, "option SUBSCRIBE, .*: expected bytes, got int"),
        (c.SUBSCRIBE, bytearray(b"abc"), "option SUBSCRIBE, .*: expected bytes, got bytearray"),
        (FUTURE, 1.5, "option 9999: expected an int of 32 bits, got float"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_and_the_right_one_named(
    option: int, value: object, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        o.encode(option, value)


def test_a_secret_of_the_wrong_type_is_not_shown_in_the_error() -> None:
    for value in ("swordfish", bytearray(b"swordfish")):
        with pytest.raises(TypeError) as caught:
            o.encode(c.PLAIN_PASSWORD, value)
        assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (c.LINGER, 2**31),
        (c.LINGER, -(2**31) - 1),
        (c.MAXMSGSIZE, 2**63),
        (c.AFFINITY, 2**64),
        (c.AFFINITY, -(2**63) - 1),
    ],
)
@pytest.mark.parametrize("cls", [ValueError, OverflowError])
def test_a_number_that_does_not_fit_is_refused(option: int, value: int, cls: type[Exception]) -> None:
    name = c.SocketOption(option).name
    with pytest.raises(cls, match=f"option {name}: expected an .*int of .* bits, got {value}"):
        o.encode(option, value)


def test_an_unknown_option_is_named_in_the_error() -> None:
    assert o.describe(FUTURE) == "option 9999"


def test_an_option_is_named_by_its_number_or_member_and_with_its_limits() -> None:
    assert o.describe(17) == o.describe(c.LINGER) == "option LINGER"
    assert o.describe(c.IDENTITY) == "option ROUTING_ID"
    assert o.describe(c.EVENTS) == "option EVENTS, which can only be read"
    assert o.describe(c.SUBSCRIBE) == "option SUBSCRIBE, which can only be set"


def test_an_options_direction_is_known() -> None:
    assert (o.readable(c.EVENTS), o.writable(c.EVENTS)) == (True, False)
    assert (o.readable(c.SUBSCRIBE), o.writable(c.SUBSCRIBE)) == (False, True)
    assert (o.readable(c.LINGER), o.writable(c.LINGER)) == (True, True)


def test_options_of_bytes_are_told_from_options_of_ints() -> None:
    assert all(map(o.is_bytes, [c.SUBSCRIBE, c.IDENTITY, *TEXTS, *KEYS]))
    assert not any(map(o.is_bytes, [*INTS, c.MAXMSGSIZE, c.AFFINITY]))


def test_an_option_tells_what_kind_of_value_it_has() -> None:
    kinds = c._OptType
    assert c.LINGER._opt_type is kinds.int
    assert c.AFFINITY._opt_type is c.MAXMSGSIZE._opt_type is kinds.int64
    assert c.IDENTITY._opt_type is c.LAST_ENDPOINT._opt_type is kinds.bytes
    assert c.FD._opt_type is kinds.fd


def test_a_name_finds_its_option_in_small_and_capital_letters() -> None:
    assert o.socket_option("linger") is o.socket_option("LINGER") is c.LINGER
    assert o.socket_option("identity") is c.ROUTING_ID
    assert o.context_option("max_sockets") is o.context_option("Max_Sockets") is c.MAX_SOCKETS


def test_a_name_that_is_no_option_finds_nothing() -> None:
    for name in ("", "nonesuch", "__class__", "__members__", "name", "value", "pub", "pollin"):
        assert o.socket_option(name) is None
        assert o.context_option(name) is None
    assert o.socket_option("io_threads") is None
    assert o.context_option("linger") is None


def test_the_types_are_those_that_pyzmq_gives() -> None:
    theirs = pytest.importorskip("zmq.constants", reason="compares with pyzmq, which is not here")
    if not hasattr(theirs, "_OptType"):
        pytest.skip("the zmq that is imported here is not pyzmq, or one without types of options")
    for option in theirs.SocketOption:
        kind = option._opt_type.name
        assert o.is_bytes(option) == (kind == "bytes"), option
        if kind != "bytes":
            assert o.size(option) == {"int": 4, "fd": 4, "int64": 8}[kind], option
