"""The demo's task book: what its benchmark asks for, and how an agent would go about it."""

import uuid
from dataclasses import dataclass

_NAMESPACE = uuid.UUID("6f0d3f0e-51a5-4c57-9d0b-0a2d7c1b9e44")


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTask:
    """``actions`` lead to the goal, without the closing DONE. An infeasible task is solved by FAIL."""

    domain: str
    slug: str
    instruction: str
    window: str
    actions: tuple[str, ...]
    is_feasible: bool = True

    @property
    def task_id(self) -> str:
        """The same for ever."""
        return f"{uuid.uuid5(_NAMESPACE, self.slug)}-WOS"


def _open(program: str) -> str:
    return f'computer.os.open_program("{program}")\n'


def _click(element: int, *, comment: str = "") -> str:
    first = f"# {comment}\n" if comment else ""
    return f"{first}computer.mouse.move_id(id={element})\ncomputer.mouse.single_click()\n"


def _at(x: float, y: float) -> str:
    return f"computer.mouse.move_abs(x={x}, y={y})\ncomputer.mouse.single_click()\n"


def _write(text: str, *, key: str = "") -> str:
    return f'computer.keyboard.write("{text}")\n' + (f'computer.keyboard.press("{key}")\n' if key else "")


def _press(key: str) -> str:
    return f'computer.keyboard.press("{key}")\n'


BOOK = (
    BookTask(
        domain="notepad",
        slug="notepad-shopping",
        instruction='Start Notepad, note down "oat milk, 12 eggs, basil" and keep it as shopping.txt in Documents.',
        window="shopping.txt - Notepad",
        actions=(_open("notepad"), _write("oat milk, 12 eggs, basil"), _press("ctrl+s"), _write("shopping.txt", key="enter")),
    ),
    BookTask(
        domain="notepad",
        slug="notepad-replace",
        instruction='In the open file minutes.txt, change every "Tuesday" into "Thursday" and save it.',
        window="minutes.txt - Notepad",
        actions=(
            _press("ctrl+h"),
            _write("Tuesday", key="tab") + _write("Thursday"),
            "# the Replace all button\n" + _at(0.66, 0.33),
            _press("ctrl+s"),
        ),
    ),
    BookTask(
        domain="notepad",
        slug="notepad-error-log",
        instruction='service.log lists failed logins. Write "Result: 3 errors" as its last line if there are three, and save.',
        window="service.log - Notepad",
        actions=(_press("ctrl+f"), _write("login failed", key="enter"), _press("ctrl+end"), _write("Result: 3 errors"), _press("ctrl+s")),
    ),
    BookTask(
        domain="libreoffice_calc",
        slug="calc-total",
        instruction="Add up the expenses of each month in column F and put the total of the year below.",
        window="expenses.xlsx - LibreOffice Calc",
        actions=(
            _click(31, comment="cell F2"),
            _write("=SUM(B2:E2)", key="enter"),
            _press("ctrl+shift+end") + "# fill the formula downwards\n" + _press("ctrl+d"),
            _at(0.61, 0.58),
            _write("=SUM(F2:F13)", key="enter"),
            _press("ctrl+s"),
        ),
    ),
    BookTask(
        domain="libreoffice_calc",
        slug="calc-weekly-hours",
        instruction="Fill the empty hours of the seven days with the mean of the days around them.",
        window="hours.ods - LibreOffice Calc",
        actions=(
            _click(22, comment="the first gap"),
            _write("=AVERAGE(C4;C6)", key="enter"),
            _at(0.38, 0.52),
            _write("=AVERAGE(C9;C11)", key="enter"),
            _press("ctrl+s"),
        ),
    ),
    BookTask(
        domain="libreoffice_calc",
        slug="calc-chart",
        instruction='Draw a bar chart of the visitors per town and name it "Step 2: visitors".',
        window="visitors.ods - LibreOffice Calc",
        actions=(
            _press("ctrl+a"),
            _click(9, comment="the Insert menu"),
            _at(0.33, 0.28),
            _write("Step 2: visitors"),
            _click(44, comment="Finish"),
        ),
    ),
    BookTask(
        domain="file_explorer",
        slug="explorer-archive",
        instruction="Pack the folder Holiday into Holiday.zip, and move that into the folder Archive.",
        window="Pictures - File Explorer",
        actions=(
            _click(17),
            "computer.mouse.move_id(id=17)\ncomputer.mouse.right_click()\n",
            _click(41, comment="Compress to ZIP file"),
            "WAIT",
            "computer.mouse.move_abs(x=0.58, y=0.62)\ncomputer.mouse.drag(x=0.31, y=0.44)\n",
        ),
    ),
    BookTask(
        domain="file_explorer",
        slug="explorer-extensions",
        instruction="Let File Explorer show the endings of file names.",
        window="Documents - File Explorer",
        actions=(_click(6, comment="View"), _click(23), _click(25, comment="File name extensions")),
    ),
    BookTask(
        domain="file_explorer",
        slug="explorer-tag",
        instruction='Rename the three newest photos to "lake-1", "lake-2" and "lake-3",\noldest first.',
        window="Photos - File Explorer",
        actions=(
            _click(11, comment="sort by date"),
            _click(19) + _press("f2") + _write("lake-3", key="enter"),
            _click(20) + _press("f2") + _write("lake-2", key="enter"),
            _click(21) + _press("f2") + _write("lake-1", key="enter"),
        ),
    ),
    BookTask(
        domain="chrome",
        slug="chrome-bookmark",
        instruction="Save the open page about tides as a bookmark in a new folder named Coast.",
        window="Tides and currents - Google Chrome",
        actions=(_press("ctrl+d"), _click(37, comment="choose another folder"), _click(40), _write("Coast", key="enter"), _click(45)),
    ),
    BookTask(
        domain="chrome",
        slug="chrome-zoom",
        instruction="Set the default zoom of Chrome to 125 percent.",
        window="Settings - Google Chrome",
        actions=(
            _press("ctrl+l") + _write("chrome://settings/appearance", key="enter"),
            'computer.mouse.scroll(dir="down")\n',
            _click(33),
            _click(36, comment="125%"),
        ),
    ),
    BookTask(
        domain="settings",
        slug="settings-nightlight",
        instruction="Turn on night light from 21:30 to 6:15.",
        window="Settings",
        actions=(
            _open("settings"),
            _write("night light", key="enter"),
            _click(26, comment="the schedule switch"),
            _click(29) + _write("21:30", key="tab") + _write("6:15", key="enter"),
        ),
    ),
    BookTask(
        domain="settings",
        slug="settings-pointer",
        instruction="Make the mouse pointer larger, size 3, and slow its speed to 8.",
        window="Settings",
        actions=(_open("settings"), _at(0.24, 0.41), _at(0.42, 0.37), _click(30)),
    ),
    BookTask(
        domain="settings",
        slug="settings-second-gpu",
        instruction="Move all windows to the third graphics card.",
        window="Settings",
        actions=(_open("settings"), _click(12, comment="System"), 'computer.mouse.scroll(dir="down")\n', _click(21)),
        is_feasible=False,
    ),
    BookTask(
        domain="vs_code",
        slug="code-rename",
        instruction="Rename the function make_tea to brew in the whole workspace.",
        window="kitchen.py - Visual Studio Code",
        actions=(_at(0.36, 0.44), _press("f2"), _write("brew", key="enter"), _press("ctrl+k s")),
    ),
    BookTask(
        domain="vs_code",
        slug="code-format",
        instruction="Let VS Code format files when they are saved, and wrap long lines at 100.",
        window="Settings - Visual Studio Code",
        actions=(
            _press("ctrl+,"),
            _write("format on save"),
            _click(34),
            _press("ctrl+a") + _write("word wrap column"),
            _click(35) + _press("ctrl+a") + _write("100", key="enter"),
        ),
    ),
)
"""Sixteen tasks over six domains, in the order in which the benchmark runs them (a domain's tasks together)."""
