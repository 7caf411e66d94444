"""Extension of griffe, which reads the docstrings for the site: show their examples as blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

# From the first line with >>> to the next empty line.
_EXAMPLE = re.compile(r"^>>> .+?(?=\n[ ]*\n|\Z)", re.MULTILINE | re.DOTALL)


class DocstringExamples(griffe.Extension):
    """Put the examples of every docstring into fences, so that Markdown does not read `[1][2]` in them as a link."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
