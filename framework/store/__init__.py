"""States of networks on disk, by key.

Trials leave their final state here, wherever they run; who tracks them picks it up.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from framework.errors import StoreError


class Store:
    """A folder of states, each one safetensors file.

    Args:
        root: the folder; made when something is saved.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a state whole or not at all.

        Args:
            key: hex.
            tensors: on the CPU.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, suffix=".part", delete=False) as part:
                try:
                    # Tied weights share memory, which the format refuses.
                    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, part.name)
                    with open(part.name, "rb") as written:
                        os.fsync(written.fileno())
                    os.replace(part.name, self._path(key))
                except BaseException:
                    os.unlink(part.name)
                    raise
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot write the state to {self.root}: {error}{self._room()}") from error

    def load(self, key: str) -> dict[str, Tensor]:
        """Read a state.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            return load_file(self._path(key))
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot read the state {self._path(key)}: {error}") from error

    def discard(self, key: str) -> None:
        """Remove a state, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / f"{key}.safetensors"

    def _room(self) -> str:
        try:
            return f" ({shutil.disk_usage(self.root).free / 2**20:.0f} MiB are free there)"
        except OSError:
            return ""
