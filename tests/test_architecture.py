"""The floors of the house: who may import whom, and where each foreign library lives."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(ROOT.glob("waa/**/*.py"))
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


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    return tuple(_imports(tree_of(path)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."  # relative
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_point_down() -> None:
    faults = []
    for path in MODULES:
        parts = path.relative_to(ROOT / "waa").parts
        allowed = ALLOWED.get(parts[0]) if len(parts) > 1 else None
        for name in imports_of(path):
            first, _, rest = name.partition(".")
            floor = rest.partition(".")[0]
            if first == "" or (
                first == "waa" and allowed is not None and (floor in ("config", "clock") or floor in ALLOWED.keys() - allowed)
            ):
                faults.append(f"{place_of(path)} imports {name}")
    assert not faults


def test_foreign_libraries_stay_in_their_adapters() -> None:
    found = [(place_of(path), name) for path in MODULES for name in imports_of(path)]
    assert not [(place, name) for place, name in found if not place.startswith(CONFINED.get(name.partition(".")[0], ("",)))]


def test_the_core_is_pure() -> None:
    core = [path for path in MODULES if place_of(path).startswith("waa/core/")]
    assert core
    assert not [(place_of(path), name) for path in core for name in imports_of(path) if name.partition(".")[0] in IMPURE]


def test_nothing_is_swallowed_and_nothing_is_imported_late() -> None:
    faults = []
    for path in (*MODULES, ROOT / "server.py"):
        tree, place = tree_of(path), place_of(path)
        if not ast.get_docstring(tree):
            faults.append(f"{place}: no docstring")
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
                goes_on_up = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if broad and not goes_on_up and path.name != "supervise.py":
                    faults.append(f"{place}:{node.lineno}: broad except")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                late = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
                faults += [f"{place}:{inner.lineno}: import inside a function" for inner in late]
    assert not faults
