"""The end of a VM's live log."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from waa.web.terminal import LogLine
from waa.web.view import Look, Sign, View, sign_of
from waa.web.views.run import need_vm


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail(View):
    """Lines, oldest first. The whole list is not sent again for a mere sign of life."""

    vm: str
    lines: Sequence[LogLine]
    path: str
    sign: Sign = field(compare=False)


def log_tail(look: Look, name: str | None) -> LogTail:
    """What the log of a VM said last. Raises NotFound."""
    vm = need_vm(look.state, name)
    return LogTail(
        now=look.now,
        vm=vm.name,
        lines=tuple(look.log_lines.get(vm.name, ())),
        path=vm.spec.log_path,
        sign=sign_of(look, vm.name),
    )
