"""Keep a server busy for benchmarks/cuda_machine.py: the program of one client process.

    python -m benchmarks.cuda.load ADDRESS MODEL SECONDS < USER_IDS

Calls Recommend in a closed loop from several threads and prints the number of responses. It imports only the client, so
that it starts quickly.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cofactor_client import Client

CALLS_IN_FLIGHT = 8
K = 10
WARM_UP_S = 0.3


def main() -> None:
    """Run the client."""
    address, model, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    user_ids = sys.stdin.read().split("\n")
    together = threading.Barrier(CALLS_IN_FLIGHT)
    with Client(address) as client:

        def loop(first: int, duration: float) -> int:
            together.wait()
            end, done = time.monotonic() + duration, 0
            while time.monotonic() < end:
                user_id = user_ids[(17 * first + done) % len(user_ids)]
                assert len(client.recommend(user_id, k=K, model=model, return_items=False).results) == K
                done += 1
            return done

        with ThreadPoolExecutor(CALLS_IN_FLIGHT) as pool:
            for duration in (WARM_UP_S, seconds):
                answered = sum(pool.map(loop, range(CALLS_IN_FLIGHT), [duration] * CALLS_IN_FLIGHT))
        print(answered)


if __name__ == "__main__":
    main()
