"""How SSH links end when nobody says goodbye: the monitor killed, the cable pulled out."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.link import Recorder
from tests.support.netns import FarNetwork, can_cut
from tests.support.sshd import Sshd, has_sshd, is_running
from tests.support.wait import until, wait_for
from waa.core.error import LinkError
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes.ssh import SshOpener

pytestmark = [pytest.mark.sshd, pytest.mark.skipif(not has_sshd(), reason="OpenSSH is not installed")]

MONITOR = """
import asyncio, json, sys
from pathlib import Path
from waa.core.spec import VmSpec
from waa.probes.ssh import SshOpener

async def main():
    folder, fields, commands = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    link = await SshOpener(data_dir=folder, home=folder).open(VmSpec(name="vm", **fields))
    show = lambda data: print(data.decode(), end="", flush=True)
    await link.start(commands[0], on_stdout=show, on_stderr=show, on_end=print)
    await link.run(commands[1], timeout_s=60)

asyncio.run(main())
"""


def test_nothing_stays_on_the_machine_when_the_monitor_is_killed(tmp_path: Path) -> None:
    watched, stuck = tmp_path / "log", tmp_path / "stuck"
    watched.touch()
    workers = f"tail -F {watched} & while :; do sleep 1; done & "
    commands = [
        f"{workers} echo $$ $!; while read -r line; do :; done; trap '' TERM; kill 0",
        f"echo $$ > {stuck}.new; mv {stuck}.new {stuck}; sleep 62",
    ]
    with Sshd(tmp_path / "sshd") as server:
        fields = str(server.spec_fields()).replace("'", '"')
        monitor = subprocess.Popen([sys.executable, "-c", MONITOR, str(tmp_path), fields, *commands], stdout=subprocess.PIPE, text=True)
        with monitor:
            if monitor.stdout is None:
                raise AssertionError("its output is a pipe")
            pids = [int(word) for word in monitor.stdout.readline().split()]
            wait_for(stuck.exists, what="the second command")
            pids.append(int(stuck.read_text()))
            assert all(is_running(pid) for pid in pids)
            monitor.kill()
        wait_for(lambda: not any(is_running(pid) for pid in pids), what="the end of all commands")
        wait_for(lambda: not server.sessions(), what="the end of the connection")


@pytest.mark.netns
async def test_a_pulled_cable_is_noticed_and_a_new_link_opens_when_it_is_back(tmp_path: Path) -> None:
    if not can_cut():
        pytest.skip("network namespaces are not allowed here")
    with FarNetwork() as network, Sshd(tmp_path / "sshd", address=network.address, runner=network.runner) as server:
        spec = VmSpec(name="far", **server.spec_fields())
        opener = SshOpener(data_dir=tmp_path / "data", home=tmp_path)
        link = await opener.open(spec)
        recorder = Recorder()
        await recorder.start(link, "echo up; cat")
        await until(lambda: recorder.out == b"up\n", "the command")
        network.pull_out()
        error = await asyncio.wait_for(link.wait_closed(), 14)  # the keepalives take 8 s
        assert error.failure.reason in (Reason.NETWORK, Reason.CLOSED)
        await until(lambda: recorder.ends == [None], "the word of the end")
        with pytest.raises(LinkError) as caught:
            await opener.open(spec)
        assert caught.value.failure.reason in (Reason.NETWORK, Reason.TIMEOUT)
        assert "check" in caught.value.failure.remedy
        network.plug_in()
        again = await opener.open(spec)
        assert (await again.run("echo back")).stdout == b"back\n"
        await link.close()
        await again.close()
        await opener.close()
