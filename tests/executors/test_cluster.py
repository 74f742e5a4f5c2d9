"""Ray that does not start."""

from collections.abc import Callable
from typing import Any

import pytest

from framework._errors import FrameworkError
from framework._executors.ray_tune import cluster

# Of ray's, a node that comes up too late has no class of its own, and is hard to have at will.
LATE = Exception("The current node timed out during startup. This could happen because some of the raylet\nfailed.")


def failing(error: Exception) -> Callable[..., Any]:
    def init(**options: Any) -> Any:
        raise error

    return init


@pytest.mark.parametrize("error", [LATE, OSError("no room"), RuntimeError("no"), KeyError("GCS")], ids=repr)
@pytest.mark.parametrize("address", [None, "auto"])
def test_whatever_keeps_ray_from_starting_is_one_sentence(
    error: Exception, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.ray, "init", failing(error))
    with pytest.raises(FrameworkError) as raised:
        cluster.connect(address, verbose=False)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert str(error).splitlines()[0] in text
    if address is None:
        assert text.startswith("Ray does not start on this machine: ")
        assert text.endswith("--executor inline)")
    else:
        assert text.startswith("no Ray cluster answers at --address auto: ")
