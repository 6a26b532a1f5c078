"""The house rules that can be read off the files: where imports point, who includes what, public names."""

import ast
import dis
import inspect
import re
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
from support import run

import gzmqhelper as zmq

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gzmqhelper"
CSRC = ROOT / "csrc"
LONGEST = 600

# Two modules of one line of the map, of which the first may import the second.
WITHIN_A_LINE = {("errors", "constants")}

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
C_FILES = sorted(path for path in CSRC.iterdir() if path.suffix in (".c", ".h"))


def name_of(path):
    """The name of a module within the package, as the map has it."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def the_map():
    """The rank of each module in the docstring of the package: those of one line have one."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text()))
    after = text.split("each line may import those above it:\n", 1)[1]
    block = after.strip("\n").split("\n\n", 1)[0]
    ranks = {}
    for rank, line in enumerate(block.splitlines()):
        names = re.match(r" *([\w.]+(?:, [\w.]+)*) ", line)
        assert names, f"cannot read the map's line {line!r}"
        for name in names[1].split(", "):
            ranks[name] = rank
    return ranks


def imports(tree, path):
    """What of the package a module imports: each name, and the line where it does."""
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gzmqhelper":
                    yield alias.name.removeprefix("gzmqhelper").lstrip("."), node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".")
            if node.level:
                base = [*package[: len(package) - node.level + 1], *base]
            elif base[0] == "gzmqhelper":
                base = base[1:]
            else:
                continue
            name = ".".join(filter(None, base))
            for alias in node.names if not name else [None]:
                yield name or alias.name, node.lineno


def without_type_checking(tree):
    """The tree without what only type checkers read: types may point both ways."""

    class Strip(ast.NodeTransformer):
        def visit_If(self, node):
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return None
            return self.generic_visit(node)

    return Strip().visit(tree)


def test_the_map_names_every_module_and_nothing_else():
    there = {name_of(path) for path in MODULES} - {""}
    assert set(the_map()) - {"_native"} == there


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    ranks = the_map()
    module = name_of(path)
    if module == "":
        return  # the package itself stands below its map
    nowhere = len(ranks)
    wrong = [
        f"{module}:{line} imports {name}"
        for name, line in imports(without_type_checking(ast.parse(path.read_text())), path)
        if ranks.get(name, nowhere) >= ranks[module] and (module, name) not in WITHIN_A_LINE
    ]
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_inside_a_function(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
    inside = [
        node.lineno
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, functions)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert inside == []


def test_to_import_the_package_brings_no_module_that_few_need():
    """Each of these would take longer than a tenth of all that is imported."""
    seldom_needed = {"ctypes", "dataclasses", "gevent.monkey", "inspect", "logging", "random"}
    program = (
        "import gevent.socket, sys; before = set(sys.modules); import gzmqhelper; "
        "print(*(set(sys.modules) - before))"
    )
    brought = set(run(program).stdout.split())
    assert "gzmqhelper._socket" in brought
    assert brought & seldom_needed == set()


def names_in(path):
    """Every name that a module's code uses; not those in its comments and strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")


def test_only_the_waist_waits_and_knows_the_hub():
    waists = {name_of(path) for path in MODULES if {"wait_read", "get_hub"} & set(names_in(path))}
    assert waists == {"_helper"}


@pytest.mark.parametrize("path", [*MODULES, *C_FILES], ids=lambda path: path.name)
def test_no_file_is_too_long_to_read(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def code_of(module):
    """The code objects of all its functions."""
    left = [compile((PACKAGE / f"{module}.py").read_text(), module, "exec")]
    while left:
        code = left.pop()
        yield code
        left += (constant for constant in code.co_consts if inspect.iscode(constant))


# Where Ctrl-C must find the `try` around it.
careful = pytest.mark.parametrize("module", ["_helper", "_batches", "_many", "_messages", "_parts", "_poll"])


def of_this_function(node):
    """A node and those in it, but for functions and classes, whose code is not run there."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from of_this_function(child)


def ends_in_a_condition(loop):
    for_ever = isinstance(loop, ast.For) or (isinstance(loop.test, ast.Constant) and loop.test.value)
    return not for_ever or isinstance(loop.body[-1], ast.If)


@careful
def test_no_loop_in_a_try_ends_in_a_condition(module):
    """CPython 3.12 and 3.13 leave the jump back to such a loop's beginning out of the table of exception
    handlers, and the jump back is one of the places where signals are handled: a Ctrl-C just then would pass
    the `try` by."""
    tries = [
        node
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text()))
        if isinstance(node, ast.Try)
    ]
    inside = [node for one in tries for statement in one.body for node in of_this_function(statement)]
    loops = [node for node in inside if isinstance(node, (ast.For, ast.While))]
    assert [loop.lineno for loop in loops if ends_in_a_condition(loop)] == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython 3.10 has no table of exception handlers")
@careful
def test_ctrl_c_between_two_rounds_of_a_loop_finds_the_try_around_it(module):
    """The same, as the compiler has it: it may leave out other jumps than those that the rule above knows."""
    left_out = []
    for code in code_of(module):
        instructions = [one for one in dis.get_instructions(code) if one.opname != "CACHE"]
        # Those of comprehensions only put variables back, and begin otherwise.
        begins = {one.offset for one in instructions if one.opname == "PUSH_EXC_INFO"}
        entries = [entry for entry in dis.Bytecode(code).exception_entries if entry.target in begins]

        def inside(offset, entries=entries):
            return {entry.target for entry in entries if entry.start <= offset < entry.end}

        for before, jump in pairwise(instructions):
            if "JUMP_BACKWARD" in jump.opname:
                if (inside(before.offset) & inside(jump.argval)) - inside(jump.offset):
                    left_out.append(f"{code.co_name}, line {jump.positions.lineno}")
    assert left_out == []


# ---- csrc --------------------------------------------------------------------------------------------


def includes(path):
    return re.findall(r'^ *# *include +[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def reaches(path, wanted, seen=()):
    """Whether a C file includes another, itself or through those that it includes."""
    for name in includes(path):
        if name == wanted:
            return True
        if name not in seen and (CSRC / name).exists() and reaches(CSRC / name, wanted, (*seen, name)):
            return True
    return False


def test_zmq_h_is_included_by_the_message_and_the_calls_alone():
    assert {path.name for path in C_FILES if "zmq.h" in includes(path)} == {"message.h", "calls.c"}


def test_the_rooms_that_know_no_zeromq_do_not_reach_zmq_h():
    ignorant = {path.name for path in C_FILES if not reaches(path, "zmq.h")}
    assert {
        f"{room}.{kind}" for room in ("platform", "companion", "watch", "fdset") for kind in "ch"
    } <= ignorant
    assert "calls.h" in ignorant


def test_one_room_of_c_alone_knows_python_and_enters_the_core_as_python_does():
    room = {"base.h", "base.c", "base_receive.c", "base_send.c", "base_wait.c"}
    assert {path.name for path in C_FILES if reaches(path, "Python.h")} == room
    ours = {name for path in room for name in includes(CSRC / path) if (CSRC / name).exists()}
    assert ours == {"base.h", "socket.h"}


def test_the_rooms_of_c_point_one_way():
    order = [
        "platform",
        "companion",
        "watch",
        "calls",
        "message",
        "load",
        "wire",
        "socket",
        "base",
        "inside",
        "fdset",
        "relay",
        "proxy",
        "native.cdef",
    ]
    headers = {path.stem: {name[:-2] for name in includes(path)} for path in C_FILES if path.suffix == ".h"}
    assert set(headers) == set(order)
    wrong = [
        f"{room}.h includes {name}.h"
        for room, names in headers.items()
        for name in names & set(order)
        if order.index(name) >= order.index(room)
    ]
    assert wrong == []


def test_only_the_parts_of_the_socket_look_inside_it():
    assert {path.name for path in C_FILES if reaches(path, "inside.h")} == {
        "socket.c",
        "ask.c",
        "batch.c",
        "send.c",
        "poll.c",
        "linger.c",
        "relay.h",  # what a proxy does, as the owner of several
        "relay.c",
        "proxy.c",
    }


# ---- public names ------------------------------------------------------------------------------------

MUST_HAVE = """
    zmq_version zmq_version_info has strerror curve_keypair curve_public COPY_THRESHOLD IPC_PATH_MAX_LEN
    ZMQBaseError ZMQError Again ContextTerminated InterruptedSystemCall ZMQBindError NotDone ZMQVersionError
    DraftFDWarning Context Socket Frame Message MessageTracker helper Helper Poller select zmq_poll
    report report_on_signal proxy proxy_steerable device
    SocketType SocketOption ContextOption MessageOption Flag PollEvent Event DeviceType Errno
    XREQ XREP NOBLOCK IDENTITY MAXMSGSIZE PUB SUB LINGER POLLIN EVENT_CONNECTED EAGAIN ETERM
""".split()

OF_CLASSES = {
    "Context": """
        instance socket term destroy closed get set getsockopt setsockopt underlying shadow _socket_class
        __enter__ __exit__
    """,
    "Socket": """
        bind connect unbind disconnect bind_to_random_port close closed context socket_type type underlying
        shadow __copy__ __enter__ __exit__ __iter__ send recv send_multipart recv_multipart send_string
        recv_string send_unicode recv_unicode send_json recv_json send_pyobj recv_pyobj send_serialized
        recv_serialized get set getsockopt setsockopt get_string set_string getsockopt_string
        setsockopt_string getsockopt_unicode setsockopt_unicode hwm get_hwm set_hwm subscribe unsubscribe
        fileno FD fd copy_threshold poll linger LINGER monitor get_monitor_socket disable_monitor
    """,
    "Frame": """
        bytes buffer __len__ __str__ __bytes__ __eq__ get set __getitem__ copy move close from_string
        __enter__ __exit__
    """,
    "MessageTracker": "done wait",
    "Poller": "register unregister modify poll sockets __contains__ dispatch",
    "Helper": "start close current __enter__ __exit__",
}


def public_names():
    return {
        name
        for name in dir(zmq)
        if not name.startswith("_") and not isinstance(getattr(zmq, name), types.ModuleType)
    }


def test_the_names_that_must_be_there_are():
    assert set(MUST_HAVE) - public_names() == set()
    assert isinstance(zmq.__version__, str)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_the_attributes_that_a_class_must_have_are_there(name):
    cls = getattr(zmq, name)
    there = {*dir(cls), *(n for base in cls.__mro__ for n in inspect.get_annotations(base))}
    assert set(OF_CLASSES[name].split()) - there == set()


def test_every_public_name_is_one_on_purpose():
    constants = set(zmq.constants.__all__)
    others = public_names() - constants - set(zmq.errors.__all__)
    for name in others:
        thing = getattr(zmq, name)
        assert getattr(thing, "__module__", "gzmqhelper").startswith("gzmqhelper"), name
        assert name in MUST_HAVE or (getattr(thing, "__doc__", None) or "").strip(), name


def test_all_of_pyzmqs_constants_are_here():
    constants = pytest.importorskip("zmq.constants", reason="pyzmq is not installed")
    theirs = {
        name
        for name in constants.__all__
        if getattr(vars(constants)[name], "__module__", constants.__name__) == constants.__name__
    }
    assert {"PUB", "LINGER", "SocketOption"} <= theirs
    assert theirs - public_names() == set()


def test_public_things_say_what_they_are():
    silent = [
        f"{name}.{attribute}"
        for name in OF_CLASSES
        for attribute, thing in vars(getattr(zmq, name)).items()
        if not attribute.startswith("_") and inspect.isfunction(thing) and not thing.__doc__
    ]
    assert silent == []
