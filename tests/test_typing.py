"""Types, as a user's program sees them; and that the program that is checked names every public name."""

import ast
import sys
from pathlib import Path

import pytest
from support import run

import gzmqhelper as zmq

PROGRAM = Path(__file__).parent / "typing" / "user_program.py"

# Named by their values: other tests see to it that each constant is a name of the module.
CONSTANTS = set(zmq.constants.__all__)


def names_in_the_program():
    """What is written after ``zmq.`` there, and all attributes."""
    tree = ast.parse(PROGRAM.read_text())
    of_module, attributes = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            attributes.add(node.attr)
            if isinstance(node.value, ast.Name) and node.value.id == "zmq":
                of_module.add(node.attr)
    return of_module, attributes


def test_the_program_uses_every_public_name():
    of_module, _ = names_in_the_program()
    enums = {name for name in CONSTANTS if isinstance(getattr(zmq, name), type)}
    public = {name for name in zmq.__all__ if name not in CONSTANTS} | enums | {"socket"}
    assert public - of_module == set()


@pytest.mark.parametrize("name", ["Context", "Socket", "Frame", "MessageTracker", "Helper", "Poller"])
def test_the_program_uses_every_public_attribute(name):
    _, attributes = names_in_the_program()
    cls = getattr(zmq, name)
    options = {spelled for n in zmq.SocketOption.__members__ for spelled in (n, n.lower())}
    public = {n for n in dir(cls) if n[0] != "_"} - options
    assert public - attributes == set()


@pytest.mark.timeout(300)  # mypy, when it has kept nothing from an earlier run
def test_mypy_finds_no_fault_with_it():
    pytest.importorskip("mypy", reason="mypy is not installed; `tox -e lint` runs it too")
    finished = run(
        "import mypy.api, sys; out = mypy.api.run(sys.argv[1:]); print(*out[:2]); sys.exit(out[2])",
        "--strict",
        f"--python-version={sys.version_info[0]}.{sys.version_info[1]}",
        PROGRAM,
        timeout=280,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
