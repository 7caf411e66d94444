"""List the model versions that the server has loaded or refused."""

from __future__ import annotations

from cofactor.v1.catalog_pb2 import ListModelsRequest, ListModelsResponse
from cofactor.v1.model_pb2 import Model
from cofactor_server.errors import PageTokenExpired
from cofactor_server.services.pagination import encode_token, pop_page_token, request_fingerprint
from cofactor_server.serving.registry import ModelRegistry


def list_models(registry: ModelRegistry, request: ListModelsRequest, page_size: int) -> ListModelsResponse:
    """Return a page of the loaded and the refused versions, by name and then newest first.

    Versions come and go between two pages. So the page token names the last version of its page instead of an offset.
    """
    token, request_key = pop_page_token(request)
    models = registry.describe_all()
    start = 0
    if token is not None:
        keys = [_key(model) for model in models]
        if token.version_key not in keys:
            raise PageTokenExpired
        start = keys.index(token.version_key) + 1
    end = start + page_size
    response = ListModelsResponse(models=models[start:end])
    if len(models) > end:
        response.next_page_token = encode_token(end, request_fingerprint(request_key), _key(models[end - 1]))
    return response


def _key(model: Model) -> str:
    return f"{model.name}/{model.version}"
