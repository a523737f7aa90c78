"""The floors of the house: who may import whom, and where each foreign library lives."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(ROOT.glob("waa/**/*.py"))
FLOORS = {"core": 0, "hub": 1, "probes": 1, "store": 1, "bus": 1, "services": 2, "web": 3}
ALLOWED = {
    "core": {"core"},
    "hub": {"hub", "core"},
    "probes": {"probes", "core"},
    "store": {"store", "core"},
    "services": {"services", "core", "hub"},
    "web": {"web", "core", "hub", "services"},
    "demo": {"demo", "core"},
    "sdk": {"sdk"},
}
CONFINED = {
    "paramiko": ("waa/probes/ssh", "waa/demo/"),
    "sqlalchemy": ("waa/store/",),
    "alembic": ("waa/store/",),
    "jinja2": ("waa/web/render.py",),
    "tornado": ("waa/web/", "waa/probes/oidc.py", "waa/probes/retail_prices.py", "waa/probes/azure.py"),
    "azure": ("waa/probes/azure_login.py",),
    "authlib": ("waa/probes/oidc.py",),
    "joserfc": ("waa/probes/oidc.py",),
    "rich": ("waa/web/terminal.py",),
    "PIL": ("waa/store/thumbnail.py",),
    "prometheus_client": ("waa/web/health.py",),
    "msgspec": ("waa/core/codec.py", "waa/core/logs/files.py"),
}
IMPURE = {"asyncio", "os", "socket", "threading", "time", "random", "logging", "subprocess", "pathlib"}


def floor_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "waa").parts
    return parts[0] if len(parts) > 1 else ""


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    floor = floor_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "waa" or len(parts) < 2 or floor == "":
            continue
        assert parts[1] not in ("config", "clock"), f"{path}: settings are handed down, not fetched"
        if parts[1] in ALLOWED:
            assert parts[1] in ALLOWED[floor], f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_libraries_stay_in_their_adapters(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for name in imports_of(path):
        homes = CONFINED.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{place} imports {name}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("waa/core/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_is_pure(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path)} & IMPURE


@pytest.mark.parametrize("path", [*MODULES, ROOT / "server.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_swallowed_and_nothing_is_imported_late(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
            goes_on_up = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            assert not broad or goes_on_up or path.name == "supervise.py", f"{path}:{node.lineno}: broad except"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
            assert not late, f"{path}:{node.lineno}: import inside a function"
    assert ast.get_docstring(tree), f"{path} has no docstring"
