"""The asyncio client, with the same methods as `cofactor_client.Client`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Unpack

from cofactor.v1 import recommender_pb2
from cofactor_client import _bulk
from cofactor_client import _feedback as feedback
from cofactor_client import _new_items as new_items
from cofactor_client import _request_messages as build
from cofactor_client import _response_parsing as parse
from cofactor_client._aio_catalog_client import AsyncCatalogClient
from cofactor_client._aio_transport import iterate_pages, open_channel, to_rpc_error
from cofactor_client._feedback import FeedbackEvent, RecordedEvents
from cofactor_client._filter_types import ItemFilter
from cofactor_client._new_items import AttributeLike, ItemEvent, NewItem
from cofactor_client._request_types import (
    Event,
    ModelLike,
    Ranking,
    RecommendOptions,
    UserLike,
    UserOrRequest,
)
from cofactor_client._response_types import (
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    Recommendations,
    ScoredItem,
    SimilarItems,
)

__all__ = ["AsyncClient", "open_channel", "to_rpc_error"]

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class AsyncClient(AsyncCatalogClient):
    """Client of a Cofactor server for asyncio, with the arguments and methods of `cofactor_client.Client`.

    Methods that return an iterator there return an asynchronous iterator here. Await all other methods.

    Make it inside a running event loop, one per process, and share it between tasks.

    >>> import asyncio
    >>> async def first_title(words):
    ...     async with AsyncClient("localhost:50051") as client:
    ...         return (await client.search_items(words)).items[0].title
    >>> asyncio.run(first_title("toy story"))
    'Toy Story'
    """

    async def predict(
        self,
        user: UserLike,
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predict the ratings of one user for many items, in the order of the items.

        An unknown item fails the call. With allow_partial_success it gives NaN and an entry of `errors` instead.
        """
        request = build.predict(self._resolve_model(model), user, item_ids, allow_partial_success=allow_partial_success)
        return parse.predictions(await self._transport.call(self._transport.recommender.Predict, request, timeout))

    async def predict_pairs(
        self,
        user_ids: Iterable[str],
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predict the ratings of pairs, the n-th user for the n-th item, in one call. For more, see predict_arrays."""
        request = build.predict_pairs(
            self._resolve_model(model), user_ids, item_ids, allow_partial_success=allow_partial_success
        )
        return parse.predictions(await self._transport.call(self._transport.recommender.Predict, request, timeout))

    async def predict_arrays(
        self,
        user_ids: _bulk.IdColumn,
        item_ids: _bulk.IdColumn,
        *,
        allow_partial_success: bool = False,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Predict the ratings of any number of pairs, (n_pairs,), with several calls at once. Needs numpy.

        Args:
            user_ids: (n_pairs,) strings or integers; a list, an array or a Series.
            item_ids: (n_pairs,) strings or integers, likewise.
            allow_partial_success: True to get NaN for an unknown id instead of an error.
            progress: True to draw a progress bar on standard error.
            model: the model to call.
            timeout: deadline of each call in seconds.
        """
        size = (await self._serving_limits()).max_items_per_request
        chunks = _bulk.PairChunks(user_ids, item_ids, size, self._resolve_model(model), allow_partial_success)
        ratings = chunks.empty_ratings()
        with _bulk.progress_bar("predicting", len(ratings), shown=progress) as advance:
            async for start, response in self._transport.call_many(
                self._transport.recommender.Predict, chunks, timeout
            ):
                ratings[start : start + len(response.ratings)] = response.ratings
                advance(len(response.ratings))
        return ratings

    async def predict_frame(
        self,
        frame: pd.DataFrame,
        *,
        user_column: str = "user_id",
        item_column: str = "item_id",
        allow_partial_success: bool = False,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> pd.Series[float]:
        """Predict the rating of every row. Returns a float32 Series with the frame's index. Needs pandas."""
        import pandas as pd

        ratings = await self.predict_arrays(
            _bulk.frame_column(frame, user_column),
            _bulk.frame_column(frame, item_column),
            allow_partial_success=allow_partial_success,
            progress=progress,
            model=model,
            timeout=timeout,
        )
        return pd.Series(ratings, index=frame.index, name="predicted_rating")

    async def recommend(
        self,
        user: UserLike,
        k: int = 10,
        *,
        page_token: str = "",
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Recommendations:
        """Recommend the best k items to one user, without those the user has rated. `options`: RecommendOptions."""
        request = build.recommend(self._resolve_model(model), user, k, page_token, options)
        return parse.recommendations(
            await self._transport.call(self._transport.recommender.Recommend, request, timeout)
        )

    def iter_recommendations(
        self,
        user: UserLike,
        *,
        page_size: int = 100,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> AsyncIterator[ScoredItem]:
        """Iterate over all recommendations for one user, best first. Fetches a page when it is needed."""
        return iterate_pages(
            lambda token: self.recommend(user, page_size, page_token=token, model=model, timeout=timeout, **options)
        )

    async def batch_recommend(
        self,
        users: Iterable[UserOrRequest],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> list[Recommendations | EntryError]:
        """Recommend items to several users in one call. An entry that fails does not fail the others.

        Returns the results in the order of `users`. An entry of `users` is a user, or a `recommend_request(...)` with a
        k and options of its own.
        """
        request = build.batch_recommend(self._resolve_model(model), users, k, options)
        return parse.batch_entries(
            await self._transport.call(self._transport.recommender.BatchRecommend, request, timeout)
        )

    async def stream_recommend(
        self,
        users: Iterable[UserOrRequest] | AsyncIterable[UserOrRequest],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> AsyncIterator[tuple[int, Recommendations | EntryError]]:
        """Recommend items to any number of users over one stream. Yields (index of the user, result) pairs.

        The pairs arrive in any order. `users` may be endless: it is read only a little ahead of the results.
        `timeout` is the deadline of the whole stream; by default it has none. Close the iterator to stop early.
        """
        build.check_options(options)
        build.check_users(users)
        ref = self._resolve_model(model)

        async def requests() -> AsyncIterator[recommender_pb2.StreamRecommendRequest]:
            index = 0
            async for user in _iterate(users):
                yield build.stream_recommend(ref, index, user, k, options)
                index += 1

        async for response in self._transport.stream_recommend(requests(), timeout):
            yield parse.stream_entry(response)

    async def recommend_frame(
        self,
        user_ids: _bulk.IdColumn,
        k: int = 10,
        *,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> pd.DataFrame:
        """Recommend the best k items to many users, over one stream. Needs pandas.

        Returns one row per user and item, with user_id, rank (from 1), item_id, title, score and predicted_rating.
        Raises UserNotFoundError for an unknown user; unknown_user="popular" recommends for the average user instead.
        """
        users = _bulk.id_list("user ids", user_ids)
        with _bulk.progress_bar("recommending", len(users), shown=progress) as advance:
            entries = []
            async for entry in self.stream_recommend(users, k, model=model, timeout=timeout, **options):
                entries.append(entry)
                advance(1)
        return _bulk.recommendation_frame(users, entries)

    async def similar_items(
        self,
        item_ids: str | Iterable[str],
        k: int = 10,
        *,
        page_token: str = "",
        filter: ItemFilter | None = None,
        return_items: bool = True,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> SimilarItems:
        """Find the k items most similar to one item, or to the average of several."""
        request = build.similar_items(
            self._resolve_model(model), item_ids, k, page_token, filter=filter, return_items=return_items
        )
        return parse.similar_items(
            await self._transport.call(self._transport.recommender.SimilarItems, request, timeout)
        )

    def iter_similar_items(
        self,
        item_ids: str | Iterable[str],
        *,
        page_size: int = 100,
        filter: ItemFilter | None = None,
        return_items: bool = True,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> AsyncIterator[ScoredItem]:
        """Iterate over all other items, most similar first. Fetches a page when it is needed."""
        ids = item_ids if isinstance(item_ids, str) else list(item_ids)
        return iterate_pages(
            lambda token: self.similar_items(
                ids,
                page_size,
                page_token=token,
                filter=filter,
                return_items=return_items,
                model=model,
                timeout=timeout,
            )
        )

    async def embed_new_user(
        self,
        ratings: Mapping[str, float] | None = None,
        *,
        events: Iterable[str | Event] = (),
        profile: Mapping[str, str] | None = None,
        skip_unknown_items: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewUser:
        """Turn a new user's ratings (item id to rating) into an embedding, without training.

        For a model that learnt from events, pass `events` instead: item ids or `Event` objects. A model that learnt
        from both takes both.
        Pass the embedding as the user of any other call except `explain`. The server does not store it.
        """
        request = build.embed_new_user(
            self._resolve_model(model), ratings, events, profile, skip_unknown_items=skip_unknown_items
        )
        return parse.new_user(await self._transport.call(self._transport.recommender.EmbedNewUser, request, timeout))

    async def embed_new_item(
        self,
        ratings: Mapping[str, float] | None = None,
        *,
        genres: Iterable[str] = (),
        release_year: int = 0,
        attributes: Mapping[str, AttributeLike] | None = None,
        events: Iterable[str | ItemEvent] = (),
        skip_unknown_users: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewItem:
        """Compute the row of an item that the model was not trained on, from its attributes and first ratings.

        ratings are by user id. For a model that learnt from events, pass `events` instead: user ids or `ItemEvent`
        objects. A model that learnt from both takes both.
        """
        item = new_items.described_item(genres, release_year, attributes)
        request = new_items.embed_new_item(
            self._resolve_model(model), ratings, item, events, skip_unknown_users=skip_unknown_users
        )
        return new_items.new_item(
            await self._transport.call(self._transport.recommender.EmbedNewItem, request, timeout)
        )

    async def explain(
        self,
        user: UserLike,
        item_id: str,
        *,
        max_contributions: int = 5,
        ranking: Ranking | None = None,
        popularity_penalty: float = 0.0,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Explain which rated items raised or lowered a prediction, and the item's place in the list.

        `user` is an id or a history, not an embedding. `ranking` and `popularity_penalty` are those of the `recommend`
        whose list is explained. `max_contributions` is also the largest number of reasons.
        """
        request = build.explain(
            self._resolve_model(model),
            user,
            item_id,
            max_contributions,
            ranking=ranking,
            popularity_penalty=popularity_penalty,
        )
        return parse.explanation(await self._transport.call(self._transport.recommender.Explain, request, timeout))

    async def record_events(
        self, events: Iterable[FeedbackEvent], *, model: ModelLike = None, timeout: float | None = None
    ) -> RecordedEvents:
        """Record what users did, for the next training. Needs a server with a feedback log.

        When it returns, the events are on the server's disk. Either all of them are recorded or none. After an error,
        call it again with the same objects: what was recorded does not count twice.
        """
        request = feedback.record_events(self._resolve_model(model), events)
        return feedback.recorded_events(
            await self._transport.call(self._transport.feedback.RecordEvents, request, timeout)
        )


async def _iterate(users: Iterable[UserOrRequest] | AsyncIterable[UserOrRequest]) -> AsyncIterator[UserOrRequest]:
    if isinstance(users, AsyncIterable):
        async for user in users:
            yield user
    else:
        for user in users:
            yield user
