"""The forced command of examples/, behind a real sshd: WAA Live works through it, and its key does nothing else."""

import asyncio
import contextlib
import hashlib
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.support.server import ROOT
from tests.support.sshd import Sshd, has_sshd, public_key
from tests.support.wait import PATIENCE_S, until, wait_for
from waa.core.error import LinkError
from waa.core.observation import LogFound, LogKind, LogSource, StatusSeen
from waa.core.port import Link
from waa.core.spec import VmSpec
from waa.probes import fetch, log_range, screens, script, task_folder
from waa.probes.command import guarded
from waa.probes.host import HostWatch
from waa.probes.ssh import SshOpener

EXAMPLE = ROOT / "examples" / "forced-command.sh"
PROGRAMS = {
    "launch": script._LAUNCH,
    "boot": script._BOOT,
    "inner": script._encoded(script._INNER),
    "pick": log_range._PICK,
    "status": script._encoded(script._STATUS),
    "follow": script._encoded(script._FOLLOW),
    "container": script._encoded(script._CONTAINER_LOG),
    "newest": script._NEWEST,
    "sums": screens._SUMS,
    "folder": task_folder._READ_FOLDER,
    "file": task_folder._READ_FILE,
    "first": task_folder._READ_FIRST,
    "range": log_range._IN_FILE,
    "container_range": log_range._IN_CONTAINER_LOG,
    "list": fetch._LIST,
    "send": fetch._SEND,
}
DOCKER = """#!/bin/sh
# an engine whose container is this machine
case $1 in
  exec) shift; [ "$1" != -i ] || shift; case $1 in winarena | abc) ;; *) exit 1 ;; esac; shift; exec "$@" ;;
  container) case $* in *Status*) printf '@@running\\tabc\\timage\\t2026-11-21T10:00:00Z\\t0\\n' ;; *) echo @@abc@@ ;; esac ;;
  logs) echo '2026-11-21T10:00:00.000000000Z hello' ;;
esac
"""


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(program.encode()).hexdigest() for name, program in PROGRAMS.items()}


def test_the_example_admits_the_programs_of_this_release() -> None:
    """After a change of a program: put these digests into the example."""
    assert dict(re.findall(r"^    (\w+)\) echo (\w+) ;;$", EXAMPLE.read_text(), re.MULTILINE)) == digests()


class Place:
    """A machine with a forced command that lets ``readable`` be read, and what lies beside it not."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        self.folder = folder
        self.sshd = sshd
        self.readable = folder / "readable"
        self.secret = folder / "secret.log"
        self.canary = folder / "canary"
        self.control = folder / "ssh"

    def spec(self, **fields: object) -> VmSpec:
        known = {
            "name": "vm",
            "log_path": str(self.readable / "run.log"),
            "process": "never-at-all",
            "guest_ip": "127.0.0.1",
            "waa_port": 1,
        }
        return VmSpec(**{**known, **self.sshd.spec_fields(), **fields})  # type: ignore[arg-type]

    def ssh(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """What a thief of the key can do by OpenSSH's own client. Inside ``kept`` each call is a session on one connection."""
        return subprocess.run(
            self.command(*words),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def command(self, *words: str) -> list[str]:
        """The command line of that client."""
        known = ("-o", f"UserKnownHostsFile={self.sshd.known_hosts}", "-o", f"ControlPath={self.control}")
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.sshd.key),
            *known,
            "-p",
            str(self.sshd.port),
            f"{self.sshd.user}@{self.sshd.address}",
            *words,
        ]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """One connection for many sessions: the server decides on each of them anew, only the keys are exchanged once."""
        with subprocess.Popen([*self.command("-M", "-N")], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as master:
            try:
                wait_for(self.control.exists, what="the connection")
                yield
            finally:
                master.kill()  # OpenSSH 9.2 may miss a SIGTERM: it looks for one, and only then waits for what happens next


@pytest.fixture(params=["dash", "bash", "busybox"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if not has_sshd():
        pytest.skip("needs openssh-server and openssh-client")
    shell = {"dash": "/bin/dash", "bash": "/bin/bash", "busybox": "/bin/busybox sh"}[request.param]
    if not Path(shell.partition(" ")[0]).exists():
        pytest.skip(f"needs {request.param}")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "docker").write_text(DOCKER)
    (bin_folder / "docker").chmod(0o755)
    readable = tmp_path / "readable"
    readable.mkdir()
    (readable / "run.log").write_text("[2026-11-21 10:00:00,000 INFO agent/1-run] hello\n")
    (tmp_path / "secret.log").write_text("[2026-11-21 10:00:00,000 INFO agent/1-run] secret\n")
    command = tmp_path / "waa-live-command"
    text = EXAMPLE.read_text()
    for shown, here in (
        ("#!/bin/sh\n", f"#!{shell}\n"),
        ("PATH=/usr/local/bin:", f"PATH={bin_folder}:/usr/local/bin:"),
        ("readable='/tmp /home /mnt'", f"readable='{readable} /tmp/benchmark.log'"),
        ("inside='/tmp /client /results'", f"inside='{readable}'"),
    ):
        assert shown in text
        text = text.replace(shown, here, 1)
    command.write_text(text)
    command.chmod(0o755)
    with Sshd(tmp_path / "sshd", path_prefix=str(bin_folder)) as sshd:
        sshd.authorized_keys.write_text(f'restrict,command="{command}" {public_key(sshd.key)}\n')
        yield Place(tmp_path, sshd)


pytestmark = pytest.mark.sshd


@asynccontextmanager
async def linked(place: Place) -> AsyncIterator[Link]:
    home = place.folder / "home"
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    opener = SshOpener(data_dir=home / "data", home=home)
    link = await opener.open(place.spec())
    try:
        yield link
    finally:
        await link.close()
        await opener.close()


async def test_everything_that_waa_live_does_works_through_it(place: Place) -> None:
    task = place.readable / "results" / "clock" / "it's $(1)"
    task.mkdir(parents=True)
    (task / "result.txt").write_text("1.0")
    (task / "traj.jsonl").write_text('{"step_num": 1}\n')
    seen: list[StatusSeen] = []
    logs: list[tuple[LogFound, ...]] = []
    async with linked(place) as link:
        watch = HostWatch(
            link, place.spec(), clock=lambda: 0.0, interval_s=1, on_status=seen.append, on_alive=lambda _: None, on_logs=logs.append
        )
        running = asyncio.create_task(watch.run())
        await until(lambda: any(part.container for part in seen) and any(part.machine for part in seen), "the status")
        await until(lambda: bool(logs) and len(logs[-1]) >= 2, "the logs, on the host and inside")
        assert all(found.source.path == str(place.readable / "run.log") for found in logs[-1] if found.source.kind is not LogKind.CONTAINER)
        for kind in (LogKind.FILE, LogKind.INNER, LogKind.CONTAINER):
            got = bytearray()
            path = "" if kind is LogKind.CONTAINER else str(place.readable / "run.log")
            followed = await watch.follow(
                LogSource(kind=kind, path=path, identity=""),
                0,
                on_data=got.extend,
                on_reset=lambda _: None,
                on_end=lambda failure, got=got: got.extend(repr(failure).encode()),  # type: ignore[misc]
            )
            await until(lambda got=got: b"hello" in got, f"the {kind} log")  # type: ignore[misc]
            followed.close()
        for inner in (False, True):
            places = {"domain": "clock", "task_id": "it's $(1)", "roots": [str(place.readable / "results")], "inner": inner}
            assert await watch.read_result(**places) == b"1.0"  # type: ignore[arg-type]
            folder = await watch.read_task(**places)  # type: ignore[arg-type]
            assert folder is not None
            assert folder.result == b"1.0"
            assert await watch.read_screenshot(**places) is None  # type: ignore[arg-type]
            assert await watch.read_screen_sums(**places, newest=2) == ()  # type: ignore[arg-type]
            assert await watch.read_task_file(folder=str(task), name="result.txt", inner=inner, max_bytes=10) == b"1.0"
            assert await watch.read_first([str(task / "none"), str(task / "result.txt")], inner=inner, max_bytes=10)
            source = LogSource(kind=LogKind.INNER if inner else LogKind.FILE, path=str(place.readable / "run.log"), identity="")
            excerpt = await watch.read_log_range(source, from_at=0.0, until_at=4e9, max_bytes=1000)
            assert excerpt is not None
            assert b"hello" in excerpt.data
            files = await watch.list_results(str(place.readable / "results"), inner=inner)
            assert len(files) == 2
            into = place.folder / f"into-{inner}"
            await watch.fetch_results(str(place.readable / "results"), files, inner=inner, into=str(into), on_progress=lambda *_: None)
            assert (into / "clock" / "it's $(1)" / "result.txt").read_text() == "1.0"
        source = LogSource(kind=LogKind.CONTAINER, path="", identity="")
        assert await watch.read_log_range(source, from_at=0.0, until_at=4e9, max_bytes=1000) is not None
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
    await until(lambda: not commands(place), "the end of all that was started")


def commands(place: Place) -> list[str]:
    """The command lines of what runs by the forced command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(entry.read_text(errors="replace"))
    return [line for line in found if str(place.folder / "waa-live-command") in line]


def thefts(place: Place) -> dict[str, tuple[str, str]]:
    """By what they try: a command, and its standard input."""
    canary, launch = f"touch {place.canary}", script.launch_command()
    spec = place.spec()

    def status(vm: VmSpec, *logs: str) -> str:
        return script.status_input(vm, tick_s=1, every=1, slow_s=5, host_logs=logs, inner_log="").decode()

    wrapped = f"exec /bin/sh -c {shlex.quote(launch)}"

    def sent(command: str) -> str:
        return f"exec /bin/sh -c {shlex.quote(guarded(command))}"

    def read(program: str, *words: str) -> str:
        return sent("exec " + shlex.join(["/bin/sh", "-c", program, script.MARK, *words]))

    other = status(place.spec(engine="/bin/touch"))
    metadata = status(spec).replace("http://127.0.0.1:1/probe", "http://169.254.169.254/latest/probe")
    elsewhere = status(spec, str(place.secret))
    follow = script.follow_input(nonce="ab", path=str(place.secret), identity="", offset=0, tick_s=1).decode()
    upwards = script.follow_input(nonce="ab", path=f"{place.readable}/../secret.log", identity="", offset=0, tick_s=1).decode()
    return {
        "a shell": ("", canary),
        "a command": (canary, ""),
        "a shell by name": ("exec /bin/sh", canary),
        "our wrapper, another command": (f"exec /bin/sh -c {shlex.quote(canary)}", ""),
        "our command and another": (f"{wrapped}; {canary}", ""),
        "another before ours": (f"{canary}; {wrapped}", ""),
        "a substitution in ours": (wrapped.replace("waa-live-watch", f"$({canary})"), ""),
        "an unquoted line break": (f"{wrapped}\n{canary}", ""),
        "a program of its own": (wrapped, f"{canary}\n"),
        "ours, and one of its own": (wrapped, script._encoded(f"{script._STATUS}\n{canary}") + "\n"),
        "another boot": (wrapped.replace("IFS= read -r text", f"{canary}; IFS= read -r text"), ""),
        "another engine": (wrapped, other),
        "the metadata service": (wrapped, metadata),
        "a log elsewhere": (wrapped, elsewhere),
        "a file elsewhere": (wrapped, follow),
        "a file upwards": (wrapped, upwards),
        "a program by words": (read(canary), ""),
        "a file elsewhere by words": (read(task_folder._READ_FIRST, "1000", str(place.secret)), ""),
        "a name that leads upwards": (read(task_folder._READ_FILE, str(place.readable), "../secret.log", "1000"), ""),
        "an option of tar": (
            read(fetch._SEND, str(place.readable), "--checkpoint=1", f"--checkpoint-action=exec={canary}", "./run.log"),
            "",
        ),
        "an option of find": (read(script._NEWEST, "*/a", "*/a", "10", "-exec", *canary.split(), ";"), ""),
        "a folder elsewhere": (read(fetch._LIST, str(place.folder), "5"), ""),
        "an awk program": (
            read(log_range._IN_FILE, f'BEGIN {{ system("{canary}") }}', "a", "b", "10", str(place.readable / "run.log"), "10"),
            "",
        ),
        "another container": (sent("exec " + shlex.join(["docker", "exec", "other", "/bin/sh", "-c", script._NEWEST, script.MARK])), ""),
        "privileges": (sent("exec " + shlex.join(["docker", "run", "--privileged", "-v", "/:/host", "x", "sh"])), ""),
        "sftp": ("internal-sftp", ""),
        "scp": (f"scp -f {place.secret}", ""),
    }


def test_a_stolen_key_does_nothing_else(place: Place) -> None:
    with place.kept():
        for what, (command, text) in thefts(place).items():
            done = place.ssh(*([command] if command else []), text=text)
            assert done.returncode == 126, (what, done)
            assert "refused by the forced command" in done.stderr, (what, done)
            assert "secret" not in done.stdout, what
            assert not place.canary.exists(), what


def test_a_stolen_key_forwards_nothing(place: Place) -> None:
    done = place.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-W", f"127.0.0.1:{place.sshd.port}")
    assert done.returncode != 0
    assert "SSH-2.0" not in done.stdout


async def test_what_is_refused_is_named_to_the_user(place: Place) -> None:
    """A VM whose forced command is of another release says so."""
    command = place.folder / "waa-live-command"
    command.write_text(command.read_text().replace(digests()["status"], "0" * 64))
    async with linked(place) as link:
        watch = HostWatch(link, place.spec(), clock=lambda: 0.0, on_status=lambda _: None, on_alive=lambda _: None, on_logs=lambda _: None)
        with pytest.raises(LinkError, match=r"install the forced-command\.sh of the WAA Live that asks"):
            await watch.run()
