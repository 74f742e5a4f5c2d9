"""`framework report`: one page that holds all, as a browser shows it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from running import Study, here, trials

from framework._registry import Registry
from framework._report.html import make_page
from framework._report.results import Results
from framework._tracking import Reader

CHROMIUM = shutil.which("chromium")
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
EVIL = '<script>document.title = "run"</script><img src=http://example.org/a.png onerror="document.title = 1">'
_VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """What is in a page; it fails on tags that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()
        self.text += " "

    def handle_data(self, text: str) -> None:
        self.text += text
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += text


@pytest.fixture(scope="module")
def file(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both experiments."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(study.folder)
        command = ["report", "study.yaml", "single", "--root", "results", "--baseline", "single"]
        assert here(*command, "-o", str(folder / "out" / "page.html"), monkeypatch=monkeypatch) == 0
    return folder / "out" / "page.html"


def test_it_is_one_file_that_says_where_it_is(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here("report", "single", "--root", str(study.root), monkeypatch=monkeypatch) == 0
    assert re.fullmatch(r"report\.html: 1 experiment, 1 trial, [\d.]+ kB\n", capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_anywhere(file: Path) -> None:
    page = Page(file.read_text())
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "data", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"@import|url\((?!#)", file.read_text())
    assert not {"link", "iframe", "object", "embed", "base"} & {*page.tags}
    [policy] = [value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value]
    assert policy.startswith("default-src 'none';")


def test_every_experiment_variant_trial_and_number_is_in_it(file: Path, study: Study) -> None:
    page = Page(file.read_text())
    overview, by_variant, *_ = page.tables
    assert sorted(row[0] for row in overview[1:]) == ["single", "study prune.amount=0.2", "study prune.amount=0.5"]
    assert sorted(row[0] for row in by_variant[1:]) == ["prune.amount=0.2", "prune.amount=0.5"]
    assert "Prune, train, unprune." in page.text
    for experiment in ("study", "single"):
        [table] = [t for t in page.tables if "run" in t[0] and len(t) == 1 + len(trials(study.root, experiment))]
        rows = {row[-1]: dict(zip(table[0], row, strict=True)) for row in table[1:]}
        for run in trials(study.root, experiment).values():
            row, metrics = rows[run.info.run_id[:8]], run.data.metrics
            assert row["test/accuracy"] == f"{metrics['test/accuracy']:.2%}"
            assert row["sparsity"] == f"{metrics['sparsity']:.2%}"
            assert (row["seed"], row["status"]) == (run.data.params["seed"], "finished")
            assert float(row["epochs"]) == metrics["epochs"]


def test_means_intervals_and_what_two_seeds_are_worth_are_in_it(file: Path, study: Study) -> None:
    overview = Page(file.read_text()).tables[0]
    [row] = [dict(zip(overview[0], row, strict=True)) for row in overview if row[0] == "study prune.amount=0.2"]
    runs = trials(study.root, "study")
    values = [runs[f"prune.amount=0.2 seed={seed}"].data.metrics["test/accuracy"] for seed in (0, 1)]
    assert row["n"] == "2"
    assert row["test/accuracy ± std"].startswith(f"{50 * sum(values):.2f} ± ")
    assert " to " in row["95 % interval"]
    assert "too few" in row["note"]


def test_it_says_how_it_was_set_up_and_how_to_have_it_again(file: Path, study: Study) -> None:
    text = " ".join(Page(file.read_text()).text.split())
    run = trials(study.root, "study")["prune.amount=0.2 seed=0"]
    assert "Swept prune.amount: 0.2, 0.5" in text
    assert "Seeds 0, 1 " in text
    assert f"Software {run.data.tags['framework.plugins']}, Python 3." in text
    assert re.search(r"Stage 1 train [^S]*epochs = 2", text)
    assert "Stage 2 prune amount = 0.2, 0.5" in text
    assert re.search(r"Stage 3 train, as in stage 1 epochs = 1 Stage 4 unprune fraction = 0\.5", text)
    assert "framework run study.yaml single.yaml twin.yaml --root results --address" in text
    assert re.search(r"This spec runs the trial prune\.amount=0\.[25] seed=[01] alone", text)
    assert "name: study model: name: convnet" in text
    assert "Made by framework report study.yaml single --root results --baseline single -o" in text


def test_its_figures_are_drawings_of_its_own_with_their_captions(file: Path) -> None:
    page = Page(file.read_text())
    assert page.tags.count("svg") == page.tags.count("figure") == page.tags.count("figcaption") >= 3
    assert page.tags.count("img") == page.tags.count("image") == 0


class Described(Reader):
    """A reader of which every experiment has this description."""

    def description(self, experiment: str) -> str:
        return EVIL


@pytest.fixture(scope="module")
def evil(study: Study, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = Results(Described(f"sqlite:///{study.root / 'mlflow.db'}"), ["single"])
    file = tmp_path_factory.mktemp("evil") / "page.html"
    file.write_text(
        make_page(results, registry, metric="sparsity", baseline=None, limit=0, command=f"framework {EVIL}")
    )
    return file


def test_what_looks_like_html_is_text(evil: Path) -> None:
    page = Page(evil.read_text())
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.text.count(EVIL) == 2


def shown(file: Path, folder: Path, *options: str) -> str:
    """A page as a browser has it after its scripts have run."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-background-networking", "--no-first-run", f"--user-data-dir={folder / 'profile'}", *options]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture
def clicked(file: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The first column of the trials after clicks on another one."""

    def click(column: str, times: int) -> list[str]:
        script = f"""
        const tables = [...document.querySelectorAll("table.sortable")];
        const table = tables.find((table) => table.tHead.textContent.includes("run"));
        const head = [...table.tHead.rows[0].cells].find((cell) => cell.textContent === "{column}");
        for (let i = 0; i < {times}; i++) head.querySelector("button").click();
        document.title = [head.getAttribute("aria-sort"), ...[...table.tBodies[0].rows].map(
          (row) => row.cells[head.cellIndex].textContent)].join("|");
        """
        # A copy that lets another script run: the page itself lets none but its own.
        text = re.sub(r"<meta http-equiv.*?>", "", file.read_text(), count=1)
        copy = tmp_path / "clicked.html"
        copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
        title = re.search(r"<title>(.*?)</title>", shown(copy, tmp_path, "--dump-dom"))
        assert title
        return title[1].split("|")

    return click


@browser
@pytest.mark.parametrize("column", ["test/accuracy", "sparsity", "seed"])
def test_a_click_sorts_by_a_column_and_another_one_the_other_way_round(
    clicked: Callable[..., list[str]], column: str
) -> None:
    order, *values = clicked(column, 1)
    assert (order, len(values)) == ("ascending", 4)
    assert values == sorted(values, key=lambda value: float(value.removesuffix("%")))
    order, *back = clicked(column, 2)
    assert order == "descending"
    assert back == sorted(values, key=lambda value: -float(value.removesuffix("%")))


@browser
def test_the_page_runs_its_own_script_and_no_other(file: Path, evil: Path, tmp_path: Path) -> None:
    dom = shown(file, tmp_path, "--dump-dom")
    assert dom.count("<button>") == sum(len(table[0]) for table in Page(file.read_text()).tables if len(table[0]) > 3)
    smuggled = tmp_path / "smuggled.html"
    smuggled.write_text(evil.read_text().replace("<h1>", f"{EVIL}<h1>"))
    assert "<title>single</title>" in shown(smuggled, tmp_path, "--dump-dom")


@browser
def test_it_prints(file: Path, tmp_path: Path) -> None:
    shown(file, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["study", "--metric", "test/acuracy"], "no trial has reported 'test/acuracy' (did you mean 'test/accuracy'?)"),
        (["studdy"], "there is neither a file nor an experiment 'studdy' (did you mean 'study'?)"),
        (["study", "-o", "taken/page.html"], "taken/page.html cannot be written: "),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str],
    why: str,
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    assert here("report", *arguments, "--root", str(study.root), monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err.startswith(f"error: {why}")
