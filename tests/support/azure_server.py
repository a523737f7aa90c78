"""The product as a process that asks Azure on this machine, logged in by a played ``az``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.azure import GROUP, SUBSCRIPTION, WORKSPACE, FakeAzure
from tests.support.server import Server

_ANSWER = json.dumps({"accessToken": "token-1", "expires_on": 4_070_908_800, "tokenType": "Bearer"})
LOGGED_IN = f"#!/bin/sh\ncat <<'END'\n{_ANSWER}\nEND\n"
LOGGED_OUT = "#!/bin/sh\necho \"ERROR: Please run 'az login' to setup account.\" >&2\nexit 1\n"


def play_az(folder: Path, script: str) -> None:
    """What ``az`` does from now on."""
    az = folder / "bin" / "az"
    az.parent.mkdir(exist_ok=True)
    az.write_text(script, encoding="utf-8")
    az.chmod(0o755)


def azure_server(folder: Path, azure: FakeAzure, *, script: str = LOGGED_IN, settings: Mapping[str, str] | None = None) -> Server:
    """A server that is not started yet."""
    play_az(folder, script)
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "WAA_DEMO": "off",
        "WAA_AZURE_AUTH": "cli",
        "WAA_AZURE_URL": azure.url,
        "WAA_AZURE_SUBSCRIPTIONS": SUBSCRIPTION,
        "WAA_AZURE_WORKSPACES": f"{GROUP}/{WORKSPACE}",
        **(settings or {}),
    }
    return Server(folder, environment=environment)
