"""From a spec to the trials that it means.

A trial has a key for its initial network and one for the state after each of its stages, each made of the one before.
Equal keys mean equal states: that is how trials share stages, what is stored is found, and a finished trial is known.
A key covers all that changes a result:

- the seed;
- the model and the data (dataset, validation split, augmentation) with all their parameters;
- the stages so far, each with all its parameters, among them losses, optimizers, schedules and criteria with theirs;
- the content of the files that parameters name (a dataset, a model's weights): the same content under another name is
  the same, changed content is not. A parameter that is a path to an existing file counts by its SHA-256, also of a
  folder that must exist (`pydantic.DirectoryPath`) the names, sizes and times of the files in it. Any other path,
  such as one to download to, counts by its name, as do ``runs:/…`` and the weights that torchvision knows by name;
- where each component comes from: its distribution and that one's version, and its code where that may change without
  a new version (see `framework._registry.code`); for a file of code its content, and that of what it imports from
  beside it, whatever it is called. So do the distributions that observe every trial;
- the number of processes that train a trial together, if there are several: batch normalisation sees each one's part
  of a batch, and dropout differs;
- of the framework itself, and what it brings, `RESULTS`, not the version.

A parameter that is left at its default is not in the key, written out or not, so that a new parameter with a default
changes no key. What else is not in it: the spec's and the variant's name, the description, the resources but for
the number of processes, the versions of Python and PyTorch, and the device.

Trials whose stages differ in their length only share what they have in common as well: see `framework._plan.splits`.
"""

from framework._plan.names import Path, flat, short, short_names
from framework._plan.planner import RESULTS, Expand, Planner, as_it_stands, make_plans
from framework._plan.splits import SplitStages
from framework._plan.trial_plan import Length, Split, TrialPlan

__all__ = [
    "RESULTS",
    "Expand",
    "Length",
    "Path",
    "Planner",
    "Split",
    "SplitStages",
    "TrialPlan",
    "as_it_stands",
    "flat",
    "make_plans",
    "short",
    "short_names",
]
