"""What the documentation shows is run: README, docs, docstrings, examples; and shell lines name what exists."""

import doctest
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from spectra import datasets

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MODULES = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "spectra").rglob("*.py"))
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = {"cd", "export", "git", "pip", "pytest", "python", "ruff", "pyright", "python3", "spectra"}


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """Line number and text of the fenced blocks of a page in one of the languages."""
    text = page.read_text(encoding="utf-8")
    found = [(text.count("\n", 0, m.start(2)), m[2]) for m in FENCE.finditer(text) if m[1] in languages]
    return found


def commands() -> list[str]:
    """Shell commands of all pages, one simple command each."""
    text = "\n".join(block for page in PAGES for _, block in blocks(page, "sh", "bash", "console"))
    lines = text.replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|\||;|\|", line.split(" #")[0].lstrip("$ "))]
    return sorted({part for part in parts if part and not part.startswith("#")})


def skip_where_it_cannot_run(text: str) -> None:
    """Skip code that needs torch or a file of the mirror where there is none; say which."""
    if re.search(r"^\s*(import|from) torch\b|spectra\.(nn|optim)\b", text, re.MULTILINE):
        pytest.importorskip("torch")
    if not os.environ.get("SPECTRA_DATA"):
        named = set(re.findall(r"""["']([\w-]+)["']""", text)) & set(datasets.names())
        missing = sorted(name for name in named if "files" in datasets.info(name))
        if missing:
            pytest.skip(f"needs real data ({', '.join(missing)}): set SPECTRA_DATA to the folder of the local mirror")


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """The blocks of one page share a namespace, top to bottom."""
    code = blocks(page, "python")
    skip_where_it_cannot_run("\n".join(text for _, text in code))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for line, text in code:
        if text.lstrip().startswith(">>>"):
            run_doctest(doctest.DocTestParser().get_doctest(text, names, title(page), str(page), line))
        else:  # empty lines before the code make tracebacks point at the page
            exec(compile("\n" * line + text, str(page), "exec"), names)


def run_doctest(case: doctest.DocTest) -> None:
    report = []
    doctest.DocTestRunner(optionflags=FLAGS).run(case, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_docstrings_of_a_module(module, tmp_path, monkeypatch):
    if module.parts[1] in ("nn", "optim") or module.parts[1:] == ("gp", "torch"):
        pytest.importorskip("torch")
    if module.name == "__main__":
        pytest.skip("runs the command line when imported")
    name = ".".join(part for part in module.parts if part != "__init__")
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)
    monkeypatch.chdir(tmp_path)
    for case in found:
        if case.examples:
            skip_where_it_cannot_run(case.docstring)
            run_doctest(case)


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_example_runs(example, tmp_path):
    skip_where_it_cannot_run(example.read_text(encoding="utf-8"))
    run = subprocess.run(
        [sys.executable, "-W", "error", example], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("command", commands())
def test_shell_commands_name_what_exists(command, capsys):
    words = shlex.split(command)
    while re.fullmatch(r"\w+=\S*", words[0]):  # VARIABLE=value in front
        words = words[1:]
    program = words[0].rpartition("/")[2]
    assert program in PROGRAMS or (ROOT / words[0]).is_file(), f"unknown program in {command!r}"
    for word in words[1:]:
        if re.fullmatch(r"(examples|tests|benchmarks|docs)/\S+|constraints\.txt", word):
            assert (ROOT / word).exists(), f"{command!r} names {word}, which does not exist"
    if program == "spectra":
        check_spectra_command(words[1:], capsys)


def check_spectra_command(arguments: list[str], capsys) -> None:
    """The subcommand answers --help, and its help lists every option that the page shows."""
    from spectra.cli import main

    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    subcommand = [word for word in arguments[:1] if not word.startswith("-")]
    with pytest.raises(SystemExit) as end:
        main([*subcommand, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    missing = [option for option in options if option not in text]
    assert not missing, f"spectra {' '.join(arguments)}: no such option {missing}"


def test_continuous_integration_runs_the_test_command_of_the_readme():
    shown = [command for page in PAGES[:1] for _, text in blocks(page, "sh", "bash") for command in text.splitlines()]
    tests = [command for command in shown if "pytest" in command]
    assert tests, "the README shows how to run the tests"
    run = (ROOT / ".ci" / "run").read_text().splitlines()
    assert tests[0] in [line.strip() for line in run]


def test_pages_link_to_files_that_exist():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{title(page)}: {target}")
    assert not broken, broken


def test_the_library_speaks_of_itself_alone():
    """No path of a machine in what is shipped."""
    machine = re.compile(r"(?<![\w.])/(?:home|root|tmp|opt|Users)/\w")
    files = [ROOT / f"{module}.py" for module in MODULES] + PAGES + EXAMPLES
    found = [title(file) for file in files if machine.search(file.read_text(encoding="utf-8"))]
    assert not found, found
