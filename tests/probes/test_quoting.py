"""Nothing unquoted reaches a shell: every command with hostile names, run by a real /bin/sh in a folder with canaries.

The names try to create a file, to delete one, to run a program, to end a quotation, to become an option, a pattern or another folder. What
must hold: the file that is there stays as it is, the program never runs, nothing is created, and each file is read by its very name.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.link import Recorder
from tests.support.wait import until
from waa.core.error import Invalid, LinkError
from waa.core.observation import LogKind, LogSource
from waa.core.results.tree import FileListed
from waa.core.spec import LogSide, VmSpec
from waa.probes import fetch, log_range, script, task_folder
from waa.probes.host import HostWatch
from waa.probes.local import LocalLink
from waa.probes.screens import sums_command

PROGRAM = "waa-canary-program"
LINK = settings(max_examples=25)

ATTACKS = (
    f"$({PROGRAM})",
    f"`{PROGRAM}`",
    f"; {PROGRAM} ;",
    f"| {PROGRAM}",
    f"&& {PROGRAM}",
    f"\n{PROGRAM}\n",
    f"'; {PROGRAM}; '",
    f'"; {PROGRAM}; "',
    f"'\"'\"'; {PROGRAM}; '",
    f"\\'; {PROGRAM}; \\'",
    f"${{IFS}}{PROGRAM}",
    f"{{{PROGRAM},}}",
    f"<({PROGRAM})",
    f"-exec {PROGRAM} ;",
    f"--checkpoint-action=exec={PROGRAM}",
    f"--to-command={PROGRAM}",
    f"-I{PROGRAM}",
    "> canary",
    ">canary",
    "'>canary'",
    "$(rm -f canary)",
    "-rf",
    "--",
    "-",
    "*",
    "?",
    "[a-z]",
    "~",
    "!1",
    "\\",
    "\\\\",
    "%s%n",
    "é́",
    "\u202e",
    "\ufeff",
    "😀",
    "\x1b[31m",
    "\r",
    "\t",
    " ",
    "=",
    "@",
    "#",
)
NAMES = st.lists(
    st.one_of(st.sampled_from(ATTACKS), st.text(alphabet="ab '\"$`\\;&|<>(){}[]*?!#~-%=.\n\t\r\x7f", max_size=8)), min_size=1, max_size=4
).map("".join)
"""Any hostile name; NUL and slashes come where a test says so."""


def is_name(text: str) -> bool:
    return text not in ("", ".", "..") and "/" not in text and "\0" not in text and len(text.encode()) < 200


FILE_NAMES = NAMES.filter(is_name)
ONE_LINE_NAMES = FILE_NAMES.map(lambda name: "".join(letter for letter in name if letter not in "\n\r\x1b\x7f\t")).filter(is_name)


class Sandbox:
    """A home folder with a canary file, and a canary program on the PATH that leaves a trace."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.trace = folder / "trace"
        self.roots = folder / "roots"
        programs = folder / "bin"
        for place in (self.home, programs, self.roots):
            place.mkdir()
        (self.home / "canary").write_text("alive")
        for name in (PROGRAM, "docker"):
            program = programs / name
            program.write_text(f"#!/bin/sh\n{'echo ran >>' + str(self.trace) if name == PROGRAM else DOCKER}\n")
            program.chmod(0o755)
        self.programs = programs

    def check(self) -> None:
        """Whether all is as it was."""
        assert not self.trace.exists(), "a name was run"
        assert sorted(os.listdir(self.home)) == ["canary"]
        assert (self.home / "canary").read_text() == "alive"

    def fresh(self) -> Path:
        """An empty folder for the files of one example."""
        shutil.rmtree(self.roots)
        self.roots.mkdir()
        return self.roots


DOCKER = r"""# an engine whose containers are this machine
case $1 in
  exec) shift; [ "$1" != -i ] || shift; shift; exec "$@" ;;
  *) printf '%s\n' "$@" >/dev/null; echo 'no such container' >&2; exit 1 ;;
esac"""


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path)
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    yield made
    made.check()


def spec(**fields: object) -> VmSpec:
    return VmSpec(**{"name": "vm", "ssh_host": "here", **fields})  # type: ignore[arg-type]


def watch_of(link: LocalLink, vm: VmSpec) -> HostWatch:
    return HostWatch(link, vm, clock=lambda: 0.0, on_status=lambda _: None, on_alive=lambda _: None, on_logs=lambda _: None)


def run(work: Callable[[LocalLink], object]) -> None:
    async def with_link() -> None:
        link = LocalLink("here")
        try:
            await work(link)  # type: ignore[misc]
        finally:
            await link.close()

    asyncio.run(with_link())


@LINK
@given(domain=FILE_NAMES, task_id=FILE_NAMES, inner=st.booleans())
def test_a_task_of_any_name_is_found_by_its_name_alone(domain: str, task_id: str, inner: bool, sandbox: Sandbox) -> None:
    root = sandbox.fresh()
    mine, other = root / "run" / domain / task_id, root / "run" / f"{domain}x" / f"{task_id}x"
    for folder, text in ((mine, "1.0"), (other, "0.0")):
        folder.mkdir(parents=True)
        (folder / "result.txt").write_text(text)
        (folder / "traj.jsonl").write_text('{"step_num": 1}\n')
    can_be_asked = all(ord(letter) >= 32 for letter in domain + task_id)

    async def look(link: LocalLink) -> None:
        watch = watch_of(link, spec())
        places = {"domain": domain, "task_id": task_id, "roots": [str(root)], "inner": inner}
        result = await watch.read_result(**places)  # type: ignore[arg-type]
        folder = await watch.read_task(**places)  # type: ignore[arg-type]
        await watch.read_screenshot(**places)  # type: ignore[arg-type]
        await watch.read_screen_sums(**places, newest=3)  # type: ignore[arg-type]
        assert result == (b"1.0" if can_be_asked else None)
        if can_be_asked:
            assert folder is not None
            assert folder.result == b"1.0"

    run(look)
    sandbox.check()


@LINK
@given(name=FILE_NAMES, inner=st.booleans())
def test_a_folder_of_any_name_is_listed_and_fetched(name: str, inner: bool, sandbox: Sandbox) -> None:
    root = sandbox.fresh() / name
    (root / "clock" / "t-1").mkdir(parents=True)
    (root / "clock" / "t-1" / "result.txt").write_text("1.0")
    place = sandbox.roots.parent / "fetched"
    shutil.rmtree(place, ignore_errors=True)

    async def look(link: LocalLink) -> None:
        prefix = ("docker", "exec", "winarena") if inner else ()
        files = await fetch.list_results(link, str(root), prefix=prefix)
        assert [file.path for file in files] == ["clock/t-1/result.txt"]
        await fetch.fetch_results(link, str(root), files, prefix=prefix, into=str(place))
        assert (place / "clock" / "t-1" / "result.txt").read_text() == "1.0"

    run(look)
    sandbox.check()


@LINK
@given(names=st.lists(ONE_LINE_NAMES, min_size=1, max_size=5, unique=True))
def test_files_of_any_name_are_fetched_by_their_names(names: list[str], sandbox: Sandbox) -> None:
    root = sandbox.fresh()
    for place, name in enumerate(names):
        (root / f"{name}.json").write_text(str(place))
    into = sandbox.roots.parent / "fetched"
    shutil.rmtree(into, ignore_errors=True)

    async def look(link: LocalLink) -> None:
        listed = {file.path for file in await fetch.list_results(link, str(root))}
        files = [FileListed(f"{name}.json", 1, 0) for name in names if f"{name}.json" in listed]
        await fetch.fetch_results(link, str(root), files, into=str(into))
        for file in files:
            assert (into / file.path).read_text() == (root / file.path).read_text()

    run(look)
    sandbox.check()


@LINK
@given(name=FILE_NAMES, inner=st.booleans())
def test_a_log_of_any_name_is_searched_and_read(name: str, inner: bool, sandbox: Sandbox) -> None:
    path = sandbox.fresh() / name
    line = "[2026-11-21 10:00:00,000 INFO agent/1-run] hello\n"
    path.write_text(line)

    async def look(link: LocalLink) -> None:
        watch = watch_of(link, spec())
        source = LogSource(kind=LogKind.INNER if inner else LogKind.FILE, path=str(path), identity="")
        found = await watch.read_log_range(source, from_at=0.0, until_at=4e9, max_bytes=1000)
        assert found is not None
        assert found.data == line.encode()
        assert await watch.read_first([str(path)], inner=inner, max_bytes=1000) == (str(path), line.encode())
        with pytest.raises(LinkError, match="no such container"):
            await watch.read_log_range(LogSource(kind=LogKind.CONTAINER, path="", identity=""), from_at=0.0, until_at=4e9, max_bytes=1000)

    run(look)
    sandbox.check()


@LINK
@given(name=ONE_LINE_NAMES)
def test_a_log_of_any_name_is_followed(name: str, sandbox: Sandbox) -> None:
    """What a configuration says travels over standard input, one line each: a path with a line break cannot be configured."""
    path = sandbox.fresh() / name
    path.write_text("hello\n")

    async def look(link: LocalLink) -> None:
        watch = watch_of(link, spec(log_path=str(path)))
        got = bytearray()
        source = LogSource(kind=LogKind.FILE, path=str(path), identity="")
        followed = await watch.follow(
            source, 0, on_data=got.extend, on_reset=lambda _: None, on_end=lambda failure: got.extend(repr(failure).encode())
        )
        await until(lambda: len(got) >= 6, "the log's bytes")
        followed.close()
        assert bytes(got) == b"hello\n"

    run(look)
    sandbox.check()


PRINTABLE = ONE_LINE_NAMES.map(lambda text: "".join(letter for letter in text if ord(letter) >= 32))


@LINK
@given(data=st.data())
def test_a_vm_of_any_fields_is_watched(data: st.DataObject, sandbox: Sandbox) -> None:
    """The status program with everything that a configuration may say; what it may not say is refused before."""
    fields = {
        "container": data.draw(st.one_of(st.just(""), st.just("winarena"), PRINTABLE)),
        "engine": data.draw(st.one_of(st.just("docker"), PRINTABLE)),
        "log_path": "/" + data.draw(PRINTABLE),
        "results_dir": "/" + data.draw(PRINTABLE),
        "process": data.draw(st.one_of(st.just("never"), PRINTABLE)),
        "guest_ip": data.draw(st.one_of(st.just("127.0.0.1"), PRINTABLE)),
        "waa_port": 1,
        "log_side": data.draw(st.sampled_from(LogSide)),
    }
    try:
        vm = spec(**fields)
    except Invalid:
        for name in ("container", "engine", "process", "guest_ip"):
            fields[name] = {"container": "winarena", "engine": "docker", "process": "never", "guest_ip": "127.0.0.1"}[name]
        vm = spec(**fields)

    async def look(link: LocalLink) -> None:
        heard = Recorder()
        process = await heard.start(link, script.launch_command())
        process.write(script.status_input(vm, tick_s=0.05, every=1, slow_s=1, host_logs=[vm.log_path], inner_log=vm.log_path))
        await until(lambda: b"@logs" in heard.out and b"@runner" in heard.out, "its first look")
        process.close()

    run(look)
    sandbox.check()


SH = (("/bin/sh",), ("bash",), ("busybox", "sh"))


@settings(max_examples=60)
@given(domain=NAMES, task_id=NAMES, root=NAMES.filter(bool), shell=st.sampled_from(SH), prefix=st.booleans())
def test_every_command_hands_its_words_on_unchanged(
    domain: str, task_id: str, root: str, shell: Sequence[str], prefix: bool, sandbox: Sandbox
) -> None:
    """Each command, by each shell, with a program that only prints the words it was given in the place of the real one."""
    words = ["docker", "exec", "winarena"] if prefix else []
    roots = [f"/{root}", f"/{domain}/{root}"]
    task = f"{script.literal(domain)}/{script.literal(task_id)}"
    within = f"*/{script.literal(root)}"
    pictures = [f"*/{task}/screenshot*.png", f"*/{task}/step_*.png"]
    commands = {
        script.result_command(domain=domain, task_id=task_id, roots=roots, prefix=words): [f"*/{task}/result.txt", "4096", *roots],
        script.screenshot_command(domain=domain, task_id=task_id, roots=roots, max_bytes=10, prefix=words): [*pictures, "10", *roots],
        sums_command(domain=domain, task_id=task_id, roots=roots, newest=3, prefix=words): [*pictures, "3", *roots],
        task_folder.folder_command(nonce="n", domain=domain, task_id=task_id, within=root, roots=roots, prefix=words): [
            f"{within}/{task}",
            f"{within}/*/{task}",
            f"*/{task}",
            *(f"{each.rstrip('/')}/." for each in roots),
        ],
        task_folder.file_command(folder=roots[0], name=domain, max_bytes=10, prefix=words): [roots[0], domain, "10"],
        task_folder.first_command(paths=roots, max_bytes=10, prefix=words): ["10", *roots],
        log_range.file_command(path=roots[0], from_at=0, until_at=1e9, max_bytes=10, prefix=words): [
            "10",
            roots[0],
            str(log_range.MAX_SEARCHED_BYTES),
        ],
    }
    for command, last in commands.items():
        # The inner shell is replaced by printf: what it would have been given is printed, parted by NUL.
        told = command.replace("/bin/sh -c", "printf '%s\\0'", 1)
        assert told != command
        done = subprocess.run([*shell, "-c", told], cwd=sandbox.home, capture_output=True, check=True)
        given = done.stdout.decode(errors="surrogateescape").split("\0")
        assert given[-len(last) - 1 : -1] == last
    sandbox.check()
