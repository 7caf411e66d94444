"""A signal ends a wait, whichever thread it hits and however often it comes."""

from __future__ import annotations

import subprocess
import sys

# 200 waits, each met by a signal at a random moment of it, from a thread that the kernel may also give the signal to.
SCRIPT = """
import os, random, signal, threading, time
from cofactor_server.runtime.stop_signal import StopSignal
for round in range(200):
    stop = StopSignal(signal.SIGTERM)
    assert not stop.wait(0)
    def kill():
        time.sleep(random.random() / 500)
        if round % 2:
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
    thread = threading.Thread(target=kill)
    thread.start()
    assert stop.wait(10)
    assert stop.wait(0)  # it stays up
    thread.join()
for _ in range(100_000):
    stop.set()  # more than the pipe holds
print("done")
"""


def test_no_signal_is_lost_and_none_deadlocks():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
