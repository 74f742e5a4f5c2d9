"""`framework ui` in a browser."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import DRIVER, Browser, answers, browsing
from running import SCRIPT, Study, client, environment, framework, free_port, parents, trials, wait_for


@pytest.fixture(scope="module")
def printed(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What the command prints while it serves the study's results."""
    port = free_port()
    log = tmp_path_factory.mktemp("ui") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [SCRIPT, "ui", "--port", str(port), "--root", "results"],
            cwd=study.folder,
            env=environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def there() -> bool:
        assert process.poll() is None, log.read_text()
        return answers(f"http://127.0.0.1:{port}/health")

    try:
        wait_for(there)
        assert f"http://127.0.0.1:{port}" in log.read_text()
        yield log.read_text().splitlines()
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def server(printed: list[str]) -> str:
    """Its URL."""
    return str(re.findall(r"^MLflow UI: (\S+)", printed[0])[0])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if DRIVER is None:
        pytest.skip("there is no chromedriver")
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def links(printed: list[str]) -> dict[str, str]:
    """The printed URL of each experiment's view."""
    return dict(line.strip().split(": ", 1) for line in printed if "viewStateShareKey=" in line)


def page_of(run: Any) -> str:
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def listening(port: int) -> set[str]:
    """The local addresses, in hex as Linux tells them, on which somebody listens on a port."""
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                addresses.add(address)
    return addresses


def test_the_server_listens_on_the_loopback_interface_only(server: str) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux tells who listens")
    assert listening(int(server.rpartition(":")[2])) == {"0100007F"}


def test_the_server_serves_these_runs(server: str, study: Study) -> None:
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name=study") as answer:
        experiment = json.load(answer)["experiment"]
    assert experiment["experiment_id"] == client(study.root).get_experiment_by_name("study").experiment_id


def test_the_runs_table_has_what_matters_by_name(browser: Browser, links: dict[str, str], study: Study) -> None:
    assert {*links} == {"study", "single", "twin"}
    browser.open(links["study"])
    names = trials(study.root, "study")
    browser.text(*names, "prune.amount", "seed", "test/accuracy", "sparsity", "val/accuracy")
    cells = """const rows = {}
        for (const cell of document.querySelectorAll('.ag-row [col-id]')) {
            const row = rows[cell.closest('[row-id]').getAttribute('row-id')] ??= {}
            row[cell.getAttribute('col-id')] = cell.innerText.trim().split('\\n').at(-1) }
        return Object.values(rows)"""
    rows = {row["attributes.`Run Name`"]: row for row in browser.run(cells)}
    assert rows.keys() == names.keys()  # no invocation among them
    for name, run in names.items():
        assert rows[name]["params.`prune.amount`"] == run.data.params["prune.amount"]
        assert rows[name]["params.`seed`"] == run.data.params["seed"]
        for metric in ("test/accuracy", "sparsity", "val/accuracy"):
            assert float(rows[name][f"metrics.`{metric}`"]) == pytest.approx(run.data.metrics[metric])
    headers = browser.run(
        """return [...document.querySelectorAll('.ag-header-cell')]
           .sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left)
           .map(e => e.innerText.trim())"""
    )
    ours = ["prune.amount", "seed", "test/accuracy", "sparsity", "val/accuracy"]
    assert [header for header in headers if header in ours] == ours
    browser.click("Trials")  # the menu of views
    browser.text("Variants (mean over the seeds)", "Save as new view")


def test_the_charts_are_those_of_the_study(browser: Browser, links: dict[str, str]) -> None:
    browser.open(f"{links['study']}&compareRunsMode=CHART")
    browser.text("Parallel Coordinates", "sparsity vs. test/accuracy", "val/accuracy", "train/loss", "stage")
    drawn = """const drawn = [...document.querySelectorAll('svg text')].map(e => e.textContent)
        return arguments[0].every(text => drawn.includes(text))"""
    browser.wait(drawn, ["prune.amount", "sparsity", "test/accuracy", "Step"])  # the axes
    # A point for each of the four trials, and a line in the first chart of curves, which can be seen.
    browser.wait("return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 8")


def test_a_trials_page_tells_what_it_is_shows_its_figure_and_leads_to_its_invocation(
    browser: Browser, server: str, study: Study
) -> None:
    [parent] = parents(study.root, "study")
    run = trials(study.root, "study")["prune.amount=0.5 seed=1"]
    browser.open(f"{server}/{page_of(run)}")
    browser.text("prune.amount=0.5, seed 1", "Stages: train (2 epochs) → prune → train (1 epoch) → unprune → train")
    browser.click("Show more")
    text = browser.text("Load the network", "Reproduce", "mlflow.pytorch.load_model(", parent.info.run_name)
    assert f"{run.data.metrics['test/accuracy']:.2%}" in text
    assert loaded_images(browser) == ["figures/curves.png"]


def test_an_invocations_page_has_the_summary_and_its_trials(browser: Browser, server: str, study: Study) -> None:
    [parent] = parents(study.root, "study")
    browser.open(f"{server}/{page_of(parent)}")
    browser.text("Prune, train, unprune.", *trials(study.root, "study"))
    browser.click("Show more")
    browser.text("prune.amount=0.2", "prune.amount=0.5", "95 % interval", "2 seeds: too few to decide", "Reproduce")
    [image] = loaded_images(browser)
    assert image.startswith("figures/")


def loaded_images(browser: Browser) -> list[str]:
    """The paths of the artifacts that a note shows, once the browser has them."""
    found = browser.wait(
        """const images = [...document.images].filter(image => image.src.includes('get-artifact'))
        return images.length && images.every(image => image.naturalWidth > 100) && images.map(image => image.src)"""
    )
    return [urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["path"][0] for url in found]


def test_an_experiments_description_links_to_its_views(browser: Browser, server: str, study: Study) -> None:
    identity = client(study.root).get_experiment_by_name("study").experiment_id
    browser.open(f"{server}/#/experiments/{identity}/runs")
    browser.text("Prune, train, unprune.")
    there = "return [...document.querySelectorAll('a')].find(a => a.innerText == arguments[0])?.href"
    for name in ("Trials", "Variants (mean over the seeds)", "Charts"):
        assert "viewStateShareKey=" in browser.wait(there, name)
    browser.open(browser.run(there, "Variants (mean over the seeds)"))
    browser.text("Group: 0.2", "Group: 0.5")


def test_runs_can_be_compared(browser: Browser, server: str, study: Study) -> None:
    runs = [run.info for run in trials(study.root, "study").values()]
    ids, experiments = [run.run_id for run in runs], [runs[0].experiment_id]
    query = urllib.parse.urlencode({"runs": json.dumps(ids), "experiments": json.dumps(experiments)})
    browser.open(f"{server}/#/compare-runs?{query}")
    browser.text("Comparing 4 Runs from 1 Experiment", "Parallel Coordinates Plot", "prune.amount")


def test_without_results_and_on_a_taken_port_it_is_one_sentence(server: str, study: Study, tmp_path: Path) -> None:
    done = framework("ui", "--port", str(free_port()), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: there are no results in {tmp_path / 'mlruns'} yet: name their folder with --root\n"
    assert list(tmp_path.iterdir()) == []
    port = server.rpartition(":")[2]
    done = framework("ui", "--port", port, "--root", "results", folder=study.folder)
    assert done.returncode == 1
    assert done.stderr == (f"error: port {port} cannot be used (Address already in use): choose another with --port\n")
