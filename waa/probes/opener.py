"""The one opener of the server: SSH or this machine, as the VM's ``transport`` says."""

from waa.core.port import Link, LinkOpener
from waa.core.spec import Transport, VmSpec


class Opener:
    """Hands each VM to the opener of its transport; see ``LinkOpener``."""

    def __init__(self, *, ssh: LinkOpener, local: LinkOpener) -> None:
        self._openers = {Transport.SSH: ssh, Transport.LOCAL: local}

    async def open(self, spec: VmSpec) -> Link:
        """Connect. Raises LinkError with the reason and a remedy."""
        return await self._openers[spec.transport].open(spec)

    async def close(self) -> None:
        """Close both."""
        for opener in self._openers.values():
            await opener.close()
