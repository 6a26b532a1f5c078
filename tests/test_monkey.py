"""`gzmqhelper.monkey`: programs that import zmq get this library. Each test in a process of its own."""

import os
import subprocess
import sys

import pytest
from support import run

# pyzmq's modules, as programs import them.
MODULES = """
    zmq zmq.green zmq.error zmq.constants zmq.decorators zmq.devices zmq.asyncio
    zmq.devices.basedevice zmq.devices.monitoredqueue zmq.devices.monitoredqueuedevice
    zmq.devices.proxydevice zmq.devices.proxysteerabledevice
    zmq.auth zmq.auth.base zmq.auth.certs zmq.auth.thread zmq.auth.asyncio zmq.auth.ioloop
    zmq.utils zmq.utils.jsonapi zmq.utils.monitor zmq.utils.z85 zmq.utils.strtypes zmq.utils.garbage
    zmq.utils.interop zmq.utils.win32 zmq.log zmq.log.handlers zmq.ssh zmq.ssh.tunnel
    zmq.sugar zmq.sugar.attrsettr zmq.sugar.constants zmq.sugar.context zmq.sugar.frame zmq.sugar.poll
    zmq.sugar.socket zmq.sugar.stopwatch zmq.sugar.tracker zmq.sugar.version
    zmq.backend zmq.backend.select zmq.green.core zmq.green.poll zmq.green.device
""".split()


def patched(script, *args, **options):
    """Run a script in a process where zmq is this library; what it printed."""
    head = "from gzmqhelper.monkey import patch_zmq\npatch_zmq()\n"
    return run(head + dedented(script), *args, **options).stdout


def dedented(script):
    lines = script.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)


def test_each_module_of_pyzmq_can_be_imported_by_itself_and_from_its_package():
    patched(
        """
        import importlib, importlib.util, os, sys
        from gevent.monkey import get_original

        # gevent's own waitpid may wait for ever for a child that ends at once.
        fork, waitpid = get_original("os", "fork"), get_original("os", "waitpid")

        def look(name):
            package, _, last = name.rpartition(".")
            assert importlib.util.find_spec(name) is not None
            module = importlib.import_module(name)
            assert sys.modules[name] is module
            if package:
                got = {}
                exec(f"from {package} import {last} as module", got)
                # (Of this one the package's name means the function.)
                assert got["module"] is module or name == "zmq.green.device"
            assert set(getattr(module, "__all__", ())) - set(dir(module)) == set()
            theirs = [n for n, m in sys.modules.items() if "/zmq/" in (getattr(m, "__file__", None) or "")]
            assert theirs == [], "pyzmq was loaded"

        failed = 0
        for name in sys.argv[1:]:
            if child := fork():  # so that each is imported first
                failed |= waitpid(child, 0)[1]
                continue
            try:
                look(name)
            except BaseException:
                print(name, file=sys.stderr)
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        sys.exit(failed and 1)
        """,
        *MODULES,
    )


def test_a_module_of_this_library_stays_what_it_is():
    patched(
        """
        import zmq.error, zmq.utils.jsonapi, gzmqhelper.errors, gzmqhelper.utils.jsonapi, importlib
        assert zmq.error is gzmqhelper.errors
        assert zmq.error.__spec__.name == zmq.error.__name__ == "gzmqhelper.errors"
        assert zmq.utils.jsonapi is gzmqhelper.utils.jsonapi
        assert zmq.utils is not gzmqhelper.utils  # as Python imports more from it by its name
        importlib.reload(gzmqhelper.utils.jsonapi)
        """
    )


def test_modules_are_there_that_were_not_imported():
    patched("import zmq\nzmq.utils.jsonapi.dumps, zmq.sugar.context.Context, zmq.backend.zmq_errno()")


def test_a_module_that_pyzmq_has_not_is_missing_as_ever():
    patched(
        """
        import importlib.util, zmq
        assert importlib.util.find_spec("zmq.nonsense") is None
        try:
            import zmq.nonsense
        except ModuleNotFoundError as e:
            assert e.name == "zmq.nonsense"
        else:
            raise AssertionError
        assert not hasattr(zmq, "nonsense")
        """
    )


@pytest.mark.parametrize("name", ["zmq.eventloop", "zmq.eventloop.zmqstream", "zmq.green.eventloop.ioloop"])
def test_tornados_loop_is_refused_in_a_sentence(name):
    said = patched(
        """
        import sys, zmq
        try:
            __import__(sys.argv[1])
        except ModuleNotFoundError as e:
            print(e)
        assert not hasattr(zmq, "eventloop")
        """,
        name,
    )
    assert "tornado" in said and "gzmqhelper.monkey" in said


def test_every_name_of_pyzmq_is_there():
    pyzmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
    green = pytest.importorskip("zmq.green", reason="pyzmq is not installed")
    patched(
        """
        import sys, zmq, zmq.green
        for theirs, ours in zip(sys.argv[1:], (zmq, zmq.green), strict=True):
            missing = set(theirs.split()) - set(ours.__all__) - {"Enum", "IntEnum", "IntFlag"}
            assert missing == set(), missing
        assert set(zmq.__all__) <= set(dir(zmq)) and set(zmq.__all__) <= set(dir(zmq.green))
        """,
        " ".join(pyzmq.__all__),
        " ".join(green.__all__),
    )


def test_a_star_gives_pyzmqs_names_and_no_others():
    patched(
        """
        import socket, select as standard
        from zmq import *
        assert socket.create_connection, "the module still"
        assert Context and POLLIN and ZMQError and Poller and __version__ and pyzmq_version
        assert "helper" not in globals()
        """
    )


def test_the_versions_are_ones_that_programs_compare():
    patched(
        """
        import zmq, zmq.sugar.version as version
        assert zmq.__version__ == zmq.pyzmq_version() and zmq.pyzmq_version_info() >= (27, 0)
        assert zmq.pyzmq_version_info() == tuple(map(int, zmq.__version__.split(".")))
        assert zmq.pyzmq_version_info() == version.version_info
        assert zmq.zmq_version_info() >= (4, 2)
        assert isinstance(zmq.DRAFT_API, bool)
        assert len(zmq.get_includes()) == 2 and len(zmq.get_library_dirs()) == 1
        """
    )


def test_classes_are_this_librarys_and_zmq_green_has_its_own_instance():
    patched(
        """
        import gzmqhelper, zmq, zmq.green, zmq.backend, zmq.sugar.socket
        assert zmq.Context is gzmqhelper.Context is zmq.sugar.context.Context
        assert zmq.Socket is gzmqhelper.Socket is zmq.sugar.socket.Socket is zmq.backend.Socket
        assert zmq.green._zmq is zmq
        assert zmq.Stopwatch is gzmqhelper.Stopwatch
        assert issubclass(zmq.green.Context, zmq.Context) and issubclass(zmq.green.Socket, zmq.Socket)
        assert zmq.green.Poller is zmq.green.poll._Poller
        plain, green = zmq.Context.instance(), zmq.green.Context.instance()
        assert type(plain) is zmq.Context and type(green) is zmq.green.Context
        assert plain is zmq.Context.instance() and green is zmq.green.Context.instance()
        with green.socket(zmq.PUSH) as sock:
            assert type(sock) is zmq.green.Socket and isinstance(sock, zmq.Socket)
            assert sock.context is green
        with plain.socket(zmq.PUSH) as sock:
            assert type(sock) is zmq.Socket and not isinstance(sock, zmq.green.Socket)
        assert zmq.error.ZMQError is zmq.ZMQError is zmq.green.ZMQError is gzmqhelper.ZMQError
        """
    )


def test_green_device_stays_a_function_when_its_module_is_imported():
    patched("""
        import zmq.green
        import zmq.green.device
        assert callable(zmq.green.device)
    """)


def test_errors_can_be_pickled_and_those_that_pyzmq_pickled_are_read():
    patched(
        """
        import pickle, zmq
        for error in (zmq.ZMQError(zmq.EINVAL), zmq.Again(), zmq.ContextTerminated()):
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is type(error) and again.errno == error.errno
        # As pyzmq writes it: the class by the name of its module, and its arguments.
        theirs = b"czmq.error\\nZMQError\\n(I11\\ntR."
        assert type(pickle.loads(theirs)) is zmq.ZMQError
        """
    )


def test_what_has_a_part_in_c_can_be_copied_as_a_shadow_and_not_pickled():
    patched(
        """
        import copy, pickle, zmq
        with zmq.Context() as ctx, ctx.socket(zmq.PUSH) as sock:
            for original in (ctx, sock):
                for copied in (copy.copy(original), copy.deepcopy(original)):
                    assert type(copied) is type(original) and copied.underlying == original.underlying
                    del copied
                try:
                    pickle.dumps(original)
                except TypeError:
                    continue
                raise AssertionError
            assert not ctx.closed and not sock.closed
        """
    )


def test_a_frame_is_shown_as_programs_know_it():
    patched(
        """
        import zmq
        assert str(zmq.Frame(b"123456789")) == repr(zmq.Frame(b"123456789")) == "<zmq.Frame(b'123456789')>"
        assert str(zmq.Frame(bytes(2000))).endswith("...2kB)>")
        """
    )


def test_others_run_while_a_patched_program_waits():
    patched(
        """
        import gevent, zmq, zmq.green
        from support import Ticker
        for module in (zmq, zmq.green):
            ctx = module.Context()
            pull, push = ctx.socket(module.PULL), ctx.socket(module.PUSH)
            push.connect(f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}")
            with Ticker() as ticker:
                gevent.spawn_later(0.2, push.send, b"late")
                assert pull.recv() == b"late"
            ticker.check()
            poller = module.Poller()
            poller.register(pull, module.POLLIN)
            assert poller.poll(1) == []
            ctx.destroy(0)
        """
    )


# ---- patching late -----------------------------------------------------------------------------------


LATE = """
    import sys, types, warnings

    def module(name, **names):
        made = sys.modules[name] = types.ModuleType(name)
        vars(made).update(names)
        return made

    class Context: ...
    Context.__module__ = "zmq.sugar.context"
    theirs = module("zmq", Context=Context)
    module("zmq.sugar")
    module("holds_the_module", zmq=theirs)
    module("holds_a_class", Context=Context)
    module("holds_nothing", other=1)

    import gevent.monkey
    from gzmqhelper.monkey import patch_zmq, is_patched
    assert not is_patched()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch_zmq()
    assert is_patched()
"""


def test_patching_late_warns_and_names_who_still_has_pyzmq():
    said = run(LATE + "    print(*(f'{type(w.message).__name__}: {w.message}' for w in caught))").stdout
    assert said.startswith("MonkeyPatchWarning: pyzmq was imported before")
    assert "holds_the_module" in said and "holds_a_class" in said
    assert "holds_nothing" not in said


def test_patching_late_leaves_what_was_imported_and_answers_from_then_on():
    run(
        LATE
        + """
    assert sys.modules["holds_the_module"].zmq is theirs and theirs.Context is Context
    import gzmqhelper, zmq
    assert zmq is not theirs and zmq.Context is gzmqhelper.Context
    """
    )


def test_patching_in_time_and_twice_says_nothing():
    patched(
        """
        import sys, warnings, zmq
        warnings.simplefilter("error")
        before = list(sys.meta_path)
        patch_zmq()
        assert sys.meta_path == before and sys.modules["zmq"] is zmq
        """
    )


# ---- python -m gzmqhelper.monkey -------------------------------------------------------------------------


def command(*arguments, folder, before=()):
    return subprocess.run(
        [sys.executable, *before, *arguments], capture_output=True, text=True, cwd=folder, timeout=30
    )


MONKEY = ("-m", "gzmqhelper.monkey")

PROGRAM = """
import sys, zmq, gzmqhelper, gevent.monkey
import beside
assert __name__ == "__main__" and zmq.Context is gzmqhelper.Context
print(sys.argv, gevent.monkey.is_module_patched("socket"))
sys.exit(7)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "program.py").write_text(PROGRAM)
    (tmp_path / "programs" / "beside.py").write_text("")
    return tmp_path


def test_a_script_runs_with_its_arguments_and_its_own_folder(folder):
    script = os.path.join("programs", "program.py")
    done = command(*MONKEY, script, "-m", "--help", folder=folder)
    assert (done.returncode, done.stdout) == (7, f"['{script}', '-m', '--help'] False\n"), done.stderr


@pytest.mark.parametrize("option", ["-m", "--module"])
def test_a_module_runs_with_its_arguments(folder, option):
    done = command(*MONKEY, option, "program", "x", folder=folder / "programs")
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith("program.py', 'x'] False\n")


@pytest.mark.parametrize(
    "both",
    [(*MONKEY, "-m", "gevent.monkey"), ("-m", "gevent.monkey", "--module", "gzmqhelper.monkey")],
    ids=["zmq first", "gevent first"],
)
def test_both_patches_work_together_in_either_order(folder, both):
    done = command(*both, "program.py", "x", folder=folder / "programs", before=("-W", "error"))
    assert (done.returncode, done.stdout) == (7, "['program.py', 'x'] True\n"), done.stderr


@pytest.mark.parametrize("arguments", [(), ("-m",), ("--nonsense", "program.py")])
def test_the_command_says_how_it_is_used(folder, arguments):
    done = command(*MONKEY, *arguments, folder=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m gzmqhelper.monkey script.py")


def test_the_command_helps(folder):
    done = command(*MONKEY, "--help", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_a_script_that_is_not_there_is_an_error_that_names_it(folder):
    done = command(*MONKEY, "missing.py", folder=folder)
    assert done.returncode == 1
    assert "missing.py" in done.stderr
