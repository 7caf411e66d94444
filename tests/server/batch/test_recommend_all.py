"""recommend-all writes what Recommend answers, for every user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import groupby

import pyarrow.parquet as pq
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import ItemFilter, RecommendRequest, User
from cofactor_server.batch.__main__ import main
from cofactor_server.repository.erasure_records import ErasureKey, format_record, new_record
from cofactor_server.repository.sources import LocalSource
from tests.support.waiting import until

USERS = [f"u{row:03}" for row in range(40)]


def lists_of(rows):
    """Return user -> [(item, score, predicted rating)] from rows of the long layout, whose ranks must count up."""
    found = {}
    for user_id, group in groupby(rows, key=lambda row: row["user_id"]):
        entries = list(group)
        assert [row["rank"] for row in entries] == list(range(1, len(entries) + 1))
        found[user_id] = [(row["item_id"], row["score"], row["predicted_rating"]) for row in entries]
    return found


@pytest.mark.parametrize("name", ["dot", "net"])
def test_every_user_gets_what_recommend_answers(api, served_models, rows, name) -> None:
    found = lists_of(rows("recommend-all", served_models / name / "1", "-k", 7, "--users-per-part", 16))
    assert list(found) == USERS
    for user_id in USERS:
        request = RecommendRequest(user=User(user_id=user_id), model=ModelRef(name=name), page_size=7)
        response = api.recommender.Recommend(request, timeout=60)
        expected = [(entry.item_id, entry.score, entry.predicted_rating) for entry in response.results]
        assert [item for item, _, _ in found[user_id]] == [item for item, _, _ in expected]
        for (_, score, rating), (_, expected_score, expected_rating) in zip(found[user_id], expected, strict=True):
            assert score == pytest.approx(expected_score, abs=1e-5)
            assert rating == pytest.approx(expected_rating, abs=1e-5)


def test_the_request_file_filters_and_orders_as_the_api_does(api, served_models, rows, tmp_path) -> None:
    request = RecommendRequest(
        page_size=5,
        ranking=RecommendRequest.RANKING_PREDICTED_RATING,
        filter=ItemFilter(excluded_item_ids=["i048", "i035"]),
        diversity=0.3,
        include_rated=True,
    )
    path = tmp_path / "request.json"
    path.write_text(
        '{"page_size": 5, "ranking": "RANKING_PREDICTED_RATING", "diversity": 0.3, "include_rated": true, '
        '"filter": {"excluded_item_ids": ["i048", "i035"]}}'
    )
    found = lists_of(rows("recommend-all", served_models / "dot" / "1", "--request", path))
    for user_id in USERS[:5]:
        request.user.user_id = user_id
        response = api.recommender.Recommend(request, timeout=60)
        assert [item for item, _, _ in found[user_id]] == [entry.item_id for entry in response.results]


def test_the_layout_of_lists_has_the_same_content(served_models, rows, tmp_path) -> None:
    version = served_models / "dot" / "1"
    lists = rows("recommend-all", version, "--layout", "lists")
    found = lists_of(rows("recommend-all", version, output=tmp_path / "long.parquet"))
    assert {
        row["user_id"]: list(zip(row["item_ids"], row["scores"], row["predicted_ratings"], strict=True))
        for row in lists
    } == found


def test_a_version_that_only_ranks_has_no_column_of_ratings(served_models, rows) -> None:
    assert rows("recommend-all", served_models / "ranker" / "1")[0].keys() == {"user_id", "rank", "item_id", "score"}


def test_a_list_of_users_selects_them_and_unknown_ones_are_counted(served_models, job, tmp_path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("u007\nnobody\nu003\nu007\n")
    done = job("recommend-all", served_models / "dot" / "1", "--users", users)
    assert "2 users of dot/1, 1 unknown users left out" in done.out
    assert list(lists_of(pq.read_table(done.path).to_pylist())) == ["u007", "u003"]
    assert pq.read_schema(done.path).metadata[b"cofactor.version"] == b"1"
    users.write_text("nobody\n")
    done = job("recommend-all", served_models / "dot" / "1", "--users", users)
    assert (done.code, pq.read_table(done.path).num_rows) == (0, 0)


def test_an_erased_user_is_left_out_and_the_key_is_needed(dot_version, versions, job, rows, tmp_path) -> None:
    version = versions.copy(dot_version, tmp_path / "models")
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef")
    record = new_record(ErasureKey.read(key), "u003", "", "", "")
    LocalSource(tmp_path / "models").add_erasure(record.record_id, format_record(record))
    done = job("recommend-all", version)
    assert done.code == 2
    assert "--erasure-key-file" in done.err
    found = lists_of(rows("recommend-all", version, "--erasure-key-file", key))
    assert list(found) == [user for user in USERS if user != "u003"]
    users = rows("export-embeddings", version, "--erasure-key-file", key, "--users", tmp_path / "users.parquet")
    assert len(users) == 120
    assert "u003" not in pq.read_table(tmp_path / "users.parquet")["user_id"].to_pylist()


def test_the_current_version_of_a_repository_is_used_or_one_by_name_or_label(
    dot_version, versions, tmp_path, capsys
) -> None:
    for number in ("1", "2", "3"):
        versions.copy(dot_version, tmp_path / "models", version=number)
    (tmp_path / "models" / "dot" / "serving.json").write_text('{"labels": {"stable": "2", "old": "1"}}')
    for flags, expected in (
        ((), "dot/2"),
        (("--label", "old"), "dot/1"),
        (("--model-version", "3"), "dot/3"),
        (("--model", "dot", "--model-version", "1"), "dot/1"),
    ):
        words = ["--model-repository", str(tmp_path / "models"), "--output", str(tmp_path / "out.parquet"), *flags]
        assert main(["recommend-all", *words]) == 0
        assert f"40 users of {expected}" in capsys.readouterr().out
    for flags, message in (
        (("--model", "none"), "has no model none"),
        (("--model-version", "9"), "has no version 9"),
        (("--label", "none"), "labelled"),
    ):
        words = ["--model-repository", str(tmp_path / "models"), "--output", str(tmp_path / "out.parquet"), *flags]
        assert main(["recommend-all", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("{", "is not a RecommendRequest"),
        ('{"diversity": 2}', "diversity"),
        ('{"user": {"user_id": "u001"}}', "user"),
        ('{"page_token": "x"}', "page_token"),
        ('{"filter": {"candidate_item_ids": ["none", "i001"]}}', "does not have, such as none"),
        ('{"page_size": 100000}', "page_size"),
    ],
)
def test_a_request_that_recommend_would_refuse_is_named(served_models, job, tmp_path, request_text, message) -> None:
    path = tmp_path / "request.json"
    path.write_text(request_text)
    done = job("recommend-all", served_models / "dot" / "1", "--request", path)
    assert done.code == 2
    assert "--request" in done.err
    assert message in done.err
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["request.json"]


def start_process(version, output):
    """Start a job whose parts are of one user each."""
    words = ["recommend-all", "--version-dir", str(version), "--output", str(output), "--provider", "cpu"]
    command = [sys.executable, "-m", "cofactor_client", *words, "--users-per-part", "1", "--batch-size", "8"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_killed_run_goes_on_and_ends_with_the_bytes_of_an_uninterrupted_one(indexed_version, job, tmp_path) -> None:
    whole, output = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    folder = tmp_path / "out.parquet.parts"
    flags = ("--users-per-part", 1, "--batch-size", 8)
    assert job("recommend-all", indexed_version, *flags, output=whole).code == 0
    for _ in range(10):  # the job may end before the signal; then it is run again
        process = start_process(indexed_version, output)
        until(lambda p=process: list(folder.glob("part-*")) or p.poll() is not None, seconds=60)
        process.kill()
        process.wait()
        process.stderr.close()
        if not output.exists():
            break
        output.unlink()
    parts = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert 0 < len(parts) < 100, "the job was killed on the way"
    (folder / "part-000099.parquet.tmp").write_bytes(b"half of a part")
    again = job("recommend-all", indexed_version, *flags)
    assert again.code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_parts_that_are_there_are_not_made_again(served_models, job, monkeypatch) -> None:
    from cofactor_server.batch.recommendations import BatchRecommender

    real, calls = BatchRecommender.recommend, []

    def recommend(self, user_rows):
        calls.append(list(user_rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, user_rows)

    monkeypatch.setattr(BatchRecommender, "recommend", recommend)
    flags = ("--users-per-part", 10)
    stopped = job("recommend-all", served_models / "dot" / "1", *flags)
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    assert not stopped.path.exists()
    assert job("recommend-all", served_models / "dot" / "1", *flags).code == 0
    assert [rows[0] for rows in calls] == [0, 10, 20, 20, 30]


def test_parts_of_another_run_are_refused_until_restart(served_models, job, tmp_path) -> None:
    folder = tmp_path / "out.parquet.parts"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"fingerprint": "of another run"}))
    (folder / "part-000000.parquet").write_bytes(b"another run's part")
    refused = job("recommend-all", served_models / "dot" / "1")
    assert refused.code == 2
    assert "--restart" in refused.err
    assert (folder / "part-000000.parquet").exists()
    (folder / "state.json").unlink()
    assert job("recommend-all", served_models / "dot" / "1").code == 0, "parts without a state belong to no run"
    assert not folder.exists()
    folder.mkdir()
    (folder / "state.json").write_text("{")
    assert job("recommend-all", served_models / "dot" / "1", "--restart").code == 0


def test_two_jobs_do_not_write_one_file(served_models, job, tmp_path) -> None:
    from cofactor_server.repository.locked_folder import lock_folder

    folder = tmp_path / "out.parquet.parts"
    folder.mkdir()
    with lock_folder(folder, 0):
        refused = job("recommend-all", served_models / "dot" / "1")
    assert refused.code == 2
    assert "another process writes" in refused.err


def test_an_output_that_cannot_be_written_is_named(served_models, job, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    refused = job("recommend-all", served_models / "dot" / "1", output=tmp_path / "file" / "out.parquet")
    assert refused.code == 2
    assert "cannot write" in refused.err


def test_a_missing_package_is_named_with_its_extra(served_models, tmp_path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; from cofactor_server.batch.__main__ import main; "
        f"sys.exit(main(['recommend-all', '--version-dir', {str(served_models / 'dot' / '1')!r}, '--output', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 2
    assert "needs the package pyarrow: pip install 'cofactor[batch]'" in done.stderr
