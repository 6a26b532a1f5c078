"""`gzmqhelper.monitor`, by the name that programs written for pyzmq import."""

from ..monitor import parse_monitor_message as parse_monitor_message
from ..monitor import recv_monitor_message as recv_monitor_message

__all__ = ["parse_monitor_message", "recv_monitor_message"]
