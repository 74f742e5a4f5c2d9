"""Models that a stranger has logged: whatever is in them, reading them runs nothing and takes no more than there is."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework._errors import DataError
from framework._tracking import LoggedModel, load_model, load_model_state
from framework._tracking.archive import CONSTANTS_CONFIG, WEIGHTS_CONFIG
from framework._tracking.models import GRAPH

IMAGES = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
GRAPH_RECORD = "models/model.json"


class Net(nn.Module):
    """With a constant, a buffer that is no part of the state, and a size that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(8, 10)
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)) * torch.tensor([3.0])
        return self.fc(x.reshape(x.shape[0] * 2 // 2, -1)) * self.scale


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """There once the payload has run."""
    return tmp_path / "pwned"


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def archive(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch makes of the network."""
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    batches = {0: torch.export.Dim.AUTO}
    torch.export.save(torch.export.export(net, (IMAGES,), dynamic_shapes=(batches,)), path)
    return path


@pytest.fixture
def logged(archive: Path, tmp_path: Path) -> Callable[..., LoggedModel]:
    """Log the archive with some of its records replaced or added, by name; or changed, where they are JSON."""

    def log(records: Mapping[str, bytes | Callable[[Any], None]], compress: int = zipfile.ZIP_STORED) -> LoggedModel:
        path = tmp_path / "model.pt2"
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w", compress) as new:
            contents: dict[str, bytes] = {info.filename.partition("/")[2]: old.read(info) for info in old.infolist()}
            for name, given in records.items():
                if callable(given):
                    said = json.loads(contents[name])
                    given(said)
                    contents[name] = json.dumps(said).encode()
                else:
                    contents[name] = given
            for name, content in contents.items():
                new.writestr(f"archive/{name}", content)
        return LoggedModel("runs:/0/model", path)

    return log


def refused(logged: LoggedModel, trace: Path) -> str:
    """Why it is not loaded, nor copied."""
    with pytest.raises(DataError) as found:
        logged.module()
    copy = logged.path.with_name("copy.pt2")
    with pytest.raises(DataError):
        logged.copy_graph(copy)
    assert not trace.exists()
    message = str(found.value)
    assert message.startswith("no model can be loaded from runs:/0/model: ")
    assert "\n" not in message
    return message


def test_what_torch_has_saved_computes_what_the_network_does(
    logged: Callable[..., LoggedModel], net: nn.Module, tmp_path: Path
) -> None:
    model = logged({})
    with torch.no_grad():
        for count in (1, 2, 3):
            torch.testing.assert_close(model.module()(IMAGES[:count]), net(IMAGES[:count]))
    assert model.shape == [1, 4, 4]
    state = net.state_dict()
    assert model.state().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state().items())
    model.copy_graph(tmp_path / "copy.pt2")
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(tmp_path / "copy.pt2").module()(IMAGES), net(IMAGES))


# --- what torch.export.load would run ---------------------------------------------------------------------------------


def test_pickled_sample_inputs_are_not_read(logged: Callable[..., LoggedModel], net: nn.Module, trace: Path) -> None:
    torch.save(((Payload(trace),), {}), trace.with_name("samples.pt"))
    model = logged({"data/sample_inputs/model.pt": trace.with_name("samples.pt").read_bytes()})
    with torch.no_grad():
        torch.testing.assert_close(model.module()(IMAGES), net(IMAGES))
    assert not trace.exists()
    torch.export.load(model.path)
    assert trace.exists()  # what this is good for


def pickled(config: Any) -> None:
    """Have the first tensor of a config be a pickle."""
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True


def opaque(config: Any) -> None:
    next(iter(config["config"].values()))["path_name"] = "opaque_obj_0"


def custom(config: Any) -> None:
    next(iter(config["config"].values()))["path_name"] = "custom_obj_0"


@pytest.mark.parametrize(
    ("config", "change", "record"),
    [
        (WEIGHTS_CONFIG, pickled, "data/weights/weight_0"),
        (CONSTANTS_CONFIG, pickled, "data/constants/tensor_0"),
        (CONSTANTS_CONFIG, opaque, "data/constants/opaque_obj_0"),
        (CONSTANTS_CONFIG, custom, "data/constants/custom_obj_0"),
    ],
)
def test_pickled_tensors_are_refused(
    config: str, change: Callable[[Any], None], record: str, logged: Callable[..., LoggedModel], trace: Path
) -> None:
    file = trace.with_name("tensor.pt")
    if change is pickled:
        torch.save(Payload(trace), file)
    else:
        file.write_bytes(pickle.dumps(Payload(trace)).ljust(1024))  # as if it were of whole numbers
    model = logged({config: change, record: file.read_bytes()})
    assert "is pickled: that could run anything when it is read" in refused(model, trace)
    if config == WEIGHTS_CONFIG:
        with pytest.raises(DataError, match="is pickled"):
            model.state()
    if change is not custom:  # which only classes of C++ can be
        with suppress(Exception):  # whatever torch says of it, after it has run it
            torch.export.load(model.path)
        assert trace.exists()


def nodes(program: Any) -> list[Any]:
    found: list[Any] = program["graph_module"]["graph"]["nodes"]
    return found


def calling(target: str) -> Callable[[Any], None]:
    def change(program: Any) -> None:
        nodes(program)[-1]["target"] = target

    return change


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten._sparse_coo_tensor_unsafe.default",
        "torch.ops.higher_order.executorch_call_delegate",
        "torch.ops.aten.__class__.mro",
        "torch.ops.aten.mul.Tensor.__init__.__globals__",
        "_operator.attrgetter",
        "_operator.pow",
        "math.factorial",
        "#extension:op",
        "builtins.exec",
    ],
)
def test_only_operators_that_compute_are_called(target: str, logged: Callable[..., LoggedModel], trace: Path) -> None:
    assert f"its graph calls {target!r}" in refused(logged({GRAPH_RECORD: calling(target)}), trace)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').mkdir({trace!r})",
        "Symbol.__class__.mro()",
        "(lambda: 1)()",
        "Integer(10)**Integer(10)**Integer(10)",
        "Pow(Integer(9), Integer(999999999))",
        "Symbol('__import__')",
        "Integer(1, **Symbol('s1'))",
        "(" * 5000,
        "Integer(1)" + " " * 2000,
    ],
)
def test_sizes_are_not_evaluated_as_python(expression: str, logged: Callable[..., LoggedModel], trace: Path) -> None:
    text = expression.replace("{trace!r}", repr(str(trace)))

    def change(program: Any) -> None:
        [*sizes] = program["graph_module"]["graph"]["sym_int_values"].values()
        sizes[0]["as_expr"]["expr_str"] = text

    model = logged({GRAPH_RECORD: change})
    refused(model, trace)
    if "mkdir" in text:
        with suppress(Exception):
            torch.export.load(model.path)
        assert trace.exists()


INJECTED = 'x): pass\n__import__("os").mkdir("{trace}")\ndef f('


def everywhere(program: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(program).replace(json.dumps(old), json.dumps(new)))


@pytest.mark.parametrize("name", [INJECTED, "__class__", "a b", "torch.load", 'a"b', ""])
def test_names_are_no_code(name: str, logged: Callable[..., LoggedModel], trace: Path) -> None:
    text = name.replace("{trace}", str(trace))

    def change(program: Any) -> None:
        program.update(everywhere(program, "x", text))

    refused(logged({GRAPH_RECORD: change}), trace)


@pytest.mark.parametrize(
    "name", ['conv.wei"+__import__("os").mkdir("{trace}")+"ght', "__class__", "conv.__dict__", "a\nb"]
)
def test_names_of_weights_are_no_code(name: str, logged: Callable[..., LoggedModel], trace: Path) -> None:
    text = name.replace("{trace}", str(trace))

    def change(said: Any) -> None:
        said.update(everywhere(said, "conv.weight", text))

    model = logged({GRAPH_RECORD: change, WEIGHTS_CONFIG: change})
    assert "the name of a tensor that is none" in refused(model, trace)
    refused(logged({GRAPH_RECORD: change}), trace)


def test_guards_and_where_code_came_from_are_dropped(
    logged: Callable[..., LoggedModel], net: nn.Module, trace: Path
) -> None:
    code = f"__import__('os').mkdir({str(trace)!r})"

    def change(program: Any) -> None:
        program["guards_code"] = [code]
        program["graph_module"]["metadata"] = {"custom": code}
        for node in nodes(program):
            node["metadata"] = {"stack_trace": f"x\n{code}", "source_fn_stack": "a,torch.os.system"}

    model = logged({GRAPH_RECORD: change})
    with torch.no_grad():
        torch.testing.assert_close(model.module()(IMAGES), net(IMAGES))
    assert not trace.exists()


def test_shared_libraries_and_extra_files_are_left_out(logged: Callable[..., LoggedModel], tmp_path: Path) -> None:
    model = logged(
        {"data/aotinductor/model/a.so": b"\x7fELF", "extra/a.txt": b"\xff", "../../../a": b"a", "/etc/a": b""}
    )
    model.copy_graph(tmp_path / "copy.pt2")
    with zipfile.ZipFile(tmp_path / "copy.pt2") as copy:
        assert not [name for name in copy.namelist() if "aotinductor" in name or "extra" in name or ".." in name]
    assert model.module()(IMAGES).shape == (3, 10)


# --- what torch.export.load would believe -----------------------------------------------------------------------------


def resized(**fields: Any) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config["config"]["fc.weight"]["tensor_meta"].update(fields)

    return change


HUGE = 10**12


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (resized(sizes=[{"as_int": HUGE}, {"as_int": 8}]), "is larger than the record"),
        (resized(sizes=[{"as_int": HUGE}, {"as_int": 8}], strides=[{"as_int": 0}] * 2), "is larger than the record"),
        (resized(storage_offset={"as_int": 1}), "is larger than the record"),
        (resized(storage_offset={"as_int": -8}), "has a size that is none"),
        (resized(sizes=[{"as_int": -10}, {"as_int": -8}]), "has a size that is none"),
        (resized(sizes=[{"as_int": "10"}, {"as_int": 8}]), "has a size that is none"),
        (resized(strides=[{"as_int": 8}]), "is damaged"),
        (resized(dtype=99), "is of a kind that is not read"),
        (resized(layout=1), "is of a kind that is not read"),
        (lambda config: config["config"]["fc.weight"].update(path_name="../../../etc/passwd"), "is pickled"),
        (lambda config: config["config"]["fc.weight"].update(path_name="weight_99"), "is larger than the record"),
        (lambda config: config.clear(), "is damaged"),
    ],
)
def test_tensors_that_are_not_there_are_refused(
    change: Callable[[Any], None], why: str, logged: Callable[..., LoggedModel], trace: Path
) -> None:
    model = logged({WEIGHTS_CONFIG: change})
    assert why in refused(model, trace)
    with pytest.raises(DataError, match=why):
        model.state()


def test_a_record_that_unpacks_to_more_than_the_file_is_refused(
    logged: Callable[..., LoggedModel], trace: Path
) -> None:
    model = logged({"data/weights/weight_0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert "larger than the file" in refused(model, trace)


def test_records_that_share_their_bytes_are_refused(logged: Callable[..., LoggedModel], trace: Path) -> None:
    model = logged({"data/weights/weight_0": bytes(2**16)})
    content = model.path.read_bytes()
    # The central directory again and again, each time with other names for the same bytes.
    with zipfile.ZipFile(model.path) as whole:
        start, infos = whole.start_dir, whole.infolist()
    end = content.index(b"PK\x05\x06", start)
    directory = b"".join(content[start:end].replace(b"archive/", b"archive%d" % copy) for copy in (0, 1, 2)).replace(
        b"archive0", b"archive/"
    )
    counts = (3 * len(infos)).to_bytes(2, "little") * 2
    tail = (
        content[end : end + 8] + counts + len(directory).to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(2)
    )
    model.path.write_bytes(content[:start] + directory + tail)
    refused(model, trace)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path, trace: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    refused(LoggedModel("runs:/0/model", path), trace)


@pytest.mark.parametrize(
    "graph", [b"", b"[" * 100_000, b"null", b"[]", b'{"graph_module": 1}', b"9" * 5000, b"\xff", b"\x00" * 100]
)
def test_a_damaged_graph_is_refused(graph: bytes, logged: Callable[..., LoggedModel], trace: Path) -> None:
    refused(logged({GRAPH_RECORD: graph}), trace)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little") + b"{}",
        (50_000).to_bytes(8, "little") + b"[" * 50_000,
        b'\x40\x00\x00\x00\x00\x00\x00\x00{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'.ljust(72),
    ],
)
def test_damaged_weights_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^no model can be loaded from runs:/0/weights\.safetensors: it is damaged: "):
        LoggedModel("runs:/0/weights.safetensors", path).state()


@pytest.mark.parametrize("versions", ["[", "[1]", '{"a": "b"}', '{"a": [1]}', "[" * 100_000])
def test_damaged_versions_are_refused(versions: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"versions": versions})
    with pytest.raises(DataError, match="the versions of its modules are damaged"):
        LoggedModel("runs:/0/weights.safetensors", path).state()


# --- MLflow's other formats -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tracking store of somebody else."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('stranger') / 'mlflow.db'}")


@pytest.mark.parametrize("as_logged", [True, False], ids=["logged model", "artifact of the run"])
@pytest.mark.parametrize("form", ["pickle", "code"])
def test_other_formats_of_mlflow_are_refused(
    form: str, as_logged: bool, stranger: Any, archive: Path, tmp_path: Path, trace: Path
) -> None:
    from mlflow.entities import LoggedModelOutput

    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    lines = ["flavors:", "  pytorch:", "    model_data: data", "    pytorch_version: 2.0.0"]
    if form == "pickle":
        torch.save(Payload(trace), folder / "data" / "model.pth")
        lines += ["    serialization_format: pickle"]
    else:
        # Beside an exported program that is sound, modules that MLflow would import.
        (folder / GRAPH).write_bytes(archive.read_bytes())
        (folder / "code").mkdir()
        (folder / "code" / "evil.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
        (folder / "data" / "pickle_module_info.txt").write_text("evil")
        lines += ["    code: code", "    serialization_format: pt2"]
    (folder / "MLmodel").write_text("\n".join(lines) + "\n")
    experiment = stranger.create_experiment(f"{form} {as_logged}", (tmp_path / "artifacts").as_uri())
    run_id = stranger.create_run(experiment).info.run_id
    if as_logged:
        model = stranger.create_logged_model(experiment, name="model", source_run_id=run_id)
        stranger.log_model_artifacts(model.model_id, str(folder))
        stranger.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    else:
        stranger.log_artifacts(run_id, str(folder), "model")
    for read in (load_model, load_model_state):
        if form == "pickle":
            with pytest.raises(DataError, match="MLflow's other formats run code when they are loaded"):
                read(f"runs:/{run_id}/model", stranger.tracking_uri)
        else:
            read(f"runs:/{run_id}/model", stranger.tracking_uri)
    assert not trace.exists()
