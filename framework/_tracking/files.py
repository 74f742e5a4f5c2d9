"""Files of runs and models, written once where their folder is on this machine's disk."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def artifact_folder(uri: str, tracking_uri: str) -> Iterator[Path]:
    """A folder for files to be written into, which are then the artifacts at a URI beside those that are there.

    It is the place itself where that is a local folder. Elsewhere the files are sent when the block ends. MLflow's
    client would ask the store for the URI first, and copy the files of a local folder too.

    Args:
        uri: as the store has said it, of a run or of a logged model.
        tracking_uri: of the store, which may be what takes the files.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    artifacts = get_artifact_repository(uri, tracking_uri=tracking_uri)
    if isinstance(artifacts, LocalArtifactRepository):
        folder = Path(artifacts.artifact_dir)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
        artifacts.log_artifacts(temporary)  # type: ignore[no-untyped-call]


def write_artifacts(uri: str, tracking_uri: str, files: Mapping[str, bytes]) -> None:
    """Write files, by their path among the artifacts at a URI."""
    if not files:
        return
    with artifact_folder(uri, tracking_uri) as folder:
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f".{os.getpid()}")  # nobody reads half a file
            unfinished.write_bytes(content)
            unfinished.replace(file)
