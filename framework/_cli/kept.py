"""The spec and the code that a run keeps of its trial."""

from pathlib import Path, PurePosixPath

from framework._cli.files import replacing
from framework._cli.find_run import called
from framework._errors import DataError, FrameworkError
from framework._tracking import CODE, SPEC, Reader, TrialRun

_MOST_FILES, _MOST_BYTES = 501, 10**6  # of the code that a run keeps: more than specs can name


def write_kept(reader: Reader, trial: TrialRun, folder: Path) -> tuple[Path, list[Path]]:
    """Write what a run keeps of its trial to a folder; whoever made the run may be a stranger.

    Returns:
        The files of the spec, and of the code that it names.

    Raises:
        DataError: what the run keeps is not what a run keeps.
        TrackingError: the tracking store cannot be reached.
        FrameworkError: the folder holds something else, or cannot be written.
    """
    paths = _kept(reader, trial)
    for path in paths:
        content = reader.file(trial.run_id, path)
        if content is None:
            raise DataError(f"{called(trial)} keeps no {path}")
        _write(folder / path, content)
    spec = folder / next(path for path in paths if PurePosixPath(path).name == SPEC)
    return spec, [folder / path for path in paths if path.endswith(".py")]


def _kept(reader: Reader, trial: TrialRun) -> list[str]:
    """The paths of the spec of a trial and of the files that it names."""
    found = reader.files(trial.run_id, CODE)
    if not found:
        return [SPEC]
    for path, size in found.items():
        parts = PurePosixPath(path)
        if parts.parts[:1] != (CODE,) or ".." in parts.parts or not (parts.suffix == ".py" or parts.name == SPEC):
            raise DataError(f"{called(trial)} keeps {path}, which is no file of code")
        if size > _MOST_BYTES:
            raise DataError(f"{called(trial)} keeps {path}, which is larger than code is: {size:,} bytes")
    if len(found) > _MOST_FILES or sum(PurePosixPath(path).name == SPEC for path in found) != 1:
        raise DataError(f"{called(trial)} keeps something else than one spec and its code in {CODE}")
    return sorted(found)


def _write(file: Path, content: bytes) -> None:
    if file.exists() and not (file.is_file() and file.read_bytes() == content):
        raise FrameworkError(f"{file} is there already, and is another one: choose another folder with --output")
    with replacing(file) as part:
        part.write_bytes(content)
