"""What the tests of the demo VM share: clients, and looking at processes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import paramiko

from tests.support.wait import PATIENCE_S
from waa.core.logs.fact import AnyFact, StepStarted, TaskCrashed, TaskFinished, TaskScored, TaskStarted
from waa.core.logs.parser import LogParser
from waa.core.spec import VmSpec
from waa.demo.plan import Plan

Outcome = tuple[str, str, int, float | None, str]
"""Domain, id, last step, score as the log rounds it (None: none), error."""


def facts_of(log: bytes) -> list[AnyFact]:
    """What the product reads in a log that has ended."""
    parser = LogParser()
    return [*parser.feed(log), *parser.finish()]


def outcomes_of(facts: list[AnyFact]) -> list[Outcome]:
    """Every task that ended, in order."""
    ended: list[Outcome] = []
    step, score = 0, None
    for fact in facts:
        match fact:
            case TaskStarted():
                step, score = 0, None
            case StepStarted():
                step = max(step, fact.number)
            case TaskScored():
                score = fact.score
            case TaskFinished():
                ended.append((fact.domain, fact.task_id, step, score, ""))
            case TaskCrashed():
                ended.append((fact.domain, fact.task_id, step, None, fact.error))
    return ended


def planned_outcomes(plan: Plan) -> list[Outcome]:
    """What ``outcomes_of`` must find of a run of that plan."""
    return [
        (
            planned.task.domain,
            planned.task.task_id,
            len(planned.moves),
            None if planned.score is None else round(planned.score, 2),
            planned.error,
        )
        for planned in plan.tasks
    ]


@contextlib.contextmanager
def a_client(spec: VmSpec) -> Iterator[paramiko.SSHClient]:
    """A client that is set up as the spec says, and trusts nothing else."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(spec.known_hosts))
    try:
        client.connect(
            spec.ssh_host,
            port=spec.ssh_port or 22,
            username=spec.ssh_user,
            key_filename=spec.ssh_key,
            allow_agent=False,
            look_for_keys=False,
            timeout=PATIENCE_S,
        )
        yield client
    finally:
        client.close()


def run(client: paramiko.SSHClient, command: str, *, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit status, output, error output of one command."""
    sent, out, err = client.exec_command(command, timeout=PATIENCE_S)
    with contextlib.suppress(OSError):  # a command that reads nothing may be over before all of it is sent
        sent.write(stdin)
        sent.channel.shutdown_write()
    text, complaint = out.read().decode(), err.read().decode()
    return out.channel.recv_exit_status(), text, complaint


def channel_of(client: paramiko.SSHClient, command: str) -> paramiko.Channel:
    """A channel on which the command runs."""
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session(timeout=PATIENCE_S)
    channel.settimeout(PATIENCE_S)
    channel.exec_command(command)
    return channel


def read_line(channel: paramiko.Channel) -> str:
    """The next line of output."""
    line = b""
    while not line.endswith(b"\n"):
        letter = channel.recv(1)
        assert letter, f"output ended after {line!r}"
        line += letter
    return line.decode().strip()


def lives(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_about(text: str) -> list[int]:
    """Running processes that have the text in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            if text.encode() in said and lives(int(folder.name)):
                found.append(int(folder.name))
    return found
