"""Two signals that come together are two: none is lost, and the main thread does not wait for itself."""

from __future__ import annotations

import os
import signal
import threading

from jobforge_sa.worker.signals import StopSignals


def send() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)


def test_each_signal_counts_however_close_they_come() -> None:
    for _ in range(300):
        with StopSignals() as stop:
            assert not stop.asked.is_set()
            sender = threading.Thread(target=send)
            sender.start()
            assert stop.asked.wait(5)
            assert stop.again.wait(5)
            sender.join()
            assert stop.asked.is_set()


def test_one_signal_is_not_two() -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked.wait()
        assert not stop.again.wait(0.05)
