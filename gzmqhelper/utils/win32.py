"""What some programs import to be interrupted on Windows, where this library does not run."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["allow_interrupt"]


class allow_interrupt:
    """A context manager that does nothing: elsewhere Ctrl-C ends a wait without help."""

    def __init__(self, action: Callable[[], object] | None = None) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        pass
