"""Which part of a network an error comes from."""

from torch import nn


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
