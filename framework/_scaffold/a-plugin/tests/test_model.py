from framework.testing import check_model

from a_plugin.model import perceptron


def test_it_keeps_to_what_a_model_promises() -> None:
    check_model(perceptron, width=8, depth=3, dropout=0.1)


def test_it_has_as_many_parameters_as_computed_by_hand() -> None:
    model = perceptron((1, 4, 4), 3, width=8, depth=2)
    # Two hidden layers with scale and shift, and the last with a bias.
    expected = (16 * 8 + 8 + 8) + (8 * 8 + 8 + 8) + (8 * 3 + 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
