"""Rules over the whole source: what imports what, where words may stand, how long a piece may be."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for top in ("superft_hf", "dashboard") for path in (ROOT / top).rglob("*.py"))
TRAINING = ROOT / "superft_hf" / "training"
CORE = [
    path
    for path in SOURCES
    if path.relative_to(ROOT).parts[0] == "superft_hf" and TRAINING not in path.parents
]
PAGES = ROOT / "dashboard" / "app_pages"

HEAVY = ("torch", "torchvision", "transformers", "accelerate", "evaluate", "streamlit")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FUNCTIONS: dict[str, str] = {}
"""`file:function` of what may be longer, with the reason."""

PROCESS_BEGINS = {
    "superft_hf/cli.py",
    "superft_hf/engine/supervisor.py",
    "superft_hf/engine/foreground.py",
    "superft_hf/hub/fetch_child.py",
    "superft_hf/training/worker.py",
}
"""Files in which a process begins: only there is any exception caught."""

PRINTS = {*PROCESS_BEGINS, "superft_hf/training/convert_sample.py", "superft_hf/demo.py"}
"""Files that talk to the terminal, besides the command line's cli*.py."""

RUN_FILES = (
    "superft.db", "config.yaml", "resolved.yaml", "environment.json", "worker.log", "supervisor.log",
    "supervisor.lock", "accelerate.yaml", "layers.jsonl", ".parquet",
)  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module imported anywhere in a file, with the line; what is for type checkers is left out."""
    tree, skipped = tree_of(path), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively"
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def found(paths: list[Path], *roots: str) -> list[str]:
    """`file:line imports module` for each import of one of these modules, or of a part of one."""
    return [
        f"{name_of(path)}:{line} imports {module}"
        for path in paths
        for module, line in imports_of(path)
        if any(module == root or module.startswith(root + ".") for root in roots)
    ]


def test_there_is_something_to_check():
    assert len(CORE) > 20 and any(path.is_relative_to(PAGES) for path in SOURCES)


def test_the_core_imports_nothing_heavy_and_no_page():
    assert found(CORE, *HEAVY, "dashboard", "superft_hf.training") == []


def test_training_imports_no_page():
    assert found([path for path in SOURCES if path.is_relative_to(TRAINING)], "dashboard", "streamlit") == []


def test_the_dashboard_imports_no_training_and_nothing_heavy_but_streamlit():
    paths = [path for path in SOURCES if path.is_relative_to(ROOT / "dashboard")]
    assert found(paths, "superft_hf.training", *(name for name in HEAVY if name != "streamlit")) == []


def test_no_page_imports_another_and_nobody_imports_a_page():
    assert found(SOURCES, "dashboard.app_pages", "app_pages", "dashboard.app") == []


def test_dashboard_modules_are_imported_by_their_full_name():
    names = {path.stem for path in (ROOT / "dashboard").glob("*.py")} - {"__init__"}
    assert found(SOURCES, *names) == []


def test_lower_layers_do_not_know_the_higher_ones():
    sources = [path for path in CORE if "sources" in path.parts]
    assert (
        found(sources, "superft_hf.engine", "superft_hf.store", "superft_hf.hub", "superft_hf.preflight")
        == []
    )
    evaluation = [path for path in CORE if "evaluation" in path.parts]
    assert (
        found(evaluation, "superft_hf.engine", "superft_hf.store", "superft_hf.sources", "superft_hf.hub")
        == []
    )
    low = [path for path in CORE if path.stem in ("config", "errors", "records", "paths", "settings")]
    assert found(low, "superft_hf.store", "superft_hf.engine", "superft_hf.sources", "superft_hf.hub") == []
    assert found(CORE, "superft_hf.cli") == [
        line for line in found(CORE, "superft_hf.cli") if line.startswith("superft_hf/cli")
    ]


IMPORT_ALL = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))
"""


def loaded_after(modules: list[str], heavy: tuple[str, ...]) -> list[str]:
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps(modules), json.dumps(heavy)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_importing_the_whole_core_loads_nothing_heavy():
    assert loaded_after([module_of(path) for path in CORE], HEAVY) == []


def test_importing_the_dashboard_loads_nothing_heavy_but_streamlit():
    modules = [module_of(path) for path in sorted((ROOT / "dashboard").glob("*.py")) if path.stem != "app"]
    assert loaded_after(modules, tuple(name for name in HEAVY if name != "streamlit")) == []


# Words and where they may stand


def lines_with(*parts: str, paths: list[Path] = SOURCES) -> list[str]:
    return [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(part in line for part in parts)
    ]


def test_any_exception_is_caught_only_where_a_process_begins():
    loose = []
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                # A handler that raises again only cleans up.
                is_again = any(isinstance(one, ast.Raise) and one.exc is None for one in ast.walk(node))
                if caught in ("everything", "Exception", "BaseException") and not is_again:
                    loose.append(name_of(path))
    assert set(loose) <= PROCESS_BEGINS, loose


def test_nothing_is_printed_but_by_the_command_line():
    printing = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {name for name in printing if not name.startswith("superft_hf/cli")} <= PRINTS


def test_no_shell():
    assert lines_with("shell=True", "os.system", "os.popen") == []


def test_session_state_is_touched_in_one_place():
    touched = lines_with("session_state[", "session_state.", "session_state)", "import session_state")
    assert [line for line in touched if not line.startswith("dashboard/state.py:")] == []


def test_the_entry_file_is_short():
    assert len((ROOT / "dashboard" / "app.py").read_text().splitlines()) < 40


def texts_of(path: Path) -> Iterator[tuple[str, int]]:
    """Texts in a file, docstrings left out."""
    tree = tree_of(path)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value, node.lineno


@pytest.mark.parametrize("name", RUN_FILES)
def test_the_files_of_a_home_are_spelt_in_one_place(name):
    spelt = [
        f"{name_of(path)}:{line}"
        for path in SOURCES
        if path != ROOT / "superft_hf" / "paths.py"
        for text, line in texts_of(path)
        if text == name or (name.startswith(".") and text.endswith(name))
    ]
    assert spelt == []


# Sizes


def test_no_module_is_longer_than_400_lines():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_no_function_is_longer_than_60_lines():
    long = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                key, length = f"{name_of(path)}:{node.name}", node.end_lineno - node.lineno + 1
                if length > MAX_FUNCTION_LINES and key not in LONG_FUNCTIONS:
                    long[key] = length
    assert long == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [name_of(path) for path in SOURCES if path.stem in ("utils", "helpers", "common", "misc")] == []


def test_packages_hold_no_logic():
    for path in SOURCES:
        if path.name == "__init__.py" and path.parent.name != "superft_hf":
            assert path.read_text(encoding="utf-8").strip() == "" or tree_of(path).body[1:] == [], name_of(
                path
            )
