"""The OpenAPI document, and a page that shows it without loading anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from cofactor_web.rpcs import admin_rpcs

_DOCUMENT = Path(__file__).parent / "openapi.json"
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em }
h2 { margin-top: 2.5rem; border-bottom: 1px solid GrayText }
summary { cursor: pointer; padding: 0.25rem 0 }
dt { font-weight: 600; margin-top: 0.5rem }
dd { margin-left: 1.5rem; white-space: pre-line }
"""


def openapi_document(*, with_admin: bool) -> dict[str, Any]:
    """Return the OpenAPI document, without the routes of operators unless `with_admin`."""
    document: dict[str, Any] = json.loads(_DOCUMENT.read_text("utf-8"))
    if not with_admin:
        admin = {rpc.path for rpc in admin_rpcs()}
        services = {rpc.method.containing_service.name for rpc in admin_rpcs()}
        document["paths"] = {path: item for path, item in document["paths"].items() if path not in admin}
        document["tags"] = [tag for tag in document["tags"] if tag["name"] not in services]
        schemas = document["components"]["schemas"]
        document["components"]["schemas"] = {n: s for n, s in schemas.items() if not n.startswith("admin.")}
    return document


class DocsPage:
    """The document as HTML.

    Attributes:
        html: the page.
        style: its style sheet, at /docs.css.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self.style = _STYLE
        self.html = "\n".join(self._lines(document))

    def _lines(self, document: dict[str, Any]) -> Iterator[str]:
        yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Cofactor API</title>'
        yield '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/docs.css"></head><body>'
        yield f"<h1>Cofactor API</h1><p>{escape(document['info']['description'])}</p>"
        yield '<p><a href="/openapi.json">openapi.json</a> is this page for programs.</p><h2>Routes</h2>'
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield from self._operation(path, method, operation)
        yield "<h2>Messages</h2>"
        for name, schema in self._schemas.items():
            yield from self._message(name, schema)
        yield "</body></html>"

    def _operation(self, path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
        yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
        yield f"<p>{escape(operation.get('description') or operation['summary'])}</p>"
        body = operation.get("requestBody")
        if body is not None:
            content = operation["responses"]["200"]["content"]
            schemas = [part["application/json"]["schema"] for part in (body["content"], content)]
            yield f"<p>{_type(schemas[0])} → {_type(schemas[1])}</p>"

    def _message(self, name: str, schema: dict[str, Any]) -> Iterator[str]:
        yield f'<details id="{escape(name)}" open><summary><code>{escape(name)}</code></summary>'
        yield f"<p>{escape(schema.get('description', ''))}</p><dl>"
        for field, content in schema.get("properties", {}).items():
            yield f"<dt><code>{escape(field)}</code>: {_type(content)}</dt>"
            yield f"<dd>{escape(content.get('description', ''))}</dd>"
        yield "</dl></details>"


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value as HTML, with a link to the message."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of text to {_type(schema['additionalProperties'])}"
    if "anyOf" in schema:
        return "number"
    return escape(str(schema.get("type", "any")))
