"""The asyncio client: the methods of `cofactor_client.Client`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Unpack

from cofactor.v1 import recommender_pb2
from cofactor_client import _bulk, _request_messages, _response_parsing
from cofactor_client._aio_transport import over_pages
from cofactor_client._request_messages import ModelLike, RecommendLike
from cofactor_client._request_types import ItemFilter, RecommendOptions, UserLike
from cofactor_client._response_types import (
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    Recommendations,
    ScoredItem,
    SimilarItems,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


from cofactor_client._aio_catalog_client import AsyncCatalogClient


class AsyncClient(AsyncCatalogClient):
    """As `cofactor_client.Client`, for asyncio: the same arguments and methods.

    What returns an iterator there returns an asynchronous one here; everything else is awaited.

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
        """Predicted ratings of one user for many items, in their order.

        With allow_partial_success an unknown item becomes NaN and an entry of `errors`; otherwise it fails the call.
        """
        request = _request_messages.predict(
            self._ref(model), user, item_ids, allow_partial_success=allow_partial_success
        )
        return _response_parsing.predictions(
            await self._transport.call(self._transport.recommender.Predict, request, timeout)
        )

    async def predict_pairs(
        self,
        user_ids: Iterable[str],
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predicted ratings of pairs, in one call: the n-th user for the n-th item. For columns: predict_arrays."""
        request = _request_messages.predict_pairs(
            self._ref(model), user_ids, item_ids, allow_partial_success=allow_partial_success
        )
        return _response_parsing.predictions(
            await self._transport.call(self._transport.recommender.Predict, request, timeout)
        )

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
        """Predicted ratings of any number of pairs, (n_pairs,), over several concurrent calls. Needs numpy.

        Args:
            user_ids: (n_pairs,) strings or integers; a list, an array or a Series.
            item_ids: (n_pairs,) likewise.
            allow_partial_success: an unknown id becomes NaN; otherwise it fails the whole.
            progress: draw a progress bar on standard error.
            model: which model answers.
            timeout: seconds for each call.
        """
        size = (await self._serving_limits()).max_items_per_request
        chunks = _bulk.PairChunks(user_ids, item_ids, size, self._ref(model), allow_partial_success)
        ratings = chunks.empty()
        with _bulk.progress_bar("predicting", len(ratings), shown=progress) as advance:
            async for start, response in self._transport.calls(self._transport.recommender.Predict, chunks, timeout):
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
        """Predicted rating of every row, float32, with the frame's index. Needs pandas; see predict_arrays."""
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
        """The best k items for one user, without those the user has rated. `options`: RecommendOptions."""
        request = _request_messages.recommend(self._ref(model), user, k, page_token, options)
        return _response_parsing.recommendations(
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
        """Every recommendation for one user, best first, page after page as they are needed."""
        return over_pages(
            lambda token: self.recommend(user, page_size, page_token=token, model=model, timeout=timeout, **options)
        )

    async def batch_recommend(
        self,
        users: Iterable[RecommendLike],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> list[Recommendations | EntryError]:
        """Recommendations for several users in one call; each succeeds or fails alone, in the order given.

        An entry is a user, or a `recommend_request(...)` where its k or options differ from the others'.
        """
        request = _request_messages.batch_recommend(self._ref(model), users, k, options)
        return _response_parsing.batch(
            await self._transport.call(self._transport.recommender.BatchRecommend, request, timeout)
        )

    async def stream_recommend(
        self,
        users: Iterable[RecommendLike] | AsyncIterable[RecommendLike],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> AsyncIterator[tuple[int, Recommendations | EntryError]]:
        """Recommendations for any number of users over one stream: (position of the user, answer) as they arrive.

        Answers may overtake each other. `users` is read as answers come in, so it may be endless; `timeout` is for
        the whole stream and defaults to none. Stop early by closing the iterator.
        """
        ref = self._ref(model)

        async def requests() -> AsyncIterator[recommender_pb2.StreamRecommendRequest]:
            index = 0
            async for user in _each(users):
                yield _request_messages.stream_recommend(ref, index, user, k, options)
                index += 1

        async for response in self._transport.stream(requests(), timeout):
            yield _response_parsing.streamed(response)

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
        """The best k items of many users, over one stream; needs pandas.

        One row per user and item: user_id, rank (from 1), item_id, title, score, predicted_rating. An unknown
        user raises UserNotFoundError; unknown_user="popular" answers with the average user's instead.
        """
        users = _bulk.id_list("user ids", user_ids)
        with _bulk.progress_bar("recommending", len(users), shown=progress) as advance:
            answers = []
            async for answer in self.stream_recommend(users, k, model=model, timeout=timeout, **options):
                answers.append(answer)
                advance(1)
        return _bulk.recommendation_frame(users, answers)

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
        """The k items nearest to one item, or to the average of several."""
        request = _request_messages.similar_items(
            self._ref(model), item_ids, k, page_token, filter=filter, return_items=return_items
        )
        return _response_parsing.similar_items(
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
        """Every other item, nearest first, page after page as they are needed."""
        ids = item_ids if isinstance(item_ids, str) else list(item_ids)
        return over_pages(
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
        ratings: Mapping[str, float],
        *,
        profile: Mapping[str, str] | None = None,
        skip_unknown_items: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewUser:
        """Turns a new user's ratings (item id to rating) into an embedding, without training.

        The embedding stands for the user in any other call; the server keeps nothing.
        """
        request = _request_messages.embed_new_user(
            self._ref(model), ratings, profile or {}, skip_unknown_items=skip_unknown_items
        )
        return _response_parsing.new_user(
            await self._transport.call(self._transport.recommender.EmbedNewUser, request, timeout)
        )

    async def explain(
        self,
        user: UserLike,
        item_id: str,
        *,
        max_contributions: int = 5,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Which rated items pushed a prediction up or down. The user: an id or a history, not an embedding."""
        request = _request_messages.explain(self._ref(model), user, item_id, max_contributions)
        return _response_parsing.explanation(
            await self._transport.call(self._transport.recommender.Explain, request, timeout)
        )


async def _each(users: Iterable[RecommendLike] | AsyncIterable[RecommendLike]) -> AsyncIterator[RecommendLike]:
    if isinstance(users, AsyncIterable):
        async for user in users:
            yield user
    else:
        for user in users:
            yield user
