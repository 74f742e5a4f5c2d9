import csv
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from trial_runs import results_of, trial, variants

from framework._report.comparison import compare
from framework._report.excerpt import by_metric, excerpt
from framework._report.formats import as_rows, print_comparison, render
from framework._report.metrics import is_fraction
from framework._report.variants import Variant
from framework._tracking import TrialRun

METRIC = "test/accuracy"
DENSE, PRUNED = [0.90, 0.92, 0.97], [0.88, 0.93, 0.95]


@pytest.fixture(scope="module")
def groups() -> list[Variant[TrialRun]]:
    failed = trial(None, 3, swept={"prune.amount": 0.2}, status="FAILED")
    return compare(results_of(*variants(a00=DENSE, a20=PRUNED, a90=[0.5]), failed), baseline="prune.amount=0.0")


def table(groups: list[Variant[TrialRun]], width: int = 120, limit: int = 0) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_comparison(excerpt(groups, limit, by_metric), console)
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_the_terminal_shows_percentages_and_differences_in_points(groups: list[Variant[TrialRun]]) -> None:
    assert table(groups) == [
        "                     test/accuracy             95 %                    its 95 %",
        "variant           n          ± std         interval  difference        interval  note",
        "─" * 111,
        "prune.amount=0.0  3  93.00 ± 3.61%  84.04 to 101.96           –               –  baseline",
        "prune.amount=0.2  3  92.00 ± 3.61%  83.04 to 100.96    −1.00 pp  −5.30 to +3.30  "
        "1 failed; no difference shown",
        "prune.amount=0.9  1         50.00%                –   −40.00 pp               –  one seed: no interval",
    ]


def test_what_says_nothing_has_no_column() -> None:
    assert table(compare(results_of(*variants(a20=DENSE))))[1].split() == ["variant", "n", "±", "std", "interval"]


def test_where_notes_do_not_fit_beside_the_table_they_stand_below(groups: list[Variant[TrialRun]]) -> None:
    lines = table(groups, width=80)
    assert lines[3] == "prune.amount=0.0  3  93.00 ± 3.61%  84.04 to 101.96           –               –"
    assert lines[6:] == [
        "prune.amount=0.0: baseline",
        "prune.amount=0.2: 1 failed; no difference shown",
        "prune.amount=0.9: one seed: no interval",
    ]


def test_of_many_the_best_and_the_worst_are_shown_with_the_baseline_and_how_to_see_the_others() -> None:
    values = {f"a{amount:02}": [1 - amount / 100] for amount in range(50)}
    groups = compare(results_of(*variants(**values)), baseline="prune.amount=0.25")
    lines = table(groups, limit=5)
    assert [line.split()[0] if "more" not in line else line for line in lines[3:-1]] == [
        *(f"prune.amount={amount}" for amount in ("0.0", "0.01", "0.02")),
        "… 22 more",
        "prune.amount=0.25",
        "… 22 more",
        *(f"prune.amount={amount}" for amount in ("0.48", "0.49")),
    ]
    assert lines[-1] == "These are the best and the worst 6 of 50 variants: --limit 0 shows all."
    assert len(table(groups, limit=0)) == 3 + 50


def test_on_a_narrow_terminal_nothing_is_cut(groups: list[Variant[TrialRun]]) -> None:
    words = " ".join(table(groups, width=50)).split()
    assert {"101.96", "−5.30", "+3.30", "−40.00"} <= {*words}


def test_brackets_in_a_label_are_no_markup() -> None:
    groups = compare(results_of(trial(0.9, swept={"head": "[100]"})))
    assert "head=[100]" in table(groups)[3]


def test_markdown_is_a_table_and_keeps_bars_apart() -> None:
    groups = compare(results_of(*variants(a20=DENSE), trial(0.5, swept={"prune.amount": "a|b"})))
    assert render(groups, "markdown").splitlines() == [
        "| variant | n | test/accuracy ± std | 95 % interval | note |",
        "| --- | --: | --: | --: | --- |",
        "| prune.amount=0.2 | 3 | 93.00 ± 3.61% | 84.04 to 101.96 |  |",
        r"| prune.amount=a\|b | 1 | 50.00% | – | one seed: no interval |",
    ]


def test_csv_has_the_numbers_as_they_are(groups: list[Variant[TrialRun]]) -> None:
    rows = list(csv.DictReader(io.StringIO(render(groups, "csv"))))
    assert [*rows[0]] == ["metric", *as_rows(groups)[0]]
    assert float(rows[1]["mean"]) == groups[1].mean
    assert float(rows[1]["difference_low"]) == groups[1].difference_interval[0]
    assert (rows[1]["prune.amount"], rows[1]["n"], rows[1]["failed"]) == ("0.2", "3", "1")
    assert (rows[2]["std"], rows[2]["note"]) == ("", "one seed: no interval")


def test_json_has_the_numbers_as_they_are_and_null_for_what_is_missing(groups: list[Variant[TrialRun]]) -> None:
    whole = json.loads(render(groups, "json"), parse_constant=lambda name: pytest.fail(name))
    assert (whole["metric"], whole["confidence"]) == (METRIC, 0.95)
    assert whole["groups"] == as_rows(groups)
    failed = compare(results_of(trial(0.9), trial(None, experiment="other", status="FAILED")))
    assert json.loads(render(failed, "json"))["groups"][1]["mean"] is None


def test_html_escapes_what_it_shows() -> None:
    page = render(compare(results_of(trial(0.9, swept={"a": "<b>&"}))), "html")
    assert "<td>a=&lt;b&gt;&amp;</td>" in page
    assert page.count("<tr>") == page.count("</tr>") == 2


def test_latex_is_a_booktabs_table_in_which_nothing_special_is_left() -> None:
    label = r"50%_&$#{}~^\<>|–"
    lines = render(compare(results_of(trial(0.9, experiment=label), *variants(a20=DENSE))), "latex").split("\n")
    assert lines[1] == r"\begin{tabular}{lrrrl}"
    assert [lines[2], lines[4], *lines[-4:]] == [
        r"\toprule",
        r"\midrule",
        lines[-4],
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    assert lines[3] == r"variant & n & test/accuracy $\pm$ std & 95 \% interval & note \\"
    assert lines[5] == (
        r"50\%\_\&\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}\textbar{}-- "
        r"& 1 & 90.00\% & -- & one seed: no interval \\"
    )
    assert lines[6] == r"prune prune.amount=0.2 & 3 & 93.00 $\pm$ 3.61\% & 84.04 to 101.96 &  \\"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(groups: list[Variant[TrialRun]], tmp_path: Path) -> None:
    odd = compare(results_of(trial(0.9, experiment=r"50%_&$#{}~^\<>|–"), *variants(a20=DENSE)))
    tables = "\n\n".join(render(found, "latex") for found in (groups, odd))
    source = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{tables}\\end{{document}}\n"
    (tmp_path / "it.tex").write_text(source)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "it.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_other_metrics_are_shown_as_they_are() -> None:
    trials = [trial(None, seed, metrics={"test/loss": value}) for seed, value in enumerate([0.5, 1.5, 1.0])]
    text = render(compare(results_of(*trials), metric="test/loss"), "markdown")
    assert "| prune | 3 | 1 ± 0.5 | −0.2421 to 2.242 |" in text


@pytest.mark.parametrize(
    ("metric", "fraction"),
    [("test/accuracy", True), ("sparsity", True), ("sparsity/fc", True), ("frozen", True), ("test/loss", False)],
)
def test_fractions_are_known(metric: str, fraction: bool) -> None:
    assert is_fraction(metric) == fraction
