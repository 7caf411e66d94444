"""Run a server that leaks ten kilobytes per call, which the soak test must notice."""

from __future__ import annotations

import sys

from cofactor_server.__main__ import main
from cofactor_server.services.recommend import Recommendations

_leaked = []
_answer = Recommendations.answer


def answer_and_leak(self, *arguments):
    _leaked.append(bytearray(b"x") * 10_000)
    return _answer(self, *arguments)


Recommendations.answer = answer_and_leak

if __name__ == "__main__":
    sys.exit(main())
