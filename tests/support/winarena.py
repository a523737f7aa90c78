"""A real container that plays Windows Agent Arena, for tests: Podman as ``docker``, a guest's server, a runner.

    with WinArena() as arena:                        # about a second: image, programs, folders
        arena.start()                                # container runs: "Starting WinArena..."
        spec = VmSpec(name="vm", **arena.spec_fields())
        arena.set_ready(True)                        # GET /probe answers
        arena.start_run([("notepad", "id-1"), ("clock", "id-2")])
        arena.step("DONE"); arena.finish_task(1.0)   # the next task opens by itself
        arena.crash_task("boom")                     # last one: the run prints its average and ends

Every method returns when its effect has happened (the log line is written, the server listens): tests need no pauses, only
to wait for what the product makes of it. Nothing depends on the machine's own Podman: storage, run folder, locks and
configuration lie in a temporary folder, which ``close`` removes.

``arena.bin`` holds the ``docker`` program to put on a PATH (``Sshd(path_prefix=...)``); ``spec_fields`` names it by its full path.
The network is the host's, so the guest answers on 127.0.0.1 with free ports. The run log lies at ``log_path`` inside the
container (the host's file of that name is another one), results under ``/client/results``.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from tests.support.wait import PATIENCE_S

INSIDE = Path(__file__).with_name("winarena_inside")
IMAGE = "winarena:test"
RESULTS_DIR = "/client/results"

_CONFIG = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1000:1000"]
netns = "host"
utsns = "host"
ipcns = "host"
cgroupns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
"""


class ArenaFields(TypedDict):
    """The fields of a ``VmSpec`` that lead to the container."""

    container: str
    engine: str
    guest_ip: str
    waa_port: int
    vnc_port: int
    log_path: str


def is_available() -> bool:
    """Whether this machine has what it takes."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("podman", "runc", "busybox"))


class WinArena:
    """One container engine with at most one container."""

    def __init__(self, *, name: str = "winarena", log_path: str = "/tmp/waa_benchmark.log") -> None:
        self.name = name
        self.log_path = log_path
        self.waa_port, self.vnc_port = _free_ports(2)
        self.folder = Path(tempfile.mkdtemp(prefix="wa-", dir="/tmp"))  # Podman wants short paths
        self.bin = self.folder / "bin"
        self.control = self.folder / "control"
        self._prepare()

    def __enter__(self) -> "WinArena":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def docker(self) -> Path:
        """The engine's program."""
        return self.bin / "docker"

    def spec_fields(self) -> ArenaFields:
        """What a ``VmSpec`` must say to look at this container."""
        return {
            "container": self.name,
            "engine": str(self.docker),
            "guest_ip": "127.0.0.1",
            "waa_port": self.waa_port,
            "vnc_port": self.vnc_port,
            "log_path": self.log_path,
        }

    # The container's life

    def start(self) -> str:
        """A new container (an earlier one is removed); gives its id."""
        self.remove()
        mounts = [argument for path in _interpreter_folders() for argument in ("-v", f"{path}:{path}:ro")]
        options = ["--guest-ip", "127.0.0.1", "--waa-port", str(self.waa_port), "--vnc-port", str(self.vnc_port), "--log", self.log_path]
        command = [sys.executable, "/opt/entry.py", "--socket", "/control/socket", *options]
        container_id = self.run("run", "-d", "--name", self.name, "-v", f"{self.control}:/control", *mounts, IMAGE, *command)
        self._wait_for_entry()
        return container_id.strip()

    def stop(self) -> None:
        """The container ends by SIGTERM (exit status 143)."""
        self.run("stop", "-t", "5", self.name)

    def kill(self) -> None:
        """The container ends by SIGKILL (137)."""
        self.run("kill", self.name)
        self.run("wait", self.name)

    def restart(self) -> None:
        """The same container runs again, from the beginning."""
        self.run("restart", "-t", "5", self.name)
        self._wait_for_entry()

    def resume(self) -> None:
        """A stopped container runs again, from the beginning."""
        self.run("start", self.name)
        self._wait_for_entry()

    def pause(self) -> None:
        """Freeze it."""
        self.run("pause", self.name)

    def unpause(self) -> None:
        """Let it go on."""
        self.run("unpause", self.name)

    def remove(self) -> None:
        """No container."""
        self.run("rm", "-f", "-t", "0", "-i", self.name)

    def exec(self, *command: str) -> str:
        """What a command prints inside. Raises RuntimeError where it fails."""
        return self.run("exec", self.name, *command)

    def processes(self) -> str:
        """What runs inside, with arguments."""
        return self.exec("ps", "-o", "pid,args")

    # The guest

    def set_ready(self, ready: bool) -> None:
        """``/probe`` answers, or nothing listens."""
        self.tell("ready", ready=ready)

    def set_broken(self) -> None:
        """The guest's server answers 404 to everything."""
        self.tell("broken")

    def set_page(self, text: str | None) -> None:
        """What ``/msg.html`` says, None: 404, as once Windows boots."""
        self.tell("page", text=text)

    def say(self, text: str, *, error: bool = False) -> None:
        """The container prints text (with its own newlines) on stdout or stderr."""
        self.tell("say", text=text, error=error)

    # The run

    def start_run(self, tasks: Sequence[tuple[str, str]], arguments: Sequence[str] = ()) -> None:
        """A runner starts and opens the first task; what a killed one left open stays open, as in reality."""
        self.tell("run", tasks=[list(task) for task in tasks], arguments=list(arguments))

    def step(self, action: str = 'computer.keyboard.write("x")') -> None:
        """One step of the open task; DONE and FAIL end the episode."""
        self.tell("runner", command={"do": "step", "action": action})

    def finish_task(self, score: float) -> bool:
        """Score, ``result.txt``, next task; True when that was the last and the runner has ended."""
        return bool(self.tell("runner", command={"do": "finish", "score": score}).get("over"))

    def crash_task(self, error: str = "Error code: 429 - rate limit") -> bool:
        """The open task ends with an exception; True when that was the last and the runner has ended."""
        return bool(self.tell("runner", command={"do": "crash", "error": error}).get("over"))

    def interrupt_run(self) -> None:
        """SIGTERM: it says so and ends."""
        self.tell("signal_runner", number=15)

    def kill_run(self) -> None:
        """SIGKILL: the log just stops."""
        self.tell("signal_runner", number=9)

    # The log inside

    def rotate_log(self) -> None:
        """The file gets another name; the next line creates a new one."""
        self.tell("rename", old=self.log_path, new=f"{self.log_path}.1")

    def truncate_log(self) -> None:
        """The file is emptied."""
        self.tell("truncate", path=self.log_path)

    def write(self, path: str, text: str, *, mode: str = "a") -> None:
        """Write a file inside."""
        self.tell("write", path=path, text=text, mode=mode)

    def close(self) -> None:
        """Remove everything. May be called twice."""
        if not self.folder.exists():
            return
        self.remove()
        deadline = time.monotonic() + PATIENCE_S
        # Podman tidies up in the background, and makes its folders anew for that
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(self.folder)

    def run(self, *arguments: str) -> str:
        """A command of the engine; gives what it prints. Raises RuntimeError with its complaint."""
        done = subprocess.run([self.docker, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments[:3])} failed ({done.returncode}): {done.stderr.strip()}")
        return done.stdout

    def tell(self, action: str, **request: object) -> dict[str, Any]:
        """One command to the container's first process. Raises RuntimeError with its complaint."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.control / "socket"))
            with connection.makefile("rw") as stream:
                stream.write(json.dumps({"do": action, **request}) + "\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _is_busy(self) -> bool:
        """Whether a program of the engine still works in the folder."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if str(self.folder).encode() in words and words.split(b"\0")[0].endswith((b"podman", b"conmon", b"runc")):
                    return True
        return False

    def _prepare(self) -> None:
        for folder in (self.bin, self.control):
            folder.mkdir()
        config = self.folder / "containers.conf"
        config.write_text(_CONFIG)
        places = [option for name in ("root", "runroot", "tmpdir") for option in (f"--{name}", str(self.folder / name))]
        engine = shlex.join(["podman", *places, "--storage-driver", "vfs", "--runtime", shutil.which("runc") or "runc"])
        self.docker.write_text(f'#!/bin/sh\nCONTAINERS_CONF={config} exec {engine} "$@"\n')
        self.docker.chmod(0o755)
        image = self.folder / "image"
        for name in ("bin", "tmp", "proc", "opt", "client", "control"):
            (image / name).mkdir(parents=True)
        busybox = shutil.which("busybox") or "busybox"
        shutil.copy(busybox, image / "bin" / "busybox")
        for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            with contextlib.suppress(FileExistsError):
                (image / "bin" / applet).symlink_to("busybox")
        (image / "bin" / "python3").symlink_to(sys.executable)
        shutil.copy(INSIDE / "entry.py", image / "opt")
        shutil.copy(INSIDE / "run.py", image / "client")
        archive = shutil.make_archive(str(self.folder / "image"), "tar", image)
        self.run("import", archive, IMAGE)

    def _wait_for_entry(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.tell("say", text="")
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError("the container does not answer") from error
                time.sleep(0.01)
            else:
                return


def _interpreter_folders() -> Iterator[str]:
    """What the tests' own interpreter needs, to be seen inside."""
    for path in (sys.base_prefix, sys.prefix, "/lib", "/lib64", "/usr/lib"):
        if Path(path).is_dir() and path != "/usr":
            yield path
    if sys.base_prefix == "/usr":
        yield "/usr/bin"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
