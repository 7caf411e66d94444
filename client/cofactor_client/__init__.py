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
    ItemMap,
    ItemPage,
    MapLabel,
    MapPoint,
    Model,
    ModelDescription,
    ModelEvents,
    ModelPage,
    ProfileQuestion,
    ServedModel,
    ServingLimits,
)
from cofactor_client._channel import Tls
from cofactor_client._client import Client
from cofactor_client._feedback import FeedbackEvent, RecordedEvents
from cofactor_client._filter_types import ItemFilter
from cofactor_client._new_items import ItemEmbedding, ItemEvent, NewItem
from cofactor_client._request_messages import recommend_request
from cofactor_client._request_types import (
    Event,
    ModelRef,
    RatingHistory,
    RecommendOptions,
    UserEmbedding,
    UserLike,
)
from cofactor_client._response_types import (
    AppliedRule,
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
from cofactor_client._rule_types import Boost, Cap, Guarantee, Pin, RuleSet
from cofactor_client.errors import CofactorError, RpcError

__all__ = [
    "AppliedRule",
    "AttributeValue",
    "Boost",
    "Cap",
    "Client",
    "CofactorError",
    "Contribution",
    "EntryError",
    "Event",
    "EventType",
    "Explanation",
    "FeedbackEvent",
    "Guarantee",
    "Item",
    "ItemAttribute",
    "ItemEmbedding",
    "ItemEvent",
    "ItemFilter",
    "ItemMap",
    "ItemPage",
    "MapLabel",
    "MapPoint",
    "Model",
    "ModelDescription",
    "ModelEvents",
    "ModelPage",
    "ModelRef",
    "NewItem",
    "NewUser",
    "Pin",
    "Predictions",
    "ProfileQuestion",
    "RankingReason",
    "RankingScore",
    "RatingHistory",
    "RecommendOptions",
    "Recommendations",
    "RecordedEvents",
    "RpcError",
    "RuleSet",
    "ScoredItem",
    "ServedModel",
    "ServingLimits",
    "SimilarItems",
    "Tls",
    "UserEmbedding",
    "UserLike",
    "recommend_request",
]
