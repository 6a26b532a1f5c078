"""The small tools: Z85, JSON, and the names that old programs import."""

import json
import os
import struct

import pytest

import gzmqhelper as zmq
from gzmqhelper.utils import interop, jsonapi, strtypes, win32, z85

# From ZeroMQ's RFC 32.
HELLO = bytes([0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B])


def test_z85_is_that_of_the_rfc():
    assert z85.encode(HELLO) == b"HelloWorld"
    assert z85.decode(b"HelloWorld") == z85.decode("HelloWorld") == HELLO
    assert len(set(z85.Z85CHARS)) == len(z85.Z85MAP) == 85


@pytest.mark.parametrize("size", [0, 4, 32, 400])
def test_what_is_encoded_is_decoded_again(size):
    for data in (os.urandom(size), b"\0" * size, b"\xff" * size):
        text = z85.encode(data)
        assert type(text) is bytes
        assert len(text) == size * 5 // 4
        assert z85.decode(text) == data


def test_any_kind_of_bytes_will_do():
    for kind in (bytearray, memoryview):
        assert z85.encode(kind(HELLO)) == b"HelloWorld"
        assert z85.decode(kind(b"HelloWorld")) == HELLO


def test_what_is_no_z85_is_an_error():
    with pytest.raises(ValueError, match="length must be multiple of 4, not 5"):
        z85.encode(b"12345")
    with pytest.raises(ValueError, match="Z85 length must be multiple of 5, not 4"):
        z85.decode(b"1234")
    with pytest.raises(ValueError, match="only ASCII"):
        z85.decode("ä" * 5)
    with pytest.raises(KeyError):
        z85.decode(b"abcd~")
    with pytest.raises(struct.error):
        z85.decode(b"#####")  # more than 32 bits


def test_z85_is_pyzmqs():
    theirs = pytest.importorskip("zmq.utils.z85", reason="pyzmq is not installed")
    for _ in range(50):
        data = os.urandom(32)
        assert z85.encode(data) == theirs.encode(data)
        assert theirs.decode(z85.encode(data)) == data
    for call, wrong in (("encode", b"123"), ("decode", b"123"), ("decode", b"abcd~"), ("decode", b"#####")):
        with pytest.raises(Exception) as ours:
            getattr(z85, call)(wrong)
        with pytest.raises(Exception) as pyzmqs:
            getattr(theirs, call)(wrong)
        assert (ours.type, str(ours.value)) == (pyzmqs.type, str(pyzmqs.value))


def test_json_is_bytes():
    assert jsonapi.dumps({"a": [1, None]}) == b'{"a": [1, null]}'
    assert jsonapi.dumps("ä") == b'"\\u00e4"'
    assert jsonapi.dumps([1, 2], separators=(",", ":")) == b"[1,2]"
    assert jsonapi.loads(b'"\xc3\xa4"') == jsonapi.loads('"ä"') == "ä"
    assert jsonapi.loads(b"1.5", parse_float=str) == "1.5"
    assert jsonapi.jsonmod is json
    with pytest.raises(TypeError):
        jsonapi.dumps(object())
    with pytest.raises(ValueError):
        jsonapi.loads(b"{")
    assert zmq.utils.jsonapi is jsonapi


def test_old_names_for_bytes_and_text_warn_and_work():
    assert (strtypes.bytes, strtypes.unicode, strtypes.basestring) == (bytes, str, (str,))
    for name in ("b", "asbytes", "cast_bytes"):
        with pytest.warns(DeprecationWarning, match="str.encode") as caught:
            assert getattr(strtypes, name)("ä") == getattr(strtypes, name)(b"\xc3\xa4") == b"\xc3\xa4"
        assert caught[0].filename == __file__
    for name in ("u", "cast_unicode"):
        with pytest.warns(DeprecationWarning, match="bytes.decode"):
            assert getattr(strtypes, name)("ä") == getattr(strtypes, name)(b"\xe4", "latin-1") == "ä"
    for call in (strtypes.cast_bytes, strtypes.cast_unicode):
        with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="Expected unicode or bytes"):
            call(5)


def test_an_address_is_an_int_or_a_pointer(sockets):
    assert interop.cast_int_addr(5) == 5
    pull = sockets(zmq.PULL)
    assert interop.cast_int_addr(pull.underlying) == pull.underlying
    from gzmqhelper._native import ffi

    assert interop.cast_int_addr(ffi.cast("void *", 4096)) == 4096
    with pytest.raises(ValueError, match="Cannot cast 'x' to int"):
        interop.cast_int_addr("x")


def test_what_windows_needs_does_nothing_here():
    with win32.allow_interrupt(), win32.allow_interrupt(lambda: 1 / 0):
        pass
