"""`monitored_queue`, where pyzmq has it."""

from .._proxy import monitored_queue

__all__ = ["monitored_queue"]
