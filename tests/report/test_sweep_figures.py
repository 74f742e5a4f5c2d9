"""The figures of sweeps: which ones there are, what they show, and those of plugins."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from looks import check_legible
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sweeps import Table, by_amount, pruned, sweep, together

from framework import DataError, hookimpl
from framework._registry import Registry
from framework._report.figures import (
    all_sweep_figures,
    as_files,
    plot_against,
    plot_densities,
    plot_history,
    plot_variants,
    sweep_figures,
)
from framework._report.figures.style import PALETTE
from framework._report.statistics import interval


def same(point: Mapping[str, Any], seed: int) -> dict[str, float]:
    """All alike, but for the seed."""
    return {"test/accuracy": 0.8 + seed / 100, "sparsity": 0.0}


OUTPUTS = sweep({"model.output": ["logits", "softmax"], "model.scale": [1.0, 5.0]}, same)
FROZEN = sweep(
    {"freeze.fraction": [0.1, 0.2]}, lambda point, seed: {**same(point, seed), "frozen": point["freeze.fraction"]}
)
RATES = sweep({"train.lr": [0.001, 0.01, 0.1]}, same)
BOTH = together(pruned(experiment="finetuned"), pruned(experiment="pretrained"))


def means(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each line that the legend names, or of the only one."""
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    lines = named or [axes.lines[-1]]
    return {str(line.get_label()): [(round(x, 9), round(y, 9)) for x, y in line.get_xydata()] for line in lines}


# --- which ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (pruned(), ["accuracy-against-sparsity", "accuracy-over-epochs"]),
        (FROZEN, ["accuracy-against-frozen", "accuracy-over-epochs"]),
        (RATES, ["accuracy-against-train.lr", "accuracy-over-epochs"]),
        (OUTPUTS, ["accuracy-against-model.scale", "accuracy-by-variant", "accuracy-over-epochs"]),
        (BOTH, ["accuracy-against-sparsity", "accuracy-by-variant", "accuracy-over-epochs"]),
        (sweep({}, same), ["accuracy-over-epochs"]),
        (pruned([i / 20 for i in range(1, 19)]), ["accuracy-against-remaining"]),
        (
            sweep({"prune.amount": [0.1, 0.5], "train.lr": [0.1, 0.2]}, by_amount),
            ["accuracy-against-sparsity", "accuracy-against-train.lr", "accuracy-over-epochs"],
        ),
    ],
    ids=["pruned", "frozen", "rates", "outputs", "two experiments", "one variant", "many variants", "two numbers"],
)
def test_a_sweep_has_the_figures_that_fit_what_was_swept_and_all_are_legible(table: Table, names: list[str]) -> None:
    found = sweep_figures(table)
    assert [*found] == names
    for figure in found.values():
        check_legible(figure)


def test_figures_are_of_what_counts_most() -> None:
    table = replace(pruned(), primary="iou")
    table = replace(
        table,
        trials=table.trials.rename(columns={"test/accuracy": "test/iou"}),
        histories={name.replace("accuracy", "iou"): history for name, history in table.histories.items()},
    )
    assert [*sweep_figures(table)] == ["iou-against-sparsity", "iou-over-epochs"]
    assert plot_variants(table).axes[0].get_xlabel() == "test iou"
    assert plot_history(table).axes[0].get_ylabel() == "val iou"


def test_trials_that_did_not_come_to_their_end_are_in_no_figure() -> None:
    table = pruned()
    table.trials.loc[0, "status"] = "FAILED"
    table.trials.loc[1, "stopped"] = True
    [axes] = plot_against(table, "sparsity").axes
    assert [y for _, y in means(axes)[axes.lines[-1].get_label()]] == pytest.approx([0.9, 0.87, 0.85])
    table.trials["status"] = "RUNNING"
    assert sweep_figures(table) == {}


# --- against -------------------------------------------------------------------------------------------------------


def test_accuracy_against_sparsity_is_the_mean_with_its_interval_over_each_seed() -> None:
    [axes] = plot_against(pruned(), "sparsity").axes
    *_, line = axes.lines
    assert line.get_xydata() == pytest.approx(np.array([[0.1, 0.89], [0.2, 0.87], [0.3, 0.85]]))
    assert line.get_linestyle() == "-"
    faint = [found for found in axes.lines if found.get_alpha()]
    assert next(list(found.get_ydata()) for found in faint) == pytest.approx([0.88, 0.89, 0.90])
    bars = [tuple(found.get_ydata()) for found in axes.lines if found.get_marker() == "_"]
    assert bars[0] == pytest.approx(interval([0.88, 0.89, 0.90]))
    assert len(bars) == 3
    assert "95 % interval" in axes.figure.texts[1].get_text()


def test_two_seeds_have_no_interval() -> None:
    [axes] = plot_against(pruned(seeds=(0, 1)), "sparsity").axes
    assert not [found for found in axes.lines if found.get_marker() == "_"]
    assert axes.figure.texts[1].get_text() == "mean over 2 seeds; each trial faint"


def test_experiments_are_lines_of_their_own() -> None:
    [axes] = plot_against(BOTH, "sparsity").axes
    assert {name: len(points) for name, points in means(axes).items()} == {"finetuned": 3, "pretrained": 3}
    assert axes.get_legend().get_title().get_text() == "experiment"
    assert {line.get_color() for line in axes.lines} == {*PALETTE[:2]}


def test_what_else_is_swept_sets_lines_apart() -> None:
    table = sweep({"prune.amount": [0.1, 0.5], "prune.criterion": ["magnitude", "random"]}, by_amount)
    [axes] = plot_against(table, "sparsity").axes
    assert means(axes) == {name: [(0.1, 0.89), (0.5, 0.81)] for name in ("magnitude", "random")}


def test_points_that_no_single_number_orders_are_not_connected() -> None:
    table = together(*(pruned(experiment=name) for name in "abcdefghijklmno"))
    [axes] = plot_against(table, "sparsity").axes
    assert axes.get_legend() is None
    points = sweep({"a.x": [1, 2, 3], "b.y": [1, 2, 3]}, lambda p, seed: {**same(p, seed), "sparsity": p["a.x"] / 10})
    [axes] = plot_against(points, "sparsity").axes
    assert {*means(axes)} == {"1", "2", "3"}  # b.y


def test_the_sensitivity_of_layers_is_a_line_for_each_along_the_amount() -> None:
    share = {"[conv1]": 0.05, "[conv2]": 0.9, "[fc]": 0.05}

    def alone(point: Mapping[str, Any], seed: int) -> dict[str, float]:
        return {**by_amount(point, seed), "sparsity": point["prune.amount"] * share[point["prune.layers"]]}

    found = sweep_figures(sweep({"prune.layers": [*share], "prune.amount": [0.1, 0.5, 0.9, 0.99]}, alone))
    figure = found["accuracy-against-prune.amount"]
    check_legible(figure)
    points = [(amount, round(0.91 - amount / 5, 9)) for amount in (0.1, 0.5, 0.9, 0.99)]
    assert means(figure.axes[0]) == dict.fromkeys(share, points)


def test_more_lines_than_colours_are_dashed_and_named_beside_the_panel_and_trials_are_left_out() -> None:
    table = together(*(pruned(experiment=f"method{i}", amounts=[0.5, 0.9]) for i in range(13)))
    figure = plot_against(table, "sparsity")
    check_legible(figure)
    [axes] = figure.axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == 13
    assert not [line for line in axes.lines if line.get_alpha()]
    assert figure.texts[1].get_text() == "mean over 3 seeds, with its 95 % interval"
    drawn_legend = axes.get_legend().get_window_extent()
    assert drawn_legend.x0 >= axes.get_window_extent().x1


def test_each_experiment_is_a_line_along_the_number_by_which_its_own_sparsity_varies() -> None:
    amount = sweep({"prune.amount": [0.5, 0.75]}, by_amount, experiment="once")
    halved = {"times": [1, 2]}
    times = sweep(halved, lambda p, s: by_amount({"prune.amount": 1 - 0.5 ** p["times"]}, s), experiment="on")
    [axes] = plot_against(together(amount, times), "sparsity").axes
    assert means(axes) == {name: [(0.5, 0.81), (0.75, 0.76)] for name in ("once", "on")}
    assert {line.get_linestyle() for line in axes.lines if not line.get_label().startswith("_")} == {"-"}


# --- against what remains ------------------------------------------------------------------------------------------

HALVES = [0.5, 0.75, 0.875, 0.9375, 0.96875, 0.984375]


def labels(axes: Axes) -> list[str]:
    return [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]


def test_far_sparsities_are_drawn_by_what_remains_on_a_logarithmic_axis_with_the_compression() -> None:
    figure = sweep_figures(pruned(HALVES))["accuracy-against-remaining"]
    check_legible(figure)
    [axes] = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.xaxis_inverted()
    assert labels(axes) == ["50 % 2×", "25 % 4×", "12.5 % 8×", "6.25 % 16×", "3.12 % 32×", "1.56 % 64×"]
    *_, line = axes.lines
    assert line.get_xdata() == pytest.approx([2**-k for k in (6, 5, 4, 3, 2, 1)])
    assert line.get_ydata() == pytest.approx([0.91 - (1 - x) / 5 for x in line.get_xdata()])
    assert len([found for found in axes.lines if found.get_marker() == "_"]) == 6


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        ([0.5, 0.8, 0.9, 0.95], ["50 % 2×", "20 % 5×", "10 % 10×", "5 % 20×"]),
        ([1 - 0.8**k for k in range(1, 16)], ["50 % 2×", "25 % 4×", "12.5 % 8×", "6.25 % 16×"]),
        (
            [1 - 10 ** -(k / 4) for k in range(4, 21)],
            ["10 % 10×", "1 % 100×", "0.1 % 1,000×", "0.01 % 10,000×", "0.001 % 100,000×"],
        ),
        ([0.9], ["10 % 10×"]),
    ],
    ids=["points", "halves", "tenths", "one"],
)
def test_its_ticks_are_the_points_if_they_have_room_and_else_powers(amounts: list[float], shown: list[str]) -> None:
    figure = plot_against(pruned(amounts), "remaining")
    check_legible(figure)
    assert labels(figure.axes[0]) == shown


def test_what_is_not_pruned_is_a_line_with_the_interval_of_its_seeds_as_a_band() -> None:
    dense = sweep({}, lambda point, seed: {"test/accuracy": 0.9 + seed / 100, "sparsity": 0.0}, experiment="baseline")
    figure = plot_against(together(dense, pruned(HALVES, experiment="prune")), "remaining")
    check_legible(figure)
    [axes] = figure.axes
    found = means(axes)
    assert {*found} == {"dense"}
    assert [y for _, y in found["dense"]] == pytest.approx([0.91, 0.91])
    [band] = axes.patches
    low, high = interval([0.90, 0.91, 0.92])
    assert (band.get_y(), band.get_y() + band.get_height()) == (pytest.approx(low), pytest.approx(high))
    assert max(max(line.get_xdata()) for line in axes.lines if line.get_marker() == "o") == 0.5


def test_variants_that_come_out_the_same_without_pruning_are_one_baseline_of_as_many_seeds() -> None:
    table = sweep({"prune.amount": [0, *HALVES], "prune.criterion": ["l1", "snip"]}, by_amount)
    [axes] = plot_against(table, "remaining").axes
    assert {*means(axes)} == {"l1", "snip", "dense"}
    assert len(axes.patches) == 1


def test_of_several_baselines_each_has_the_colour_of_its_line() -> None:
    def by_model(point: Mapping[str, Any], seed: int) -> dict[str, float]:
        found = by_amount(point, seed)
        return {**found, "test/accuracy": found["test/accuracy"] - (point["model"] == "small") / 10}

    table = sweep({"prune.amount": [0, *HALVES], "model": ["large", "small"]}, by_model)
    [axes] = plot_against(table, "remaining").axes
    assert {*means(axes)} == {"large", "small"}
    lines = {line.get_label(): line.get_color() for line in axes.lines}
    assert [to_hex(band.get_facecolor()) for band in axes.patches] == [to_hex(lines["large"]), to_hex(lines["small"])]


def test_without_any_weight_left_there_is_no_point_and_without_pruning_no_figure() -> None:
    [axes] = plot_against(pruned([0.9, 1.0]), "remaining").axes
    assert labels(axes) == ["10 % 10×"]
    with pytest.raises(DataError, match="no trial that has 'test/accuracy' is pruned"):
        plot_against(RATES, "remaining")


def test_a_collapse_does_not_hide_what_tells_the_others_apart() -> None:
    def measure(point: Mapping[str, Any], seed: int) -> dict[str, float]:
        collapsed = point["prune.criterion"] == "fisher" and point["prune.amount"] == HALVES[-1]
        return {**by_amount(point, seed), **({"test/accuracy": 0.1} if collapsed else {})}

    table = sweep({"prune.amount": HALVES, "prune.criterion": ["magnitude", "fisher"]}, measure)
    figure = plot_against(table, "remaining")
    check_legible(figure)
    low, high = figure.axes[0].get_ylim()
    worst = 0.9 - HALVES[-1] / 5 + 0.01
    assert worst - 0.02 < low < worst
    assert high < 1
    assert any("; 1 far off are not shown" in text.get_text() for text in figure.texts)
    [axes] = plot_against(pruned([0.5, 0.999]), "remaining").axes  # too few to tell
    assert axes.get_ylim()[0] < 0.9 - 0.999 / 5


def test_what_was_swept_over_decades_stands_on_a_logarithmic_axis() -> None:
    assert plot_against(RATES, "train.lr").axes[0].get_xscale() == "log"
    [axes] = plot_against(pruned(), "prune.amount").axes
    assert axes.get_xscale() == "linear"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2", "0.3"]


def test_what_cannot_be_drawn_is_told_with_what_could_be() -> None:
    with pytest.raises(DataError, match=r"no trial has reported 'test/acuracy' \(did you mean 'test/accuracy'\?\)"):
        plot_against(pruned(), "sparsity", "test/acuracy")
    with pytest.raises(DataError, match=r"nothing called 'prune.amont' to draw against \(did you mean 'prune.amount'"):
        plot_against(pruned(), "prune.amont")
    with pytest.raises(DataError, match=r"nothing called 'model.output' to draw against"):
        plot_against(OUTPUTS, "model.output")


# --- by layer ------------------------------------------------------------------------------------------------------


def by_layer(point: Mapping[str, Any], seed: int) -> dict[str, float]:
    """The first layer keeps more than the last one."""
    amount = point["prune.amount"]
    return {**by_amount(point, seed), "sparsity/stem": amount / 2, "sparsity/block": amount, "sparsity/fc": amount**2}


def test_the_density_of_each_layer_is_a_line_per_variant_in_forward_order() -> None:
    found = sweep_figures(sweep({"prune.amount": [0, 0.2, 0.5]}, by_layer))
    assert [*found] == ["accuracy-against-sparsity", "density-by-layer", "accuracy-over-epochs"]
    check_legible(found["density-by-layer"])
    [axes] = found["density-by-layer"].axes
    assert labels(axes) == ["stem", "block", "fc"]
    assert means(axes) == {"0.2": [(0, 0.9), (1, 0.8), (2, 0.96)], "0.5": [(0, 0.75), (1, 0.5), (2, 0.75)]}
    assert axes.get_yscale() == "linear"
    assert axes.figure.texts[1].get_text() == "in forward order; mean over 3 seeds"


def test_of_more_variants_than_can_be_told_apart_there_are_the_sparsest_with_empty_layers_as_crosses() -> None:
    def emptied(point: Mapping[str, Any], seed: int) -> dict[str, float]:
        far = point["prune.amount"] > 0.98
        return {**by_layer(point, seed), "sparsity/block": 1.0 if far else 0.5}

    tables = [sweep({"prune.amount": HALVES}, emptied, experiment=name) for name in ("magnitude", "random", "synflow")]
    figure = plot_densities(together(*tables))
    check_legible(figure)
    [axes] = figure.axes
    assert axes.get_yscale() == "log"
    far = 1 - HALVES[-1] ** 2
    assert {name: [y for x, y in points if x != 1] for name, points in means(axes).items()} == {
        name: pytest.approx([1 - HALVES[-1] / 2, far], abs=1e-8) for name in ("magnitude", "random", "synflow")
    }
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[1]] * 3
    assert all(axes.get_ylim()[0] < line.get_ydata()[0] < far for line in crosses)
    told = "in forward order; mean over 3 seeds; where most is pruned; ×: no weight left"
    assert figure.texts[1].get_text() == told


def test_layers_that_differ_or_are_not_pruned_are_not_drawn() -> None:
    other = sweep({"prune.amount": [0.5]}, lambda p, s: {**by_amount(p, s), "sparsity/a": 0.1, "sparsity/b": 0.2})
    with pytest.raises(DataError, match="no trial that has finished is pruned"):
        plot_densities(RATES)
    with pytest.raises(DataError, match="the networks have a single layer, if any"):
        plot_densities(pruned())
    orders = {"toy prune.amount=0.5 0": ["a", "b"], "b prune.amount=0.2 0": ["a"]}

    class Differing(Table):
        def layers(self, run_id: str) -> list[str]:
            return orders[run_id]

    table = together(other, pruned([0.2], experiment="b"))
    with pytest.raises(DataError, match="the networks have different layers"):
        plot_densities(Differing(table.swept, table.trials, table.histories, table.names))


# --- over the epochs -----------------------------------------------------------------------------------------------


def test_curves_over_the_epochs_are_means_with_bands_by_amount_and_stages_are_marked() -> None:
    accuracy, sparsity = plot_history(pruned()).axes
    assert [len(axes.lines) - 1 for axes in (accuracy, sparsity)] == [4, 3]  # but for the mark of prune, and its tick
    first = accuracy.lines[0]
    # At epoch 2 twice: before it was pruned, and after.
    assert list(first.get_xdata()) == [1, 2, 2, 3, 4]
    assert list(first.get_ydata()) == pytest.approx([0.59, 0.74, 0.79, 0.79, 0.815])
    assert list(sparsity.lines[2].get_ydata()) == pytest.approx([0, 0, 0.3, 0.3, 0.3])
    low, high = interval([0.58, 0.59, 0.60])
    band = accuracy.collections[0].get_paths()[0].vertices
    assert sorted({round(y, 6) for x, y in band if x == 1}) == pytest.approx([low, high], abs=1e-6)
    assert [text.get_text() for text in accuracy.texts] == ["train", "train", "prune"]
    assert (accuracy.get_ylabel(), sparsity.get_ylabel()) == ("val accuracy", "sparsity")
    [legend] = accuracy.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.2", "0.3"]


def test_numbers_go_from_dark_to_light_and_words_have_colours_of_their_own() -> None:
    dark, *_, light = (to_hex(line.get_color()) for line in plot_history(pruned()).axes[0].lines[:3])
    assert sum(int(dark[i : i + 2], 16) for i in (1, 3, 5)) < sum(int(light[i : i + 2], 16) for i in (1, 3, 5))
    words = plot_history(sweep({"model.output": ["logits", "softmax"]}, same), ["val/accuracy"]).axes[0]
    assert [line.get_color() for line in words.lines[:2]] == [*PALETTE[:2]]


def test_numbers_are_in_order_whichever_was_run_first() -> None:
    [legend] = plot_history(pruned([0.3, 0.1, 0.2])).legends
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.2", "0.3"]


def test_trials_with_other_stages_have_no_common_marks() -> None:
    table = together(pruned(experiment="short"), pruned(experiment="long", epochs=6))
    accuracy, _ = plot_history(table).axes
    assert not accuracy.texts
    check_legible(accuracy.figure)


def test_more_curves_than_can_be_told_apart_are_an_error() -> None:
    with pytest.raises(DataError, match="8 variants have finished: curves of 1 to 7 can be told apart"):
        plot_history(pruned([i / 10 for i in range(1, 9)]))


# --- side by side --------------------------------------------------------------------------------------------------


def test_variants_stand_side_by_side_with_what_sets_them_apart() -> None:
    [axes] = plot_variants(OUTPUTS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "output=logits, scale=1",
        "output=softmax, scale=1",
        "output=logits, scale=5",
        "output=softmax, scale=5",
    ]
    centres = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [float(line.get_xdata()[0]) for line in centres] == pytest.approx([0.81] * 4)
    assert [float(line.get_ydata()[0]) for line in centres] == [0, 1, 2, 3]
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert bars == [pytest.approx(interval([0.8, 0.81, 0.82]))] * 4


def test_long_names_of_variants_are_cut_where_they_are_alike() -> None:
    table = sweep({"data.path": [f"/somewhere/very/far/away/from/here/in/a/folder/{i}.npz" for i in range(3)]}, same)
    figure = plot_variants(table)
    check_legible(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len({*labels}) == 3


def test_of_many_variants_the_highest_and_the_lowest_stand_side_by_side() -> None:
    figure = plot_variants(pruned([i / 100 for i in range(1, 41)]))
    check_legible(figure)
    [axes] = figure.axes
    assert len(axes.get_yticklabels()) == 30
    centres = [float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert centres == sorted(centres, reverse=True)
    assert any("the 15 highest and lowest of 40 variants" in text.get_text() for text in figure.texts)


def test_of_hundreds_of_variants_there_are_points_alone() -> None:
    table = sweep({"prune.amount": [i / 1000 for i in range(1, 201)], "train.lr": [0.1, 0.2]}, by_amount)
    figure = plot_against(table, "sparsity")
    check_legible(figure)
    [axes] = figure.axes
    assert [line.get_linestyle() for line in axes.lines] == ["None"] * 2
    assert sum(len(line.get_xdata()) for line in axes.lines) == 400
    assert any("a point for each of 400 variants" in text.get_text() for text in figure.texts)


# --- of plugins ----------------------------------------------------------------------------------------------------


class Speed:
    """Draws what it is given."""

    @hookimpl
    def sweep_figures(self, trials: Any, history: Any) -> dict[str, Figure]:
        figure = Figure()
        axes = figure.subplots()
        axes.plot(trials["seed"], trials["test/accuracy"], "o")
        axes.plot(history("val/accuracy")["epoch"])
        trials["test/accuracy"] = 0.0  # no harm to the others
        return {"speed": figure}


def drawn(*plugins: object) -> tuple[dict[str, Figure], list[str]]:
    remarks: list[str] = []
    registry = Registry((plugin, f"third-{index} 1") for index, plugin in enumerate(plugins))
    return all_sweep_figures(pruned(), registry, remarks.append), remarks


def test_sweep_figures_of_a_plugin_stand_beside_the_built_in_ones() -> None:
    found, remarks = drawn(Speed())
    assert remarks == []
    assert [*found] == ["accuracy-against-sparsity", "accuracy-over-epochs", "speed"]
    points, epochs = found["speed"].axes[0].lines
    assert len(points.get_xdata()) == 9
    assert len(epochs.get_ydata()) == 45
    assert as_files(found)["figures/speed.svg"].startswith(b"<?xml")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "it must return figures by name, not int"),
        ({"mine": 3}, "'mine' must be a matplotlib.figure.Figure, not int"),
        ({"a/b": Figure()}, "a figure's name becomes a file's: up to 100 letters, digits, '.', '-' and '_', not 'a/b'"),
        ({"accuracy-over-epochs": Figure()}, "there is a figure called 'accuracy-over-epochs' already"),
        ({"speed": Figure()}, "there is a figure called 'speed' already"),
    ],
)
def test_what_is_no_figure_or_has_a_name_that_is_taken_is_told_with_the_plugin(given: Any, told: str) -> None:
    class Wrong:
        @hookimpl
        def sweep_figures(self) -> Any:
            return given

    found, remarks = drawn(Wrong(), Speed())
    assert remarks == [f"third-0 1: sweep_figures failed: {told}"]
    assert [*found] == ["accuracy-against-sparsity", "accuracy-over-epochs", "speed"]


def test_a_plugin_that_fails_is_told_and_the_others_are_drawn() -> None:
    class Fails:
        @hookimpl
        def sweep_figures(self, trials: Any) -> Any:
            return trials["nothing of that name"]

    found, remarks = drawn(Speed(), Fails())
    assert "speed" in found
    assert remarks == ["third-1 1: sweep_figures failed: KeyError: 'nothing of that name'"]


def test_a_plugin_that_only_draws_sweeps_observes_no_trial() -> None:
    registry = Registry([(Speed(), "third 1")])
    assert registry.observers == []
    assert registry.plugins[0].hooks == ("sweep_figures",)
