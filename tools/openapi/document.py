"""Build the OpenAPI document of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cofactor_web.rpcs import Rpc, admin_rpcs, api_rpcs
from tools.openapi.schemas import MessageSchemas

Json = dict[str, Any]

_DESCRIPTION = (
    "JSON over HTTP for a Cofactor server: one route for each RPC. Bodies are the protobuf messages in ProtoJSON "
    "(https://protobuf.dev/programming-guides/json): camelCase names, 64-bit integers as strings, enums by name. "
    "Responses hold every field that has no presence, zeros and empty lists included. A request may leave out any "
    "field; an unknown field is an error. docs/web.md of the project says more."
)
_PROBLEM: Json = {
    "description": "Why a request failed, as problem details (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "violations", "requestId"],
    "properties": {
        "type": {"type": "string", "description": "urn:cofactor:error: and the reason, or about:blank."},
        "title": {"type": "string", "description": "Name of the HTTP status."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "One sentence for people."},
        "reason": {"type": "string", "description": "Reason for programs, the same as over gRPC. May be empty."},
        "violations": {
            "type": "array",
            "description": "The wrong fields of the request.",
            "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "requestId": {"type": "string", "description": "Id of the call in the server's log."},
        "retryAfterSeconds": {"type": "number", "description": "Seconds to wait before another attempt, if known."},
    },
}
_HEADERS: dict[str, Json] = {
    "X-Request-Id": {
        "description": "Id of the call in the server's log, 1 to 128 printable characters. Absent: a new one.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    },
    "X-Timeout-Ms": {
        "description": "Deadline of the call in milliseconds.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60000},
    },
    "traceparent": {"description": "W3C trace context.", "schema": {"type": "string"}},
}


def build_document(comments: Mapping[str, str]) -> Json:
    """Return the document. `comments` are those of the .proto files by full name."""
    schemas = MessageSchemas(comments)
    rpcs = (*api_rpcs(), *admin_rpcs())
    paths = {rpc.path: {"post": _operation(rpc, schemas, comments)} for rpc in rpcs}
    services = list(dict.fromkeys(rpc.method.containing_service for rpc in rpcs))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cofactor", "version": "v1", "description": _DESCRIPTION},
        "security": [{}, {"token": []}],
        "tags": [{"name": s.name, "description": comments.get(s.full_name, "")} for s in services],
        "paths": {**paths, **_own_routes()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "parameters": {name: {"name": name, "in": "header", **header} for name, header in _HEADERS.items()},
            "responses": {
                "Problem": {
                    "description": "The request failed.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
            "schemas": {**dict(sorted(schemas.schemas.items())), "Problem": _PROBLEM},
        },
    }


def _operation(rpc: Rpc, schemas: MessageSchemas, comments: Mapping[str, str]) -> Json:
    method = rpc.method
    comment = comments.get(method.full_name, "")
    request = schemas.reference(method.input_type, is_response=False)
    response = schemas.reference(method.output_type, is_response=True)
    return {
        "operationId": method.name,
        "tags": [method.containing_service.name],
        "summary": comment.partition(". ")[0].rstrip("."),
        "description": comment,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS],
        "requestBody": {"content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "The response.", "content": {"application/json": {"schema": response}}},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def _own_routes() -> Json:
    """Describe the routes that are not RPCs."""
    server = {"type": "string", "enum": ["SERVING", "NOT_SERVING", "UNREACHABLE"]}
    flag = {"type": "boolean"}
    health = {"server": server, "operator": flag, "metrics": flag}
    return {
        "/api/health": _get("Health", "Says whether the server behind the gateway serves", health),
        "/healthz": _get("Healthz", "Says that the gateway itself runs", {"status": {"const": "ok"}}),
    }


def _get(name: str, summary: str, properties: Json) -> Json:
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {
        "get": {
            "operationId": name,
            "tags": ["Gateway"],
            "summary": summary,
            "responses": {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}},
        }
    }
