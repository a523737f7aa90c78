"""What the status program's words mean, and how the two sides make one picture."""

import pytest

from waa.core.error import Failure
from waa.core.observation import Container, GuestProbe, LogKind, Machine, Runner, SetupPage, StatusSeen
from waa.core.spec import LogSide, VmSpec
from waa.core.status import ContainerStatus, Reason
from waa.probes.frame import Frame
from waa.probes.picture import INNER_SILENCE_S, Picture
from waa.probes.section import read_container, read_logs, read_machine, read_moment, read_page, read_probe, read_runner

ID = "be805c32823a"
RUNNING = f"running\t{ID}\twinarena:1\t2026-11-21T02:17:11.288042048Z\t0"


def test_docker_and_podman_write_the_same_moment() -> None:
    assert read_moment("2026-11-21T02:17:11.288042048Z") == read_moment("2026-11-21 02:17:11.288042048 +0000 UTC") == 1795227431.288042
    assert read_moment("2026-11-21T03:17:11+01:00") == 1795227431.0
    assert read_moment("0001-01-01T00:00:00Z") is None


def test_the_exit_code_is_told_only_of_a_container_that_ended() -> None:
    up = read_container(0, RUNNING, "docker")
    assert up == Container(status=ContainerStatus.RUNNING, container_id=ID, image="winarena:1", started_at=1795227431.288042)
    down = read_container(0, RUNNING.replace("running", "exited")[:-1] + "137", "docker")
    assert isinstance(down, Container)
    assert (down.status, down.exit_code) == (ContainerStatus.EXITED, 137)


@pytest.mark.parametrize(
    "text",
    [
        "Error: No such container: winarena",
        "Error: No such object: winarena",
        "Error: inspecting object: no such container winarena",
        "Error response from daemon: No such container: winarena",
    ],
)
def test_an_absent_container_is_not_a_failure(text: str) -> None:
    assert read_container(1, text, "docker") == Container(status=ContainerStatus.ABSENT)


@pytest.mark.parametrize(
    ("code", "text", "reason", "remedy"),
    [
        (127, "timeout: failed to run command 'docker': No such file or directory", Reason.COMMAND, "Install"),
        (
            1,
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            Reason.COMMAND,
            "usermod",
        ),
        (1, "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", Reason.COMMAND, "systemctl start"),
        (137, "", Reason.TIMEOUT, "hangs"),
        (124, "", Reason.TIMEOUT, "hangs"),
        (2, "template: :1:2: boom", Reason.COMMAND, "by hand"),
    ],
)
def test_each_failure_of_the_engine_says_what_helps(code: int, text: str, reason: Reason, remedy: str) -> None:
    failure = read_container(code, text, "docker")
    assert isinstance(failure, Failure)
    assert failure.reason is reason
    assert remedy in failure.remedy


@pytest.mark.parametrize(
    ("code", "body", "ready", "status"),
    [
        (0, '200 {"message":"Service is operational","status":"Probe successful"}', True, "Probe successful"),
        (0, "200 hello", True, "HTTP 200"),
        (0, "503 busy", False, "HTTP 503"),
        (7, "000 ", False, "no connection"),
        (28, "000 ", False, "no answer within 3 s"),
        (137, "000 ", False, "no answer within 3 s"),
        (1, "000 wget: can't connect to remote host (20.20.20.21): Connection refused", False, "no connection"),
        (1, "000 wget: server returned error: HTTP/1.0 404 Not Found", False, "HTTP 404"),
    ],
)
def test_the_probe_says_why_it_is_not_ready(code: int, body: str, ready: bool, status: str) -> None:
    assert read_probe(code, body) == GuestProbe(ready=ready, status=status)


def test_the_set_up_page_is_text_without_markup() -> None:
    page = '<script>if (1 < 2) x()</script><p class="loading">Downloading&nbsp;Windows 11 <b>(12.3%)</b></p><style>p{}'
    assert read_page(page) == SetupPage(text="Downloading Windows 11 (12.3%)")


def test_credentials_of_a_command_line_are_hidden() -> None:
    runner = read_runner(0, "12 345 python run.py --api_key sk-verysecret123 --model m", "x")
    assert not isinstance(runner, Failure)
    assert runner is not None
    assert "verysecret" not in runner.command
    assert runner.command.endswith("--model m")


def test_a_pattern_that_pgrep_refuses_is_named() -> None:
    failure = read_runner(2, "", "a(b")
    assert isinstance(failure, Failure)
    assert "'a(b'" in failure.message


def test_logs_and_machine_are_read() -> None:
    lines = read_logs("0 12.5 100 1795227431;1 13 0 -;")
    assert [(line.place, line.identity, line.size, line.modified_at) for line in lines] == [
        (0, "12.5", 100, 1795227431.0),
        (1, "13", 0, None),
    ]
    assert read_logs("") == ()
    machine = read_machine("boot 1795220000 22 78 43 1795227431.25 7431.25 100")
    assert (machine.disk_used_percent, machine.disk_free_bytes, machine.memory_used_percent) == (22.0, 78 * 1024, 45.0)
    assert machine.offset_s == 1795220000.0


class Talk:
    """A picture that is told frames; the steady clock is the test's."""

    def __init__(self, **fields: object) -> None:
        self.picture = Picture(VmSpec(name="vm", **fields))  # type: ignore[arg-type]
        self.now_s = 0.0

    def hear(self, name: str, body: str, code: int = 0, at: float = 100.0) -> StatusSeen | None:
        return self.picture.hear(Frame(name, code, body), at=at, now_s=self.now_s)

    def wait(self, seconds: float) -> StatusSeen | None:
        self.now_s += seconds
        return self.picture.wait(at=100.0, now_s=self.now_s)


def test_only_what_changed_is_told() -> None:
    talk = Talk()
    first = talk.hear("container", RUNNING)
    assert first is not None
    assert (first.probe, first.runner, first.machine) == (None, None, None)
    assert talk.hear("container", RUNNING) is None


def test_no_runner_is_said_only_when_both_sides_were_looked_at() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    assert talk.hear("runner", "") is None
    told = talk.hear("inner", "runner 0 ")
    assert told == StatusSeen(vm="vm", at=100.0, runner=Runner())


def test_a_runner_inside_the_container_counts_before_one_on_the_host() -> None:
    talk = Talk()
    talk.hear("machine", "boot 1000 22 78 40 1100 100 100")
    talk.hear("container", RUNNING)
    host = talk.hear("runner", "12 500 python run.py")
    inner = talk.hear("inner", "runner 0 3 600 python ./run.py")
    gone = talk.hear("container", "exited" + RUNNING[7:])
    assert host is not None
    assert host.runner == Runner(pid=12, command="python run.py", where="host", started_at=1005.0)
    assert inner is not None
    assert inner.runner == Runner(pid=3, command="python ./run.py", where="container", started_at=1006.0)
    assert gone is not None
    assert gone.runner == host.runner


def test_one_process_seen_from_both_sides_is_on_the_host() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    assert talk.hear("runner", "12 500 python run.py") is not None
    assert talk.hear("inner", "runner 0 12 500 python run.py") is None


def test_a_container_that_ends_takes_readiness_page_and_inner_logs_along() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    talk.hear("inner", 'probe 0 200 {"status":"ok"}')
    talk.hear("inner", "logs 0 0 77 10 5;")
    assert [found.source.kind for found in talk.picture.logs] == [LogKind.INNER, LogKind.CONTAINER]
    told = talk.hear("container", "exited" + RUNNING[7:])
    assert told is not None
    assert told.probe == GuestProbe(ready=False, status="the container is exited")
    assert [found.source.kind for found in talk.picture.logs] == [LogKind.CONTAINER]


def test_silence_inside_is_a_failure_of_the_probe_only_after_a_while() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    talk.hear("inner", 'probe 0 200 {"status":"ok"}')
    assert talk.wait(INNER_SILENCE_S - 1) is None
    talk.hear("inner", "beat 0 ")
    assert talk.wait(INNER_SILENCE_S - 1) is None
    told = talk.wait(2)
    assert told is not None
    assert isinstance(told.probe, Failure)
    assert told.probe.reason is Reason.TIMEOUT
    again = talk.hear("inner", 'probe 0 200 {"status":"ok"}')
    assert again is not None
    assert again.probe == GuestProbe(ready=True, status="ok")


def test_what_the_engine_says_instead_of_looking_inside_is_shown() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    told = None
    for _ in range(4):
        talk.hear("inner", 'OCI runtime exec failed: exec: "/bin/sh": stat /bin/sh: no such file or directory')
        talk.hear("inner", "end 127")
        told = told or talk.wait(3)
    assert told is not None
    assert isinstance(told.probe, Failure)
    assert "/bin/sh" in told.probe.message


def test_a_failing_engine_does_not_take_the_look_inside_away() -> None:
    talk = Talk()
    talk.hear("container", RUNNING)
    talk.hear("inner", 'probe 0 200 {"status":"ok"}')
    told = talk.hear("container", "", code=137)
    assert told is not None
    assert isinstance(told.container, Failure)
    assert told.probe is None
    assert talk.hear("inner", "probe 7 000 ") is not None


def test_an_unreadable_report_is_a_failure_of_its_part() -> None:
    talk = Talk()
    told = talk.hear("container", "what\tis\tthis")
    assert told is not None
    assert isinstance(told.container, Failure)
    assert told.container.reason is Reason.PARSE


def skew(told: StatusSeen | None) -> float | None:
    assert told is not None
    assert isinstance(told.machine, Machine)
    return told.machine.clock_skew_s


def test_clock_skew_is_whole_seconds_and_not_mistaken_for_delay() -> None:
    talk = Talk()
    assert skew(talk.hear("machine", "boot 1000 22 78 40 1100.0 100.0 100")) is None
    assert talk.hear("beat", "101.0", at=1102.5) is None  # 1.5 s late on the way or by the clock: not worth saying
    assert talk.hear("beat", "102.0", at=1107.0) is None  # late on the way: an earlier one was not
    ahead = Talk()
    ahead.hear("machine", "boot 1000 22 78 40 1100.0 100.0 100")
    assert skew(ahead.hear("beat", "101.0", at=1088.6)) == 12.0
    assert ahead.hear("beat", "102.0", at=1089.8) is None
    assert ahead.hear("machine", "boot 1000 22 78 40 1100.4 112.4 100") is None  # set right: the samples are void
    assert skew(ahead.hear("beat", "113.0", at=1101.0)) is None


def test_the_boot_moment_does_not_wander() -> None:
    talk = Talk()
    first = talk.hear("machine", "boot 1000 22 78 40 1100 100 100")
    assert talk.hear("machine", "boot 1001 22 78 40 1110 110 100") is None
    other = talk.hear("machine", "next 2000 22 78 40 2010 10 100")
    assert first is not None
    assert other is not None
    assert isinstance(other.machine, Machine)
    assert other.machine.booted_at == 2000.0


@pytest.mark.parametrize(
    ("side", "container", "host", "inner"),
    [
        (LogSide.AUTO, "winarena", ("/r/x.log", "/tmp/benchmark.log"), "/r/x.log"),
        (LogSide.HOST, "winarena", ("/r/x.log", "/tmp/benchmark.log"), ""),
        (LogSide.CONTAINER, "winarena", (), "/r/x.log"),
        (LogSide.AUTO, "", ("/r/x.log", "/tmp/benchmark.log"), ""),
    ],
)
def test_logs_are_looked_for_where_the_operator_says(side: LogSide, container: str, host: tuple[str, ...], inner: str) -> None:
    picture = Picture(VmSpec(name="vm", log_path="/r/x.log", log_side=side, container=container))
    assert (picture.host_paths, picture.inner_path) == (host, inner)


def test_what_was_known_of_a_paused_container_counts_again_when_it_goes_on() -> None:
    """It says nothing anew: for the look inside, no time has passed."""
    talk = Talk()
    talk.hear("container", RUNNING)
    talk.hear("runner", "")
    talk.hear("inner", 'probe 0 200 {"status":"ok"}')
    talk.hear("inner", "runner 0 3 600 python ./run.py")
    paused = talk.hear("container", "paused" + RUNNING[7:])
    on = talk.hear("container", RUNNING)
    assert paused is not None
    assert (paused.probe, paused.runner) == (GuestProbe(ready=False, status="the container is paused"), None)
    assert on is not None
    assert (on.probe, on.runner) == (GuestProbe(ready=True, status="ok"), None)
