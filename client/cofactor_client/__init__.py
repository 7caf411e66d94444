"""Client of a Cofactor server: `Client`, its asyncio twin `cofactor_client.aio.AsyncClient`, and their value types.

>>> from cofactor_client import Client
>>> with Client("localhost:50051") as client:
...     print(len(client.recommend("1", k=5)))
5
"""

from cofactor_client._catalog_types import (
    AttributeValue,
    EventType,
    Item,
    ItemAttribute,
    ItemPage,
    Model,
    ModelDescription,
    ModelEvents,
    ModelPage,
    ServedModel,
    ServingLimits,
)
from cofactor_client._channel import Tls
from cofactor_client._client import Client
from cofactor_client._request_messages import recommend_request
from cofactor_client._request_types import (
    Event,
    ItemFilter,
    ModelRef,
    RatingHistory,
    RecommendOptions,
    UserEmbedding,
    UserLike,
)
from cofactor_client._response_types import (
    Contribution,
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    RankingReason,
    RankingScore,
    Recommendations,
    ScoredItem,
    SimilarItems,
)
from cofactor_client.errors import CofactorError, RpcError

__all__ = [
    "AttributeValue",
    "Client",
    "CofactorError",
    "Contribution",
    "EntryError",
    "Event",
    "EventType",
    "Explanation",
    "Item",
    "ItemAttribute",
    "ItemFilter",
    "ItemPage",
    "Model",
    "ModelDescription",
    "ModelEvents",
    "ModelPage",
    "ModelRef",
    "NewUser",
    "Predictions",
    "RankingReason",
    "RankingScore",
    "RatingHistory",
    "RecommendOptions",
    "Recommendations",
    "RpcError",
    "ScoredItem",
    "ServedModel",
    "ServingLimits",
    "SimilarItems",
    "Tls",
    "UserEmbedding",
    "UserLike",
    "recommend_request",
]
