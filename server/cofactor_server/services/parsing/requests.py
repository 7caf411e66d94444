"""Parse the fields that several requests have in common."""

from __future__ import annotations

from cofactor.v1.catalog_pb2 import ListTopItemsRequest
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.catalogue import Order
from cofactor_server.services.parsing.filters import FilterParser
from cofactor_server.services.parsing.histories import HistoryParser
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.services.parsing.new_items import NewItemParser
from cofactor_server.services.parsing.rules import RuleParser
from cofactor_server.services.parsing.users import UserParser

DEFAULT_PAGE_SIZE = 10
DEFAULT_CONTRIBUTIONS = 5
LONGEST_QUERY = 256
_ORDERS: dict[int, Order] = {
    ListTopItemsRequest.ORDER_UNSPECIFIED: "highest_bias",
    ListTopItemsRequest.ORDER_HIGHEST_BIAS: "highest_bias",
    ListTopItemsRequest.ORDER_LOWEST_BIAS: "lowest_bias",
    ListTopItemsRequest.ORDER_MOST_RATED: "most_rated",
    ListTopItemsRequest.ORDER_MOST_INFORMATIVE: "most_informative",
}


class RequestParser:
    """Parse requests within the limits of a server.

    Attributes:
        ids: parses ids.
        histories: parses the ratings and events of new users.
        new_items: parses requests about new items.
        users: parses users.
        filters: parses item filters.
        rules: parses rule sets.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._max_page_size = config.max_page_size
        self.ids = IdParser(config.max_items_per_request)
        self.histories = HistoryParser(self.ids)
        self.new_items = NewItemParser(self.ids)
        self.users = UserParser(self.ids, self.histories)
        self.filters = FilterParser(self.ids)
        self.rules = RuleParser(self.filters)

    def page_size(self, size: int, field: str = "page_size", default: int = DEFAULT_PAGE_SIZE) -> int:
        """Return the number of results that a request asks for, the default if it is 0; raises InvalidField."""
        if size == 0:
            return min(default, self._max_page_size)
        if not 0 < size <= self._max_page_size:
            raise InvalidField(field, f"must be between 0 (for {default}) and {self._max_page_size}, not {size}")
        return size


def check_query(query: str) -> str:
    """Return the query of SearchItems; raises InvalidField if it is blank or too long."""
    if not query.strip():
        raise InvalidField("query", "is empty; give a word of the title, or its beginning")
    if len(query) > LONGEST_QUERY:
        raise InvalidField("query", f"has {len(query)} characters; send at most {LONGEST_QUERY}")
    return query


def parse_order(order: int) -> Order:
    """Return the order that ListTopItems asks for; raises InvalidField if the API has no such order."""
    if order not in _ORDERS:
        raise InvalidField("order", f"{order} is not an order; use one that the API names")
    return _ORDERS[order]
