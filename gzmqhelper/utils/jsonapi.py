"""JSON to and from bytes, which is what sockets send."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["dumps", "loads"]

jsonmod = json  # old programs look here for the module that does the work


def dumps(o: object, **kwargs: Any) -> bytes:
    """JSON, as UTF-8. kwargs go to `json.dumps`. Raises TypeError for what JSON has no word for."""
    return json.dumps(o, **kwargs).encode()


def loads(s: bytes | str, **kwargs: Any) -> Any:
    """What JSON, as UTF-8 or text, says. kwargs go to `json.loads`. Raises ValueError."""
    return json.loads(s.decode() if isinstance(s, bytes) else s, **kwargs)
