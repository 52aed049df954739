"""Waiting, always with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


class TooLate(Exception):
    """What was waited for did not come."""


def until(what: str, seconds: float, look: Callable[[], Found | None]) -> Found:
    """Looks again and again until there is something, for so many seconds at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise TooLate(f"{what}: not within {seconds:.0f} seconds")
