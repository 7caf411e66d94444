"""Page tokens decode to what was encoded, and damaged tokens are refused."""

from __future__ import annotations

import pytest

from cofactor_server.errors import InvalidPageToken
from cofactor_server.services.pagination import PageToken, decode_token, encode_token, request_fingerprint


def parts(token: PageToken) -> tuple[int, int, str]:
    return token.offset, token.fingerprint, token.version_key


@pytest.mark.parametrize("offset", [0, 10, 2**32 - 1])
def test_a_token_decodes_to_what_was_encoded(offset) -> None:
    fingerprint = request_fingerprint(b"a request")
    token = encode_token(offset, fingerprint, "films/für-1")
    assert parts(decode_token(token)) == (offset, fingerprint, "films/für-1")


def test_tokens_of_different_requests_differ() -> None:
    assert len({encode_token(10, request_fingerprint(b"%d" % number), "films/1") for number in range(1000)}) == 1000


def test_a_token_with_one_character_changed_missing_or_added_is_refused() -> None:
    token = encode_token(10, request_fingerprint(b"a request"), "films/1")
    for place, character in enumerate(token):
        for other in "0123456789abcdef-é ":
            if other != character:
                with pytest.raises(InvalidPageToken):
                    decode_token(token[:place] + other + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + "0" + token[place:])
