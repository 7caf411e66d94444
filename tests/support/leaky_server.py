"""Run a server that leaks ten kilobytes per call, which the soak test must notice."""

from __future__ import annotations

import sys

from cofactor_server.__main__ import main
from cofactor_server.services.recommend import RecommendPipeline

_kept = []
_run = RecommendPipeline.run


def run_and_keep(self, *arguments):
    _kept.append(bytearray(b"x") * 10_000)
    return _run(self, *arguments)


RecommendPipeline.run = run_and_keep

if __name__ == "__main__":
    sys.exit(main())
