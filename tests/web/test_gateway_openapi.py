"""The OpenAPI document is that of the .proto files, and the gateway does what it says."""

from __future__ import annotations

import os

import pytest

from cofactor_web.api_docs import openapi_document
from cofactor_web.rpcs import admin_rpcs, api_rpcs
from tests.support.web.fuzzing import fuzz
from tools.openapi.comments import proto_comments
from tools.openapi.document import build_document

REQUESTS_PER_ROUTE = 920 if os.environ.get("FAULTS") == "full" else 10


def test_the_document_is_what_the_proto_files_say():
    assert openapi_document(with_admin=True) == build_document(proto_comments()), "run `make proto`"


def test_every_message_field_and_rpc_is_described():
    document = openapi_document(with_admin=True)
    for name, schema in document["components"]["schemas"].items():
        for field, content in schema.get("properties", {}).items():
            assert name == "Problem" or content.get("description"), f"{name}.{field}"
    for rpc in (*api_rpcs(), *admin_rpcs()):
        operation = document["paths"][rpc.path]["post"]
        assert operation["operationId"] == rpc.method.name
        assert operation["description"]


def test_every_reference_in_the_document_leads_somewhere():
    for with_admin in (True, False):
        document = openapi_document(with_admin=with_admin)
        references = list(references_in(document))
        assert references
        for reference in references:
            place = document
            for part in reference.removeprefix("#/").split("/"):
                place = place[part]


def references_in(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from references_in(entry)


def test_a_gateway_without_admin_api_does_not_document_it(gateway):
    paths = gateway.get("/openapi.json").json["paths"]
    assert {rpc.path for rpc in api_rpcs()} <= paths.keys()
    assert not [path for path in paths if path.startswith("/admin")]


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # schemathesis draws from random
def test_random_requests_get_what_the_document_says_and_no_server_error(gateway):
    """FAULTS=full sends 10,122 requests."""
    found = fuzz(gateway.url, REQUESTS_PER_ROUTE)
    assert found.failures == []
    assert found.by_route.keys() >= {f"POST {rpc.path}" for rpc in api_rpcs()}
    assert found.statuses.keys() <= {200, 400, 404, 415}
    assert found.statuses[200] > 0
    assert found.statuses[400] > 0
