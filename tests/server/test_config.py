"""Test the settings from flags, environment and file, and the errors of bad ones."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest

from cofactor_server.config import ServerConfig, load_config, suspicious_variables, to_toml
from cofactor_server.errors import ConfigurationError
from cofactor_server.server import create_server
from tests.support.waiting import until
from tools.docs.settings_page import documentation


def test_a_flag_overrides_the_environment_and_that_overrides_the_file(tmp_path):
    file = tmp_path / "cofactor.toml"
    file.write_text('models = "m"\nport = 1\nthreads = 2\nmax_queue_size = 3\n')
    environment = {"COFACTOR_PORT": "4", "COFACTOR_THREADS": "5", "OTHER": "6"}
    config, print_config = load_config(["--config", str(file), "--port", "7"], environment)
    assert (config.port, config.threads, config.max_queue_size, config.models) == (7, 5, 3, "m")
    assert not print_config


def test_every_setting_can_be_given_in_all_three_ways(tmp_path):
    config = ServerConfig(models=str(tmp_path))
    printed = to_toml(config)
    file = tmp_path / "cofactor.toml"
    file.write_text(printed)
    assert load_config(["--config", str(file)], {})[0] == config
    values = tomllib.loads(printed)
    assert set(values) == {setting.name for setting in dataclasses.fields(config)}
    values = {name: value for name, value in values.items() if value != ""}
    environment = {f"COFACTOR_{name.upper()}": str(value) for name, value in values.items()}
    assert load_config([], environment)[0] == config
    flags = []
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag if value else flag.replace("--", "--no-", 1)] if isinstance(value, bool) else [flag, str(value)]
    assert load_config(flags, {})[0] == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--models .* is required"),
        (["--models", "m", "--port", "x"], "--port must be a whole number, not 'x'"),
        (["--models", "m", "--port", "70000"], "port must be between 0 and 65535, not 70000"),
        (["--models", "m", "--provider", "tpu"], "provider must be one of auto, cuda, cpu, not tpu"),
        (
            ["--models", "m", "--gpu-graphs", "recommend,all"],
            "gpu_graphs must be auto or some of recommend, .*not 'all'",
        ),
        (["--models", "m", "--threads", "0"], "threads must be between 1 and 1024"),
        (["--models", "m", "--grace-s", "nan"], "grace_s must be between 0 and 1000000, not nan"),
        (["--models", "m", "--grace-s", "inf"], "grace_s must be between 0 and 1000000, not inf"),
        (["--models", "m", "--drain-delay-s", "1e10"], "drain_delay_s must be between 0 and 1000000"),
        (["--models", "m", "--poll-interval-s", "inf"], "poll_interval_s must be between 0 and 1000000"),
        (["--models", "m", "--max-connection-age-s", "3000000"], "max_connection_age_s must be between 0 and 1000000"),
        (["--models", "m", "--max-connection-age-s", "inf"], "max_connection_age_s must be between 0 and 1000000"),
        (["--models", "m", "--max-connection-age-s", "0.5"], "max_connection_age_s must be at least 1, or 0 for never"),
        (["--models", "m", "--host", "0.0.0.0"], "host 0.0.0.0 is not loopback.*--insecure-plaintext"),
        (["--models", "m", "--host", "example.org"], "is not loopback"),
        (["--models", "m", "--config", "absent.toml"], "cannot read absent.toml"),
    ],
)
def test_the_error_of_a_bad_setting_names_it(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        load_config(arguments, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_plaintext_on_loopback_needs_no_flag(host):
    assert ServerConfig(models="m", host=host).host == host
    assert ServerConfig(models="m", host="0.0.0.0", insecure_plaintext=True).insecure_plaintext


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "there is no setting 'prot'"),
        ("port = [", "is not TOML"),
        ("port = true", "port must be a whole number"),
        ('insecure_plaintext = "perhaps"', "must be true or false"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    file = tmp_path / "cofactor.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_config(["--models", "m", "--config", str(file)], {})


def test_a_server_starts_with_the_longest_times(dot_version):
    settings = dataclasses.fields(ServerConfig)
    longest = {setting.name: setting.metadata["high"] for setting in settings if setting.name.endswith("_s")}
    assert len(longest) == 4
    longest["drain_delay_s"] = 0  # otherwise the server would take that long to stop
    with create_server(ServerConfig(models=str(dot_version.parents[1]), port=0, provider="cpu", **longest)) as server:
        assert server.port


def test_a_connection_ends_at_its_largest_age_and_never_if_that_is_0(dot_version):
    common = {"models": str(dot_version.parents[1]), "port": 0, "provider": "cpu", "drain_delay_s": 0, "grace_s": 1}
    seen = {0: [], 1: []}
    with contextlib.ExitStack() as stack:
        for age, states in seen.items():
            server = stack.enter_context(create_server(ServerConfig(**common, max_connection_age_s=age)))
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
            channel.subscribe(states.append, try_to_connect=True)
            until(lambda states=states: grpc.ChannelConnectivity.READY in states)
        until(lambda: seen[1][-1] == grpc.ChannelConnectivity.IDLE)
        assert seen[0][-1] == grpc.ChannelConnectivity.READY
        assert grpc.ChannelConnectivity.READY not in seen[0][:-1]


def test_the_settings_page_is_up_to_date():
    page = Path(__file__).resolve().parents[2] / "docs/settings.md"
    assert page.read_text() == documentation(), "run: python -m tools.docs.settings_page > docs/settings.md"


def test_every_setting_has_a_row_of_six_cells():
    rows = [line for line in documentation().splitlines() if line.startswith("| `--")]
    assert len(rows) == len(dataclasses.fields(ServerConfig))
    for row, setting in zip(rows, dataclasses.fields(ServerConfig), strict=True):
        flag, variable, key, kind, default, meaning = row.strip("| ").split(" | ")
        assert flag.replace("[no-]", "") == f"`--{setting.name.replace('_', '-')}`"
        assert (variable, key) == (f"`COFACTOR_{setting.name.upper()}`", f"`{setting.name}`")
        assert all((kind, default, meaning))


@pytest.mark.parametrize(
    "setting", ["tokens", "jwt_keys", "tls_certificate", "tls_client_authority", "require_signature"]
)
@pytest.mark.parametrize("empty", ["", "  "])
def test_a_setting_that_protects_the_server_must_not_be_empty(setting, empty):
    flag, variable = f"--{setting.replace('_', '-')}", f"COFACTOR_{setting.upper()}"
    for arguments, environment, origin in (([flag, empty], {}, flag), ([], {variable: empty}, variable)):
        with pytest.raises(ConfigurationError, match=f"{origin} is empty: name the file"):
            load_config(["--models", "m", *arguments], environment)
    assert load_config(["--models", "m"], {})[0].tokens == ""


def test_a_variable_that_is_nearly_a_setting_that_protects_the_server_is_found():
    environment = dict.fromkeys(
        ("COFACTOR_TOKNES", "COFACTOR_TOKEN", "COFACTOR_TOKENS", "COFACTOR_PORT", "TOKENS"), "x"
    )
    environment["COFACTOR_JWT_KEY"] = "x"
    assert suspicious_variables(environment) == [
        ("COFACTOR_JWT_KEY", "COFACTOR_JWT_KEYS"),
        ("COFACTOR_TOKNES", "COFACTOR_TOKENS"),
    ]


@pytest.mark.parametrize(
    ("flags", "is_said"),
    [
        (["--host", "0.0.0.0", "--insecure-plaintext"], True),
        (["--host", "127.0.0.1"], False),
        (["--host", "0.0.0.0", "--insecure-plaintext", "--tokens", "missing.toml"], False),
    ],
)
def test_a_server_without_tokens_that_others_can_reach_says_so(flags, is_said, tmp_path):
    # A process of its own: the command sets up logging for good.
    command = [sys.executable, "-m", "cofactor_server", "--models", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2  # there are no models: the server does not start
    assert ("everybody who reaches the port may make every call" in done.stderr) is is_said
