"""A comparison as a table: for the terminal, for documents, and for programs."""

import json
from collections.abc import Callable, Sequence
from html import escape
from math import isnan
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from framework._report.excerpt import Excerpt
from framework._report.metrics import NOTHING, is_fraction
from framework._report.variants import Interval, Variant

Format = Literal["markdown", "csv", "json", "latex", "html"]
LOWER = " ↓"  # beside a metric of which less is better
_ENDLESS = 10_000
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "↓": r"$\downarrow$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def comparison_table(groups: Excerpt[Any], *, notes: bool = True) -> Table:
    """The groups as a table for the terminal, with a column of notes or without."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    head, rows = cells(groups.shown, notes=notes)
    for column in head:
        justify: Literal["left", "right"] = "left" if column in WORDS else "right"
        title = Text(column.replace(" ±", "\n±").replace("% ", "%\n"))
        table.add_column(title, justify=justify, overflow="fold")
    for row in groups.lines(rows):
        table.add_row(*map(Text, row))  # as text: a list's brackets are no markup
    return table


def print_comparison(groups: Excerpt[Any], console: Console) -> None:
    """Print the table, with the notes below it where they do not fit beside it, and how to see what is left out."""
    table = comparison_table(groups)
    if console.measure(table, options=console.options.update(max_width=_ENDLESS)).maximum <= console.width:
        console.print(table)
    else:
        console.print(comparison_table(groups, notes=False))
        for group in groups.shown:
            if note := _note(group):
                console.print(Text(f"{group.label}: {note}"), soft_wrap=True)
    if groups.left_out:
        console.print(Text(f"These are {groups.told}: --limit 0 shows all."), soft_wrap=True)


def render(groups: Sequence[Variant[Any]], format: Format) -> str:
    """The groups as text that ends in a line break.

    Args:
        groups: of a comparison.
        format: ``markdown``, ``html`` and ``latex`` (a tabular of the package booktabs) show fractions as percentages,
            ``csv`` and ``json`` have the numbers as they are.
    """
    return _RENDERERS[format](groups)


def as_rows(groups: Sequence[Variant[Any]]) -> list[dict[str, Any]]:
    """The groups as plain data: what each is grouped by, then its numbers; what is missing is None."""
    names = list(dict.fromkeys(name for group in groups for name in group.values))
    return [
        {
            "label": group.label,
            **{name: group.values.get(name) for name in names},
            "n": group.n,
            "mean": _number(group.mean),
            "std": _number(group.std),
            **_ends("", group.interval),
            "difference": _number(group.difference),
            **_ends("difference_", group.difference_interval),
            "pairs": group.pairs,
            "failed": group.failed,
            "note": group.note,
        }
        for group in groups
    ]


def _ends(prefix: str, interval: Interval) -> dict[str, float | None]:
    return {f"{prefix}{name}": _number(end) for name, end in zip(("low", "high"), interval, strict=True)}


def _number(value: float | None) -> float | None:
    return None if value is None or isnan(value) else value


def _markdown(groups: Sequence[Variant[Any]]) -> str:
    head, rows = cells(groups)
    lines = [head, ["---" if column in WORDS else "--:" for column in head], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _csv(groups: Sequence[Variant[Any]]) -> str:
    from pandas import DataFrame

    rows = [{"metric": groups[0].metric, **row} for row in as_rows(groups)]
    # As objects: in a column of floats, whole numbers beside a missing one would no longer be whole.
    return str(DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n"))


def _json(groups: Sequence[Variant[Any]]) -> str:
    whole = {"metric": groups[0].metric, "confidence": 0.95, "groups": as_rows(groups)}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _latex(groups: Sequence[Variant[Any]]) -> str:
    from pandas import DataFrame

    head, rows = cells(groups)
    table = DataFrame([list(map(_escaped, row)) for row in rows], columns=list(map(_escaped, head)))
    columns = "".join("l" if column in WORDS else "r" for column in head)
    return f"% \\usepackage{{booktabs}}\n{table.to_latex(index=False, escape=False, column_format=columns)}"


def _html(groups: Sequence[Variant[Any]]) -> str:
    head, rows = cells(groups)
    lines = [("th", head), *(("td", row) for row in rows)]
    body = "".join(f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in line)}</tr>\n" for tag, line in lines)
    return f"<table>\n{body}</table>\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


_RENDERERS: dict[str, Callable[[Sequence[Variant[Any]]], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
    "html": _html,
}


# --- cells for people -----------------------------------------------------------------------------------------------

WORDS = ("variant", "note")


def cells(groups: Sequence[Variant[Any]], *, notes: bool = True) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of one or more groups; columns that say nothing of any group are left out."""
    metric = groups[0].metric
    percent = is_fraction(metric)
    columns: dict[str, list[str]] = {
        "variant": [group.label for group in groups],
        "n": [str(group.n) for group in groups],
        f"{metric}{'' if groups[0].maximize else LOWER} ± std": [_mean(group, percent) for group in groups],
        "95 % interval": [_range(group.interval, percent) for group in groups],
    }
    if any(group.difference is not None for group in groups):
        columns["difference"] = [_text(group.difference, percent, points=True) for group in groups]
        columns["its 95 % interval"] = [_range(group.difference_interval, percent, signed=True) for group in groups]
    if notes and any(map(_note, groups)):
        columns["note"] = list(map(_note, groups))
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _note(group: Variant[Any]) -> str:
    return "; ".join(filter(None, [f"{group.failed} failed" if group.failed else "", group.note]))


def _mean(group: Variant[Any], percent: bool) -> str:
    mean = _text(group.mean, percent)
    if group.std is None:
        return mean
    return f"{mean.removesuffix('%')} ± {_text(group.std, percent)}"


def _text(value: float | None, percent: bool, *, points: bool = False) -> str:
    """A difference of percentages is one of percentage points."""
    if value is None or isnan(value):
        return NOTHING
    sign = "+" if points else ""
    text = f"{100 * value:{sign}.2f}{' pp' if points else '%'}" if percent else f"{value:{sign}.4g}"
    return text.replace("-", "−") if text.startswith("-") else text


def _range(ends: Interval, percent: bool, *, signed: bool = False) -> str:
    low, high = ends
    if low is None or high is None:
        return NOTHING
    return f"{_bare(low, percent, signed)} to {_bare(high, percent, signed)}"


def _bare(value: float, percent: bool, signed: bool) -> str:
    return _text(value, percent, points=signed).removesuffix("%").removesuffix(" pp")
