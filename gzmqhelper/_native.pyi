"""The generated extension module, as far as type checkers need to know it."""

from typing import Any

ffi: Any
lib: Any
