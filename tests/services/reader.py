"""Result folders as a test says, and how often they were asked for."""

import asyncio

from waa.core.entity import RunId
from waa.core.results.folder import FileFound, FolderFound, FolderLacking, Lack

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x03\xe8\0\0\x01\xf4" + b"pixels" + b"IEND\xaeB`\x82"
"""1000 x 500 pixels."""


class PlayedFolders:
    """The result tree of one VM: folders by (domain, task id). ``lacking`` is what is said where there is none."""

    def __init__(self) -> None:
        self.folders: dict[tuple[str, str], FolderFound] = {}
        self.files: dict[str, bytes] = {}
        self.lacking = FolderLacking(lack=Lack.ABSENT, message="nothing there", where=("/results",))
        self.is_down = False
        self.readings = 0
        self.fetches: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking:
        self.readings += 1
        await self.gate.wait()
        if self.is_down:
            return FolderLacking(lack=Lack.OUT_OF_REACH, message="vm-1 cannot be reached now.")
        return self.folders.get((domain, task_id), self.lacking)

    async def task_file(self, run_id: RunId, folder: FolderFound, name: str, *, max_bytes: int) -> bytes | None:
        self.fetches.append(name)
        await self.gate.wait()
        return self.files.get(name)

    def put(self, domain: str, task_id: str, *lines: str, **fields: object) -> None:
        """A folder with this trajectory, and the screenshots that it names."""
        names = [word for line in lines for word in line.split('"') if word.endswith(".png")]
        self.files.update(dict.fromkeys(names, PNG))
        self.folders[domain, task_id] = FolderFound(
            path=f"/results/0/{domain}/{task_id}",
            files=tuple(FileFound(name=name, size=len(PNG), modified_at=1.0) for name in names),
            trajectory="".join(f"{line}\n" for line in lines).encode(),
            heads=dict.fromkeys(names, PNG[:24]),
            **fields,  # type: ignore[arg-type]  # those of FolderFound
        )
