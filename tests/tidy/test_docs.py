"""What a user can set, catch or call is written down, and what is written down runs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

from livedb import errors, limits

REPOSITORY = Path(__file__).parents[2]
REFERENCE = (REPOSITORY / "docs/reference.md").read_text()
README = (REPOSITORY / "README.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
HOSTILE_INPUTS = (REPOSITORY / "tests/faults/README.md").read_text()
PLATFORM = (REPOSITORY / "tests/functions/README.md").read_text()
ARCHITECTURE = (REPOSITORY / "livedb/ARCHITECTURE.md").read_text()


def test_every_limit_is_in_the_reference_and_no_other():
    fields = {field.name for field in dataclasses.fields(limits.Limits)}
    section = REFERENCE.partition("## Errors")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE)) == fields


def test_every_error_is_in_the_reference_and_no_other():
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LivedbError)
    }
    section = REFERENCE.partition("## Errors")[2]
    assert set(re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE)) == classes


def test_the_reference_says_which_errors_pass():
    transient = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TransientError)
    }
    section = REFERENCE.partition("## Errors")[2]
    assert set(re.findall(r"^\| `(\w+)`.*\| yes \|$", section, flags=re.MULTILINE)) == transient


def test_the_tree_of_errors_names_every_class():
    tree = errors.__doc__.partition("A class says")[0]
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LivedbError)
    }
    assert set(re.findall(r"[A-Z]\w*Error", tree)) == classes


def make_verbs() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_every_make_verb_has_a_line_of_help():
    done = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"^make (\w+) ", done.stdout, flags=re.MULTILINE)) == make_verbs() - {
        "help",
        "constraints",  # for who changes pyproject.toml; its comment says so
    }


def test_every_make_verb_is_in_the_readme():
    unnamed = {
        verb for verb in make_verbs() if f"`{verb}`" not in README and f"make {verb}" not in README
    }
    assert unnamed == {"constraints"}


def named_in(text: str) -> list[tuple[str, str]]:
    """(file, name of a test or nothing) for every file that a page names."""
    named, file = [], ""
    for path, test in re.findall(r"`([\w/]+\.py|\.\.)(?:::(\w+))?`", text):
        file = file if path == ".." else path
        named.append((file, test))
    return named


def missing_of(named: list[tuple[str, str]]) -> list[str]:
    files = [*REPOSITORY.glob("livedb/**/*.py"), *REPOSITORY.glob("tests/**/*.py")]
    missing = []
    for path, test in named:
        found = [each for each in files if f"/{each}".endswith(f"/{path}")]
        texts = [each.read_text() for each in found]
        if not any((f"def {test}(" if test else "") in text for text in texts):
            missing.append(f"{path}::{test}")
    return missing


def test_every_file_and_test_that_the_architecture_names_exists():
    named = named_in(ARCHITECTURE)
    assert len(named) > 100
    assert missing_of(named) == []


def test_each_hostile_input_of_a_shared_workspace_has_tests_that_exist():
    rows = dict(re.findall(r"^\| (\d+) \|(.*)\|$", HOSTILE_INPUTS, flags=re.MULTILINE))
    assert list(map(int, rows)) == [*range(1, 55), *range(56, 61)]
    for row in rows.values():
        tests = [test for _, test in named_in(row)]
        assert tests, row
        assert all(tests), row
        assert missing_of(named_in(row)) == []


def test_each_statement_of_the_platform_has_tests_that_exist():
    rows = re.findall(r"^\| [fs] \d+ \|(.*)\|$", PLATFORM, flags=re.MULTILINE)
    assert len(rows) == PLATFORM.count("\n| ") - 1
    for row in rows:
        assert named_in(row), row
        assert missing_of(named_in(row)) == []


def test_what_a_connected_workspace_cannot_do_is_told_to_users():
    marked = re.compile(r'@pytest\.mark\.gap\(\s*[\w.]+,\s*"([^"]+)"')
    sources = (path.read_text() for path in REPOSITORY.glob("tests/**/*.py"))
    reasons = {reason for source in sources for reason in marked.findall(source)}
    told = re.sub(r"[`*\s]+", " ", REFERENCE).casefold()
    assert reasons
    assert {reason for reason in reasons if reason.casefold() not in told} == set()


def test_each_law_has_one_line_of_tests():
    laws = ARCHITECTURE.partition("## Laws")[2].partition("\n## ")[0]
    numbers = re.findall(r"^\| (\d) \|", laws, flags=re.MULTILINE)
    assert numbers == list("123456789")


def test_every_thread_is_in_the_architecture_and_no_other():
    starts = re.compile(r'(?:name ?= ?f?|thread_name_prefix=|(?:Shield|Aside)\()"(livedb-[a-z]+)')
    sources = (path.read_text() for path in REPOSITORY.glob("livedb/**/*.py"))
    started = {name for source in sources for name in starts.findall(source)}
    section = ARCHITECTURE.partition("## Threads and locks")[2]
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE))
    assert set(re.findall(r"`(livedb-[a-z]+)", rows)) == started


def test_the_files_that_the_readme_points_to_exist():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_the_code_that_opens_the_readme_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    check = (
        "\nassert list(mine.df.title) == ['Write the docs'], mine.df"
        "\nassert by_user.df.to_dict('records') == [{'name': 'Ana', 'n': 1}], by_user.df"
        "\ndb.close()\n"
    )
    (tmp_path / "readme.py").write_text(code[1] + check)
    done = subprocess.run(
        [sys.executable, "-W", "error", "readme.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
