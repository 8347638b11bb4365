"""The call by which long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]  # the part that is done, 0 to 1, and what is being done
