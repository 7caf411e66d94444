"""Test that a signal ends a wait, in whichever thread it is handled and however often it comes."""

from __future__ import annotations

import subprocess
import sys

# 200 waits. A second thread sends the signal at a random moment of a wait; the kernel may deliver it to either thread.
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
    assert stop.wait(0)  # the flag stays set
    thread.join()
n_reloads = 0
def reload():
    global n_reloads
    n_reloads += 1
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    stop = StopSignal(signal.SIGTERM)
    n_reloads = 0
    os.kill(os.getpid(), number)
    assert not stop.wait(0.01, reload) and n_reloads == 1
    assert not stop.wait(0.01, reload) and n_reloads == 1
    for _ in range(100_000):
        signal.raise_signal(number)  # more often than the pipe has room
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(10, reload)
for _ in range(100_000):
    stop.set()  # more often than the pipe has room
print("done")
"""


def test_no_signal_is_lost_or_deadlocks():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
