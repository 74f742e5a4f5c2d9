"""The figures of a trial show what it has reported, and can be printed."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from looks import check_legible, drawn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plans import make_plan as plan

from framework._plan import TrialPlan
from framework._report.figures import CONFUSION, WEIGHTS, FigureData, as_files, as_svg, figure_data, trial_figures
from framework._report.figures.style import PALETTE
from framework._stage import Record

PRUNED = {"sparsity": 0.2, "sparsity/conv": 0.1, "sparsity/fc": 0.3}
DENSE = dict.fromkeys(PRUNED, 0.0)
RECORDS = [
    Record(1, 0, {"train/loss": 2.0, "val/loss": 2.1, "train/accuracy": 0.5, "val/accuracy": 0.4, **DENSE}, 0.0),
    Record(2, 0, {"train/loss": 1.0, "val/loss": 1.1, "train/accuracy": 0.7, "val/accuracy": 0.6, **DENSE}, 0.0),
    Record(2, 1, PRUNED, 0.0),
    Record(3, 2, {"train/loss": 1.5, "val/loss": 1.6, "train/accuracy": 0.6, "val/accuracy": 0.5, **PRUNED}, 0.0),
    Record(3, 2, {"test/accuracy": 0.55, "test/loss": 1.55, **PRUNED}, 0.0),
]
SPREAD = [
    {"stage": -1, "name": "the start", "limit": 2.0, "zeros": 0, "beyond": 0, "counts": [1, 3, 3, 1]},
    {"stage": 0, "name": "train", "limit": 4.0, "zeros": 0, "beyond": 2, "counts": [1, 2, 2, 1]},
    {"stage": 1, "name": "prune", "limit": 4.0, "zeros": 4, "beyond": 2, "counts": [1, 0, 0, 1]},
    {"stage": 2, "name": "train", "limit": 4.0, "zeros": 4, "beyond": 0, "counts": [2, 0, 0, 2]},
]
MISTAKEN = {"classes": ["cat", "dog", "ship"], "counts": [[8, 2, 0], [1, 3, 0], [0, 0, 5]]}


def files(**changed: Any) -> dict[str, bytes]:
    told = {WEIGHTS: SPREAD, CONFUSION: MISTAKEN, **changed}
    return {name: json.dumps(content).encode() for name, content in told.items()}


PLAN = plan("train", "prune", "train")


def figures(
    records: list[Record] = RECORDS, of: TrialPlan = PLAN, kept: Mapping[str, bytes] | None = None
) -> dict[str, Figure]:
    return trial_figures(figure_data(of, records, files() if kept is None else kept))


def curves(records: list[Record] = RECORDS, of: TrialPlan = PLAN) -> list[Axes]:
    return figures(records, of)["curves"].axes


def line(axes: Axes, label: str) -> list[tuple[float, float]]:
    [found] = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), float(y)) for x, y in zip(*found.get_data(), strict=True)]


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


# --- curves --------------------------------------------------------------------------------------------------------


def test_a_trials_curves_run_over_one_epoch_axis() -> None:
    loss, accuracy, sparsity = curves()
    assert line(loss, "train") == [(1, 2.0), (2, 1.0), (3, 1.5)]
    assert line(loss, "validation") == [(1, 2.1), (2, 1.1), (3, 1.6)]
    assert line(accuracy, "train") == [(1, 0.5), (2, 0.7), (3, 0.6)]
    assert line(accuracy, "validation") == [(1, 0.4), (2, 0.6), (3, 0.5)]
    assert line(accuracy, "test: 55.00%") == [(3, 0.55)]
    assert sparsity.get_xlabel() == "epoch"
    assert loss.get_xlim() == sparsity.get_xlim()


def test_pruning_is_a_vertical_jump_of_the_sparsity() -> None:
    _, _, sparsity = curves()
    assert line(sparsity, "all weights") == [(1, 0.0), (2, 0.0), (2, 0.2), (3, 0.2), (3, 0.2)]


def test_every_layers_sparsity_is_there_behind_that_of_all() -> None:
    _, _, sparsity = curves()
    layers = [(x, y) for x, y in line(sparsity, "each layer") if not math.isnan(x)]
    assert layers == [(1, 0), (2, 0), (2, 0.1), (3, 0.1), (3, 0.1), (1, 0), (2, 0), (2, 0.3), (3, 0.3), (3, 0.3)]


def test_the_frozen_fraction_is_drawn_only_where_something_is_frozen() -> None:
    frozen = [replace(r, metrics={**r.metrics, "frozen": 0.25}) for r in RECORDS]
    thawed = [replace(r, metrics={**r.metrics, "frozen": 0.0}) for r in RECORDS]
    assert {y for _, y in line(curves(frozen)[2], "frozen")} == {0.25}
    assert "frozen" not in [found.get_label() for found in curves(thawed)[2].lines]


def test_stages_are_named_where_they_stand_with_what_is_swept() -> None:
    loss, accuracy, _ = curves()
    assert [(t.get_text(), t.get_position()[0]) for t in loss.texts] == [
        ("train", 1.0),
        ("train", 2.5),
        ("prune amount=0.2", 2.0),
    ]
    assert [p.get_x() for p in accuracy.patches] == [0, 2]  # shaded
    assert [p.get_x() + p.get_width() for p in accuracy.patches] == [2, 3]
    assert [found.get_xdata()[0] for found in accuracy.lines if found.get_linestyle() == "--"] == [2]


def test_stages_at_one_epoch_share_a_line_and_a_label() -> None:
    records = [Record(0, 0, {"sparsity": 0.0}, 0.0), Record(0, 1, {"sparsity": 0.2}, 0.0), replace(RECORDS[0], stage=2)]
    told = [text.get_text() for text in curves(records, plan("freeze", "prune", "train"))[0].texts]
    assert "freeze, prune amount=0.2" in told


def test_what_is_swept_deep_inside_a_stage_is_told_with_it() -> None:
    deep = plan("train", "prune", "train", swept={"train.optimizer.lr": 0.125, "model": "convnet"})
    assert figure_data(deep, RECORDS, {}).stages == ["train lr=0.125", "prune", "train lr=0.125"]


def test_labels_that_find_no_room_are_left_out() -> None:
    many = plan(*["prune", "train"] * 60, swept={})
    records = [Record(index // 2 + index % 2, index, {"sparsity": 0.1}, 0.0) for index in range(120)]
    found = figures(records, many)["curves"]
    drawn(found)
    boxes = sorted((text.get_window_extent() for text in found.axes[0].texts), key=lambda box: box.x0)
    assert len(boxes) > 5
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_that_has_diverged_is_drawn(value: float) -> None:
    records = [*RECORDS[:2], Record(3, 0, {"train/loss": value, "val/loss": value, "sparsity": 0.0}, 0.0)]
    check_legible(figures(records)["curves"])


def test_a_legend_stands_where_it_covers_no_line() -> None:
    falling = [Record(e, 0, {"train/loss": 1 - e / 20, "train/accuracy": e / 20}, 0.0) for e in range(1, 20)]
    for axes, corner in zip(curves(falling), ("upper right", "lower right"), strict=False):
        assert axes.get_legend()._loc == {"upper right": 1, "lower right": 4}[corner]
    high = [Record(e, 0, {"train/loss": float(e < 10), "train/accuracy": 0.5}, 0.0) for e in range(1, 20)]
    assert curves(high)[0].get_legend()._loc == 1
    low = [Record(e, 0, {"train/loss": float(e > 10), "train/accuracy": 0.5}, 0.0) for e in range(1, 20)]
    assert curves(low)[0].get_legend()._loc == 4


# --- layers --------------------------------------------------------------------------------------------------------


def test_the_layers_stand_in_forward_order_with_the_sparsity_after_each_stage_that_changed_it() -> None:
    grown = [*RECORDS[:-1], Record(3, 2, {"sparsity": 0.1, "sparsity/conv": 0.0, "sparsity/fc": 0.2}, 0.0)]
    [axes] = figures(grown)["layers"].axes
    assert names(axes) == ["conv", "fc"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first one at the top
    assert {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers} == {
        "after prune amount=0.2: 20.0%": [0.1, 0.3],
        "at the end: 10.0%": [0.0, 0.2],
    }


def test_of_many_prunings_three_are_shown() -> None:
    many = plan(*["prune"] * 9, "train", swept={})
    records = [Record(0, i, {"sparsity": i / 10, "sparsity/fc": i / 10}, 0.0) for i in range(1, 9)]
    [axes] = figures(records, many)["layers"].axes
    assert [bars[0].get_width() for bars in axes.containers] == [0.1, 0.5, 0.8]


def test_a_dense_trial_has_no_figure_of_layers() -> None:
    assert "layers" not in figures(RECORDS[:2])


def test_so_many_layers_that_not_all_can_be_named_still_fit() -> None:
    wide = {f"sparsity/encoder.layers.{i}.attention.output.projection.dense": 0.2 for i in range(200)}
    found = figures([Record(0, 1, {"sparsity": 0.2, **wide}, 0.0)])["layers"]
    check_legible(found)
    assert 20 < len(names(found.axes[0])) < 200


# --- weights -------------------------------------------------------------------------------------------------------


def spread(kept: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    [axes] = figures(kept=files(**{WEIGHTS: kept}))["weights"].axes
    return {str(found.get_label()): line(axes, str(found.get_label())) for found in axes.lines}


def test_weights_are_shown_before_pruning_after_it_and_at_the_end() -> None:
    assert spread(SPREAD) == {
        "before prune: 0.0% zeros": [(-3, 1 / 16), (-1, 2 / 16), (1, 2 / 16), (3, 1 / 16)],
        "after prune: 50.0% zeros": [(-3, 1 / 16), (-1, 0), (1, 0), (3, 1 / 16)],
        "at the end: 50.0% zeros": [(-3, 2 / 16), (-1, 0), (1, 0), (3, 2 / 16)],
    }


def test_without_pruning_weights_are_shown_at_the_start_and_at_the_end() -> None:
    assert [*spread(SPREAD[:2])] == ["at the start: 0.0% zeros", "at the end: 0.0% zeros"]


def test_weights_that_are_not_finite_are_not_shown() -> None:
    lost = {"stage": 0, "name": "train", "limit": 0.0, "zeros": 0, "beyond": 8, "counts": []}
    assert [*spread([SPREAD[0], lost])] == ["at the start: 0.0% zeros", "at the end: 0.0% zeros"]
    assert "weights" not in figures(kept=files(**{WEIGHTS: [lost]}))


# --- confusion -----------------------------------------------------------------------------------------------------


def test_the_confusion_has_a_row_for_each_true_class_as_shares_with_the_counts() -> None:
    [axes] = figures()["confusion"].axes
    assert names(axes) == [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "ship"]
    assert axes.collections[0].get_array().tolist() == [[0.8, 0.2, 0], [0.25, 0.75, 0], [0, 0, 1]]
    written = {(text.get_position()[1] // 1, text.get_position()[0] // 1): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (0, 1): "2", (1, 0): "1", (1, 1): "3", (2, 2): "5"}
    assert axes.get_ylim() == (3, 0)


@pytest.mark.parametrize(("classes", "count"), [(2, 9), (10, 1000), (10, 10**6), (43, 30), (100, 100)])
def test_any_number_of_classes_is_legible(classes: int, count: int) -> None:
    counts = [[count if row == column else count // 10 for column in range(classes)] for row in range(classes)]
    told = {"classes": [f"a class called {index}" for index in range(classes)], "counts": counts}
    found = figures(kept=files(**{CONFUSION: told}))["confusion"]
    check_legible(found)
    assert bool(found.axes[0].texts) == (count < 10**5 and classes <= 10)
    assert len(as_files({"it": found})["figures/it.svg"]) < 200_000


def test_a_class_without_images_is_an_empty_row() -> None:
    told = {"classes": ["a", "b"], "counts": [[4, 0], [0, 0]]}
    [axes] = figures(kept=files(**{CONFUSION: told}))["confusion"].axes
    assert axes.collections[0].get_array().tolist() == [[1, 0], [0, 0]]


# --- all -----------------------------------------------------------------------------------------------------------


def test_there_are_those_figures_that_there_is_something_to_show_in() -> None:
    assert [*figures()] == ["curves", "layers", "weights", "confusion"]
    assert [*figures(RECORDS[:1], kept={})] == ["curves"]
    assert figures([]) == {}


@pytest.mark.parametrize("records", [RECORDS[:1], RECORDS], ids=["one", "all"])
def test_all_can_be_read_in_print(records: list[Record]) -> None:
    for found in figures(records).values():
        check_legible(found)


def test_names_that_are_too_long_are_cut() -> None:
    long = {f"train.some_parameter_{i}": 0.123456 for i in range(30)}
    for found in figures(of=plan("train", "prune", "train", swept=long)).values():
        check_legible(found)


def test_colours_are_those_that_the_colour_blind_tell_apart() -> None:
    loss, _, _ = curves()
    assert {str(found.get_color()) for found in loss.lines[:2]} <= {*PALETTE}
    assert len({*PALETTE}) == 7
    assert all(contrast(color) > 1.7 for color in PALETTE)


def contrast(color: str) -> float:
    """With white paper, as the web's guidelines compute it."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 1.05 / (0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))


def test_the_same_trial_gives_the_same_files_and_text_stays_text() -> None:
    one, other = as_files(figures()), as_files(figures())
    assert [*one] == [f"figures/{n}.{f}" for n in ("curves", "layers", "weights", "confusion") for f in ("png", "svg")]
    assert one == other
    for name, content in one.items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert ">prune amount=0.2</text>" in one["figures/curves.svg"].decode()


def test_a_figure_can_stand_in_a_page() -> None:
    text = as_svg(figures()["curves"])
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")
    assert "<!DOCTYPE" not in text


def test_a_notebook_shows_a_figure() -> None:
    assert figures()["curves"]._repr_png_().startswith(b"\x89PNG")


def test_drawing_a_trial_needs_neither_torch_nor_ray_nor_mlflow() -> None:
    trial = figure_data(PLAN, RECORDS, files())
    code = f"""
import sys
from framework._report.figures import worker
from framework._report.figures import FigureData, as_files, trial_figures
drawn = as_files(trial_figures(FigureData({trial.title!r}, {trial.stages!r}, {trial.records!r}, {trial.files!r})))
assert len(drawn) == 8
print(sorted({{"torch", "ray", "mlflow", "pandas", "scipy", "pydantic"}} & {{*sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_sent_to_be_drawn_is_only_what_is_drawn() -> None:
    assert figure_data(PLAN, RECORDS, {**files(), "large.bin": b"x"}).files == files()
    assert FigureData("", ["train"], [(1, 0, {"sparsity/b": 0.0, "sparsity/a": 0.0})]).layers == ["b", "a"]
