"""The notebook docs/tour.ipynb goes through from top to bottom, and shows what it is committed with."""

import base64
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"
MOST = 300_000  # bytes of figures


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[str]:
    """What a cell shows, but for what libraries say of themselves."""
    shown = [output for output in cell.outputs if output.get("name") != "stderr"]
    return [kind for output in shown for kind in sorted(output.get("data", {output.output_type: ""}))]


@pytest.fixture(scope="module")
def committed() -> Any:
    return nbformat.read(TOUR, as_version=4)


def test_it_is_committed_as_it_came_out_and_small(committed: Any) -> None:
    nbformat.validate(committed)
    assert [cell.execution_count for cell in code(committed)] == [*range(1, len(code(committed)) + 1)]
    outputs = [output for cell in code(committed) for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    figures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) >= 4
    assert sum(len(base64.b64decode(figure)) for figure in figures) <= MOST
    assert "/tmp" not in TOUR.read_text()
    assert "stderr" not in {output.get("name") for output in outputs}


@pytest.mark.long  # minutes: the whole study in a notebook
def test_it_runs_from_top_to_bottom(committed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FRAMEWORK_ROOT", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = deepcopy(committed)
    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    folder = {"metadata": {"path": str(TOUR.parent)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", coalesce_streams=True, resources=folder)
    client.execute()  # a cell that raises is an error
    assert [kinds(cell) for cell in code(notebook)] == [kinds(cell) for cell in code(committed)]
    assert (tmp_path / "mlflow.db").exists()
