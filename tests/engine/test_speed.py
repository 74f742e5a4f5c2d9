import pytest
import torch
from torch._dynamo.utils import counters

from framework._engine import evaluate, gpu_flags


def flags():
    """What torch has set for the process, in its newer and in its older words."""
    backends = torch.backends
    newer = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul)
    older = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()
    return (*(flag.fp32_precision for flag in newer), *older, backends.cudnn.benchmark)


FLOAT32 = ("ieee", "ieee", "ieee", "ieee", False, False, "highest", False)
TF32 = ("tf32", "tf32", "tf32", "ieee", True, True, "high", True)


def test_the_flags_are_those_asked_for_and_afterwards_what_they_were():
    before = flags()
    with gpu_flags():
        assert flags() == FLOAT32
        with gpu_flags(tf32=True, cudnn_benchmark=True):
            assert flags() == TF32
            with torch.backends.cudnn.flags(enabled=False):  # reads the older ones
                pass
        assert flags() == FLOAT32
    assert flags() == before


def test_they_are_put_back_after_an_error_and_where_somebody_had_set_others():
    def fail():
        with gpu_flags():
            assert flags() == FLOAT32
            raise ZeroDivisionError

    with gpu_flags():  # puts back what is set here
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        own = flags()
        with pytest.raises(ZeroDivisionError):
            fail()
        assert flags() == own


def test_training_sets_them_for_its_steps_and_evaluation_is_in_float32(make_trial, stage):
    trial, seen, before = make_trial(), {True: set(), False: set()}, flags()
    trial.weights()  # looks for their order in a pass of its own
    trial.model.conv1.register_forward_hook(lambda module, args, output: seen[module.training].add(flags()))
    parameters = {"epochs": 1, "batch_size": 8, "early_stopping": {"patience": 9}, "evaluate_every": 2}
    stage("train", tf32=True, cudnn_benchmark=True, **parameters).run(trial)
    assert seen == {True: {TF32}, False: {FLOAT32}}
    seen[True].clear()
    stage("train", **parameters).run(trial)
    evaluate(trial, "test")
    assert seen == {True: {FLOAT32}, False: {FLOAT32}}
    assert flags() == before


@pytest.fixture
def passes():
    """The modes of the passes that compiled networks make: True for training. Compiled without a code generator."""
    made = []

    def backend(graph, inputs):
        def run(*args):
            made.append(torch.is_grad_enabled())
            return graph.forward(*args)

        return run

    torch.compiler.reset()
    counters.clear()
    torch.compiler.set_default_backend(backend)
    yield made
    torch.compiler.set_default_backend("inductor")
    torch.compiler.reset()


def test_evaluation_in_between_is_compiled_as_training_is_and_none_else(passes, make_trial, make_data, stage):
    trial, plain = (make_trial(data=make_data(count=20)) for _ in range(2))  # the last batch is smaller
    parameters = {"epochs": 3, "batch_size": 8, "ema": 0.9}
    stage("train", compile=True, **parameters).run(trial)
    assert passes == [True, True, True, False] * 3
    assert counters["stats"]["unique_graphs"] == 3  # of a whole batch, of one of any size, and of evaluation
    assert not counters["graph_break"]
    evaluate(trial, "validation")
    evaluate(trial, "test")
    stage("train", **parameters).run(plain)
    assert len(passes) == 12
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(trial.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert evaluate(trial, "test") == pytest.approx(evaluate(plain, "test"), rel=1e-3)


def test_a_worker_compiles_whatever_its_trials_freeze(passes, make_trial, stage):
    """Torch would compute uncompiled from the ninth graph on, of all networks of a kind together."""
    for fraction in (0.1, 0.3, 0.5, 0.7, 0.9):
        trial = make_trial()
        stage("freeze", fraction=fraction, unit="weights").run(trial)
        stage("train", epochs=1, batch_size=20, compile=True).run(trial)
    assert passes == [True, True, False] * 5
