"""Each notebook runs from top to bottom, without a warning, and does what it says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
QUICKSTART = REPOSITORY / "notebooks/01_quickstart.ipynb"
DATA_MODELS = REPOSITORY / "notebooks/02_data_models.ipynb"
COLLABORATE = REPOSITORY / "notebooks/03_collaborate.ipynb"
CONVEX = REPOSITORY / "notebooks/05_convex_in_python.ipynb"
WARNINGS_ARE_ERRORS = """\
import warnings
warnings.simplefilter("error")
# ipykernel 7.4 warns of its own shutdown.
warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="ipykernel")
"""


@dataclass(frozen=True)
class Run:
    """An executed notebook, and the folder that it ran in."""

    notebook: nbformat.NotebookNode
    folder: Path

    def code_cells(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def streams(self, name: str) -> list[str]:
        """What each cell wrote to stdout or stderr."""
        return [
            output.text
            for cell in self.code_cells()
            for output in cell.outputs
            if output.output_type == "stream" and output.name == name
        ]

    def shown(self, ending: str, kind: str = "text/html") -> list[str]:
        """What the cells ending so display."""
        return [
            output.data[kind]
            for cell in self.code_cells()
            if cell.source.endswith(ending)
            for output in cell.outputs
            if kind in output.get("data", {})
        ]

    def errors(self) -> list[nbformat.NotebookNode]:
        """Those that cells ended with, as their tags allow."""
        return [
            output
            for cell in self.code_cells()
            for output in cell.outputs
            if output.output_type == "error"
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(path)`: the notebook executed in a fresh folder, once however many tests ask."""
    with pytest.MonkeyPatch.context() as environment:
        paths = filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield cache(lambda path: execute(path, tmp_path_factory.mktemp(path.stem)))


def execute(path: Path, folder: Path) -> Run:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WARNINGS_ARE_ERRORS))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    return Run(notebook, folder)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_without_a_complaint(run, path):
    assert "".join(run(path).streams("stderr")) == ""


def test_the_quickstart_shows_what_a_cancelled_flight_changes(run):
    (before,) = run(QUICKSTART).shown("\nworst_at_jfk")
    after = run(QUICKSTART).shown("display(worst_at_jfk, by_airport)")
    assert "1301" in before  # minutes: the worst flight of Kennedy Airport
    assert all("1301" not in each and "1137" in each for each in after)
    assert len(after) == 2


def test_the_quickstart_keeps_the_rows_of_its_live_tables(run):
    """Saved and opened without a kernel, a notebook still shows them."""
    names = ("\nworst_at_jfk", "\nby_airport", "\nworst_journeys")
    live = [html for name in names for html in run(QUICKSTART).shown(name)]
    assert len(live) == 3
    assert all("<table" in html for html in live)


def test_the_quickstart_leaves_its_parquet_files(run):
    folder = run(QUICKSTART).folder
    assert pq.read_metadata(folder / "flights.parquet").num_rows == 336_776
    delays = pq.read_table(folder / "worst_journeys.parquet")["dep_delay"].to_pylist()
    assert len(delays) == 5
    assert delays == sorted(delays, reverse=True)


def test_the_proposed_schema_says_what_the_documents_are(run):
    (proposal,) = run(DATA_MODELS).shown('db.infer_schema("repairs")', "text/markdown")
    for line in ("guest: str | Guest", "# perhaps Literal[", "model: str | int | Missing = UNSET"):
        assert line in proposal


def test_the_class_that_documents_do_not_fit_is_refused_naming_them(run):
    (refusal,) = run(DATA_MODELS).errors()
    assert refusal.ename == "SchemaChangeError"
    for found in (".model:", "'half an hour'", "'carbon brushes'", "Lena Vogt", "Tom Ek"):
        assert found in refusal.evalue


def test_the_migrated_documents_fit_their_classes(run):
    (desk,) = run(DATA_MODELS).shown("with_status.live(status=status)))")
    assert "Sewing machine" in desk
    assert "Tom Ek" in desk
    assert "Kettle" not in desk  # of another status than the one that the buttons say
    (work,) = run(DATA_MODELS).shown("\nwork.df")
    assert "Karim Aziz" in work
    assert "95" in work
    repairs = pq.read_table(run(DATA_MODELS).folder / "repairs.parquet")
    assert repairs["model"].to_pylist()[1] == "3310"
    assert repairs["minutes"].to_pylist() == [25, 40, None, 30, None, 55, 15, None, None]
    assert repairs["parts"].to_pylist()[5:7] == ['["carbon brushes"]', "[]"]


def test_what_a_kernel_commits_another_shows(run):
    mine, his, his_later = run(COLLABORATE).shown("\nlake")
    assert "Kingfisher" in mine
    assert "Kingfisher" in his
    assert "Tawny owl" not in his
    assert "Tawny owl" in his_later
    assert "Mallard" in his_later
    lake, by_species, lake_later, by_species_later = run(COLLABORATE).shown(
        "display(lake, by_species)"
    )
    assert "Tawny owl" in lake
    assert "Tawny owl" in by_species
    # Ben defined what renamed it, in his kernel.
    assert "Mandarin duck" in lake_later
    assert "Mandarin duck" in by_species_later


def test_no_output_holds_the_secret_of_an_invitation(run):
    outputs = [cell.outputs for cell in run(COLLABORATE).code_cells()]
    assert "127.0.0.1" in str(outputs)
    assert "ldb_" not in str(outputs)


def test_presence_names_who_was_invited(run):
    (here,) = run(COLLABORATE).shown("\npeople")
    assert "Ben" in here
    assert "editor" in here


def tagged(run, tag, kind="text/html"):
    """What the cell with this tag displays."""
    return [
        output.data[kind]
        for cell in run.code_cells()
        if tag in cell.metadata.get("tags", [])
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


def test_upsert_user_gives_one_id_to_whoever_comes_again_and_refuses_nobody(run):
    (told, *_) = run(CONVEX).streams("stdout")
    assert told.splitlines() == [
        "Ada, who came twice, has one id: True",
        "Ben has another: True",
        "Who brings no token is told: Log in first",
    ]
    (users,) = tagged(run(CONVEX), "users")
    assert "Ada Lovelace" in users
    assert "Ben Okri" in users
    assert users.count("<tr>") == 3  # with the head


def test_tasks_list_gives_the_tasks_of_one_user_newest_first(run):
    (before,) = tagged(run(CONVEX), "tasks")
    (after,) = tagged(run(CONVEX), "after-create")
    assert "Read the introduction" not in before
    assert after.index("Write the report") < after.index("Read the introduction")
    assert "Water the plants" not in after


def test_the_saved_file_is_shown_by_its_url(run):
    (files,) = tagged(run(CONVEX), "files")
    assert "sunset.png" in files
    assert "/api/storage/" in files


def test_the_daily_job_is_due_at_two_and_removes_what_is_completed(run):
    (told,) = [text for text in run(CONVEX).streams("stdout") if text.startswith("remove")]
    assert re.fullmatch(
        r"remove completed tasks: daily, next at \d{4}-\d\d-\d\d 02:00:\d\d UTC\n", told
    )
    (after,) = tagged(run(CONVEX), "after-cron")
    assert "Write the report" not in after
    assert "Look at the page" in after
