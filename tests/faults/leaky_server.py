"""A server that keeps every answer: what the soak test must notice."""

from __future__ import annotations

import sys

from cofactor_server.__main__ import main
from cofactor_server.recommendations import Recommendations

_kept = []
_answer = Recommendations.answer


def answer_and_keep(self, *arguments):
    _kept.append((arguments[1].SerializeToString() * 8, response := _answer(self, *arguments)))
    return response


Recommendations.answer = answer_and_keep

if __name__ == "__main__":
    sys.exit(main())
