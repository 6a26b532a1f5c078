"""The names of pyzmq and of zmq.green, side by side with ours: all there, with the same arguments.

What is missing or different on purpose stands in the tables below, each with its reason. The lists of
names are kept here too, so that they are compared where pyzmq is not installed.
"""

import inspect

import pytest

import gzmqhelper as zmq

# ---- what differs on purpose -------------------------------------------------------------------------

NOT_HERE = {
    "Enum": "the standard library's, which pyzmq's star import brings along",
    "IntEnum": "the same",
    "IntFlag": "the same",
    "get_includes": "for C code that is compiled against pyzmq's headers, of which there are none here",
    "get_library_dirs": "the same",
}

NOT_OF = {
    "Context": {
        "shadow_pyczmq": "pyczmq has not been installable for years; shadow takes any address",
    },
    "Socket": {},
    "Frame": {
        "tracker_event": "the threading.Event behind a tracker; ours have none",
    },
    "MessageTracker": {},
    "Poller": {},
}

# Arguments that ours have besides. Keyword arguments, or last ones, so that no call changes its meaning.
MORE_ARGUMENTS = {
    ("Socket", name): {"timeout"}
    for name in """
        recv recv_into recv_json recv_multipart recv_pyobj recv_serialized recv_string recv_unicode
        send send_multipart
    """.split()
} | {("Frame", "__init__"): {"size"}, ("ZMQVersionError", "__init__"): {"version"}}

OTHER_ARGUMENTS = {
    ("Frame", "__init__"): "pyzmq takes any keyword and heeds none but ours",
    ("Again", "__init__"): "pyzmq's default is the word 'ignored'; a message is not ignored here",
    ("ContextTerminated", "__init__"): "the same",
    ("InterruptedSystemCall", "__init__"): "the same",
}

# ---- the names, as of pyzmq 27 ----------------------------------------------------------------------

OF_THE_MODULE = """
    Again COPY_THRESHOLD Context ContextOption ContextTerminated DRAFT_API DeviceType DraftFDWarning Errno
    Event Flag Frame IPC_PATH_MAX_LEN InterruptedSystemCall Message MessageOption MessageTracker NormMode
    NotDone PYZMQ_DRAFT_API PollEvent Poller ReconnectStop RouterNotify SecurityMechanism Socket
    SocketOption SocketType Stopwatch SyncContext SyncSocket ZMQBaseError ZMQBindError ZMQError
    ZMQVersionError _FINISHED_TRACKER __revision__ __version__ curve_keypair curve_public device has proxy
    proxy_steerable pyzmq_version pyzmq_version_info select strerror zmq_errno zmq_poll zmq_version
    zmq_version_info
""".split()

ARGUMENTS = {
    ("", "device"): "device_type frontend backend",
    ("", "proxy"): "frontend backend capture=None",
    ("", "proxy_steerable"): "frontend backend capture=None control=None",
    ("", "select"): "rlist wlist xlist timeout=None",
    ("", "zmq_poll"): "sockets timeout=-1",
    ("Poller", "__init__"): "",
    ("Poller", "modify"): "socket flags=3",
    ("Poller", "poll"): "timeout=None",
    ("Poller", "register"): "socket flags=3",
    ("Poller", "unregister"): "socket",
    ("Socket", "disable_monitor"): "",
    ("Socket", "get_monitor_socket"): "events=None addr=None",
    ("Socket", "monitor"): "addr events=65535",
    ("", "curve_keypair"): "",
    ("", "curve_public"): "secret_key",
    ("", "has"): "capability",
    ("", "pyzmq_version"): "",
    ("", "pyzmq_version_info"): "",
    ("", "strerror"): "errno",
    ("", "zmq_errno"): "",
    ("", "zmq_version"): "",
    ("", "zmq_version_info"): "",
    ("Context", "__init__"): "io_threads=1 shadow=0",
    ("Context", "destroy"): "linger=None",
    ("Context", "get"): "option",
    ("Context", "getsockopt"): "opt",
    ("Context", "instance"): "io_threads=1",
    ("Context", "set"): "option optval",
    ("Context", "setsockopt"): "opt value",
    ("Context", "shadow"): "address",
    ("Context", "socket"): "socket_type socket_class=None **kwargs",
    ("Context", "term"): "",
    ("Frame", "__init__"): "data=None track=False copy=None copy_threshold=None",
    ("Frame", "get"): "option",
    ("Frame", "set"): "option value",
    ("MessageTracker", "__init__"): "*towatch",
    ("MessageTracker", "wait"): "timeout=-1",
    ("Socket", "__init__"): "ctx_or_socket=None socket_type=0 shadow=0 copy_threshold=None",
    ("Socket", "bind"): "addr",
    ("Socket", "bind_to_random_port"): "addr min_port=49152 max_port=65536 max_tries=100",
    ("Socket", "close"): "linger=None",
    ("Socket", "connect"): "addr",
    ("Socket", "disconnect"): "addr",
    ("Socket", "fileno"): "",
    ("Socket", "get"): "option",
    ("Socket", "get_hwm"): "",
    ("Socket", "get_string"): "option encoding='utf-8'",
    ("Socket", "getsockopt"): "option",
    ("Socket", "getsockopt_string"): "option encoding='utf-8'",
    ("Socket", "getsockopt_unicode"): "option encoding='utf-8'",
    ("Socket", "join"): "group",
    ("Socket", "leave"): "group",
    ("Socket", "poll"): "timeout=None flags=1",
    ("Socket", "recv"): "flags=0 copy=True track=False",
    ("Socket", "recv_into"): "buffer nbytes=0 flags=0",
    ("Socket", "recv_json"): "flags=0 **kwargs",
    ("Socket", "recv_multipart"): "flags=0 copy=True track=False",
    ("Socket", "recv_pyobj"): "flags=0",
    ("Socket", "recv_serialized"): "deserialize flags=0 copy=True",
    ("Socket", "recv_string"): "flags=0 encoding='utf-8'",
    ("Socket", "recv_unicode"): "flags=0 encoding='utf-8'",
    ("Socket", "send"): "data flags=0 copy=True track=False routing_id=None group=None",
    ("Socket", "send_json"): "obj flags=0 **kwargs",
    ("Socket", "send_multipart"): "msg_parts flags=0 copy=True track=False **kwargs",
    ("Socket", "send_pyobj"): "obj flags=0 protocol=4 **kwargs",
    ("Socket", "send_serialized"): "msg serialize flags=0 copy=True **kwargs",
    ("Socket", "send_string"): "u flags=0 copy=True encoding='utf-8' **kwargs",
    ("Socket", "send_unicode"): "u flags=0 copy=True encoding='utf-8' **kwargs",
    ("Socket", "set"): "option optval",
    ("Socket", "set_hwm"): "value",
    ("Socket", "set_string"): "option optval encoding='utf-8'",
    ("Socket", "setsockopt"): "option optval",
    ("Socket", "setsockopt_string"): "option optval encoding='utf-8'",
    ("Socket", "setsockopt_unicode"): "option optval encoding='utf-8'",
    ("Socket", "shadow"): "address",
    ("Socket", "subscribe"): "topic",
    ("Socket", "unbind"): "addr",
    ("Socket", "unsubscribe"): "topic",
    ("Again", "__init__"): "errno=None msg=None",
    ("ContextTerminated", "__init__"): "errno=None msg=None",
    ("DraftFDWarning", "__init__"): "msg=''",
    ("InterruptedSystemCall", "__init__"): "errno=None msg=None",
    ("ZMQError", "__init__"): "errno=None msg=None",
    ("ZMQVersionError", "__init__"): "min_version msg='Feature'",
}

ATTRIBUTES = {
    "Context": "closed sockopts underlying __copy__ __deepcopy__ __delattr__ __dir__ __enter__ __exit__",
    "Socket": """
        closed context copy_threshold hwm socket_type type underlying __copy__ __deepcopy__ __dir__
        __enter__ __exit__
    """,
    "Frame": "buffer bytes group more routing_id tracker __copy__ __getitem__ __len__",
    "MessageTracker": "done",
    "Poller": "sockets __contains__",
}


def attributes_of(cls):
    return {*dir(cls), *(name for base in cls.__mro__ for name in inspect.get_annotations(base))}


def arguments_of(module, cls, name):
    """As in the table: names in order, with defaults; not self, not those of MORE_ARGUMENTS."""
    function = getattr(getattr(module, cls) if cls else module, name)
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self" or parameter.name in MORE_ARGUMENTS.get((cls, name), ()):
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = parameter.default
        if isinstance(default, int) and not isinstance(default, bool):
            default = int(default)
        shown = "" if default is parameter.empty else f"={default!r}"
        found.append(f"{stars}{parameter.name}{shown}")
    return " ".join(found)


# ---- with and without pyzmq --------------------------------------------------------------------------


def test_every_name_of_the_module_is_here():
    assert {name for name in OF_THE_MODULE if not hasattr(zmq, name)} == set()
    assert not any(hasattr(zmq, name) for name in NOT_HERE)


def test_star_brings_what_pyzmqs_does_and_hides_no_module_of_the_standard_library():
    constants = set(zmq.constants.__all__)
    there = {name for name in OF_THE_MODULE if hasattr(zmq, name)} | constants
    assert there - set(zmq.__all__) == set()
    assert "socket" not in zmq.__all__
    assert all(hasattr(zmq, name) for name in zmq.__all__)
    names = {}
    exec("import socket\nfrom gzmqhelper import *", names)
    assert inspect.ismodule(names["socket"]) and names["PUB"] is zmq.PUB


@pytest.mark.parametrize("cls", ATTRIBUTES)
def test_every_attribute_of_a_class_is_here(cls):
    assert set(ATTRIBUTES[cls].split()) - attributes_of(getattr(zmq, cls)) == set()
    assert not any(hasattr(getattr(zmq, cls), name) for name in NOT_OF[cls])


@pytest.mark.parametrize(("cls", "name"), ARGUMENTS, ids=lambda name: name or "zmq")
def test_a_function_takes_the_arguments_that_programs_give(cls, name):
    assert arguments_of(zmq, cls, name) == ARGUMENTS[cls, name]


def test_what_is_different_stands_in_the_tables_once():
    assert set(OTHER_ARGUMENTS) <= set(ARGUMENTS)
    assert set(MORE_ARGUMENTS) <= set(ARGUMENTS)
    assert not set(NOT_HERE) & set(OF_THE_MODULE)


# ---- with pyzmq --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs():
    found = pytest.importorskip("zmq.green", reason="pyzmq, to compare with, is not installed")
    if not hasattr(found, "pyzmq_version_info") or found.Socket.__module__.startswith("gzmqhelper"):
        pytest.skip("the zmq that is imported here is not pyzmq")
    if found.pyzmq_version_info() < (27,):
        pytest.skip("compares with pyzmq 27 and newer")
    return found


def test_the_list_of_names_is_pyzmqs(theirs):
    import zmq as pyzmq

    constants = set(pyzmq.constants.__all__)
    public = set(pyzmq.__all__) - constants
    assert public - set(NOT_HERE) - set(OF_THE_MODULE) == set()
    assert {name for name in pyzmq.__all__ if not hasattr(zmq, name)} - set(NOT_HERE) == set()


@pytest.mark.parametrize("cls", ATTRIBUTES)
def test_a_class_of_ours_has_what_one_of_pyzmqs_has(theirs, cls):
    public = {name for name in dir(getattr(theirs, cls)) if name[0] != "_"}
    missing = public - attributes_of(getattr(zmq, cls)) - set(NOT_OF[cls])
    assert missing == set()


@pytest.mark.parametrize(("cls", "name"), ARGUMENTS, ids=lambda name: name or "zmq")
def test_the_list_of_arguments_is_pyzmqs(theirs, cls, name):
    import zmq as pyzmq

    if (cls, name) in OTHER_ARGUMENTS:
        return
    # What zmq.green wraps it gives other names, or none.
    assert arguments_of(pyzmq, cls, name) == ARGUMENTS[cls, name]
