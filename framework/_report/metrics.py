"""Metrics as people read them."""

NOTHING = "–"


def is_fraction(metric: str) -> bool:
    """Whether the values of a metric are fractions in [0, 1], which people read as percentages."""
    of_weights = metric.partition("/")[0] in ("sparsity", "frozen", "no_gradient")
    return of_weights or metric.endswith("accuracy")


def called(metric: str) -> str:
    """A metric in words: ``test accuracy``."""
    return {"frozen": "frozen fraction", "remaining": "remaining weights"}.get(
        metric, metric.replace("/", " ").replace("_", " ")
    )


def shown(metric: str, value: float | None, spread: float | None = None) -> str:
    """A value, with its standard deviation if there is one: ``92.00 ± 3.61%``, or ``0.5 ± 0.1`` of no fraction."""
    if value is None or value != value:
        return NOTHING
    if is_fraction(metric):
        return f"{value:.2%}" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f}%"
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.4g}"
