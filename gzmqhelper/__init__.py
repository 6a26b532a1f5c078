"""gzmqhelper: ZeroMQ for gevent. Calls that block elsewhere let the other greenlets run here.

    import gzmqhelper as zmq

The map of the package; each line may import those above it:

    constants, errors    the names of ZeroMQ's numbers; the exceptions, one errno table
    error                errors, by pyzmq's name
    _original            the standard library as it was before gevent patched it
    _native              the C core (csrc/): sockets that any greenlet of any thread may use
    _pins                memory that libzmq reads in place
    _arguments           errors that name an argument
    _addresses           what may be wrong with an endpoint
    _helper              the narrow waist: the only module that waits (a receive does, through it, in C)
    _options             the option table
    _buffers             classes whose instances are buffers
    _attributes, _libzmq, _stopwatch    options as attributes; what libzmq says of itself; a clock
    _tracker             MessageTracker
    _frame               Frame
    _parts               messages sent and received part by part
    _batches             messages that a flood brought before they were asked for
    _messages            receive, send, poll
    _many                several messages in one call
    _formats             text, JSON, pickles
    _monitored           what happens to a Socket's connections
    _endpoints, _overridden    what bind and connect return, Socket[bytes]; subclasses' own send, recv
    _socket              Socket
    _context             Context
    _poll                Poller, select
    _report              who waits, for what, and where in the program
    monitor              reading a Socket's monitor
    utils.z85, utils.jsonapi, utils.strtypes, utils.interop, utils.win32    small tools
    utils.monitor        monitor, by pyzmq's name
    utils                their package
    auth.certs           certificates
    auth.base            Authenticator: who may connect
    auth.green           the greenlet that it answers on
    auth.thread, auth.asyncio, auth.ioloop    the same, by pyzmq's names
    auth                 their package
    decorators           functions that are given a Context or a Socket
    log.handlers, log    log records as messages
    ssh                  tunnels
    monkey._pyzmq, monkey._green, monkey._asyncio    what pyzmq has besides
    monkey._modules      pyzmq's modules, and what each is here
    monkey               patch_zmq: other people's programs, unchanged
    monkey.__main__      the same from the command line
    _proxy               proxy, proxy_steerable, device
    devices.basedevice, devices.monitoredqueue  devices in threads and processes
    devices.proxydevice  the same with a capture socket
    devices.proxysteerabledevice, devices.monitoredqueuedevice  and more
    devices              all of these
    perf                 python -m gzmqhelper.perf
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

try:
    _import_module("gzmqhelper._native")
except ModuleNotFoundError as e:
    raise ImportError(
        f"the compiled part of gzmqhelper is not beside {__file__}: in the source folder, run "
        "`pip install -e .`; or `pip install .`, and then your program from another folder"
    ) from e

from . import error as error
from . import utils as utils
from ._context import Context as Context
from ._context import socket as socket
from ._frame import COPY_THRESHOLD as COPY_THRESHOLD
from ._frame import Frame as Frame
from ._frame import Message as Message
from ._helper import Helper as Helper
from ._helper import helper as helper
from ._libzmq import *
from ._poll import Poller as Poller
from ._poll import select as select
from ._poll import zmq_poll as zmq_poll
from ._proxy import device as device
from ._proxy import proxy as proxy
from ._proxy import proxy_steerable as proxy_steerable
from ._report import Report as Report
from ._report import Waiting as Waiting
from ._report import report as report
from ._report import report_on_signal as report_on_signal
from ._socket import Socket as Socket
from ._stopwatch import Stopwatch as Stopwatch
from ._tracker import _FINISHED_TRACKER as _FINISHED_TRACKER
from ._tracker import MessageTracker as MessageTracker
from .constants import *
from .errors import *

# As with pyzmq, `utils.jsonapi` is there without an import of its own.
_import_module("gzmqhelper.utils.jsonapi")

__version__ = "0.1.0"
__revision__ = ""

SyncSocket = Socket
SyncContext = Context

# What `import *` brings: all of it but `socket`, which would hide the module of that name. Through
# globals(), because a type checker takes an ``__all__`` that it cannot read as empty.
globals()["__all__"] = ["__version__", "__revision__", "_FINISHED_TRACKER"] + [
    _name
    for _name, _thing in tuple(globals().items())
    if _name[0] != "_" and _name != "socket" and not isinstance(_thing, _ModuleType)
]
