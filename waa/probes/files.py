"""Files of a runner on this machine that say how it stands (requirement A11)."""

from pathlib import Path

from waa.core.error import Failure, LinkError
from waa.core.logs.files import MAX_FILE_BYTES
from waa.core.status import Reason

LIVE_FILE = "benchmark_live.json"
PROGRESS_FILE = "benchmark_progress.json"


def read_live_files(folder: Path) -> tuple[bytes | None, bytes | None]:
    """The live file and the progress file, None for one that is not there. Blocking.

    Raises LinkError where neither can be read.
    """
    live, progress = _read(folder / LIVE_FILE), _read(folder / PROGRESS_FILE)
    if live is None and progress is None:
        message = f"there is neither {LIVE_FILE} nor {PROGRESS_FILE} in {folder}"
        raise LinkError(Failure(reason=Reason.COMMAND, message=message, remedy="Start the evaluation, or correct the setting live_files."))
    return live, progress


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise LinkError(Failure(reason=Reason.COMMAND, message=message, remedy="Let this server's user read it.")) from error
