"""Which version and which page a request means: its page token, if it has one, decides both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from cofactor.v1.catalog_pb2 import ListModelsRequest, ListModelsResponse
from cofactor.v1.model_pb2 import Model, ModelRef
from cofactor_server.errors import InvalidPageToken, PageTokenExpired
from cofactor_server.services.page_tokens import PageToken, decode_token, encode_token, fingerprint
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry


class PagedMessage(Protocol):
    """A request with pages."""

    page_token: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 (protobuf's name)
        """The request as bytes."""


class PagedRequest(PagedMessage, Protocol):
    """A request with pages on one model."""

    @property
    def model(self) -> ModelRef:
        """Which model."""

    def HasField(self, field_name: Literal["model"]) -> bool:  # noqa: N802 (protobuf's name)
        """Whether the request says which."""


@dataclass(slots=True, eq=False)
class Page:
    """A page of one request on one version.

    Attributes:
        version: what answers.
        offset: results before the page.
        request: what tells the request from all others, its page token aside.
    """

    version: LoadedVersion
    offset: int
    request: bytes

    def next_token(self, page_size: int) -> str:
        """The token of the page after this one."""
        return encode_token(self.offset + page_size, fingerprint(self.request), self.version.key)

    def next_token_if(self, n_results: int, page_size: int) -> str:
        """The token of the page after this one, or an empty string where the n_results end on this one."""
        return self.next_token(page_size) if n_results > self.offset + page_size else ""


def open_page(repository: ModelRegistry, request: PagedRequest, user_id: str = "") -> Page:
    """The page that a request asks for; `user_id` as in ModelRegistry.resolve.

    Raises ModelNotFound, InvalidPageToken, or PageTokenExpired when the token's version is no longer held.
    """
    token, content = read_token(request)
    if token is None:
        if request.HasField("model"):
            return Page(repository.resolve(request.model, user_id), 0, content)
        return Page(repository.resolve_default(user_id), 0, content)
    version = repository.get(token.model)
    if version is None:
        raise PageTokenExpired
    return Page(version, token.offset, content)


def read_token(request: PagedMessage) -> tuple[PageToken | None, bytes]:
    """The token of a request, None for its first page, and the rest of the request; raises InvalidPageToken."""
    text = request.page_token
    if text:
        request.page_token = ""
    content = type(request).__name__.encode() + request.SerializeToString(deterministic=True)
    if not text:
        return None, content
    token = decode_token(text)
    if token.fingerprint != fingerprint(content):
        raise InvalidPageToken("belongs to a request with other parameters; change page_token alone")
    return token, content


def list_models(repository: ModelRegistry, request: ListModelsRequest, page_size: int) -> ListModelsResponse:
    """One page of the versions held or refused, by name, newest first. The token names the last of the page before."""
    token, content = read_token(request)
    held = repository.describe_all()
    start = 0
    if token is not None:
        keys = [_key(model) for model in held]
        if token.model not in keys:
            raise PageTokenExpired
        start = keys.index(token.model) + 1
    page = held[start : start + page_size]
    response = ListModelsResponse(models=page)
    if len(held) > start + page_size:
        response.next_page_token = encode_token(start + page_size, fingerprint(content), _key(page[-1]))
    return response


def _key(model: Model) -> str:
    return f"{model.name}/{model.version}"
