"""Nothing in src/ loads pickles or runs code that came with data: its syntax trees are searched."""

import ast
from pathlib import Path

import pytest

SOURCES = sorted(Path(__file__).parents[1].joinpath("src", "pd").rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pickletools"}
CALLS = {"eval", "exec", "compile", "read_pickle", "load_checkpoint", "unsafe_load", "full_load", "load_state_dict_from_url"}
WEIGHTS_ONLY = {"reid/efficientnet.py"}  # a file of a pinned package, which comes as .pth; see docs/threat-model.md


def faults(tree: ast.AST, where: str) -> list[str]:
    """What a file does that it must not."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        keywords = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        whole = f"{owner.id}.{name}" if isinstance(owner, ast.Name) else name
        if whole in ("torch.load", "torch.jit.load") and not (where in WEIGHTS_ONLY and keywords.get("weights_only") is True):
            found.append(f"calls {whole}")
        if whole in ("np.load", "numpy.load") and keywords.get("allow_pickle", False):
            found.append(f"calls {whole} with pickles allowed")
        if whole == "yaml.load" and not any("Safe" in ast.dump(word) for word in [*node.args, *node.keywords]):
            found.append("calls yaml.load without a safe loader")
        if keywords.get("trust_remote_code") or "trust_remote_code" in [word.arg for word in node.keywords]:
            found.append("trusts remote code")
        if keywords.get("shell") is True or whole in ("os.system", "torch.hub.load"):
            found.append(f"calls {whole}: a shell or remote code")
        if keywords.get("safe_serialization") is False or keywords.get("use_safetensors") is False:
            found.append("weights that are no safetensors")
        if name in CALLS and (owner is None or name not in ("compile", "eval")):
            found.append(f"calls {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_is_unpickled_or_run(path):
    where = path.relative_to(Path(__file__).parents[1] / "src" / "pd").as_posix()
    assert faults(ast.parse(path.read_text(encoding="utf-8")), where) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=True)",
        "np.load('x', allow_pickle=True)",
        "yaml.load(text)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "exec('1')",
        "subprocess.run('ls', shell=True)",
        "model.save_pretrained('x', safe_serialization=False)",
    ],
)
def test_the_search_finds_it(code):
    assert faults(ast.parse(code), "dataset/x.py")
