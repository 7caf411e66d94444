"""Page tokens come back as they were given, and a damaged one is refused."""

from __future__ import annotations

import pytest

from cofactor_server.errors import InvalidPageToken
from cofactor_server.services.page_tokens import PageToken, decode_token, encode_token, fingerprint


def parts(token: PageToken) -> tuple[int, int, str]:
    return token.offset, token.fingerprint, token.model


@pytest.mark.parametrize("offset", [0, 10, 2**32 - 1])
def test_a_token_says_what_was_put_in(offset) -> None:
    request = fingerprint(b"a request")
    assert parts(decode_token(encode_token(offset, request, "films/für-1"))) == (offset, request, "films/für-1")


def test_tokens_of_other_requests_differ() -> None:
    assert len({encode_token(10, fingerprint(b"%d" % number), "films/1") for number in range(1000)}) == 1000


def test_a_token_with_one_character_changed_missing_or_added_is_refused() -> None:
    token = encode_token(10, fingerprint(b"a request"), "films/1")
    for place, character in enumerate(token):
        for other in "0123456789abcdef-é ":
            if other != character:
                with pytest.raises(InvalidPageToken):
                    decode_token(token[:place] + other + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + "0" + token[place:])
