"""The exceptions, by the name that programs written for pyzmq have for their module: `errors`."""

from .errors import *
