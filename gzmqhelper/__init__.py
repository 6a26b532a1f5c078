"""gzmqhelper: ZeroMQ for gevent. Calls that block elsewhere let the other greenlets run here.

    import gzmqhelper as zmq

The map of the package; each line may import those above it:

    constants, errors   the names of ZeroMQ's numbers; the exceptions, one errno table
    _native             the C core (csrc/): sockets that any greenlet of any thread may use
    _helper             the narrow waist: the only module that waits
    _options            the option table
    _frame              Frame, MessageTracker
    _socket             Socket
    _context            Context
"""

from importlib.metadata import version as _version

from ._context import Context
from ._frame import COPY_THRESHOLD, Frame, Message, MessageTracker
from ._helper import Helper, helper
from ._socket import Socket
from ._libzmq import (
    IPC_PATH_MAX_LEN,
    curve_keypair,
    curve_public,
    has,
    zmq_version,
    zmq_version_info,
)
from .constants import *
from .errors import (
    Again,
    ContextTerminated,
    DraftFDWarning,
    InterruptedSystemCall,
    NotDone,
    ZMQBaseError,
    ZMQBindError,
    ZMQError,
    ZMQVersionError,
    strerror,
)

__version__ = _version("gzmqhelper")
