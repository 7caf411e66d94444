"""Read when certificates expire, and warn in time.

Python's ssl module has no public function for it, and the package cryptography is no dependency of the server.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

_LOGGER = logging.getLogger(__name__)

WARNING_DAYS = 14
_DAY_S = 86_400.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


class ExpiryWarning:
    """Remembers when the certificates of each file expire, and warns once a day in their last 14 days."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._times: dict[str, float] = {}
        self._clock = clock
        self._next_warning = 0.0

    def read(self, files: Mapping[str, bytes]) -> None:
        """Take over the certificates of these files, by name; the next check() warns of them."""
        times = {name: first_expiry(content) for name, content in files.items()}
        self._times = {name: seconds for name, seconds in times.items() if seconds is not None}
        self._next_warning = 0.0

    def times(self) -> dict[str, float]:
        """Return name of the file -> when the first of its certificates expires, in seconds since 1970."""
        return self._times

    def check(self) -> None:
        """Log a warning for every file whose certificates expire soon or have expired, at most once a day."""
        now = self._clock()
        if now < self._next_warning:
            return
        self._next_warning = now + _DAY_S
        for name, seconds in self._times.items():
            day = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
            if seconds <= now:
                _LOGGER.error("--tls-%s: a certificate expired at %s; renew it", name.replace("_", "-"), day)
            elif seconds - now < WARNING_DAYS * _DAY_S:
                _LOGGER.warning("--tls-%s: a certificate expires at %s; renew it", name.replace("_", "-"), day)


def first_expiry(pem: bytes) -> float | None:
    """Return when the first certificate of a PEM file expires, in seconds since 1970; None if there is none to read."""
    times = []
    for body in _CERTIFICATE.findall(pem):
        try:
            times.append(_not_after(base64.b64decode(body)))
        except (ValueError, IndexError):  # OpenSSL has checked the file, so this is a form that is not known here
            _LOGGER.debug("cannot read when a certificate expires", exc_info=True)
    return min(times, default=None)


def _not_after(der: bytes) -> float:
    """Return the end of validity of a certificate in DER (RFC 5280, 4.1).

    Certificate ::= SEQUENCE { SEQUENCE { [0] version, serialNumber, signature, issuer, validity, ... }, ... }, where
    validity is SEQUENCE { notBefore, notAfter }.
    """
    _, certificate, _ = _element(der, 0)
    _, body, _ = _element(certificate, 0)
    tag, _, end = _element(body, 0)
    position = end if tag == _VERSION else 0  # version 1 has no field for its version
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, position = _element(body, position)
    tag, validity, _ = _element(body, position)
    if tag != _SEQUENCE:
        raise ValueError("there is no validity where it belongs")
    _, _, position = _element(validity, 0)
    tag, text, _ = _element(validity, position)
    moment = datetime.strptime(_with_century(tag, text.decode("ascii")), "%Y%m%d%H%M%SZ")
    return moment.replace(tzinfo=UTC).timestamp()


def _with_century(tag: int, text: str) -> str:
    """Return a time with a year of four digits; a UTCTime has two, from 1950 to 2049."""
    if tag != _UTC_TIME:
        return text
    return ("19" if int(text[:2]) >= 50 else "20") + text


def _element(der: bytes, position: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the DER element at a position, and the position after it."""
    tag, length = der[position], der[position + 1]
    start = position + 2
    if length >= 0x80:
        n_bytes = length - 0x80
        length = int.from_bytes(der[start : start + n_bytes], "big")
        start += n_bytes
    if start + length > len(der):
        raise ValueError("the certificate is cut off")
    return tag, der[start : start + length], start + length
