"""How MLflow's UI shows an experiment: what it says of itself, and which columns and charts there are of its runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framework._measures import CLASSIFIED, Measures
from framework._tracking.params import valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE, DESCRIPTION = "mlflow.note.content", "framework.description"
# The keys of the views: every trial, and the means over the seeds.
TRIALS, VARIANTS = "trials", "variants"
_TAG = "mlflow.sharedViewState."
_NAMES = {TRIALS: "Trials", VARIANTS: "Variants (mean over the seeds)"}
_SPARSITY = "sparsity"
_LINES = {
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "range": {},
    "lineSmoothness": 0,
    "ignoreOutliers": False,
    "useGlobalXaxisKey": False,
    "useGlobalLineSmoothing": False,
}
_STUDY = "framework"  # the section of our charts


class Views:
    """The views of an experiment, which are tags of it; they grow with what is swept.

    Args:
        client: of the tracking store.
        experiment_id: MLflow's.
        description: what the experiment says of itself.
        swept: the short names of what has differed between its trials so far.
    """

    def __init__(self, client: "MlflowClient", experiment_id: str, description: str, swept: Iterable[str]) -> None:
        self._client, self._id, self._description = client, experiment_id, description
        self._swept = dict.fromkeys(swept)
        self._shown: Measures | None = None

    def show(self, swept: Iterable[str], measures: Measures = CLASSIFIED) -> None:
        """Have the UI show trials that differ in this, and are measured by this."""
        names = dict.fromkeys([*swept, *self._swept])
        if self._shown == measures and names.keys() == self._swept.keys():
            return
        tags = view_tags([*names], measures)
        links = " · ".join(f"[{name}]({link})" for name, link in view_links(self._id, tags).items())
        tags |= {DESCRIPTION: self._description, NOTE: f"{self._description}\n\n{links}".lstrip()}
        for tag, value in tags.items():
            self._client.set_experiment_tag(self._id, tag, value)
        self._shown, self._swept = measures, names


def view_tags(swept: Sequence[str], measures: Measures = CLASSIFIED) -> dict[str, str]:
    """Tags of an experiment, with which MLflow's UI offers views of its runs.

    Args:
        swept: the short names of what differs between its trials.
        measures: by what they are measured.
    """
    names = [valid_name(name) for name in swept]
    views = {TRIALS: _view(names, measures)}
    if names:
        keys = [{"mode": "param", "groupByData": name} for name in names]
        # The UI loads a hundred runs at a time: sorted like this, the trials of a variant come together.
        order = {"orderByKey": f"params.`{names[0]}`", "orderByAsc": True}
        means = {"groupBy": {"aggregateFunction": "average", "groupByKeys": keys}}
        views[VARIANTS] = _view(names, measures) | order | means
    tags = {f"{_TAG}{key}": _named(_NAMES[key], view) for key, view in views.items()}
    return {"mlflow.experiment.primaryMetric.name": f"test/{measures.primary}", **tags}


def view_links(experiment_id: str, tags: Iterable[str]) -> dict[str, str]:
    """Where the UI shows the views, relative to its address, by name; the last shows the first as charts.

    Args:
        experiment_id: MLflow's.
        tags: that the experiment has.
    """
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    found = {name: f"{page}{key}" for key, name in _NAMES.items() if f"{_TAG}{key}" in tags}
    return {**found, "Charts": f"{page}{TRIALS}&compareRunsMode=CHART"} if found else {}


def _named(name: str, view: Mapping[str, Any]) -> str:
    return json.dumps({"name": name, "createdAt": 0, "state": json.dumps(view)})


def _view(swept: Sequence[str], measures: Measures) -> dict[str, Any]:
    test, val = (f"{split}/{measures.primary}" for split in ("test", "val"))
    columns = [
        *(f"params.`{name}`" for name in (*swept, "seed")),
        *(f"metrics.`{name}`" for name in (test, _SPARSITY, val)),
    ]
    return {
        # What has a seed is a trial; without it invocations are rows too.
        "searchFilter": "params.seed LIKE '%'",
        "orderByKey": f"metrics.`{test}`",
        "orderByAsc": not measures.maximize(test),
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": list(_charts(swept, test, val)),
        "compareRunSections": [{"uuid": _STUDY, "name": "Study", "display": True, "isReordered": True}],
        "isAccordionReordered": True,
    }


def _charts(swept: Sequence[str], test: str, val: str) -> Iterable[dict[str, Any]]:
    primary, sparsity = ({"key": key, "type": "METRIC"} for key in (test, _SPARSITY))
    yield _chart("parallel", "PARALLEL", selectedParams=swept, selectedMetrics=[_SPARSITY, test], showAllRuns=True)
    yield _chart("scatter", "SCATTER", xaxis=sparsity, yaxis=primary, runsCountToCompare=100)
    # Over the step, which is the epoch; `stage` shows where in its list of stages a trial is.
    for metric in (val, "train/loss", _SPARSITY, "stage"):
        yield _chart(metric, "LINE", metricKey=metric, selectedMetricKeys=[metric], **_LINES)


def _chart(key: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"uuid": f"{_STUDY}-{key}", "type": kind, "metricSectionId": _STUDY, "deleted": False, **fields}
