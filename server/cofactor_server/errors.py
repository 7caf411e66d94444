"""Every error with which the server refuses a request, a model version or a setting.

CofactorError
├── RequestError                    sent to the caller as a gRPC status
│   ├── InvalidField                INVALID_ARGUMENT
│   │   ├── MalformedRequest        INVALID_ARGUMENT
│   │   ├── InvalidPageToken        INVALID_ARGUMENT
│   │   └── InvalidFilterExpression INVALID_ARGUMENT
│   ├── UserNotFound                NOT_FOUND
│   ├── ItemNotFound                NOT_FOUND
│   ├── ModelNotFound               NOT_FOUND
│   ├── RuleSetNotFound             NOT_FOUND
│   ├── EmbeddingSpaceMismatch      FAILED_PRECONDITION
│   ├── NoKnownItems                FAILED_PRECONDITION
│   ├── PageTokenExpired            FAILED_PRECONDITION
│   ├── RuleSetMismatch             FAILED_PRECONDITION
│   ├── RatingsUnsupported          FAILED_PRECONDITION
│   ├── ProbabilitiesUnsupported    FAILED_PRECONDITION
│   ├── NewUsersUnsupported         UNIMPLEMENTED
│   ├── NewItemsUnsupported         UNIMPLEMENTED
│   ├── ItemMapUnsupported          UNIMPLEMENTED
│   ├── QueueFull                   RESOURCE_EXHAUSTED
│   ├── DeadlineExceeded            DEADLINE_EXCEEDED
│   ├── Unauthenticated             UNAUTHENTICATED
│   ├── PermissionDenied            PERMISSION_DENIED
│   ├── NotServing                  UNAVAILABLE
│   ├── DeviceFailed                UNAVAILABLE
│   ├── RateLimited                 RESOURCE_EXHAUSTED
│   ├── RepositoryReadOnly          FAILED_PRECONDITION (admin API)
│   ├── ErasureUnavailable          FAILED_PRECONDITION (admin API)
│   ├── FeedbackLogOff              FAILED_PRECONDITION
│   ├── FeedbackQueueFull           RESOURCE_EXHAUSTED
│   ├── FeedbackLogUnavailable      UNAVAILABLE
│   └── InternalError               INTERNAL
├── ModelRefused                    a version directory that must not be served
├── ProviderUnavailable             an execution provider that cannot be used
└── ConfigurationError              a setting of the server

Only transport/method_handlers.py maps a RequestError to gRPC. tools/docs/errors_page.py writes docs/errors.md from
these classes: the docstring of a class says what its error means.
"""

# An error class is named after the problem; that it is an error follows from its base class.
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import ClassVar

DOMAIN = "cofactor"
_LONGEST_QUOTE = 64
_MOST_NAMED = 10


def quoted(text: str) -> str:
    """Return `text` in quotes for a message: printable characters only, and at most 64 of them."""
    shortened = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shortened) + '"'


class CofactorError(Exception):
    """Base class of every error that is not a bug; str() is one sentence for people."""


class RequestError(CofactorError):
    """A request that is refused.

    Attributes:
        code: name of the gRPC status.
        reason: google.rpc.ErrorInfo.reason.
        remedy: what the caller can do about it, for docs/errors.md.
        field: path of the field at fault, such as "ratings[2].rating"; empty if there is none.
        metadata: google.rpc.ErrorInfo.metadata.
        retry_after_s: google.rpc.RetryInfo, in seconds; None if a retry does not help.
    """

    code: ClassVar[str]
    reason: ClassVar[str]
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

    def rename_field(self, field: str) -> None:
        """Name the field as the caller knows it, if the caller spoke another protocol; the message begins with it."""
        self.args = (field + str(self).removeprefix(self.field),)
        self.field = field


class InvalidField(RequestError):
    """A field has a value that is not allowed.

    Examples: NaN or infinity, a rating off the scale, a number that is negative or too large, a list over its limit, a
    vector of the wrong length, an empty id, both or neither of two alternatives, an item with two ratings, ratings for
    a model that learnt from events, an event type that the model does not know.
    """

    code = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"
    remedy = "Correct the field that BadRequest.field_violations names. GetModelResponse.limits has the limits."

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field=field)
        self.problem = problem


class MalformedRequest(InvalidField):
    """The body is not a message of the method's request type, or a string in it is not UTF-8."""

    reason = "MALFORMED_REQUEST"
    remedy = "Generate the client from proto/cofactor/v1."

    def __init__(self, message_name: str) -> None:
        super().__init__("request", f"is not a {message_name}; generate the client from proto/cofactor/v1")


class InvalidPageToken(InvalidField):
    """The page token is damaged, or belongs to a request with other parameters."""

    reason = "INVALID_PAGE_TOKEN"
    remedy = "Repeat the request that returned the token and change only page_token, or start at the first page."

    def __init__(self, problem: str) -> None:
        super().__init__("page_token", problem)


class InvalidFilterExpression(InvalidField):
    """A filter expression has a mistake: in its syntax, in the name of an attribute, or in the type of a value.

    ErrorInfo.metadata has the position of the mistake, from 1, and a suggestion if there is one.
    """

    reason = "INVALID_FILTER_EXPRESSION"
    remedy = (
        "Correct the expression at the position in the message. Model.attributes (GetModel) lists the attributes and "
        "their types; [Filters](filters.md) describes the syntax."
    )

    def __init__(self, problem: str, position: int, suggestion: str = "", field: str = "filter.expression") -> None:
        super().__init__(field, f"at character {position}, {problem}")
        self.position = position
        self.suggestion = suggestion
        self.metadata = {"position": str(position)} | ({"suggestion": suggestion} if suggestion else {})


class UserNotFound(RequestError):
    """The model was not trained on this user."""

    code = "NOT_FOUND"
    reason = "USER_NOT_FOUND"
    remedy = (
        "Send the user's ratings or events (EmbedNewUser or User.history), "
        "or set UNKNOWN_USER_POLICY_POPULAR in Recommend, or skip_unknown_users in EmbedNewItem."
    )

    def __init__(self, user_id: str, field: str, advice: str = "use EmbedNewUser or User.history") -> None:
        super().__init__(
            f"{field}: the model does not know user {quoted(user_id)}; {advice}",
            field=field,
            metadata={"user_id": user_id[:_LONGEST_QUOTE]},
        )


class ItemNotFound(RequestError):
    """The item is not in the model's catalogue."""

    code = "NOT_FOUND"
    reason = "ITEM_NOT_FOUND"
    remedy = "Find the item with SearchItems, or skip unknown items (skip_unknown_items, allow_partial_success)."

    def __init__(self, item_id: str, field: str) -> None:
        super().__init__(
            f"{field}: the model does not know item {quoted(item_id)}; find items with SearchItems",
            field=field,
            metadata={"item_id": item_id[:_LONGEST_QUOTE]},
        )


class ModelNotFound(RequestError):
    """The server has no model of that name, or not that version or label of it."""

    code = "NOT_FOUND"
    reason = "MODEL_NOT_FOUND"
    remedy = "Name a model, version or label that ListModels returns, or leave `model` unset."

    def __init__(self, problem: str) -> None:
        super().__init__(f"model: {problem}; ListModels lists what is served", field="model")


class RuleSetNotFound(RequestError):
    """The model has no rule set of that name. ErrorInfo.metadata has the most similar name, if there is one."""

    code = "NOT_FOUND"
    reason = "RULE_SET_NOT_FOUND"
    remedy = "Name a rule set in the model's rules.json ([Rules](rules.md)), or send the rules in the request."

    def __init__(self, name: str, known: Collection[str]) -> None:
        similar = get_close_matches(name[:_LONGEST_QUOTE], sorted(known), 1)
        if similar:
            advice = f"did you mean {quoted(similar[0])}?"
        elif known:
            advice = f"it has {', '.join(sorted(known)[:_MOST_NAMED])}"
        else:
            advice = "it has none; its rules.json defines them"
        super().__init__(
            f"rule_set: the model has no rule set {quoted(name)}; {advice}",
            field="rule_set",
            metadata={"rule_set": name[:_LONGEST_QUOTE]} | ({"suggestion": similar[0]} if similar else {}),
        )


class RuleSetMismatch(RequestError):
    """A rule set of the model's rules.json does not fit this version, such as by an attribute that it does not have."""

    code = "FAILED_PRECONDITION"
    reason = "RULE_SET_MISMATCH"
    remedy = "Ask the operator to correct the rule set in rules.json, or use another version."

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"rule_set: {quoted(name)} does not fit this version: {problem}",
            field="rule_set",
            metadata={"rule_set": name[:_LONGEST_QUOTE]},
        )


class EmbeddingSpaceMismatch(RequestError):
    """The embedding was made by a model version with other tables."""

    code = "FAILED_PRECONDITION"
    reason = "EMBEDDING_SPACE_MISMATCH"
    remedy = "Call EmbedNewUser again, on the model that you send the embedding to."

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field}.embedding_space: the embedding belongs to another model version; call EmbedNewUser again",
            field=f"{field}.embedding_space",
        )


class NoKnownItems(RequestError):
    """The request has ratings or events, and the model knows none of their items."""

    code = "FAILED_PRECONDITION"
    reason = "NO_KNOWN_ITEMS"
    remedy = (
        "Name items that SearchItems or ListTopItems returns, or send no ratings and no events to get the average user."
    )

    def __init__(self, field: str, items: str = "rated items") -> None:
        super().__init__(
            f"{field}: the model knows none of the {items}; find items with SearchItems or ListTopItems",
            field=field,
        )


class PageTokenExpired(RequestError):
    """The page token belongs to a model version that is no longer served, or its overlay or rule set has changed."""

    code = "FAILED_PRECONDITION"
    reason = "PAGE_TOKEN_EXPIRED"
    remedy = "Start again at the first page."

    def __init__(self, problem: str = "its model version is no longer served, or its items have changed") -> None:
        super().__init__(f"page_token: {problem}; start again at the first page", field="page_token")


class RatingsUnsupported(RequestError):
    """The request needs predicted ratings, and the model only orders items."""

    code = "FAILED_PRECONDITION"
    reason = "RATINGS_UNSUPPORTED"
    remedy = 'Use a model whose Model.objective is "rating".'

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: this model orders items and predicts no ratings; use a rating model", field=field)


class ProbabilitiesUnsupported(RequestError):
    """The model has no calibrated probabilities of interaction.

    It learnt from ratings only, held out no events, or is older than they are.
    """

    code = "FAILED_PRECONDITION"
    reason = "PROBABILITIES_UNSUPPORTED"
    remedy = "Use a model whose Model.supports_probabilities is true: trained by this release with events held out."

    def __init__(self) -> None:
        super().__init__(
            "return_probabilities: this model has no probabilities of interaction; train it from events, some of which "
            "are held out, or leave out return_probabilities",
            field="return_probabilities",
        )


class NewUsersUnsupported(RequestError):
    """The model was exported without the graph that embeds new users."""

    code = "UNIMPLEMENTED"
    reason = "NEW_USERS_UNSUPPORTED"
    remedy = "Use a model whose Model.supports_new_users is true."

    def __init__(self) -> None:
        super().__init__("this model cannot embed new users; use one whose supports_new_users is true")


class NewItemsUnsupported(RequestError):
    """The model was exported without the graph that embeds new items, as a network and versions before 0.2 are."""

    code = "UNIMPLEMENTED"
    reason = "NEW_ITEMS_UNSUPPORTED"
    remedy = "Use a model whose Model.supports_new_items is true: a dot product that this release exported."

    def __init__(self) -> None:
        super().__init__("this model cannot embed new items; use one whose supports_new_items is true")


class ItemMapUnsupported(RequestError):
    """The model was exported without a map of its items."""

    code = "UNIMPLEMENTED"
    reason = "ITEM_MAP_UNSUPPORTED"
    remedy = "Export the model again with this release, which draws the map."

    def __init__(self) -> None:
        super().__init__("this model has no map of its items; export it again")


class QueueFull(RequestError):
    """The server runs and queues as many calls or streams as it may; this one was not queued."""

    code = "RESOURCE_EXHAUSTED"
    reason = "QUEUE_FULL"
    remedy = "Retry after RetryInfo.retry_delay, with jitter. If it happens often, ask the operator for more replicas."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the server's queue is full; retry later", retry_after_s=retry_after_s)


class DeadlineExceeded(RequestError):
    """The caller's deadline passed while the call waited; the call did not run."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"
    remedy = "Set a longer deadline. If it happens often, ask the operator for more replicas."

    def __init__(self) -> None:
        super().__init__("the deadline passed while the call waited; set a longer one")


class Unauthenticated(RequestError):
    """The call carries no token, or one that is not valid."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"
    remedy = "Send the metadata `authorization: Bearer <token>` with a token that the server accepts."

    def __init__(self) -> None:
        super().__init__("the call carries no valid token; send the metadata authorization: Bearer <token>")


class PermissionDenied(RequestError):
    """The token is valid but does not allow this method."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"
    remedy = "Ask the operator for a token that allows the method."

    def __init__(self, method: str) -> None:
        super().__init__(
            f"the token does not allow {method}; ask the operator for one that does", metadata={"method": method}
        )


class NotServing(RequestError):
    """The server is shutting down, or has no model loaded yet."""

    code = "UNAVAILABLE"
    reason = "NOT_SERVING"
    remedy = "Retry on another replica. The Python client does so by itself."

    def __init__(self) -> None:
        super().__init__("the server is not serving; retry on another replica", retry_after_s=1.0)


class DeviceFailed(RequestError):
    """The server's device was lost or ran out of memory. The server stops, so that it is replaced."""

    code = "UNAVAILABLE"
    reason = "DEVICE_FAILED"
    remedy = "Retry on another replica. The Python client does so by itself."

    def __init__(self) -> None:
        super().__init__("the server's device has failed; retry on another replica", retry_after_s=1.0)


class RateLimited(RequestError):
    """This client calls more often than the rate limit allows, although the server may have room."""

    code = "RESOURCE_EXHAUSTED"
    reason = "RATE_LIMITED"
    remedy = "Call again after RetryInfo.retry_delay, and less often."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            "this client calls more often than its rate limit allows; slow down", retry_after_s=retry_after_s
        )


class RepositoryReadOnly(RequestError):
    """A call of the admin API cannot write to the model repository."""

    code = "FAILED_PRECONDITION"
    reason = "REPOSITORY_READ_ONLY"
    remedy = "Make the change where the repository is published from: edit serving.json, or publish an overlay there."

    def __init__(self, problem: str) -> None:
        super().__init__(f"the model repository cannot be written ({problem}); make the change at its source")


class ErasureUnavailable(RequestError):
    """EraseUser (admin API) cannot record the erasure, or the server cannot apply it. The user may still be served."""

    code = "FAILED_PRECONDITION"
    reason = "ERASURE_UNAVAILABLE"
    remedy = "Start the server with --erasure-key-file and a repository that it may write to, and erase the user again."

    def __init__(self, problem: str) -> None:
        super().__init__(f"the user is not erased: {problem}")


class FeedbackLogOff(RequestError):
    """RecordEvents on a server without a feedback log."""

    code = "FAILED_PRECONDITION"
    reason = "FEEDBACK_LOG_OFF"
    remedy = "Ask the operator to start the server with --feedback-log, or record the events elsewhere."

    def __init__(self) -> None:
        super().__init__("this server has no feedback log; start it with --feedback-log")


class FeedbackQueueFull(RequestError):
    """RecordEvents: as many calls or events wait for the feedback log as may; these events were not recorded."""

    code = "RESOURCE_EXHAUSTED"
    reason = "FEEDBACK_QUEUE_FULL"
    remedy = "Send the same events again after RetryInfo.retry_delay, with jitter; send more events in a call."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many events wait for the feedback log; retry later", retry_after_s=retry_after_s)


class FeedbackLogUnavailable(RequestError):
    """RecordEvents: the feedback log cannot be written, such as on a full disk. Recommendations go on."""

    code = "UNAVAILABLE"
    reason = "FEEDBACK_LOG_UNAVAILABLE"
    remedy = (
        "Send the same events again, later or to another replica: events that are recorded already do not count twice."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the feedback log cannot be written: {problem}; send the events again later, or to another replica",
            retry_after_s=1.0,
        )
        self.problem = problem


class InternalError(RequestError):
    """The server has a bug."""

    code = "INTERNAL"
    reason = "INTERNAL"
    remedy = "Report the request id to the operator, who finds the cause under it in the server's log."

    def __init__(self) -> None:
        super().__init__("internal error")


class ModelRefused(CofactorError):
    """A version directory is damaged or incomplete, or fails its golden test."""


class ProviderUnavailable(CofactorError):
    """The requested execution provider cannot be used on this machine."""


class ConfigurationError(CofactorError):
    """A setting has a value that is not allowed."""


def _subclasses(base: type[RequestError]) -> Iterator[type[RequestError]]:
    for error in base.__subclasses__():
        yield error
        yield from _subclasses(error)


REQUEST_ERRORS = tuple(_subclasses(RequestError))  # in the order of this file
