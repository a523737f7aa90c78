"""The closed vocabularies that appear on the wire."""

from enum import StrEnum


class Phase(StrEnum):
    """Where a VM is on its way (requirements B3). UNKNOWN: nothing was observed yet."""

    UNKNOWN = "unknown"
    OFF = "off"
    BOOTING = "booting"
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"
    CONFIGURING = "configuring"
    BUILDING = "building"
    OOBE = "oobe"
    READY = "ready"
    RUNNING = "running"
    IDLE = "idle"
    UNREACHABLE = "unreachable"


class BootStage(StrEnum):
    """Stages of Windows set-up as the container log tells them, in their usual order.

    INSTALLING: the installation medium runs in the guest (first boot); WINDOWS: the installed disk boots,
    which is not yet readiness (only ``/probe`` tells).
    """

    STARTING = "starting"
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"
    CONFIGURING = "configuring"
    BUILDING = "building"
    BOOTING = "booting"
    INSTALLING = "installing"
    WINDOWS = "windows"


class Reason(StrEnum):
    """Why a look failed (requirements B4)."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    AUTH = "auth"
    HOST_KEY = "host_key"
    DNS = "dns"
    DENIED = "denied"
    NETWORK = "network"
    COMMAND = "command"
    PARSE = "parse"
    SILENT = "silent"
    CLOSED = "closed"
    KEY_FILE = "key_file"
    CONFIG = "config"
    PROTOCOL = "protocol"
    TLS = "tls"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    HTTP_STATUS = "http_status"
    TOO_LARGE = "too_large"


class ContainerStatus(StrEnum):
    """State of the container as the engine names it; ABSENT: no such container."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    DEAD = "dead"


class RunStatus(StrEnum):
    """RUNNING until the log or the process says otherwise."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


class TaskStatus(StrEnum):
    """PASSED and FAILED compare the score with the threshold; ERROR is an infrastructure failure;
    UNKNOWN ended without any outcome that was observed (cut off, lost, score not a number)."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    UNKNOWN = "unknown"
