"""The embedded demo VM: starts and stops everything, and says how to reach it."""

import contextlib
import logging
import os
import shutil
from pathlib import Path

from waa.core.error import Conflict, Invalid, Unavailable
from waa.core.spec import LogSide, Origin, Transport, VmSpec
from waa.demo.command import Sandbox
from waa.demo.engine import CONTAINER, Engine
from waa.demo.guest import Guest
from waa.demo.key import make_key, write_private
from waa.demo.listener import LOOPBACK
from waa.demo.play import Play, Stage, process_pattern
from waa.demo.process import Guard
from waa.demo.sshd import USER, SshServer

logger = logging.getLogger(__name__)

NAME = "demo"
_PACKAGE_ROOT = Path(__file__).parents[2]
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class DemoVm:
    """A benchmark VM on this machine: a real SSH server, a played container, guest and benchmark.

    Everything lives in ``folder`` (made where missing, for its owner only; what an earlier demo left there is
    replaced). ``speed`` 1.0 takes about 45 s for the first boot, 4 to 5 minutes for a run, 30 s of rest; 10.0 is ten
    times as fast. The same ``seed`` gives the same outcomes. Blocking: call both methods from a thread of your own
    or at the start and the end of the process; they take well under a second and under two.
    """

    def __init__(self, *, folder: Path, speed: float = 1.0, seed: int = 7) -> None:
        """Raises Invalid where ``speed`` is not positive."""
        if not speed > 0:
            raise Invalid("speed", f"{speed} is not above 0")
        self._folder = folder.absolute()
        self._speed = speed
        self._seed = seed
        self._cleanup: contextlib.ExitStack | None = None

    def start(self) -> VmSpec:
        """Start it; returns how to watch it. Raises Conflict when it runs, Unavailable when this machine cannot."""
        if self._cleanup is not None:
            raise Conflict("the demo VM runs already")
        with contextlib.ExitStack() as cleanup:
            try:
                spec = self._start(cleanup)
            except OSError as error:
                raise Unavailable(f"the demo VM cannot start: {error}") from error
            self._cleanup = cleanup.pop_all()
        logger.info("demo VM started: ssh_port=%s folder=%s", spec.ssh_port, self._folder)
        return spec

    def stop(self) -> None:
        """End every thread and process of it. May be called twice, and before ``start``."""
        cleanup, self._cleanup = self._cleanup, None
        if cleanup is not None:
            cleanup.close()
            logger.info("demo VM stopped")

    def _start(self, cleanup: contextlib.ExitStack) -> VmSpec:
        """Opens from source to sink; ``cleanup`` closes in reverse."""
        home = self._prepare()
        host_key = make_key(self._folder / "host_key")
        client_key = make_key(self._folder / "client_key")
        guard = Guard()
        cleanup.callback(guard.close)
        engine = Engine(self._folder)
        cleanup.callback(engine.close)
        guest = Guest(self._folder / "screen.png")
        cleanup.callback(guest.close)
        path = f"{engine.programs}:{os.environ.get('PATH', _DEFAULT_PATH)}"
        environment = {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "USER": USER, "LOGNAME": USER, "LANG": "C.UTF-8"}
        play = Play(
            Stage(
                folder=self._folder,
                environment=environment | {"PYTHONPATH": str(_PACKAGE_ROOT), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                engine=engine,
                guest=guest,
                guard=guard,
                speed=self._speed,
                seed=self._seed,
            )
        )
        sandbox = Sandbox(home=home, environment=environment)
        ssh = SshServer(host_key=host_key, client_key=client_key, sandbox=sandbox, guard=guard)
        cleanup.callback(ssh.close)
        known_hosts = self._folder / "known_hosts"
        write_private(known_hosts, f"[{LOOPBACK}]:{ssh.port} {host_key.get_name()} {host_key.get_base64()}\n".encode())
        spec = VmSpec(
            name=NAME,
            ssh_host=LOOPBACK,
            ssh_user=USER,
            ssh_port=ssh.port,
            ssh_key=str(self._folder / "client_key"),
            known_hosts=str(known_hosts),
            transport=Transport.SSH,
            container=CONTAINER,
            guest_ip=LOOPBACK,
            waa_port=guest.server.port,
            vnc_port=guest.display.port,
            vnc_url=f"http://{LOOPBACK}:{guest.display.port}/",
            log_path=str(self._folder / "waa_benchmark.log"),
            log_side=LogSide.HOST,
            results_dir=str(self._folder / "results"),
            process=process_pattern(guest.server.port),
            origin=Origin.DEMO,
        )
        cleanup.callback(play.stop)
        play.start()
        return spec

    def _prepare(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        home = self._folder / "home"
        for old in (home, self._folder / "results"):
            shutil.rmtree(old, ignore_errors=True)
        home.mkdir()
        log = self._folder / "waa_benchmark.log"
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        return home
