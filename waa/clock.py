"""The clock of the process. Only ``server.py`` picks one; everything else is handed it."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives seconds since the Unix epoch, UTC."""

system_clock: Clock = time.time
