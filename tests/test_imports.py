"""The house stays as it is drawn: imports go downwards, optional packages wait until they are needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent / "spectra"

# Room (a top-level module or folder) and its layer. A room imports rooms of its own layer or below, without cycles.
LAYERS = {
    "_arrays": 0,
    "_kernels": 0,
    "_progress": 0,
    "_optional": 0,
    "_formats": 0,
    "operators": 1,
    "testing": 1,
    "results": 2,
    "krylov": 2,
    "_controls": 2,
    "_maxent": 3,
    "estimators": 3,
    "rmt": 3,
    "graphs": 4,
    "gp": 4,
    "nn": 4,
    "optim": 5,
    "datasets": 5,
    "plot": 6,
    "_files": 6,
    "__init__": 6,
    "cli": 7,
    "_demo": 7,
    "__main__": 8,
}

# Optional or slow packages: where they may be imported at all, and where at module level.
LAZY = {
    "torch": ("operators", "_arrays", "_kernels", "nn", "optim", "gp"),
    "cupy": ("operators", "_arrays", "_kernels"),
    "cupyx": ("operators", "_arrays", "_kernels"),
    "numba": ("_kernels",),
    "networkx": ("graphs", "datasets", "_formats"),
    "matplotlib": ("plot", "cli", "_demo"),
    "sklearn": ("datasets", "graphs", "gp"),
    "pooch": ("datasets",),
    "PIL": ("datasets",),
    "tqdm": ("_progress",),
    "scipy.stats": (),
}
EAGER = {
    "torch": ("nn/", "optim/", "gp/torch.py"),
    "numba": ("_kernels/",),  # the files there are themselves imported with the first kernel
}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    lazy: bool

    @property
    def room(self) -> str:
        return room_of(self.file)

    def __str__(self) -> str:
        return f"spectra/{self.file}:{self.line} imports {self.module}"


def room_of(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def files() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(file: str) -> Iterator[Import]:
    """Imports of a file, those inside functions as lazy; blocks for type checkers only are left out."""
    pending = [(node, False) for node in ast.parse((ROOT / file).read_text()).body]
    while pending:
        node, lazy = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for module in modules(node, file):
            yield Import(file, node.lineno, module, lazy)
        inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))


def modules(node: ast.AST, file: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ["spectra", *Path(file).parent.parts][: len(Path(file).parent.parts) + 2 - node.level]
            base = ".".join([*package, base]).rstrip(".")
        # `from a import b` may name a module a.b or an attribute; the longer name is right for both questions here.
        return [f"{base}.{alias.name}" for alias in node.names]
    called = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2]
    if called in ("require", "import_module", "__import__") and isinstance(node.args[0], ast.Constant):
        return [node.args[0].value]
    return []


ALL = [found for file in files() for found in imports(file)]
INSIDE = [found for found in ALL if found.module.partition(".")[0] == "spectra"]


def target_room(found: Import) -> str:
    """Room that an import inside the library reaches; a name of `spectra/__init__` counts as reaching the top."""
    name = found.module.partition(".")[2].partition(".")[0]
    is_room = name and ((ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file())
    return name if is_room else "__init__"


def is_of(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_every_room_has_a_layer():
    unknown = {room_of(file) for file in files()} - set(LAYERS)
    assert not unknown, f"give these a layer here and in docs/architecture.md: {sorted(unknown)}"


def test_imports_go_downwards():
    upwards = [str(found) for found in INSIDE if LAYERS[target_room(found)] > LAYERS[found.room]]
    assert not upwards, upwards


def test_rooms_do_not_import_each_other_in_circles():
    edges = {room: set() for room in LAYERS}
    for found in INSIDE:
        edges[found.room].add(target_room(found))
    edges = {room: targets - {room} for room, targets in edges.items()}
    while leaves := [room for room, targets in edges.items() if not targets & set(edges)]:
        for room in leaves:
            del edges[room]
    assert not edges, f"these import each other: {edges}"


@pytest.mark.parametrize("package", LAZY)
def test_optional_packages_are_imported_only_where_they_belong(package):
    found = [one for one in ALL if is_of(one.module, package)]
    strangers = [str(one) for one in found if one.room not in LAZY[package]]
    eager = [str(one) for one in found if not one.lazy and not one.file.startswith(EAGER.get(package, ("!",)))]
    assert not strangers, strangers
    assert not eager, f"import inside the function that needs it: {eager}"


def python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_library_imports_no_optional_package():
    modules = set(python("import spectra, sys; print(*sys.modules, sep='\\n')").split())
    assert "spectra.results" in modules
    assert not [package for package in (*LAZY, "pandas", "IPython") if package in modules]


def test_plots_and_data_are_imported_when_first_used():
    before, after, matplotlib = python(
        "import spectra, sys\n"
        "print([f'spectra.{room}' in sys.modules for room in ('plot', 'datasets')])\n"
        "assert spectra.plot.stem and spectra.datasets.names()\n"
        "print([f'spectra.{room}' in sys.modules for room in ('plot', 'datasets')])\n"
        "print('matplotlib' in sys.modules)"
    ).splitlines()
    assert (before, after, matplotlib) == ("[False, False]", "[True, True]", "False")


def test_other_names_are_missed_by_name():
    import spectra

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        spectra.nonsense  # noqa: B018


@pytest.mark.slow
def test_importing_the_library_costs_little_more_than_scipy():
    timed = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    ours, scipy = [], []
    for _ in range(7):  # in turns, so that a busy moment of the machine meets both
        scipy.append(float(python(timed.format("import scipy.sparse, scipy.linalg"))))
        ours.append(float(python(timed.format("import spectra"))))
    assert min(ours) < 2.0 * min(scipy) + 0.1, f"import spectra {min(ours):.2f} s, scipy {min(scipy):.2f} s"
