"""A server that keeps ten kilobytes of every call: what the soak test must notice."""

from __future__ import annotations

import sys

from cofactor_server.__main__ import main
from cofactor_server.services.recommend import Recommendations

_kept = []
_answer = Recommendations.answer


def answer_and_keep(self, *arguments):
    _kept.append(bytearray(b"x") * 10_000)
    return _answer(self, *arguments)


Recommendations.answer = answer_and_keep

if __name__ == "__main__":
    sys.exit(main())
