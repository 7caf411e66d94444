"""What a call may raise.

    CofactorError
    └── RpcError                        any status that is not OK; `status` says which
        ├── InvalidArgumentError        the request is wrong; `field_violations` say where
        ├── NotFoundError
        │   ├── UserNotFoundError       USER_NOT_FOUND
        │   ├── ItemNotFoundError       ITEM_NOT_FOUND
        │   └── ModelNotFoundError      MODEL_NOT_FOUND
        ├── FailedPreconditionError     right in itself, but not for the model that is served now
        │   ├── EmbeddingSpaceMismatchError     EMBEDDING_SPACE_MISMATCH: embed the user again
        │   └── NoKnownItemsError       NO_KNOWN_ITEMS: the model knows none of the rated items
        ├── UnimplementedError
        │   └── NewUsersUnsupportedError        NEW_USERS_UNSUPPORTED
        ├── ResourceExhaustedError      too much at once; `retry_delay` says how long to wait
        ├── DeadlineExceededError       no answer within the timeout
        ├── UnavailableError            no server, or none ready; three attempts were made
        ├── UnauthenticatedError        no token, or a wrong one
        ├── PermissionDeniedError       the token does not allow this
        ├── CancelledError              the call was cancelled
        └── InternalError               the server's fault; `request_id` finds it in its log

A class is chosen by google.rpc.ErrorInfo.reason where it is known, else by the status code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field of a request.

    Attributes:
        field: its path, such as "ratings[2].rating".
        description: what is wrong with it and what would be right.
    """

    field: str
    description: str


@dataclass(frozen=True)
class ErrorDetails:
    """What a server says about a failure beside its status and message.

    Attributes:
        reason: google.rpc.ErrorInfo.reason, such as "USER_NOT_FOUND"; empty where the server gave none.
        metadata: google.rpc.ErrorInfo.metadata.
        field_violations: google.rpc.BadRequest.field_violations.
        request_id: what the server's log knows the call by; empty where it gave none.
        retry_delay: seconds to wait before another attempt, or None.
    """

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    request_id: str = ""
    retry_delay: float | None = None


class CofactorError(Exception):
    """Base of everything that this package raises about a call."""


class RpcError(CofactorError):
    """A call that failed.

    Attributes:
        message: one sentence for people.
        status: the gRPC status code.
        details: what else the server said; `reason`, `field_violations`, `request_id` and `retry_delay` are
            shortcuts to its fields.
    """

    def __init__(self, message: str, status: grpc.StatusCode, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details or ErrorDetails()

    def __reduce__(self) -> tuple[type[RpcError], tuple[str, grpc.StatusCode, ErrorDetails]]:
        # Or it could not leave a process pool: exceptions are rebuilt from their message alone.
        return type(self), (self.message, self.status, self.details)

    @property
    def reason(self) -> str:
        """google.rpc.ErrorInfo.reason, such as "USER_NOT_FOUND"; may be empty."""
        return self.details.reason

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The wrong fields of the request; empty for other failures."""
        return self.details.field_violations

    @property
    def request_id(self) -> str:
        """What the server's log knows the call by; may be empty."""
        return self.details.request_id

    @property
    def retry_delay(self) -> float | None:
        """Seconds that the server asks to wait before another attempt, or None."""
        return self.details.retry_delay


class InvalidArgumentError(RpcError):
    """The request is wrong whatever the server's state."""


class NotFoundError(RpcError):
    """Something that the request names does not exist."""


class UserNotFoundError(NotFoundError):
    """The model does not know the user."""


class ItemNotFoundError(NotFoundError):
    """The model does not know the item."""


class ModelNotFoundError(NotFoundError):
    """The server has no such model, version or label."""


class FailedPreconditionError(RpcError):
    """The request does not fit the model that is served now."""


class EmbeddingSpaceMismatchError(FailedPreconditionError):
    """The embedding was made by a model whose tables have changed: embed the user again."""


class NoKnownItemsError(FailedPreconditionError):
    """The model knows none of the rated items."""


class UnimplementedError(RpcError):
    """The server or the model cannot do this."""


class NewUsersUnsupportedError(UnimplementedError):
    """The model was exported without the graph that folds new users in."""


class ResourceExhaustedError(RpcError):
    """The server has too much to do, or a message was too large."""


class DeadlineExceededError(RpcError):
    """No answer within the timeout."""


class UnavailableError(RpcError):
    """No server could be reached, or none was ready."""


class UnauthenticatedError(RpcError):
    """No token, or a wrong one."""


class PermissionDeniedError(RpcError):
    """The token does not allow this."""


class CancelledError(RpcError):
    """The call was cancelled."""


class InternalError(RpcError):
    """The server failed; `request_id` finds the cause in its log."""


_BY_REASON: dict[str, type[RpcError]] = {
    "USER_NOT_FOUND": UserNotFoundError,
    "ITEM_NOT_FOUND": ItemNotFoundError,
    "MODEL_NOT_FOUND": ModelNotFoundError,
    "EMBEDDING_SPACE_MISMATCH": EmbeddingSpaceMismatchError,
    "NO_KNOWN_ITEMS": NoKnownItemsError,
    "NEW_USERS_UNSUPPORTED": NewUsersUnsupportedError,
}
_BY_STATUS: dict[grpc.StatusCode, type[RpcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}
_STATUS_OF_REASON: dict[str, grpc.StatusCode] = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "MALFORMED_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "USER_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ITEM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "EMBEDDING_SPACE_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_KNOWN_ITEMS": grpc.StatusCode.FAILED_PRECONDITION,
    "PAGE_TOKEN_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "RATINGS_UNSUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "NEW_USERS_UNSUPPORTED": grpc.StatusCode.UNIMPLEMENTED,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_SERVING": grpc.StatusCode.UNAVAILABLE,
    "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "REPOSITORY_READ_ONLY": grpc.StatusCode.FAILED_PRECONDITION,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""docs/errors.md; an entry of a batch names its reason and no status."""


def rpc_error(status: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, Any]] | None) -> RpcError:
    """The exception for a failed call: its status, message and trailing metadata."""
    details = _decode(metadata or ())
    kind = _BY_REASON.get(details.reason) or _BY_STATUS.get(status, RpcError)
    return kind(message or f"the call failed with {status.name}", status, details)


def entry_exception(reason: str, message: str) -> RpcError:
    """The exception that one failed entry of a batch would have been as a call of its own.

    A reason that only a later server knows becomes a plain RpcError, its status UNKNOWN.
    """
    details = ErrorDetails(reason=reason)
    status = _STATUS_OF_REASON.get(reason)
    if status is None:
        return RpcError(message, grpc.StatusCode.UNKNOWN, details)
    kind = _BY_REASON.get(reason) or _BY_STATUS[status]
    return kind(message, status, details)


def _decode(metadata: Iterable[tuple[str, Any]]) -> ErrorDetails:
    status = status_pb2.Status()
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:  # a proxy's doing: the status and the message are still right
                return ErrorDetails()
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    waits = False
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(request)
        waits = detail.Unpack(retry) or waits
    return ErrorDetails(
        reason=info.reason,
        metadata=dict(info.metadata),
        field_violations=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations),
        request_id=request.request_id or info.metadata.get("request_id", ""),
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if waits else None,
    )
