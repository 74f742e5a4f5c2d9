"""Takes the pictures of MLflow's UI in these pages, of ``framework run experiments/quickstart.yaml --seeds 0,1,2``.

Run it with the address that ``framework ui`` prints:
``PYTHONPATH=tests python docs/screenshots.py http://127.0.0.1:5000``
"""

import sys
import tempfile
from pathlib import Path

from browsing import Browser, browsing
from PIL import Image

DOCS = Path(__file__).parent


def take(browser: Browser, name: str) -> None:
    """Save what is seen, in few colours, as it is mostly text."""
    file = DOCS / f"ui-{name}.png"
    browser.screenshot(file)
    Image.open(file).convert("RGB").quantize(256).save(file, optimize=True)


def main(address: str) -> None:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        browsing(Path(folder), (1500, 1250)) as browser,
    ):
        browser.open(f"{address}/#/experiments")
        browser.click("Close")  # the assistant
        browser.click("quickstart")
        browser.text("quickstart")
        experiment = browser.wait("return location.hash.match(/experiments.(\\d+)/)?.[1]")
        view = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey="
        browser.open(f"{view}trials")
        browser.text("prune.amount=0.95 seed=2", "val/accuracy")
        take(browser, "runs")
        browser.open(f"{view}trials&compareRunsMode=CHART")
        browser.text("prune.amount=0.95 seed=2", "train/loss", "stage")
        browser.wait("return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 45")
        take(browser, "charts")
        browser.open(f"{view}trials")
        browser.click("prune.amount=0.8 seed=1")
        browser.click("Show more")
        browser.wait("return [...document.images].some(image => image.src.includes('curves') && image.naturalWidth)")
        take(browser, "trial")


if __name__ == "__main__":
    main(*sys.argv[1:])
