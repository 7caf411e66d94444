"""Send a gateway requests that schemathesis makes from its OpenAPI document, and check the responses against it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
# A deadline of a millisecond is a valid request with the valid response 504, so every valid deadline is made long.
LONG_TIMEOUT_MS = "60000"


@dataclass
class Fuzzing:
    """Count the outcomes of the requests.

    Attributes:
        statuses: number of responses by HTTP status.
        by_route: number of requests by route.
        failures: what does not fit the document, or is a server error; the first one of every route.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    by_route: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def fuzz(url: str, requests_per_route: int) -> Fuzzing:
    """Send requests to every route of the document: half of them valid, half of them not."""
    with requests.Session() as session:
        document = session.get(f"{url}/openapi.json", timeout=30).json()
        found = Fuzzing()
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = result.ok()
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                if mode is GenerationMode.NEGATIVE and operation.method.upper() == "GET":
                    continue  # no parameter that could be wrong
                strategy = operation.as_strategy(generation_mode=mode)
                _send(url, session, operation.label, strategy, requests_per_route // 2, found)
    return found


def _send(url: str, session: requests.Session, label: str, strategy: Any, n_requests: int, found: Fuzzing) -> None:
    @seed(1)
    @settings(
        max_examples=n_requests,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def send(case: Any) -> None:
        headers = case.headers or {}
        if str(headers.get("X-Timeout-Ms", "")).isdigit():
            headers["X-Timeout-Ms"] = LONG_TIMEOUT_MS
        response = case.call(base_url=url, session=session, timeout=30)
        found.statuses[response.status_code] += 1
        found.by_route[label] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        send()
    except (FailureGroup, AssertionError) as failure:
        found.failures.append(f"{label}: {failure}: {getattr(failure, 'exceptions', '')}")
