"""What MLflow's UI offers of an experiment."""

import json
from typing import Any

import pytest

from framework._measures import Measures
from framework._tracking import Reader
from framework._tracking.view import Views, view_links, view_tags


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('views') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    from framework._tracking.server import connect

    return connect(uri)


def state(tags: dict[str, str], key: str) -> dict[str, Any]:
    return json.loads(json.loads(tags[f"mlflow.sharedViewState.{key}"])["state"])


def test_columns_are_what_is_swept_the_seed_and_the_results() -> None:
    view = state(view_tags(["prune.amount", "model@size"]), "trials")
    assert view["selectedColumns"] == [
        "params.`prune.amount`",
        "params.`model_size`",  # as the parameter is called
        "params.`seed`",
        "metrics.`test/accuracy`",
        "metrics.`sparsity`",
        "metrics.`val/accuracy`",
    ]


def test_the_best_comes_first_whether_more_or_less_of_it_is_better() -> None:
    tags = view_tags([], Measures({"rmse": False, "r2": True}))
    assert tags["mlflow.experiment.primaryMetric.name"] == "test/rmse"
    view = state(tags, "trials")
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`test/rmse`", True)
    assert view["selectedColumns"][-1] == "metrics.`val/rmse`"
    assert not state(view_tags([]), "trials")["orderByAsc"]


def test_means_over_the_seeds_are_offered_only_where_something_is_swept() -> None:
    keys = state(view_tags(["a", "b"]), "variants")["groupBy"]["groupByKeys"]
    assert [key["groupByData"] for key in keys] == ["a", "b"]
    assert not any("variants" in tag for tag in view_tags([]))
    assert [*view_links("7", view_tags([]))] == ["Trials", "Charts"]
    assert view_links("7", {"something": "else"}) == {}


def test_the_views_grow_with_what_is_swept_and_are_written_only_then(client: Any, uri: str) -> None:
    identity = client.create_experiment("grown")

    def columns() -> list[str]:
        return state(client.get_experiment(identity).tags, "trials")["selectedColumns"][:-4]

    views = Views(client, identity, "What for?", ["lr"])
    views.show(["amount"])
    assert columns() == ["params.`amount`", "params.`lr`"]
    client.set_experiment_tag(identity, "mlflow.note.content", "changed by a user")
    views.show(["amount"])
    views.show(["lr", "amount"])
    assert client.get_experiment(identity).tags["mlflow.note.content"] == "changed by a user"
    views.show(["depth"])
    assert columns() == ["params.`depth`", "params.`amount`", "params.`lr`"]
    reader = Reader(uri)
    assert reader.description("grown") == "What for?"
    assert {*reader.views("grown")} == {"Trials", "Variants (mean over the seeds)", "Charts"}


def test_a_view_of_many_swept_values_fits_a_tag() -> None:
    names = [f"stages.{number}.train.optimizer.weight_decay" for number in range(30)]
    assert max(map(len, view_tags(names).values())) <= 20_000  # what MLflow has room for


def test_an_experiment_of_somebody_else_keeps_its_description(client: Any, uri: str) -> None:
    client.set_experiment_tag(client.create_experiment("theirs"), "mlflow.note.content", "Theirs.")
    assert Reader(uri).description("theirs") == "Theirs."
    assert Reader(uri).views("theirs") == {}
