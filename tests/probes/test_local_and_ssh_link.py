"""What every link promises, whatever lies between."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.link import Recorder
from tests.support.sshd import Sshd, has_sshd, is_running
from tests.support.wait import until
from waa.core.error import LinkError
from waa.core.port import LinkOpener
from waa.core.spec import Transport, VmSpec
from waa.core.status import Reason
from waa.probes.local import LocalOpener
from waa.probes.opener import Opener
from waa.probes.ssh import SshOpener

STAY = "echo $$; while read -r line; do echo got $line; done; trap '' TERM; kill 0"
"""How our scripts stay: until their standard input ends."""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not has_sshd():
        pytest.skip("OpenSSH is not installed")
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=[Transport.LOCAL, pytest.param(Transport.SSH, marks=pytest.mark.sshd)])
def spec(request: pytest.FixtureRequest) -> VmSpec:
    if request.param is Transport.LOCAL:
        return VmSpec(name="here", transport=Transport.LOCAL)
    server: Sshd = request.getfixturevalue("sshd")
    return VmSpec(name="there", **server.spec_fields())


@pytest.fixture
def opener(tmp_path: Path) -> LinkOpener:
    return Opener(ssh=SshOpener(data_dir=tmp_path, home=tmp_path), local=LocalOpener())


async def test_a_short_command_tells_its_output_and_status(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    result = await link.run("printf 'a\\377b'; echo oops >&2; exit 3")
    assert (result.exit_status, result.stdout, result.stderr, result.truncated) == (3, b"a\xffb", b"oops\n", False)
    missing = await link.run("no-such-program-here")
    assert missing.exit_status == 127
    await link.close()
    await opener.close()


async def test_a_command_that_is_cancelled_while_it_starts_ends_at_once(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    running = asyncio.ensure_future(link.run("exec sleep 300", timeout_s=300))
    asyncio.get_running_loop().call_soon(running.cancel)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await link.run("echo on")).stdout == b"on\n"
    await link.close()
    await opener.close()


async def test_a_command_reaches_the_shell_as_it_is(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    text = """it's "quoted" $HOME `id` \\n ü\n; # !"""
    recorder = Recorder()
    await recorder.start(link, f"printf %s '{text.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'")
    await until(lambda: bool(recorder.ends), "the end")
    assert recorder.out.decode() == text
    assert (await link.run("cat; (exit 4)")).exit_status == 4  # its standard input is empty, its own lines stay lines
    assert (await link.run("if true; then echo 'open")).exit_status == 2
    await link.close()
    await opener.close()


async def test_a_long_command_talks_both_ways_and_ends_once(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    process = await recorder.start(link, "echo ready >&2; while read -r line; do echo got $line; [ $line = stop ] && exit 7; done")
    await until(lambda: recorder.err == b"ready\n", "the first word")
    for number in range(3):
        process.write(f"{number}\n".encode())
        await until(lambda: recorder.out.endswith(f"got {number}\n".encode()), "an answer")  # noqa: B023 - awaited here
    process.write(b"stop\n")
    await until(lambda: bool(recorder.ends), "the end")
    process.write(b"too late\n")
    process.close()
    process.close()
    await link.run("true")
    assert recorder.ends == [7]
    assert recorder.threads == {threading.get_ident()}
    await link.close()
    await opener.close()


async def test_much_input_arrives_whole(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    process = await recorder.start(link, "sleep 0.1; head -c 900000 | wc -c")
    for _ in range(9):
        process.write(bytes(100_000))
    await until(lambda: recorder.ends == [0], "the end")
    assert int(recorder.out) == 900_000
    await link.close()
    await opener.close()


async def test_a_signal_ends_a_command_with_minus_one(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    await recorder.start(link, "kill -9 $$")
    await until(lambda: bool(recorder.ends), "the end")
    assert recorder.ends == [-1]
    await link.close()
    await opener.close()


async def test_closing_a_process_ends_it_there_and_silences_it_here(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    process = await recorder.start(link, STAY)
    await until(lambda: b"\n" in recorder.out, "its pid")
    pid = int(recorder.out)
    process.close()
    await until(lambda: not is_running(pid), "the end of the command")
    await until(lambda: bool(recorder.ends), "the word of the end")
    assert recorder.ends == [None]
    assert (await link.run("echo still open")).stdout == b"still open\n"
    await link.close()
    await opener.close()


async def test_closing_a_link_ends_all_that_runs_on_it(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorders = [Recorder(), Recorder()]
    for recorder in recorders:
        await recorder.start(link, STAY)
    await until(lambda: all(b"\n" in recorder.out for recorder in recorders), "their pids")
    waiting = asyncio.create_task(link.wait_closed())
    running = asyncio.create_task(link.run("sleep 60"))
    await asyncio.sleep(0)
    await link.close()
    await link.close()
    assert (await waiting).failure.reason is Reason.CLOSED
    with pytest.raises(LinkError) as broken:
        await running
    assert broken.value.failure.reason is Reason.CLOSED
    for recorder in recorders:
        pid = int(recorder.out)
        await until(lambda: not is_running(pid), "the end of a command")  # noqa: B023 - awaited here
        await until(lambda: recorder.ends == [None], "the word of the end")  # noqa: B023
    with pytest.raises(LinkError) as refused:
        await link.run("true")
    assert refused.value.failure.reason is Reason.CLOSED
    await opener.close()


async def test_a_command_that_takes_too_long_is_ended_on_the_machine(opener: LinkOpener, spec: VmSpec, tmp_path: Path) -> None:
    link = await opener.open(spec)
    note = tmp_path / "pid"
    running = asyncio.create_task(link.run(f"echo $$ > {note}.new; mv {note}.new {note}; sleep 61", timeout_s=1.0))
    await until(note.exists, "its pid")
    with pytest.raises(LinkError) as late:
        await running
    assert late.value.failure.reason is Reason.TIMEOUT
    await until(lambda: not is_running(int(note.read_text())), "the end of the command")
    assert (await link.run("echo fine")).stdout == b"fine\n"
    await link.close()
    await opener.close()


async def test_a_command_that_says_too_much_is_cut_off(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    result = await link.run("echo warning >&2; while :; do echo 0123456789; done", max_bytes=1000)
    assert result.truncated
    assert result.exit_status == -1
    assert len(result.stdout) + len(result.stderr) == 1000
    exact = await link.run("printf 0123456789", max_bytes=10)
    assert (exact.truncated, exact.stdout) == (False, b"0123456789")
    await link.close()
    await opener.close()


async def test_a_paused_command_is_held_back(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    process = await recorder.start(link, "seq 1 2000000")
    await until(lambda: len(recorder.out) > 10_000, "some output")
    process.pause()
    process.pause()
    await link.run("true")  # a round trip later, all that was under way has come
    held = len(recorder.out)
    await link.run("true")
    assert len(recorder.out) == held
    process.resume()
    await until(lambda: len(recorder.out) > held + 4_000_000, "much more output")
    process.close()
    numbers = recorder.out[: recorder.out.rindex(b"\n")].split(b"\n")
    assert numbers == [b"%d" % number for number in range(1, len(numbers) + 1)]
    await link.close()
    await opener.close()


async def test_the_end_waits_for_output_that_was_held_back(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    recorder = Recorder()
    process = await recorder.start(link, "read -r go; echo last words; exit 5")
    process.pause()
    process.write(b"go\n")
    await link.run("true")
    assert recorder.ends == []
    process.resume()
    await until(lambda: bool(recorder.ends), "the end")
    assert (bytes(recorder.out), recorder.ends) == (b"last words\n", [5])
    await link.close()
    await opener.close()


async def test_many_commands_at_once_do_not_mix(opener: LinkOpener, spec: VmSpec) -> None:
    link = await opener.open(spec)
    results = await asyncio.gather(*(link.run(f"echo {number}") for number in range(8)))
    assert [int(result.stdout) for result in results] == list(range(8))
    await link.close()
    await opener.close()
