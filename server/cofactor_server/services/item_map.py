"""Answer GetItemMap."""

from __future__ import annotations

from cofactor.v1.catalog_pb2 import GetItemMapRequest, GetItemMapResponse
from cofactor_server.errors import InvalidField, ItemMapUnsupported
from cofactor_server.serving.loaded_version import LoadedVersion

_MOST_ITEMS = 10_000


def item_map(version: LoadedVersion, request: GetItemMapRequest, max_response_bytes: int) -> GetItemMapResponse:
    """Return the places of the most rated items.

    Raises InvalidField for a number of items that is not allowed, or for which the response is too large, and
    ItemMapUnsupported if the version has no map.
    """
    if not 0 <= request.max_items <= _MOST_ITEMS:
        raise InvalidField("max_items", f"must be from 0 (for all) to {_MOST_ITEMS}, not {request.max_items}")
    found = version.item_map
    if found is None:
        raise ItemMapUnsupported
    response = GetItemMapResponse(model=version.served_model)
    n_items = min(request.max_items or len(found.rows), len(found.rows))
    for row, (x, y) in zip(found.rows[:n_items].tolist(), found.places[:n_items].tolist(), strict=True):
        record = version.catalogue.record(row)
        response.points.add(
            item_id=version.item_ids.ids[row],
            title=record.title,
            x=x,
            y=y,
            rating_count=record.rating_count,
            bias=record.bias,
            genres=record.genres,
        )
    for label in found.labels:
        response.labels.add(x=label.x, y=label.y, text=label.text)
    if (size := response.ByteSize()) > max_response_bytes:
        raise InvalidField(
            "max_items",
            f"asks for a response of {size / 2**20:.1f} MiB, and this server answers at most "
            f"{max_response_bytes / 2**20:g}; ask for fewer items",
        )
    return response
