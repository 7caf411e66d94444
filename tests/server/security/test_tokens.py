"""Tokens: which are accepted, for which methods, and with which status others are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1 import catalog_pb2, recommender_pb2
from cofactor_server.errors import ConfigurationError
from cofactor_server.security import reloaded_file
from cofactor_server.security.authentication import AuthenticatedClient, Authenticator
from cofactor_server.security.json_web_tokens import JsonWebTokens
from cofactor_server.security.static_tokens import StaticTokens

ISSUER, AUDIENCE = "https://id.example", "cofactor"
REQUEST = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="u003"))


def entry(name: str, token: str, *methods: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f'[clients.{name}]\nsha256 = "{digest}"\nmethods = {json.dumps(methods)}\n'


def code_of(call, *arguments, token=None, header=None):
    header = f"Bearer {token}" if token is not None else header
    metadata = [("authorization", header)] if header is not None else []
    try:
        call(*arguments, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def as_jwk(key, kid):
    numbers = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": x, "y": y}


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def key_set(key, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [as_jwk(key, "one")]}))
    return path


def signed(key, kid="one", algorithm="ES256", **changes):
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "web", "exp": time.time() + 60, "scope": "*", **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def test_a_static_token_allows_its_methods_and_no_others(serve, served_models, tmp_path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(
        entry("web", "secret-web", "cofactor.v1.RecommenderService/Recommend", "cofactor.v1.CatalogService/*")
        + entry("admin", "secret-admin", "*")
    )
    api = serve(served_models, tokens=str(tokens))
    recommend, predict, get_model = api.recommender.Recommend, api.recommender.Predict, api.catalog.GetModel
    assert code_of(recommend, REQUEST) == "UNAUTHENTICATED"
    for header in ("secret-web", "Basic secret-web", "Bearer", "Bearer ", "Bearer wrong"):
        assert code_of(recommend, REQUEST, header=header) == "UNAUTHENTICATED", header
    assert code_of(recommend, REQUEST, token="secret-web") == "OK"
    assert code_of(recommend, REQUEST, header="bearer secret-web") == "OK"
    assert code_of(get_model, catalog_pb2.GetModelRequest(), token="secret-web") == "OK"
    assert code_of(predict, recommender_pb2.PredictRequest(), token="secret-web") == "PERMISSION_DENIED"
    assert code_of(predict, recommender_pb2.PredictRequest(), token="secret-admin") == "INVALID_ARGUMENT"


def test_a_stream_needs_a_token_too_and_health_needs_none(serve, served_models, tmp_path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(entry("web", "secret", "*"))
    api = serve(served_models, tokens=str(tokens))
    stream = [recommender_pb2.StreamRecommendRequest(request_id="1", request=REQUEST)]

    def run(*arguments, **keywords):
        return list(api.recommender.StreamRecommend(*arguments, **keywords))

    assert code_of(run, iter(stream)) == "UNAUTHENTICATED"
    assert code_of(run, iter(stream), token="secret") == "OK"
    check = health_pb2_grpc.HealthStub(api.channel).Check
    assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    reflection = api.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    with pytest.raises(grpc.RpcError) as refused:
        list(reflection(iter([b""]), timeout=10))
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_body_of_a_call_without_a_token_is_not_parsed(serve, served_models, tmp_path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(entry("web", "secret", "*"))
    api = serve(served_models, tokens=str(tokens))
    recommend = api.channel.unary_unary("/cofactor.v1.RecommenderService/Recommend")
    assert code_of(recommend, b"\xff\xff") == "UNAUTHENTICATED"
    assert code_of(recommend, b"\xff\xff", token="secret") == "INVALID_ARGUMENT"


def test_tokens_are_read_again_when_their_file_changes(tmp_path, caplog) -> None:
    path, now = tmp_path / "tokens.toml", [0.0]
    path.write_text(entry("old", "one", "*"))
    tokens = StaticTokens(path, clock=lambda: now[0])
    path.write_text(entry("new", "two", "*") + "\n")
    assert tokens.verify("two") is None, "the file is checked once a second"
    now[0] = 2.0
    assert tokens.verify("two") == AuthenticatedClient("new", ("*",))
    assert tokens.verify("one") is None
    path.write_text("[clients")
    now[0] = 4.0
    assert tokens.verify("two") == AuthenticatedClient("new", ("*",))
    assert "tokens not reloaded" in caplog.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[servers.web]", "must have tables"),
        ("clients = []", "must have tables"),
        (entry("web", "same", "*") + entry("other", "same"), "clients.web and clients.other have one token"),
        ("x = [", "is not TOML"),
        ('[clients.web]\nsha256 = "secret"\nmethods = ["*"]', "clients.web.sha256 must be 64 hexadecimal digits"),
        (f'[clients.web]\nsha256 = "{"0" * 64}"\nmethods = "all"', "clients.web.methods must be a list"),
        (f'[clients.web]\nsha256 = "{"0" * 64}"\nmethods = ["Predict"]', "clients.web.methods must be a list"),
        (f'[clients.web]\nsha256 = "{"0" * 64}"\nmethod = ["*"]', "clients.web must have sha256 and methods"),
    ],
)
def test_a_token_file_with_a_mistake_is_refused_with_the_entry(tmp_path, content, problem) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=problem):
        StaticTokens(path)


@pytest.mark.parametrize("empty", ["", "# nobody\n", "[clients]\n"])
def test_a_token_file_that_becomes_empty_admits_nobody(tmp_path, empty, caplog) -> None:
    now = [0.0]
    path = tmp_path / "tokens.toml"
    path.write_text(entry("web", "one", "*"))
    tokens = StaticTokens(path, clock=lambda: now[0])
    assert tokens.verify("one") is not None
    path.write_text(empty)
    now[0] = 2.0
    assert tokens.verify("one") is None
    assert "tokens reloaded: there are none, so every call is refused" in caplog.text
    caplog.clear()
    assert StaticTokens(path).verify("one") is None
    assert f"tokens: there are none in {path}, so every call is refused" in caplog.text


def test_a_reload_reads_a_file_that_does_not_seem_to_have_changed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reloaded_file, "file_stamp", lambda path: (1,))
    path = tmp_path / "tokens.toml"
    path.write_text(entry("web", "one", "*"))
    tokens = StaticTokens(path, clock=lambda: 0.0)
    path.write_text(entry("web", "two", "*"))
    tokens.reload()
    assert tokens.verify("two") is not None


def test_a_token_file_is_read_again_if_its_size_and_time_stay_the_same(tmp_path) -> None:
    now = [0.0]
    path = tmp_path / "tokens.toml"
    path.write_text(entry("web", "one", "*"))
    before = path.stat()
    tokens = StaticTokens(path, clock=lambda: now[0])
    path.write_text(entry("web", "two", "*"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    now[0] = 2.0
    assert tokens.verify("one") is None
    assert tokens.verify("two") is not None


def test_a_token_file_that_cannot_be_read_is_logged_once_and_fails_no_call(tmp_path, caplog) -> None:
    now = [0.0]
    path = tmp_path / "tokens.toml"
    path.write_text(entry("web", "one", "*"))
    tokens = StaticTokens(path, clock=lambda: now[0])
    path.unlink()
    for _ in range(3):
        now[0] += 2
        assert tokens.verify("one") is not None
    assert caplog.text.count("tokens not reloaded") == 1
    path.write_text("x = " + "[" * 100_000)  # the parser runs out of stack
    now[0] += 2
    assert tokens.verify("one") is not None
    assert "RecursionError" in caplog.text


def test_a_checksum_may_be_written_in_upper_case_and_several_spaces_may_precede_a_token(tmp_path) -> None:
    path = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"one").hexdigest()
    path.write_text(entry("web", "one", "*").replace(digest, digest.upper()))
    client = Authenticator([StaticTokens(path)]).authorize("/a.B/C", [("authorization", "Bearer   one ")])
    assert client.name == "web"


def test_a_key_set_that_becomes_empty_admits_nobody(key, key_set) -> None:
    now = [time.time()]
    tokens = JsonWebTokens(key_set, ISSUER, AUDIENCE, clock=lambda: now[0])
    token = signed(key, exp=now[0] + 3600)
    assert tokens.verify(token) is not None
    key_set.write_text('{"keys": []}')
    now[0] += 2
    assert tokens.verify(token) is None
    assert JsonWebTokens(key_set, ISSUER, AUDIENCE).verify(token) is None


@pytest.mark.parametrize("exp", [float("inf"), float("nan"), "1e999", [1]])
def test_a_token_with_an_absurd_time_is_refused(key, key_set, exp) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "web", "exp": exp}
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm="ES256", headers={"kid": "one"})
    assert JsonWebTokens(key_set, ISSUER, AUDIENCE).verify(token) is None


def test_a_json_web_token_allows_the_methods_of_its_scope(serve, served_models, key, key_set) -> None:
    api = serve(served_models, jwt_keys=str(key_set), jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    recommend = api.recommender.Recommend
    assert code_of(recommend, REQUEST, token=signed(key)) == "OK"
    narrow = signed(key, scope="email cofactor.v1.CatalogService/*")
    assert code_of(recommend, REQUEST, token=narrow) == "PERMISSION_DENIED"
    assert code_of(api.catalog.GetModel, catalog_pb2.GetModelRequest(), token=narrow) == "OK"
    listed = signed(key, scope=None, scp=["cofactor.v1.RecommenderService/Recommend"])
    assert code_of(recommend, REQUEST, token=listed) == "OK"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "another"},
        {"aud": None},
        {"iss": None},
        {"sub": None},
        {"exp": None},
        {"exp": 1},
        {"nbf": time.time() + 7 * 86_400},
        {"kid": "unknown"},
        {"kid": ""},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(key, key_set, changes) -> None:
    tokens = JsonWebTokens(key_set, ISSUER, AUDIENCE)
    assert tokens.verify(signed(key)).name == "web", "the control"
    assert tokens.verify(signed(key, **changes)) is None


def test_tokens_of_another_key_without_a_signature_or_with_a_shared_secret_are_refused(key, key_set) -> None:
    tokens = JsonWebTokens(key_set, ISSUER, AUDIENCE)
    public = key.public_key()
    assert tokens.verify(signed(ec.generate_private_key(ec.SECP256R1()))) is None
    assert tokens.verify(jwt.encode({"iss": ISSUER}, None, algorithm="none", headers={"kid": "one"})) is None
    confused = signed(hashlib.sha256(repr(public.public_numbers()).encode()).hexdigest(), algorithm="HS256")
    assert tokens.verify(confused) is None
    for nonsense in ("", "a.b.c", "é", "." * 50):
        assert tokens.verify(nonsense) is None


def test_a_verified_token_is_refused_once_its_key_is_withdrawn(key, key_set) -> None:
    now = [time.time()]
    tokens = JsonWebTokens(key_set, ISSUER, AUDIENCE, clock=lambda: now[0])
    token = signed(key, exp=now[0] + 3600)
    assert tokens.verify(token) is not None
    key_set.write_text(json.dumps({"keys": [as_jwk(ec.generate_private_key(ec.SECP256R1()), "two")]}))
    now[0] += 2
    assert tokens.verify(token) is None


def test_a_verified_token_is_cached_until_it_expires(key, key_set, monkeypatch) -> None:
    now = [time.time()]
    tokens = JsonWebTokens(key_set, ISSUER, AUDIENCE, clock=lambda: now[0])
    token = signed(key, exp=now[0] + 30)
    assert tokens.verify(token) is not None
    monkeypatch.setattr(tokens, "_decode", lambda *_: pytest.fail("verified again"))
    assert tokens.verify(token) is not None
    now[0] += 31
    with pytest.raises(BaseException, match="verified again"):
        tokens.verify(token)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}'])
def test_a_key_set_without_a_public_key_is_refused(tmp_path, content) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="--jwt-keys"):
        JsonWebTokens(path, ISSUER, AUDIENCE)
