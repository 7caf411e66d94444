"""Move labels while the server runs: which version serves whom then, and what the admin API returns."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import grpc
import pytest

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2

READY, REFUSED, AVAILABLE = (getattr(admin_pb2.Version, f"STATE_{name}") for name in ("READY", "REFUSED", "AVAILABLE"))


@pytest.fixture
def models(dot_version, versions, tmp_path):
    """Return a repository with versions 1 and 2 of `dot`."""
    for number in ("1", "2"):
        versions.copy(dot_version, tmp_path / "models", version=number)
    return tmp_path / "models"


@pytest.fixture
def operate(serve):
    """Return a function that starts a server with the admin API and without polling."""
    channels = []

    def start(models, **settings):
        from cofactor_server.admin.server import AdminServer

        api = serve(models, poll_interval_s=0, **settings)
        api.server.admin = AdminServer(api.server._live, None, 0)
        channel = grpc.insecure_channel(f"127.0.0.1:{api.server.admin.port}")
        channels.append(channel)
        return SimpleNamespace(**vars(api), admin=admin_pb2_grpc.AdminServiceStub(channel))

    yield start
    for channel in channels:
        channel.close()


def serving_version(api, user_id="u003", **ref):
    request = recommender_pb2.RecommendRequest(
        user=recommender_pb2.User(user_id=user_id), model=model_pb2.ModelRef(**ref)
    )
    return api.recommender.Recommend(request, timeout=60).model.version


def states(response):
    return {
        version.version: (version.state, list(version.labels), version.is_current)
        for version in response.models[0].versions
    }


def test_promote_moves_all_users_and_rollback_moves_them_back(operate, models) -> None:
    api = operate(models)
    assert serving_version(api) == "2"
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="1"), timeout=60)
    assert serving_version(api) == "1"
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="2"), timeout=60)
    assert serving_version(api) == "2"
    api.admin.Rollback(admin_pb2.RollbackRequest(name="dot"), timeout=60)
    assert serving_version(api) == "1"
    assert json.loads((models / "dot" / "serving.json").read_text()) == {
        "labels": {"stable": "1"},
        "previous_labels": {"stable": "2"},
    }


def test_a_label_selects_a_version_and_is_listed(operate, models) -> None:
    api = operate(models)
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="1", label="stable"), timeout=60)
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="2", label="canary"), timeout=60)
    assert serving_version(api, label="canary") == "2"
    assert serving_version(api, label="stable") == "1"
    assert serving_version(api, version="2") == "2"
    with pytest.raises(grpc.RpcError, match="labelled") as unknown:
        serving_version(api, label="nightly")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    described = api.catalog.GetModel(
        catalog_pb2.GetModelRequest(model=model_pb2.ModelRef(label="canary")), timeout=10
    ).model
    assert (described.version, list(described.labels)) == ("2", ["canary"])
    assert states(api.admin.ListVersions(admin_pb2.ListVersionsRequest(), timeout=60)) == {
        "2": (READY, ["canary"], False),
        "1": (READY, ["stable"], True),
    }


def test_a_canary_serves_its_share_of_users_and_always_the_same_ones(operate, models) -> None:
    (models / "dot" / "serving.json").write_text(
        json.dumps({"labels": {"stable": "1", "canary": "2"}, "canary_percent": {"canary": 30}})
    )
    api = operate(models)
    users = [f"u{number:03d}" for number in range(1, 40)]
    first = {user: serving_version(api, user) for user in users}
    assert set(first.values()) == {"1", "2"}
    assert {user: serving_version(api, user) for user in users} == first
    in_canary = next(user for user in users if first[user] == "2")
    predict = recommender_pb2.PredictRequest(user=recommender_pb2.User(user_id=in_canary), item_ids=["i001"])
    assert api.recommender.Predict(predict, timeout=60).model.version == "2"
    batch = recommender_pb2.BatchRecommendRequest(
        requests=[recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=in_canary))]
    )
    assert api.recommender.BatchRecommend(batch, timeout=60).model.version == "1"
    stream = [recommender_pb2.StreamRecommendRequest(request_id="1", request=batch.requests[0])]
    [streamed] = api.recommender.StreamRecommend(iter(stream), timeout=60)
    assert streamed.response.model.version == "2"


def test_a_page_token_stays_with_its_version_across_a_swap(operate, models) -> None:
    (models / "dot" / "serving.json").write_text(json.dumps({"labels": {"stable": "1"}, "pinned": ["1", "2"]}))
    api = operate(models)
    request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="u003"), page_size=5)
    first = api.recommender.Recommend(request, timeout=60)
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="2"), timeout=60)
    assert serving_version(api) == "2"
    request.page_token = first.next_page_token
    assert api.recommender.Recommend(request, timeout=60).model.version == "1"


def test_a_refused_version_is_listed_with_its_reason_and_loaded_by_reload_when_replaced(
    operate, models, versions
) -> None:
    (models / "dot" / "2" / "golden.npz").write_bytes(b"damaged")
    api = operate(models)
    assert serving_version(api) == "1"
    listed = api.admin.ListVersions(admin_pb2.ListVersionsRequest(), timeout=60)
    assert states(listed) == {"2": (REFUSED, [], False), "1": (READY, [], True)}
    assert "golden.npz" in listed.models[0].versions[0].state_message
    public = api.catalog.ListModels(catalog_pb2.ListModelsRequest(), timeout=60).models
    assert [(m.version, m.state) for m in public] == [
        ("2", model_pb2.Model.STATE_FAILED),
        ("1", model_pb2.Model.STATE_READY),
    ]
    assert str(models) not in public[0].state_message
    versions.copy(models / "dot" / "1", models, version="3")
    reloaded = api.admin.Reload(admin_pb2.ReloadRequest(), timeout=60)
    assert states(reloaded)["3"] == (READY, [], True)
    assert states(reloaded)["1"] == (AVAILABLE, [], False)


def test_promote_and_rollback_refuse_unknown_names_and_labels(operate, models) -> None:
    api = operate(models)
    for call, request, code in (
        (api.admin.Promote, admin_pb2.PromoteRequest(name="none", version="1"), "NOT_FOUND"),
        (api.admin.Promote, admin_pb2.PromoteRequest(name="dot", version="9"), "NOT_FOUND"),
        (api.admin.Promote, admin_pb2.PromoteRequest(name="dot", version="1", label="A B"), "INVALID_ARGUMENT"),
        (api.admin.Rollback, admin_pb2.RollbackRequest(name="dot"), "INVALID_ARGUMENT"),
        (api.admin.Rollback, admin_pb2.RollbackRequest(name="../dot"), "NOT_FOUND"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=60)
        assert refused.value.code().name == code
    assert not (models / "dot" / "serving.json").exists()


def test_the_admin_api_needs_a_token_if_the_server_has_tokens(serve, models, tmp_path) -> None:
    from cofactor_server.admin.server import AdminServer
    from cofactor_server.security.authentication import Authenticator
    from cofactor_server.security.static_tokens import StaticTokens

    tokens = tmp_path / "tokens.toml"
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of "test"
    tokens.write_text(f'[clients.web]\nsha256 = "{digest}"\nmethods = ["cofactor.v1.*/*"]\n')
    api = serve(models)
    api.server.admin = AdminServer(api.server._live, Authenticator([StaticTokens(tokens)]), 0)
    with grpc.insecure_channel(f"127.0.0.1:{api.server.admin.port}") as channel:
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        for metadata, code in (((), "UNAUTHENTICATED"), ((("authorization", "Bearer test"),), "PERMISSION_DENIED")):
            with pytest.raises(grpc.RpcError) as refused:
                admin.Reload(admin_pb2.ReloadRequest(), metadata=metadata, timeout=60)
            assert refused.value.code().name == code


def test_changes_at_the_same_time_lose_none(operate, models) -> None:
    api = operate(models)
    labels = [f"label-{number}" for number in range(8)]
    for wave in (labels[:4], labels[4:]):  # the API runs four calls at a time
        calls = [
            api.admin.Promote.future(admin_pb2.PromoteRequest(name="dot", version="1", label=label), timeout=60)
            for label in wave
        ]
        for call in calls:
            assert call.result().policy.labels
    written = json.loads((models / "dot" / "serving.json").read_text())
    assert sorted(written["labels"]) == sorted(labels)
    assert sorted(path.name for path in (models / "dot").iterdir()) == ["1", "2", "serving.json"]


def test_servers_that_share_a_repository_lose_no_change(operate, models) -> None:
    """The servers are in one process here, and so have one process id, as those of two containers do."""
    servers = [operate(models) for _ in range(2)]
    labels = [f"label-{number}" for number in range(8)]
    calls = [
        servers[index % 2].admin.Promote.future(
            admin_pb2.PromoteRequest(name="dot", version="1", label=label), timeout=60
        )
        for index, label in enumerate(labels)
    ]
    for call in calls:
        call.result()
    assert sorted(json.loads((models / "dot" / "serving.json").read_text())["labels"]) == sorted(labels)


def test_a_policy_that_is_broken_is_not_replaced_by_the_previous_one(operate, models) -> None:
    api = operate(models)
    broken = '{"labels": {"stable": "1"},}'
    (models / "dot" / "serving.json").write_text(broken)
    with pytest.raises(grpc.RpcError, match="is not a serving policy") as refused:
        api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="1", label="canary"), timeout=60)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (models / "dot" / "serving.json").read_text() == broken


def test_promote_finds_a_version_that_was_published_just_now(operate, models, versions) -> None:
    api = operate(models)
    versions.copy(models / "dot" / "1", models, version="3")
    api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version="3"), timeout=60)
    assert serving_version(api) == "3"


def test_a_rollback_to_a_version_that_is_gone_is_refused(operate, models) -> None:
    api = operate(models)
    for version in ("1", "2"):
        api.admin.Promote(admin_pb2.PromoteRequest(name="dot", version=version), timeout=60)
    shutil.rmtree(models / "dot" / "1")
    with pytest.raises(grpc.RpcError, match="has no version") as refused:
        api.admin.Rollback(admin_pb2.RollbackRequest(name="dot"), timeout=60)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert serving_version(api) == "2"
