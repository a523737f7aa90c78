"""The demo's container engine: what ``docker`` says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import PATIENCE_S, wait_for
from waa.demo.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine without a container."""
    opened = Engine(tmp_path)
    yield opened
    opened.close()


def docker(engine: Engine, *arguments: str, stdin: str = "", program: str = "docker") -> tuple[int, str, str]:
    path = f"{engine.programs}:{os.environ['PATH']}"
    ended = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, env={"PATH": path}, timeout=PATIENCE_S, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_no_container_is_said_as_the_engine_says_it(engine: Engine) -> None:
    assert docker(engine, "inspect", "--format", "{{.Id}}", "winarena") == (1, "\n", "Error: No such object: winarena\n")
    assert docker(engine, "inspect", "winarena")[:2] == (1, "[]\n")
    assert docker(engine, "ps", "-a", "--format", "{{.Names}}") == (0, "", "")
    assert docker(engine, "exec", "winarena", "true")[::2] == (1, "Error response from daemon: No such container: winarena\n")
    assert docker(engine, "logs", "winarena")[0] == 1


def test_inspect_fills_any_path_of_the_template(engine: Engine) -> None:
    engine.start_container()
    code, out, _ = docker(
        engine, "inspect", "--format", "@@{{.State.Status}}\t{{ .Id }}\t{{json .State.Running}}\t{{.Config.Image}}", "winarena"
    )
    status, container_id, running, image = out.strip().removeprefix("@@").split("\t")
    assert (code, status, running, image) == (0, "running", "true", "winarena:demo")
    assert re.fullmatch("[0-9a-f]{64}", container_id)
    assert docker(engine, "container", "inspect", "-f", "{{.Name}}", container_id[:12])[1] == "/winarena\n"
    assert json.loads(docker(engine, "inspect", "winarena")[1])[0]["Id"] == container_id
    assert json.loads(docker(engine, "inspect", "--format={{json .State}}", "winarena")[1])["ExitCode"] == 0
    code, out, err = docker(engine, "inspect", "--format", "{{.Nothing}}", "winarena")
    assert (code, out) == (64, "")
    assert "template parsing error" in err


def test_times_are_written_as_the_engine_writes_them(engine: Engine) -> None:
    engine.start_container()
    out = docker(engine, "inspect", "--format", "{{.State.StartedAt}} {{.State.FinishedAt}}", "winarena")[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 0001-01-01T00:00:00Z\n", out)


def test_ps_lists_what_runs_and_with_a_what_ended(engine: Engine) -> None:
    engine.start_container()
    out = docker(engine, "ps", "--format", "{{.Names}}|{{.Status}}|{{.Image}}")[1]
    assert re.fullmatch(r"winarena\|Up \d+ seconds\|winarena:demo\n", out)
    assert docker(engine, "ps", "--filter", "name=^/winarena$", "-q", program="podman")[1].strip()
    assert docker(engine, "ps", "--filter", "name=other", "-q")[1] == ""
    engine.stop_container(127)
    assert docker(engine, "ps", "-q")[1] == ""
    assert re.fullmatch(r"Exited \(127\) \d+ seconds ago\n", docker(engine, "ps", "-a", "--format", "{{.Status}}")[1])
    assert docker(engine, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "winarena")[1] == "exited 127\n"


def test_exec_runs_the_words_as_they_are(engine: Engine) -> None:
    engine.start_container()
    assert docker(engine, "exec", "winarena", "sh", "-c", 'echo "$1"; exit 4', "sh", "a  b $HOME")[:2] == (4, "a  b $HOME\n")
    assert docker(engine, "exec", "-e", "COLOUR=red", "winarena", "sh", "-c", "echo $COLOUR")[1] == "red\n"
    assert docker(engine, "exec", "-w", "/", "winarena", "pwd")[1] == "/\n"
    assert docker(engine, "exec", "winarena", "no-such-program")[0] == 127


def test_exec_reads_standard_input_only_when_interactive(engine: Engine) -> None:
    engine.start_container()
    assert docker(engine, "exec", "winarena", "cat", stdin="typed")[1] == ""
    assert docker(engine, "exec", "-i", "winarena", "cat", stdin="typed")[1] == "typed"


def test_exec_is_refused_where_the_container_has_ended(engine: Engine) -> None:
    engine.start_container()
    engine.stop_container(1)
    code, _, err = docker(engine, "exec", "winarena", "true")
    assert code == 1
    assert err.endswith("is not running\n")


def test_logs_are_given_whole_by_tail_and_since(engine: Engine) -> None:
    engine.start_container()
    for line in ("one", "❯ two\r", "", "four"):
        engine.log(line)
    # bytes, since text mode would fold the carriage return
    path = f"{engine.programs}:{os.environ['PATH']}"
    whole = subprocess.run(["docker", "logs", "winarena"], capture_output=True, env={"PATH": path}, check=True).stdout
    assert whole == "one\n❯ two\r\n\nfour\n".encode()
    assert docker(engine, "logs", "--tail", "1", "winarena")[1] == "four\n"
    stamped = docker(engine, "logs", "-t", "winarena")[1].splitlines()
    assert [line.partition(" ")[2] for line in stamped if line] == ["one", "❯ two", "", "four"]
    last = stamped[-1].partition(" ")[0]
    assert docker(engine, "logs", "--since", last, "winarena")[1] == "four\n"
    assert docker(engine, "logs", "--since", "2200-01-01T00:00:00Z", "winarena")[1] == ""
    assert docker(engine, "logs", "--since", "1h30m", "winarena")[1].startswith("one\n")
    assert docker(engine, "logs", "--since", "1700000000", "winarena")[1].startswith("one\n")


def test_followed_logs_go_on_and_end_with_the_container(engine: Engine) -> None:
    engine.start_container()
    engine.log("first")
    path = f"{engine.programs}:{os.environ['PATH']}"
    with subprocess.Popen(["docker", "logs", "-f", "winarena"], stdout=subprocess.PIPE, text=True, env={"PATH": path}) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "first\n"
        engine.log("second")
        assert follower.stdout.readline() == "second\n"
        engine.log("last")
        engine.stop_container(0)
        assert follower.stdout.readline() == "last\n"
        wait_for(lambda: follower.poll() is not None, what="the follower's end")


def test_a_new_container_has_another_id_and_an_empty_log(engine: Engine) -> None:
    engine.start_container()
    engine.log("old")
    first = docker(engine, "inspect", "-f", "{{.Id}}", "winarena")[1]
    engine.stop_container(0)
    engine.remove_container()
    engine.start_container()
    assert docker(engine, "inspect", "-f", "{{.Id}}", "winarena")[1] != first
    assert docker(engine, "logs", "winarena") == (0, "", "")


def test_what_it_does_not_play_is_refused(engine: Engine) -> None:
    assert docker(engine, "build", ".")[0] == 1
    assert docker(engine, "ps", "--what")[0] == 125
    assert docker(engine)[0] == 1
