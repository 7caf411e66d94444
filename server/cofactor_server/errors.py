"""Every way a request or a model can be refused; tools/docs/errors_page.py makes docs/errors.md of it.

CofactorError
├── RequestError                     answered to a caller; transport/method_handlers.py maps it to a gRPC status, once
│   ├── InvalidField                 INVALID_ARGUMENT
│   │   ├── MalformedRequest         INVALID_ARGUMENT
│   │   └── InvalidPageToken         INVALID_ARGUMENT
│   ├── UserNotFound, ItemNotFound, ModelNotFound       NOT_FOUND
│   ├── EmbeddingSpaceMismatch, NoKnownItems, PageTokenExpired, RatingsUnsupported   FAILED_PRECONDITION
│   ├── NewUsersUnsupported          UNIMPLEMENTED
│   ├── QueueFull                    RESOURCE_EXHAUSTED
│   ├── Unauthenticated              UNAUTHENTICATED
│   ├── PermissionDenied             PERMISSION_DENIED
│   ├── DeadlineExceeded             DEADLINE_EXCEEDED
│   ├── NotServing                   UNAVAILABLE
│   ├── RateLimited                  RESOURCE_EXHAUSTED
│   ├── RepositoryReadOnly           FAILED_PRECONDITION, admin API only
│   └── InternalError                INTERNAL
├── ModelRefused                     a version directory that must not be served
├── ProviderUnavailable              the execution provider asked for cannot be used
└── ConfigurationError               the server's own settings
"""

# The names say what is wrong; that they are errors, their base class says.
# ruff: noqa: N818

from __future__ import annotations

from typing import ClassVar

DOMAIN = "cofactor"
LONGEST_QUOTE = 64


def quoted(text: str) -> str:
    """`text` as it may appear in a message: printable, in quotes, at most 64 characters of it."""
    shortened = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shortened) + '"'


class CofactorError(Exception):
    """Base of every error that is not a bug; str() is one sentence for people."""


class RequestError(CofactorError):
    """A request that gets an error instead of an answer.

    Attributes:
        code: name of the gRPC status.
        reason: google.rpc.ErrorInfo.reason.
        remedy: what docs/errors.md advises the caller to do.
        field: path of the field at fault, such as "ratings[2].rating"; empty where no field is.
        metadata: google.rpc.ErrorInfo.metadata.
        retry_after_s: google.rpc.RetryInfo, in seconds; None where a retry is of no use.
    """

    code: ClassVar[str]
    reason: ClassVar[str]
    meaning: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        metadata: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s


class InvalidField(RequestError):
    """A field holds what it may not hold."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"
    meaning = (
        "A field holds what it may not: NaN or infinity, a rating off the scale, a negative or too large number, "
        "a list over its limit, a vector of the wrong length, an empty id, both or neither of a choice, one item "
        "with two ratings."
    )
    remedy = "Correct the field named in BadRequest.field_violations; limits are in GetModelResponse.limits."

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field=field)
        self.problem = problem


class MalformedRequest(InvalidField):
    """The body is not the method's request message."""

    reason = "MALFORMED_REQUEST"
    meaning = "The body is not a message of the method's request type, or a string in it is not UTF-8."
    remedy = "Generate the client from proto/cofactor/v1."

    def __init__(self, message_name: str) -> None:
        super().__init__("request", f"is not a {message_name}; generate the client from proto/cofactor/v1")


class InvalidPageToken(InvalidField):
    """A page token that was not made for this request."""

    reason = "INVALID_PAGE_TOKEN"
    meaning = "The page token is broken, or belongs to a request with other parameters."
    remedy = "Repeat the request that gave the token, changing page_token alone; or start at the first page."

    def __init__(self, problem: str) -> None:
        super().__init__("page_token", problem)


class UserNotFound(RequestError):
    """The model does not know the user."""

    code = "NOT_FOUND"
    reason = "USER_NOT_FOUND"
    meaning = "The model was not trained on this user."
    remedy = "Use EmbedNewUser or User.history; or, in Recommend, UNKNOWN_USER_POLICY_POPULAR."

    def __init__(self, user_id: str, field: str) -> None:
        super().__init__(
            f"{field}: the model does not know user {quoted(user_id)}; use EmbedNewUser or User.history",
            field=field,
            metadata={"user_id": user_id[:LONGEST_QUOTE]},
        )


class ItemNotFound(RequestError):
    """The model does not know the item."""

    code = "NOT_FOUND"
    reason = "ITEM_NOT_FOUND"
    meaning = "The item is not in the model's catalogue."
    remedy = "Look it up with SearchItems; or leave unknown items out (skip_unknown_items, allow_partial_success)."

    def __init__(self, item_id: str, field: str) -> None:
        super().__init__(
            f"{field}: the model does not know item {quoted(item_id)}; find items with SearchItems",
            field=field,
            metadata={"item_id": item_id[:LONGEST_QUOTE]},
        )


class ModelNotFound(RequestError):
    """The server holds no such model, version or label."""

    code = "NOT_FOUND"
    reason = "MODEL_NOT_FOUND"
    meaning = "The server holds no model of that name, or not that version or label of it."
    remedy = "Choose one of those that ListModels names, or leave `model` unset."

    def __init__(self, problem: str) -> None:
        super().__init__(f"model: {problem}; ListModels names what is served", field="model")


class EmbeddingSpaceMismatch(RequestError):
    """An embedding made by a model with other tables."""

    code = "FAILED_PRECONDITION"
    reason = "EMBEDDING_SPACE_MISMATCH"
    meaning = "The embedding was made by a model or version with other tables."
    remedy = "Call EmbedNewUser again on the model that is to answer."

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field}.embedding_space: the embedding belongs to another model version; call EmbedNewUser again",
            field=f"{field}.embedding_space",
        )


class NoKnownItems(RequestError):
    """Ratings were given, and the model knows none of their items."""

    code = "FAILED_PRECONDITION"
    reason = "NO_KNOWN_ITEMS"
    meaning = "Ratings were given, and the model knows none of the rated items."
    remedy = "Rate items that SearchItems or ListTopItems return; or send no ratings at all for the average user."

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: the model knows none of the rated items; rate items it lists", field=field)


class PageTokenExpired(RequestError):
    """The version that the token was made on is no longer served."""

    code = "FAILED_PRECONDITION"
    reason = "PAGE_TOKEN_EXPIRED"
    meaning = "The page token belongs to a model version that is no longer served."
    remedy = "Start again at the first page."

    def __init__(self) -> None:
        super().__init__(
            "page_token: its model version is no longer served; start again at the first page", field="page_token"
        )


class RatingsUnsupported(RequestError):
    """A rating is asked of a model that only orders items."""

    code = "FAILED_PRECONDITION"
    reason = "RATINGS_UNSUPPORTED"
    meaning = "A predicted rating is asked of a model trained to order items."
    remedy = 'Use a model whose Model.objective is "rating".'

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: this model orders items and predicts no ratings; use a rating model", field=field)


class NewUsersUnsupported(RequestError):
    """A new user is sent to a model without fold-in."""

    code = "UNIMPLEMENTED"
    reason = "NEW_USERS_UNSUPPORTED"
    meaning = "The model was exported without the graph that embeds new users."
    remedy = "Use a model whose Model.supports_new_users is true."

    def __init__(self) -> None:
        super().__init__("this model cannot embed new users; use one whose supports_new_users is true")


class QueueFull(RequestError):
    """As many calls as may wait are waiting."""

    code = "RESOURCE_EXHAUSTED"
    reason = "QUEUE_FULL"
    meaning = "As many calls as may wait for the engine are waiting; this one was not queued."
    remedy = "Retry after RetryInfo.retry_delay, with jitter; add replicas if it persists."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the server is at its limit of waiting calls; retry later", retry_after_s=retry_after_s)


class DeadlineExceeded(RequestError):
    """The caller's deadline passed before the work began."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"
    meaning = "The caller's deadline passed while the call waited; it was never run."
    remedy = "Allow more time, or add replicas."

    def __init__(self) -> None:
        super().__init__("the deadline passed while the call waited; it was not run")


class Unauthenticated(RequestError):
    """No credentials, or wrong ones."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"
    meaning = "The call carries no credentials, or wrong ones."
    remedy = "Send `authorization: Bearer <token>` with a token that the server accepts."

    def __init__(self) -> None:
        super().__init__("the call carries no valid credentials; send authorization: Bearer <token>")


class PermissionDenied(RequestError):
    """Good credentials that do not reach so far."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"
    meaning = "The credentials are valid, and do not allow this method."
    remedy = "Ask the operator for a token that allows it."

    def __init__(self, method: str) -> None:
        super().__init__(f"the credentials do not allow {method}", metadata={"method": method})


class NotServing(RequestError):
    """The server is starting or stopping."""

    code = "UNAVAILABLE"
    reason = "NOT_SERVING"
    meaning = "The server is shutting down, or has no model loaded yet."
    remedy = "Retry on another replica; the shipped client does so by itself."

    def __init__(self) -> None:
        super().__init__("the server is not serving; retry on another replica", retry_after_s=1.0)


class RateLimited(RequestError):
    """A client that calls more often than it may."""

    code = "RESOURCE_EXHAUSTED"
    reason = "RATE_LIMITED"
    meaning = "This client calls more often than it may; the server itself may have room."
    remedy = "Call again after RetryInfo.retry_delay, and less often."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("this client calls more often than it may; slow down", retry_after_s=retry_after_s)


class RepositoryReadOnly(RequestError):
    """The server may not write to the model repository."""

    code = "FAILED_PRECONDITION"
    reason = "REPOSITORY_READ_ONLY"
    meaning = "Promote or Rollback (admin API) where the server may not write to the model repository."
    remedy = "Change the model's serving.json where it is published from."

    def __init__(self, problem: str) -> None:
        super().__init__(f"the model repository cannot be written ({problem}); change serving.json at its source")


class InternalError(RequestError):
    """A bug; what went wrong is in the server's log under the request id."""

    code = "INTERNAL"
    reason = "INTERNAL"
    meaning = "A bug in the server."
    remedy = "Report the request id; the server's log has the cause under it."

    def __init__(self) -> None:
        super().__init__("internal error")


class ModelRefused(CofactorError):
    """A version directory is damaged, incomplete or answers wrongly."""


class ProviderUnavailable(CofactorError):
    """The execution provider that was asked for cannot be used here."""


class ConfigurationError(CofactorError):
    """A setting has no legal value."""


REQUEST_ERRORS: tuple[type[RequestError], ...] = (
    InvalidField,
    MalformedRequest,
    InvalidPageToken,
    UserNotFound,
    ItemNotFound,
    ModelNotFound,
    EmbeddingSpaceMismatch,
    NoKnownItems,
    PageTokenExpired,
    RatingsUnsupported,
    NewUsersUnsupported,
    QueueFull,
    DeadlineExceeded,
    Unauthenticated,
    PermissionDenied,
    NotServing,
    RateLimited,
    RepositoryReadOnly,
    InternalError,
)
