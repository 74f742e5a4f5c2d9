"""A stage store in a local folder."""

from pathlib import Path

import pytest

from framework._store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stages"


@pytest.fixture
def store(folder: Path) -> Store:
    return Store(folder)
