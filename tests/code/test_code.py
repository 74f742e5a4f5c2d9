"""Files of code are read with what they import from beside them, and imported as data, without a path for modules."""

import pickle
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from framework._code import NO_CODE, Code, load_file, make_importable, modules, place_in, place_of, read_code
from framework._errors import PluginError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def loaded(folder: Path, files: dict[str, str], file: str = "./mine.py") -> ModuleType:
    code = read_code(write(folder, files), [file])
    return load_file(code, code.path(file))


IMPORTS = {
    "import layers\nx = layers.x": {"layers.py": "x = 3"},
    "import layers as other\nx = other.x": {"layers.py": "x = 3"},
    "from layers import x": {"layers.py": "x = 3"},
    "from .layers import x": {"layers.py": "x = 3"},
    "from . import layers\nx = layers.x": {"layers.py": "x = 3"},
    "import os, nets.layers, json\nx = nets.layers.x": {"nets/layers.py": "x = 3"},
    "import nets.layers as other\nx = other.x": {"nets/layers.py": "x = 3"},
    "from nets import layers\nx = layers.x": {"nets/layers.py": "x = 3"},
    "from nets.layers import x": {"nets/layers.py": "from . import more\nx = more.x", "nets/more.py": "x = 3"},
    "from nets.deep.layers import x": {"nets/deep/layers.py": "from ..more import x", "nets/more.py": "x = 3"},
    "from nets.deep import x": {"nets/deep/__init__.py": "from nets.more import x", "nets/more.py": "x = 3"},
    "from nets import x": {"nets/__init__.py": "from .more import x", "nets/more.py": "x = 3"},
    "from layers import *": {"layers.py": "x = 3"},
    "def f():\n    import layers\n    return layers.x\nx = f()": {
        "layers.py": "from common import x",
        "common.py": "x = 3",
    },
    "try:\n    from nowhere_to_be_found import x\nexcept ImportError:\n    x = 3": {},
    # Python's own modules are not hidden by files, as they are where a file is run as a script.
    "import random\nx = int(3 + 0 * random.random())": {"random.py": "1 / 0"},
    "from . import mine\nx = 3": {},
}


@pytest.mark.parametrize("text", IMPORTS)
def test_a_file_imports_what_lies_beside_it(text: str, tmp_path: Path) -> None:
    path = [*sys.path]
    assert loaded(tmp_path, {"mine.py": text, **IMPORTS[text]}).x == 3
    assert sys.path == path
    assert not {"layers", "nets", "common", "mine"} & {*sys.modules}


def test_only_what_is_imported_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": "import a\nimport json", "a.py": "import b", "b.py": "", "c.py": "", "json.py": ""})
    assert sorted(read_code(tmp_path, ["./mine.py"]).texts) == ["a.py", "b.py", "mine.py"]


def test_files_of_other_folders_are_named_from_the_folder_that_has_all(tmp_path: Path) -> None:
    write(tmp_path, {"spec/mine.py": "from common.nets import x", "common/nets.py": "from .one import x"})
    write(tmp_path, {"common/one.py": "x = 3", "v1.0/old-net.py": "from common.nets import x\ny = x"})
    code = read_code(tmp_path / "spec", ["./mine.py", "../v1.0/old-net.py"])
    assert (code.base, code.root) == ("spec", str(tmp_path))
    assert sorted(code.texts) == ["common/nets.py", "common/one.py", "spec/mine.py", "v1.0/old-net.py"]
    assert load_file(code, code.path("../v1.0/old-net.py")).y == 3
    assert load_file(code, code.path("./mine.py")).x == 3
    assert code.name("v1.0/old-net.py") == "../v1.0/old-net.py"


def test_files_that_import_each_other_are_the_same_modules(tmp_path: Path) -> None:
    write(tmp_path, {"net.py": "class Net: ...", "stage.py": "from net import Net"})
    code = read_code(tmp_path, ["./net.py", "./stage.py"])
    assert load_file(code, "stage.py").Net is load_file(code, "net.py").Net


def test_it_is_imported_out_of_data_where_there_is_no_file(tmp_path: Path) -> None:
    code = read_code(
        write(tmp_path, {"mine.py": "from layers import x\nclass Net: ...", "layers.py": "x = 3"}), ["./mine.py"]
    )
    shutil.rmtree(tmp_path)
    there: Code = pickle.loads(pickle.dumps(code))
    module = load_file(there, "mine.py")
    assert module.x == 3
    assert isinstance(pickle.loads(pickle.dumps(module.Net())), module.Net)
    assert place_of(module.Net) == "./mine.py:2"


def test_what_is_made_of_its_classes_is_unpickled_where_nothing_of_it_was_imported(tmp_path: Path) -> None:
    code = read_code(write(tmp_path, {"mine.py": "class Net: ...  # of this test"}), ["./mine.py"])
    pickled = pickle.dumps(load_file(code, "mine.py").Net())
    modules._FINDER.known.clear()
    for name in [name for name in sys.modules if name.startswith(f"framework_code_{code.digest}")]:
        del sys.modules[name]
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(pickled)
    make_importable(code)
    assert type(pickle.loads(pickled)).__name__ == "Net"


def test_an_edited_file_is_another_module(tmp_path: Path) -> None:
    first = loaded(tmp_path, {"mine.py": "x = 1"})
    assert (loaded(tmp_path, {"mine.py": "x = 2"}).x, first.x) == (2, 1)


def test_what_stands_for_a_file_is_its_content_and_that_of_what_it_imports(tmp_path: Path) -> None:
    files = {"mine.py": "import layers", "layers.py": "x = 1", "other.py": "y = 1"}

    def origins(folder: str, names: tuple[str, ...] = ("./mine.py", "./other.py"), **changed: str) -> list[str]:
        texts = {**files, **{f"{name}.py": text for name, text in changed.items()}}
        code = read_code(write(tmp_path / folder, texts), names)
        return [code.origin(code.path(name)) for name in names]

    mine, other = origins("a")
    assert origins("b") == [mine, other]
    assert origins("b", ("./renamed.py",), renamed=files["mine.py"]) == [mine]
    assert origins("c", layers="x = 2")[0] != mine
    assert origins("c", layers="x = 2")[1] == other
    assert origins("d", other="y = 2")[0] == mine
    assert origins("e", mine="import layers  # again")[0] != mine
    # The same in another folder below the one that has all.
    write(tmp_path / "f" / "sub", files)
    code = read_code(tmp_path / "f", ["./sub/mine.py"])
    assert code.origin("sub/mine.py") == mine


FAULTS = {
    "1 +": r"\./mine\.py:1: SyntaxError: invalid syntax",
    "x = 1\n\nreturn x": r"\./mine\.py:3: SyntaxError: 'return' outside function",
    "def f():\n    return 1 / 0\n\n\nf()": r"\./mine\.py:2: ZeroDivisionError: division by zero",
    "import layers": r"\./layers\.py:2: NameError: name 'y' is not defined",
    "\nimport nowhere_to_be_found": r"\./mine\.py:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    "from layers_2 import x": r"\./mine\.py:1: ModuleNotFoundError",
    "raise SystemExit(3)": r"\./mine\.py:1: SystemExit: 3",
    "from ..above import x": r"\./mine\.py:1: ImportError: attempted relative import beyond top-level package",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_with_a_file_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=FAULTS[text]):
        loaded(tmp_path, {"mine.py": text, "layers.py": "\nx = y"})


def test_what_cannot_be_read_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"x = '\xff'")
    (tmp_path / "large.py").write_text("#" * 1_000_001)
    code = read_code(tmp_path, ["./mine.py", "./none.py", "./large.py"])
    for name, told in {
        "mine": "no UTF-8 text",
        "none": "there is no file",
        "large": "more than 1,000,000 bytes",
    }.items():
        with pytest.raises(PluginError, match=rf"\./{name}\.py: .*{told}"):
            load_file(code, f"{name}.py")


def test_a_failure_in_a_file_is_traced_to_its_line(tmp_path: Path) -> None:
    module = loaded(
        tmp_path, {"mine.py": "from layers import f\n\n\ndef g():\n    f()", "layers.py": "def f():\n    1 / 0"}
    )
    with pytest.raises(ZeroDivisionError) as failed:
        module.g()
    assert place_in(failed.value.__traceback__) == "./layers.py:2"


def test_no_code_is_empty() -> None:
    assert not NO_CODE
    assert not read_code(Path("."), [])
