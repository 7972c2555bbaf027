"""``nfinspect packet-tracer`` and the parts of ``show`` that a configuration answers."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from nfinspect import cli
from nfinspect.live.control import ControlServer
from nfinspect.live.status import Status
from nfinspect.policy import canonical, default_configuration, parse_policy

TRACE = ("packet-tracer", "input", "outside", "tcp", "192.0.2.9", "4000", "192.168.1.1", "25")
TEXT = """access-list esa permit ip any host 192.168.1.1
class-map esa
 match access-list esa
policy-map global_policy
 class esa
  no inspect esmtp
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, prog_name="nfinspect")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "fw.cfg"
    path.write_text(TEXT)
    return str(path)


def test_file_answers_a_trace(config: str) -> None:
    result = call(*TRACE, "--config", config)
    assert result.exit_code == 0
    assert result.stdout.startswith("Phase: 1\n")
    assert result.stdout.endswith("\nAction: allow\n")
    found = json.loads(call(*TRACE, "--config", config, "--json").stdout)
    assert (found["result"], found["class"], found["inspection"]) == ("allow", "esa", None)


def test_interfaces_of_a_trace_may_be_given(config: str) -> None:
    words = ("packet-tracer", "input", "dmz", *TRACE[3:], "--config", config)
    assert call(*words).exit_code == 2
    assert call(*words, "--interface", "dmz=eth3").exit_code == 0
    assert "needs --config" in call(*TRACE, "--interface", "dmz=eth3").stderr


def test_file_answers_show_running_config_and_has_no_counters(config: str) -> None:
    result = call("show", "running-config", "--config", config)
    assert result.stdout == canonical.text(parse_policy(TEXT, config))
    assert call("show", "queue", "--config", config).exit_code == 2


def test_faulty_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "bad.cfg").write_text("foo\n")
    result = call(*TRACE, "--config", str(tmp_path / "bad.cfg"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "bad.cfg:1:1: unexpected 'foo'" in result.stderr


def test_without_a_file_the_filter_is_asked() -> None:
    for words in (TRACE, ("show", "running-config")):
        result = call(*words, "--control", "/nowhere")
        assert result.exit_code == 1
        assert "no filter is listening on /nowhere" in result.stderr


def test_running_filter_answers_from_its_configuration(tmp_path: Path) -> None:
    nothing = cast(Any, SimpleNamespace(connections=3))
    configuration = parse_policy(TEXT, "fw.cfg")
    status = Status(nothing, configuration, *[nothing] * 6)  # the other parts are not asked
    done = threading.Event()
    server = ControlServer(tmp_path / "socket", status.answer)

    def serve() -> None:
        while not done.wait(0.01):
            server.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        control = ("--control", str(tmp_path / "socket"))
        traced = call(*TRACE, *control)
        running = call("show", "running-config", *control)
        wrong = call("packet-tracer", "input", "nowhere", *TRACE[3:], *control)
    finally:
        done.set()
        thread.join()
        server.close()
    assert "class esa: no inspect esmtp\n" in traced.stdout
    assert "\n3 in use\n" in traced.stdout
    assert running.stdout == canonical.text(configuration)
    assert wrong.exit_code == 2
    assert "no interface is called 'nowhere'" in wrong.stderr


def test_default_configuration_can_be_shown() -> None:
    text = canonical.text(default_configuration())
    assert "service-policy global_policy global\n" in text
    assert parse_policy(text, "a").policy == default_configuration().policy
