"""Ctrl-C and SIGTERM: finish the step, save, leave."""

from __future__ import annotations

import os
import signal
import threading


class Interrupted(SystemExit):
    """Training was stopped by a signal, after saving. Uncaught, the process exits with 128 + its number: 130 or 143."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.signal = number

    def __str__(self):
        return f"stopped by {signal.Signals(self.signal).name}"


class Interruption:
    """While entered, the first SIGINT or SIGTERM only sets `signal`; a second one aborts at once.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    signal: int | None = None

    def __enter__(self) -> Interruption:
        self._outer = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._outer[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_):
        for number, handler in self._outer.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number, _frame):
        if self.signal is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.signal = number
        # os.write: print could be in the middle of a line of its own when the signal comes.
        os.write(2, b"\nsaving after this step, then stopping (once more: stop at once, without saving)\n")
