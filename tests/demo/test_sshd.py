"""The demo's SSH server, by a real client."""

import stat
from pathlib import Path

import paramiko
import pytest

from tests.demo.house import a_client, channel_of, lives, read_line, run
from tests.support.wait import PATIENCE_S, wait_for
from waa.core.spec import Origin, VmSpec


def test_spec_names_a_demo_that_can_be_reached(machine: VmSpec) -> None:
    assert machine.name == "demo"
    assert machine.origin is Origin.DEMO
    with a_client(machine) as client:
        assert run(client, "echo $HOME; pwd")[1].splitlines() == [f"{Path(machine.log_path).parent}/home"] * 2


def test_keys_are_private_and_ed25519(machine: VmSpec) -> None:
    folder = Path(machine.log_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("host_key", "client_key", "known_hosts"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    with a_client(machine) as client:
        transport = client.get_transport()
        assert transport is not None
        assert transport.get_remote_server_key().get_name() == "ssh-ed25519"


@pytest.mark.parametrize("user", ["demo", "root"])
def test_another_key_is_refused(machine: VmSpec, user: str) -> None:
    client = paramiko.SSHClient()
    client.load_host_keys(str(machine.known_hosts))
    with pytest.raises(paramiko.AuthenticationException):
        client.connect(
            machine.ssh_host,
            port=machine.ssh_port or 22,
            username=user,
            pkey=paramiko.ECDSAKey.generate(),
            allow_agent=False,
            look_for_keys=False,
        )
    client.close()


def test_another_user_is_refused(machine: VmSpec) -> None:
    client = paramiko.SSHClient()
    client.load_host_keys(str(machine.known_hosts))
    with pytest.raises(paramiko.AuthenticationException):
        client.connect(
            machine.ssh_host,
            port=machine.ssh_port or 22,
            username="root",
            key_filename=machine.ssh_key,
            allow_agent=False,
            look_for_keys=False,
        )
    client.close()


def test_only_keys_are_offered(machine: VmSpec) -> None:
    transport = paramiko.Transport((machine.ssh_host, machine.ssh_port or 22))
    transport.start_client(timeout=PATIENCE_S)
    with pytest.raises(paramiko.BadAuthenticationType) as caught:
        transport.auth_none("demo")
    assert caught.value.allowed_types == ["publickey"]
    transport.close()


def test_commands_run_with_their_streams_and_exit_status(machine: VmSpec) -> None:
    with a_client(machine) as client:
        assert run(client, "echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
        assert run(client, "wc -c", stdin=b"x" * 100_000)[1].strip() == "100000"
        assert run(client, "no-such-program")[0] == 127
        assert run(client, "true", stdin=b"x" * 100_000)[0] == 0, "input that nobody reads does no harm"


def test_a_command_ended_by_a_signal_has_no_exit_status(machine: VmSpec) -> None:
    with a_client(machine) as client:
        assert run(client, "kill -9 $$")[0] == -1


def test_much_output_arrives_whole(machine: VmSpec) -> None:
    with a_client(machine) as client:
        status, out, err = run(client, "head -c 6000000 /dev/zero | tr '\\0' o; head -c 70000 /dev/zero | tr '\\0' e >&2")
    assert (status, out.count("o"), err.count("e")) == (0, 6_000_000, 70_000)


def test_short_commands_in_a_row_are_all_answered(machine: VmSpec) -> None:
    with a_client(machine) as client:
        assert [run(client, f"exit {number}")[0] for number in range(30)] == list(range(30))


def test_end_of_input_reaches_the_command(machine: VmSpec) -> None:
    with a_client(machine) as client:
        channel = channel_of(client, "echo ready; while read -r line; do echo got $line; done; echo over; exit 5")
        assert read_line(channel) == "ready"
        channel.sendall(b"one\n")
        assert read_line(channel) == "got one"
        channel.shutdown_write()
        assert read_line(channel) == "over"
        assert channel.recv_exit_status() == 5


def test_a_script_that_ends_its_group_at_end_of_input_ends(machine: VmSpec) -> None:
    with a_client(machine) as client:
        channel = channel_of(client, "sleep 600 & echo $!; while read -r line; do :; done; trap '' TERM; kill 0")
        sleeper = int(read_line(channel))
        assert lives(sleeper)
        channel.shutdown_write()
        wait_for(lambda: not lives(sleeper), what="the sleeper's end")
        channel.recv_exit_status()


@pytest.mark.parametrize(
    "how", ["sleep 600", "trap '' HUP INT TERM; sleep 600 & sleep 600", "setsid sleep 600 >/dev/null 2>&1 & sleep 600"]
)
def test_closing_the_channel_ends_the_command_and_what_it_started(machine: VmSpec, how: str) -> None:
    with a_client(machine) as client:
        channel = channel_of(client, f"export NOTE=closing-{len(how)}; echo $$; {how}")
        shell = int(read_line(channel))
        family = [shell]
        wait_for(lambda: bool(_marked(f"NOTE=closing-{len(how)}", family)), what="the children")
        channel.close()
        wait_for(lambda: not any(lives(pid) for pid in family), what="the family's end")
        assert run(client, "echo still here")[1] == "still here\n"


def _marked(note: str, family: list[int]) -> bool:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if note.encode() in (folder / "environ").read_bytes().split(b"\0"):
                family.append(int(folder.name))
        except OSError:
            continue
    return len(family) > 1


def test_closing_the_connection_ends_its_commands(machine: VmSpec) -> None:
    with a_client(machine) as client:
        channels = [channel_of(client, "echo $$; while :; do sleep 600; done") for _ in range(3)]
        shells = [int(read_line(channel)) for channel in channels]
        assert all(lives(pid) for pid in shells)
    wait_for(lambda: not any(lives(pid) for pid in shells), what="the end of the commands")


def test_a_reader_that_does_not_read_stops_the_writer(machine: VmSpec, tmp_path: Path) -> None:
    count = tmp_path / "count"
    blocks_in_window = 2 * 1024 * 1024 // 65536
    with a_client(machine) as client:
        channel = channel_of(client, f"i=0; while :; do printf '%65536s' ''; i=$((i+1)); echo $i >{count}; done")
        wait_for(lambda: count.exists() and int(count.read_text() or 0) >= blocks_in_window, what="a full window")
        assert run(client, "echo other channels flow")[1] == "other channels flow\n"
        assert int(count.read_text() or 0) <= blocks_in_window + 8
        received = 0
        while received < 3 * 1024 * 1024:
            received += len(channel.recv(65536))
        wait_for(lambda: int(count.read_text() or 0) > blocks_in_window + 8, what="the writer to go on")
        channel.close()


def test_files_can_be_read_by_sftp_and_not_written(machine: VmSpec) -> None:
    folder = Path(machine.log_path).parent
    (folder / "home" / "note.txt").write_text("x" * 300_000)
    with a_client(machine) as client, client.open_sftp() as sftp:
        assert "note.txt" in sftp.listdir(".")
        assert sftp.stat("note.txt").st_size == 300_000
        with sftp.open("note.txt") as file:
            assert file.read() == b"x" * 300_000
        assert sftp.normalize(".") == f"{folder}/home"
        with pytest.raises(FileNotFoundError):
            sftp.open("absent.txt")
        with pytest.raises(OSError, match="unsupported"):
            sftp.open("note.txt", "w")
        with pytest.raises(OSError, match="unsupported"):
            sftp.remove("note.txt")


def test_shells_and_tunnels_are_not_given(machine: VmSpec) -> None:
    with a_client(machine) as client:
        transport = client.get_transport()
        assert transport is not None
        with pytest.raises(paramiko.SSHException):
            transport.open_session().invoke_shell()
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 2))
