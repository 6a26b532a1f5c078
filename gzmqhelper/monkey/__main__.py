"""python -m gzmqhelper.monkey [-m module | script] [arguments]: run it with `patch_zmq`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from . import patch_zmq

USAGE = f"""\
usage: python -m {__package__} script.py [arguments]
       python -m {__package__} -m module [arguments]

Runs a Python program whose `import zmq` and `import zmq.green` shall mean gzmqhelper.
Together with gevent's:
       python -m {__package__} -m gevent.monkey script.py [arguments]
       python -m gevent.monkey --module {__package__} script.py [arguments]"""


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name, as ``__main__``, in this process."""
    as_module = arguments[:1] in (["-m"], ["--module"])
    program = arguments[as_module:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
    elif not program or (program[0].startswith("-") and not as_module):
        sys.exit(USAGE)
    else:
        patch_zmq()
        sys.argv[:] = program
        if as_module:
            runpy.run_module(program[0], run_name="__main__", alter_sys=True)
        else:
            # As Python does for a script: its folder comes first.
            sys.path[0] = str(Path(program[0]).resolve().parent)
            runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
