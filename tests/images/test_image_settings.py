"""Check the promises of every image to those who run it."""

from __future__ import annotations

import re

import pytest

from tests.support.images import buildah, settings

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]
COMMANDS = {"server": "cofactor-serve", "web": "cofactor-web", "trainer": "cofactor-train"}


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_the_entry_point_is_the_command_itself_as_an_unprivileged_user(image, name, command) -> None:
    config = settings(image(name))
    assert config["Entrypoint"][0] == command, "no shell in between would pass signals on"
    assert config["User"] == "10001", "Kubernetes checks runAsNonRoot by number"
    assert config.get("StopSignal", "SIGTERM") == "SIGTERM"
    health = config.get("Healthcheck", {}).get("Test", [])
    assert health[:1] == ([] if name == "trainer" else ["CMD"]), "a health check without a shell"


@pytest.mark.parametrize("name", COMMANDS)
def test_its_user_can_change_nothing_but_temporary_files(container, name) -> None:
    script = "id -u; find / -xdev ! -type l -writable 2>/dev/null; true"
    user, *found = buildah("run", container(name), "--", "sh", "-c", script).splitlines()
    assert user == "10001"
    assert [path for path in found if not re.match(r"/(tmp|var/tmp|run/lock|work)(/|$)", path)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_there_is_no_installer_and_no_compiler(container, name) -> None:
    script = "command -v pip pip3 gcc cc; python3 -m pip 2>&1; true"
    found = buildah("run", container(name), "--", "sh", "-c", script)
    assert "No module named pip" in found
    assert not re.search(r"/(pip3?|gcc|cc)$", found, re.MULTILINE)
