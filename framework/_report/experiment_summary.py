"""What experiments have been made of, in words."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from framework._plan import short
from framework._tracking import TrialRun

_SEVERAL = 6  # values that are listed one by one
_UNSET = {"null", "false", "[]", "{}"}  # settings that say only what is not done


@dataclass(frozen=True)
class Part:
    """What an experiment's trials have been made of: a model, a dataset or a stage.

    Attributes:
        name: the component, or the components that were tried.
        settings: parameter, value or values, and whether there are several.
    """

    name: str
    settings: Sequence[tuple[str, str, bool]]


def facts(trials: Sequence[TrialRun]) -> dict[str, str]:
    """What the trials have in common and how they ended, by what it is."""
    swept = dict.fromkeys(name for trial in trials for name in trial.swept)
    ended = [status(trial) for trial in trials]
    facts = {
        "Swept": "; ".join(
            f"{name}: {_listed(short(t.swept[name]) for t in trials if name in t.swept)}" for name in swept
        ),
        "Seeds": _listed(str(trial.seed) for trial in trials),
        "Trials": ", ".join(f"{ended.count(how)} {how}" for how in dict.fromkeys(ended)),
        "Software": "; ".join(dict.fromkeys(trial.versions for trial in trials if trial.versions)),
        "Commit": ", ".join(dict.fromkeys(trial.commit for trial in trials if trial.commit)),
        "First run": time.strftime("%Y-%m-%d", time.localtime(min(t.started for t in trials))) if trials else "",
    }
    return {name: text for name, text in facts.items() if text}


def status(trial: TrialRun) -> str:
    """How it ended, in words."""
    return "stopped early" if trial.stopped and trial.status == "FINISHED" else trial.status.lower()


def parts(trials: Sequence[TrialRun]) -> list[tuple[str, Part]]:
    """The model, the data and the stages, with what was set; of a stage like an earlier one, in what it differs."""
    params: dict[str, list[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            params.setdefault(name, []).append(value)
    parts = [("Model", _part(params, "model", "model.")), ("Data", _part(params, "data.dataset", "data."))]
    earlier: dict[str, tuple[str, Part]] = {}
    for index in range(max((len(trial.stages) for trial in trials), default=0)):
        label = f"Stage {index + 1}"
        part = _part(params, f"stages.{index}", f"stages.{index}.")
        like, known = earlier.setdefault(part.name, (label, part))
        if like != label:
            part = Part(f"{part.name}, as in {like.lower()}", [s for s in part.settings if s not in known.settings])
        parts.append((label, part))
    return parts


def _part(params: Mapping[str, Sequence[str]], named: str, prefix: str) -> Part:
    names = dict.fromkeys(params.get(named, ()))
    settings = []
    for param in params:
        if param.startswith(prefix) and param != named and {*params[param]} - _UNSET:
            name = param.removeprefix(prefix)
            # A stage's own name stands before its parameters, as in the spec.
            name = next((name.removeprefix(f"{own}.") for own in names if name.startswith(f"{own}.")), name)
            settings.append((name, _listed(map(_rounded, params[param])), len(set(params[param])) > 1))
    return Part(" or ".join(names), sorted(settings, key=lambda setting: (not setting[2], setting[0])))


def _rounded(value: str) -> str:
    return re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.4g}", value)


def _listed(values: Iterable[str]) -> str:
    """Different values in their order; many are told by their number."""
    different = list(dict.fromkeys(values))
    with suppress(ValueError):
        different.sort(key=float)
    if len(different) > _SEVERAL:
        return f"{len(different)} values from {different[0]} to {different[-1]}"
    return ", ".join(different)


def alike(trials: Sequence[TrialRun]) -> str:
    """What the spec of the first trial tells of the others."""
    swept = list(dict.fromkeys(name for trial in trials for name in trial.swept))
    others = f" The others differ in their seed{f' and in {_and(swept)}' if swept else ''}." if len(trials) > 1 else ""
    return (
        f"This spec runs the trial {trials[0].name} alone, with every parameter written out.{others}" if trials else ""
    )


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
