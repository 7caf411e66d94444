"""A client and the command `cofactor` say which sign-up answers a model takes."""

from __future__ import annotations

import json

from cofactor_client import Client, ProfileQuestion
from cofactor_client.__main__ import main


def test_the_questions_of_a_model_are_listed(profile_version, capsys) -> None:
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    config = ServerConfig(models=profile_version.parents[1], model="profile", port=0, provider="cpu", grace_s=0.1)
    with create_server(config) as server:
        address = f"127.0.0.1:{server.port}"
        with Client(address) as client:
            age, mood = client.get_model().model.profile_questions
        assert mood == ProfileQuestion("mood", "choice", answers=("generous", "strict"))
        assert (age.key, age.type, age.answers) == ("age", "number", ())
        assert age.lowest < age.mean < age.highest
        assert main(["model", "--address", address]) == 0
        assert f"age ({age.lowest:g} to {age.highest:g}), mood ('generous', 'strict')" in capsys.readouterr().out
        assert main(["model", "--address", address, "--json"]) == 0
        described = json.loads(capsys.readouterr().out)["model"]
        assert described["profile_questions"][1]["answers"] == ["generous", "strict"]
