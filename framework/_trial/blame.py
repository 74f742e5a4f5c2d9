"""Find the part of a network that an error comes from."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import nn


@contextmanager
def in_module(model: nn.Module) -> Iterator[None]:
    """Note on whatever is raised in the context in which module of the network that was, if it was in one."""
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # whatever a module answers to, and of an exception that takes no notes
            if where := failing_module(error, model):
                error.add_note(f"in {where} of the network")
        raise


def failing_module(error: BaseException, model: nn.Module) -> str:
    """The innermost module of a network whose code was running: ``'conv1' (Conv2d)``; empty if none was."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    traceback = error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in names:
            found = f"{names[id(module)] or 'the network itself'!r} ({type(module).__name__})"
        traceback = traceback.tb_next
    return found
