"""Check what a stage must not change in a network, because the network is built anew from the stage's stored result."""

from collections.abc import Mapping

from torch import nn

from framework._errors import PluginError

Layout = Mapping[str, tuple[int, ...]]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MODES = ("training", "_is_full_backward_hook")


def layout(model: nn.Module) -> Layout:
    """The shapes of what a snapshot has of a network, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_layout(before: Layout, after: Layout) -> None:
    """Raise a PluginError if a stage has changed it."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        was, now = (shapes.get(changed[0], "not there") for shapes in (before, after))
        raise PluginError(
            "it must not add, remove, rename or reshape parameters or buffers: trials that share it build the network "
            f"anew ({changed[0]} was {was}, and is {now} now)"
        )


def unkept(model: nn.Module) -> dict[str, str]:
    """Collect by name what no snapshot of a network holds: types, plain attributes and hooks of its modules."""
    found = {}
    for name, module in model.named_modules():
        found[f"the type of {name}" if name else "its type"] = type(module).__name__
        for attribute, value in vars(module).items():
            full = f"{name}.{attribute}".lstrip(".")
            if attribute in _HOOKS:
                found[full] = f"{len(value)} hooks"
            elif attribute not in _MODES and isinstance(value, bool | int | float | str | None):
                found[full] = repr(value)
    return found


def told_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Describe the differences between two results of `unkept`, in a few words each."""
    return [
        f"{name} was {before.get(name, 'not there')}, and is {after.get(name, 'not there')} now"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]
