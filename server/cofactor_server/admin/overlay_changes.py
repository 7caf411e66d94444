"""Change the overlay of a version, in the repository."""

from __future__ import annotations

import threading
from collections.abc import Collection

from cofactor.admin.v1.admin_pb2 import UpdateOverlayRequest, UpdateOverlayResponse
from cofactor.v1.overlay_pb2 import Overlay
from cofactor_server.errors import InvalidField, ItemNotFound, ModelNotFound, RepositoryReadOnly, quoted
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.repository.overlays.checks import OverlayError, check_overlay
from cofactor_server.repository.overlays.files import encode_overlay
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.overlay_follower import SIGNED_ONLY
from cofactor_server.serving.registry import LiveRegistry


class OverlayChanges:
    """Writes overlays to the repository, so that every replica follows them."""

    def __init__(self, live: LiveRegistry) -> None:
        self._live = live
        self._changing = threading.Lock()

    def update(self, request: UpdateOverlayRequest) -> UpdateOverlayResponse:
        """Write the next overlay of a version, and serve it.

        Raises ModelNotFound, ItemNotFound, InvalidField, or RepositoryReadOnly.
        """
        if not self._live.overlays.accepts:
            raise RepositoryReadOnly(SIGNED_ONLY)
        with self._changing:
            self._live.watcher.poll()  # the version may have been published just now
            base = self._base(request.name, request.version)
            written = Overlay()

            def make(sequences: Collection[int]) -> tuple[int, bytes]:
                self._live.watcher.poll()  # as the overlay is now that nobody else can change it
                written.CopyFrom(self._next(base, request, max(sequences, default=0) + 1))
                return written.sequence, encode_overlay(written)

            manifest = base.manifest
            try:
                self._live.source.overlays.update(manifest.name, manifest.version, make)
            except OSError as error:
                raise RepositoryReadOnly(error.strerror or type(error).__name__) from None
            self._live.watcher.poll()
        return UpdateOverlayResponse(
            version=manifest.version,
            sequence=written.sequence,
            added_count=len(written.added_items),
            removed_count=len(written.removed_item_ids),
        )

    def _base(self, name: str, version: str) -> LoadedVersion:
        """Return a loaded version without its overlay."""
        state = self._live.watcher.snapshot.get(name)
        if state is None:
            raise ModelNotFound(f"no model is called {quoted(name)}")
        if not version and state.routing is not None:
            version = state.routing.current
        if version not in state.loaded:
            raise ModelNotFound(f"version {quoted(version)} of {quoted(name)} is not served")
        return state.loaded[version].value

    def _next(self, base: LoadedVersion, request: UpdateOverlayRequest, sequence: int) -> Overlay:
        """Return the overlay in force with the changes of a request."""
        overlay = Overlay()
        before = self._live.overlays.overlay_of(base.key)
        if before is not None and not request.reset:
            overlay.CopyFrom(before)
        overlay.name, overlay.version = base.manifest.name, base.manifest.version
        overlay.embedding_space = base.manifest.embedding_space
        overlay.sequence = sequence
        overlay.create_time.GetCurrentTime()
        change_items(overlay, request, base.item_ids)
        try:
            check_overlay(overlay, base.manifest, base.item_ids.row)
        except OverlayError as error:
            raise InvalidField(_field_of_request(error.field, overlay, request), error.problem) from None
        return overlay


def change_items(overlay: Overlay, request: UpdateOverlayRequest, ids: IdIndex) -> None:
    """Restore, remove and add the items of a request; `ids` are those of the version.

    Raises ItemNotFound for an item to remove that there is not, InvalidField for one to restore that is not removed.
    """
    added = {item.item.item_id: item for item in overlay.added_items}
    removed = dict.fromkeys(overlay.removed_item_ids)
    for index, item_id in enumerate(request.restored_item_ids):
        if item_id not in removed:
            raise InvalidField(f"restored_item_ids[{index}]", f"{quoted(item_id)} is not a removed item of the version")
        del removed[item_id]
        added.pop(item_id, None)  # the item that has replaced it
    for index, item_id in enumerate(request.removed_item_ids):
        is_own = ids.row(item_id) is not None
        if added.pop(item_id, None) is None and (not is_own or item_id in removed):
            raise ItemNotFound(item_id, f"removed_item_ids[{index}]")
        if is_own:
            removed[item_id] = None
    kept, changed = list(added.values()), {item.item.item_id for item in request.added_items}
    kept = [item for item in kept if item.item.item_id not in changed]
    # A copy first: the messages in `kept` belong to the list that is replaced.
    replaced = Overlay(added_items=[*kept, *request.added_items], removed_item_ids=removed)
    overlay.ClearField("added_items")
    overlay.ClearField("removed_item_ids")
    overlay.MergeFrom(replaced)


def _field_of_request(field: str, overlay: Overlay, request: UpdateOverlayRequest) -> str:
    """Return the path in the request of a field of the overlay, whose last added items are those of the request."""
    name, _, rest = field.partition("[")
    index, _, rest = rest.partition("]")
    if name != "added_items" or not index:
        return field
    position = int(index) - (len(overlay.added_items) - len(request.added_items))
    return f"added_items[{position}]{rest}"
