"""Tell errors of the machine, which pass, from errors of a version, which stay."""

from __future__ import annotations

import errno
import re

# These errors of a private copy say that the version itself is wrong: for example, that one of its files is missing.
_VERSION_IS_WRONG = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
# Libraries that have no error classes for a lack of memory or of file descriptors say it in these words.
_SIGNS = re.compile(
    "bad_alloc|bad allocation|failed to allocate|smaller than requested bytes|cannot allocate memory|out of memory"
    "|too many open files"
    rf"|system error number ({errno.ENOMEM}|{errno.ENFILE}|{errno.EMFILE})\b",
    re.IGNORECASE,
)


def is_passing(error: BaseException) -> bool:
    """Return True if an error says nothing about the version, such as a lack of memory or of file descriptors."""
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _VERSION_IS_WRONG
    return isinstance(error, MemoryError) or _SIGNS.search(str(error)) is not None


def raise_if_passing(error: Exception) -> None:
    """Raise a passing error again, as an OSError or a MemoryError; return if the version is at fault."""
    if not is_passing(error):
        return
    if isinstance(error, OSError | MemoryError):
        raise error
    # The texts of libraries contain paths.
    raise OSError(errno.ENOMEM, f"a lack of memory or of file descriptors ({type(error).__name__})") from None
