"""Erase users: record the erasure in the repository, and apply it here at once."""

from __future__ import annotations

from collections.abc import Callable

from cofactor.admin.v1 import admin_pb2
from cofactor.v1.erasure_pb2 import ErasureRecord
from cofactor_server.errors import (
    ErasureUnavailable,
    FeedbackLogUnavailable,
    InvalidField,
    InvalidPageToken,
    ModelNotFound,
    quoted,
)
from cofactor_server.repository.erasure_records import format_record, is_record_id, new_record
from cofactor_server.serving.registry import LiveRegistry

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE = 1000


class UserErasures:
    """Record erasures of users, so that every replica and the next training follow them, and list them.

    The id of the user is in no log line, and in no error: only its hash is recorded.
    """

    def __init__(self, live: LiveRegistry, after_erasure: Callable[[], None] = lambda: None) -> None:
        """after_erasure: removes the users of new records elsewhere, or raises RequestError."""
        self._after_erasure = after_erasure
        self._live = live
        self._store = live.erasure.store

    def erase(self, user_id: str, model_name: str, requested_by: str, request_id: str) -> admin_pb2.Erasure:
        """Erase a user from one model, or from all if `model_name` is empty.

        Raises InvalidField for an empty id, ModelNotFound, or ErasureUnavailable if the erasure cannot be recorded or
        cannot be applied here.
        """
        if not user_id:
            raise InvalidField("user_id", "is empty; name the user to erase")
        if model_name and model_name not in self._live.watcher.snapshot:
            raise ModelNotFound(f"no model is called {quoted(model_name)}")
        key = self._store.key
        if key is None:
            raise ErasureUnavailable("this server has no --erasure-key-file")
        record = new_record(key, user_id, model_name, requested_by, request_id)
        try:
            self._live.source.add_erasure(record.record_id, format_record(record))
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise ErasureUnavailable(f"the model repository cannot be written ({problem})") from None
        self._live.watcher.poll()
        if record.record_id not in {known.record_id for known in self._store.records}:
            raise ErasureUnavailable(
                f"it is recorded, but this server cannot read it back: {self._live.watcher.repository_error}"
            )
        try:
            self._after_erasure()
        except FeedbackLogUnavailable as error:
            raise ErasureUnavailable(
                "the erasure is recorded and the versions follow it, but the feedback log still has rows of the user "
                f"and cannot be written: {error.problem}; the server tries it again by itself"
            ) from None
        return self._describe(record)

    def list_page(self, page_size: int, page_token: str) -> admin_pb2.ListErasuresResponse:
        """Return one page of the erasures, oldest first; the token of a page is the id of the record before it.

        Raises InvalidField or InvalidPageToken.
        """
        if not 0 <= page_size <= LARGEST_PAGE:
            raise InvalidField(
                "page_size", f"must be between 0 (for {DEFAULT_PAGE_SIZE}) and {LARGEST_PAGE}, not {page_size}"
            )
        if page_token and not is_record_id(page_token):
            raise InvalidPageToken("is not a token of this server; start again at the first page")
        self._live.watcher.poll()
        later = [record for record in self._store.records if record.record_id > page_token]
        page = later[: page_size or DEFAULT_PAGE_SIZE]
        return admin_pb2.ListErasuresResponse(
            erasures=map(self._describe, page),
            next_page_token=page[-1].record_id if len(later) > len(page) else "",
        )

    def _describe(self, record: ErasureRecord) -> admin_pb2.Erasure:
        versions = (version for model in self._live.current.versions.values() for version in model)
        return admin_pb2.Erasure(
            record=record,
            versions_with_traces=sorted(
                version.key for version in versions if self._live.erasure.has_traces(record.record_id, version)
            ),
        )
