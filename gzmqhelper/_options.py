"""The option table: the type of each socket option's value, and whether it can be read and set.

`_socket.py` and `_context.py` turn values into bytes and back here, find options by attribute name,
and name them in errors. No option is refused for being unknown or read-only: that is libzmq's to
say, and a newer libzmq may say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from struct import error as struct_error
from typing import Final

from .constants import ContextOption, Errno, SocketOption, _OptType


class _Type:
    def __init__(
        self, wants: str, room: int, number: Struct | None = None, ends_in_nul: bool = False
    ) -> None:
        self.wants = wants  # what to call a value
        self.room = room  # the bytes that zmq_getsockopt needs to give one
        self.number = number  # how a number is packed; None for bytes
        self.ends_in_nul = ends_in_nul  # libzmq adds a NUL to what it gives


_INT: Final = _Type("an int of 32 bits", 4, Struct("i"))
_SIGNED: Final = Struct("q")
_INT64: Final = _Type("an int of 64 bits", 8, _SIGNED)
_UINT64: Final = _Type("an unsigned int of 64 bits", 8, Struct("Q"))
_FD: Final = _INT  # wherever this package runs
_BYTES: Final = _Type("bytes", 255)  # the longest routing id, which is the only one to be read
_TEXT: Final = _Type("bytes", 1024, ends_in_nul=True)  # endpoints, most of all, know no limit
_KEY: Final = _Type("bytes", 41, ends_in_nul=True)  # with just this room, libzmq gives it in Z85

# An option that is not here, known or unknown, is an int that can be read and set.
_O = SocketOption
_TABLE: Final[Mapping[int, tuple[_Type, str]]] = {
    _O.AFFINITY: (_UINT64, "rw"),
    _O.MAXMSGSIZE: (_INT64, "rw"),
    _O.VMCI_BUFFER_SIZE: (_UINT64, "w"),
    _O.VMCI_BUFFER_MIN_SIZE: (_UINT64, "w"),
    _O.VMCI_BUFFER_MAX_SIZE: (_UINT64, "w"),
    _O.VMCI_CONNECT_TIMEOUT: (_INT, "w"),
    # the socket's state
    _O.RCVMORE: (_INT, "r"),
    _O.FD: (_FD, "r"),
    _O.EVENTS: (_INT, "r"),
    _O.TYPE: (_INT, "r"),
    _O.THREAD_SAFE: (_INT, "r"),
    _O.LAST_ENDPOINT: (_TEXT, "r"),
    _O.MECHANISM: (_INT, "r"),
    _O.TOPICS_COUNT: (_INT, "r"),
    # ROUTER, STREAM, REQ, DEALER
    _O.ROUTING_ID: (_BYTES, "rw"),
    _O.CONNECT_ROUTING_ID: (_BYTES, "w"),
    _O.ROUTER_MANDATORY: (_INT, "w"),
    _O.ROUTER_RAW: (_INT, "w"),
    _O.ROUTER_HANDOVER: (_INT, "w"),
    _O.PROBE_ROUTER: (_INT, "w"),
    _O.STREAM_NOTIFY: (_INT, "w"),
    _O.REQ_CORRELATE: (_INT, "w"),
    _O.REQ_RELAXED: (_INT, "w"),
    _O.HELLO_MSG: (_BYTES, "w"),
    _O.DISCONNECT_MSG: (_BYTES, "w"),
    _O.HICCUP_MSG: (_BYTES, "w"),
    # PUB, SUB, XPUB, XSUB
    _O.SUBSCRIBE: (_BYTES, "w"),
    _O.UNSUBSCRIBE: (_BYTES, "w"),
    _O.XPUB_VERBOSE: (_INT, "w"),
    _O.XPUB_VERBOSER: (_INT, "w"),
    _O.XPUB_NODROP: (_INT, "w"),
    _O.XPUB_MANUAL: (_INT, "w"),
    _O.XPUB_MANUAL_LAST_VALUE: (_INT, "w"),
    _O.XPUB_WELCOME_MSG: (_BYTES, "w"),
    _O.XSUB_VERBOSE_UNSUBSCRIBE: (_INT, "w"),
    _O.ONLY_FIRST_SUBSCRIBE: (_INT, "w"),
    # transports
    _O.BINDTODEVICE: (_TEXT, "rw"),
    _O.SOCKS_PROXY: (_TEXT, "rw"),
    _O.SOCKS_USERNAME: (_TEXT, "rw"),
    _O.SOCKS_PASSWORD: (_TEXT, "rw"),
    _O.TCP_ACCEPT_FILTER: (_BYTES, "w"),
    _O.IPC_FILTER_PID: (_INT, "w"),
    _O.IPC_FILTER_UID: (_INT, "w"),
    _O.IPC_FILTER_GID: (_INT, "w"),
    _O.WSS_KEY_PEM: (_BYTES, "w"),
    _O.WSS_CERT_PEM: (_BYTES, "w"),
    _O.WSS_TRUST_PEM: (_BYTES, "w"),
    _O.WSS_HOSTNAME: (_BYTES, "w"),
    _O.WSS_TRUST_SYSTEM: (_INT, "w"),
    _O.METADATA: (_BYTES, "w"),
    # who may talk
    _O.ZAP_DOMAIN: (_TEXT, "rw"),
    _O.PLAIN_USERNAME: (_TEXT, "rw"),
    _O.PLAIN_PASSWORD: (_TEXT, "rw"),
    _O.CURVE_PUBLICKEY: (_KEY, "rw"),
    _O.CURVE_SECRETKEY: (_KEY, "rw"),
    _O.CURVE_SERVERKEY: (_KEY, "rw"),
    _O.GSSAPI_PRINCIPAL: (_TEXT, "rw"),
    _O.GSSAPI_SERVICE_PRINCIPAL: (_TEXT, "rw"),
}
_OTHERS: Final = (_INT, "rw")
# What is not for a log.
_SECRET: Final = frozenset({_O.PLAIN_PASSWORD, _O.CURVE_SECRETKEY, _O.SOCKS_PASSWORD, _O.WSS_KEY_PEM})
_IDS: Final = frozenset({_O.ROUTING_ID, _O.CONNECT_ROUTING_ID})
# This and those above are libzmq's draft API.
_FIRST_DRAFT: Final = int(_O.ZAP_ENFORCE_DOMAIN)
_KNOWN: Final[frozenset[int]] = frozenset(SocketOption)

for _option in SocketOption:
    _kind = _TABLE.get(_option, _OTHERS)[0]
    _option._opt_type = (
        _OptType.fd
        if _option is _O.FD
        else _OptType.bytes
        if _kind.number is None
        else _OptType.int
        if _kind.room == 4
        else _OptType.int64
    )


class OptionRangeError(OverflowError, ValueError):
    """A number that is too big for its option: caught as either, for both are in use for this."""


def socket_option(name: str) -> SocketOption | None:
    """Find a socket option by its name, in small or capital letters. None if there is none."""
    return SocketOption.__members__.get(name.upper())


def context_option(name: str) -> ContextOption | None:
    """Find a context option by its name, in small or capital letters. None if there is none."""
    return ContextOption.__members__.get(name.upper())


def is_bytes(option: int) -> bool:
    """Tell whether a socket option's value is bytes. If not, or if it is unknown, it is an int."""
    return _TABLE.get(option, _OTHERS)[0].number is None


def readable(option: int) -> bool:
    """Tell whether libzmq lets a socket option be read. True if it is unknown."""
    return "r" in _TABLE.get(option, _OTHERS)[1]


def writable(option: int) -> bool:
    """Tell whether libzmq lets a socket option be set. True if it is unknown."""
    return "w" in _TABLE.get(option, _OTHERS)[1]


def describe(option: int) -> str:
    """Name a socket option for an error's message: "option SUBSCRIBE, which can only be set"."""
    limits = {"r": ", which can only be read", "w": ", which can only be set", "rw": ""}
    return f"{_name(option)}{limits[_TABLE.get(option, _OTHERS)[1]]}"


def _name(option: int) -> str:
    return f"option {SocketOption(option).name if option in _KNOWN else option}"


def describe_context(option: int) -> str:
    """The same of a context's option."""
    known = option in ContextOption._value2member_map_
    return f"context option {ContextOption(option).name if known else option}"


def describe_set(option: int, value: object) -> str:
    """The same of one that is to be set to a value: a secret is not shown, nor a long one in full."""
    text = "..." if option in _SECRET else repr(value)
    if len(text) > 80:
        text = f"{text[:77]}..."
    return f"{_name(option) if writable(option) else describe(option)} = {text}"


def advice(errno: int, option: int, setting: bool) -> str | None:
    """How to mend it that libzmq refused to set or to read a socket option, with that errno."""
    kind, access = _TABLE.get(option, _OTHERS)
    if errno != Errno.EINVAL:
        return None
    if option not in _KNOWN:
        return "libzmq has no such option"
    if ("w" if setting else "r") not in access:
        return f"it cannot be {'set' if setting else 'read'}"
    text = "this type of socket has no such option"
    if setting:
        text = f"libzmq does not take this value, or {text}"
    if setting and kind is _KEY:
        text = f"a key is 32 bytes, or 40 characters of Z85; else {text}"
    elif setting and option in _IDS:
        text = f"it has 1 to 255 bytes; else {text}"
    if option >= _FIRST_DRAFT:
        text += ", or libzmq was built without its draft API (-DENABLE_DRAFTS=ON), which this is of"
    return text


def encode(option: int, value: object) -> bytes:
    """Make of a value the bytes that zmq_setsockopt is to get for a socket option.

    The value is bytes, or an int (a bool, a member of an enum), as the option wants; an unknown
    option's is an int. Raises TypeError for anything else, and OptionRangeError, a ValueError, for
    an int that does not fit.
    """
    kind = _TABLE.get(option, _OTHERS)[0]
    if isinstance(value, bytes):
        if kind.number is None:
            return value
    elif isinstance(value, int) and kind.number is not None:
        # Programs write AFFINITY = -1 for "all threads".
        number = _SIGNED if kind is _UINT64 and value < 0 else kind.number
        try:
            return number.pack(value)
        except struct_error:
            message = f"{describe(option)}: expected {kind.wants}, got {value!r}"
            raise OptionRangeError(message) from None
    elif isinstance(value, str) and kind.number is None:
        raise TypeError(f"{describe(option)}: unicode not allowed, use set_string")
    raise TypeError(f"{describe(option)}: expected {kind.wants}, got {type(value).__name__}")


def size(option: int) -> int:
    """Tell how many bytes of room zmq_getsockopt needs for a socket option."""
    return _TABLE.get(option, _OTHERS)[0].room


def decode(option: int, raw: bytes) -> int | bytes:
    """Make a value of what zmq_getsockopt gave for a socket option, cut to the length that it gave.

    Bytes come without the NUL that libzmq adds to texts. Raises struct.error if a number has not
    the length of its type.
    """
    kind = _TABLE.get(option, _OTHERS)[0]
    if kind.number is None:
        return raw[:-1] if kind.ends_in_nul and raw.endswith(b"\0") else raw
    value: int = kind.number.unpack(raw)[0]
    return value
