"""Dependencies point one way, and the numpy layer never loads torch."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# from the bottom to the top; a module imports its own layer and those below
LAYERS = (
    {"errors"},
    {"records", "geometry", "heatmaps"},
    {"metrics", "prep", "visualize", "artifacts", "images", "video", "synthetic", "schemas", "pupil", "calibration"},
    {"models", "data", "losses", "segmentation_losses", "checkpoints", "weight_files", "key_maps", "export"}
    | {"attention_rows"},
    {"train", "eval"},
    {"tools", "cli", "cli_options", "cli_help"},
)
NUMPY_LAYERS = 3
TORCH = {"torch", "torchvision", "timm", "transformers", "accelerate", "peft", "diffusers", "bitsandbytes"}
NEVER = (("models", "prep"), ("models", "artifacts"), ("data", "prep"), ("artifacts", "prep"), ("metrics", "artifacts"))
MAY_BE_AT_THE_TOP_OF_A_TOOL = {"gazecore.cli", "gazecore.cli_options", "typer"}


@cache
def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for folder, package in (
        (ROOT / "gazecore", "gazecore"),
        (ROOT / "tools", "gazecore.tools"),
        (ROOT / "schemas", "gazecore.schemas"),
    ):
        for path in folder.rglob("*.py"):
            dotted = ".".join([package, *path.relative_to(folder).with_suffix("").parts])
            found[dotted.removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, wherever in it, by dotted name; of ours the module, not what is taken from it."""
    return frozenset(name for node in ast.walk(ast.parse(modules()[module].read_text("utf-8"))) for name in named(node))


def named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert not node.level, "imports are absolute"
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in modules() else str(node.module) for name in inner]


def part(module: str) -> str:
    """errors of gazecore.errors, metrics of gazecore.metrics.following."""
    return [*module.split("."), ""][1]


def layer(module: str) -> int:
    found = [number for number, parts in enumerate(LAYERS) if part(module) in parts]
    assert len(found) == 1, f"{module} has no layer: place it in LAYERS"
    return found[0]


OURS = sorted(name for name in modules() if "." in name)


@pytest.mark.parametrize("module", OURS)
def test_a_module_imports_its_own_layer_and_those_below(module):
    for imported in imports(module):
        if imported.startswith("gazecore."):
            assert layer(imported) <= layer(module), f"{module} imports {imported}"
            assert (part(module), part(imported)) not in NEVER, f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in OURS if layer(name) < NUMPY_LAYERS])
def test_the_numpy_layer_never_imports_torch_not_even_through_others(module):
    seen, waiting = set(), [(module, module)]
    while waiting:
        current, way = waiting.pop()
        for imported in imports(current):
            assert imported.split(".")[0] not in TORCH, f"{way} > {imported}"
            if imported in modules() and imported not in seen:
                seen.add(imported)
                waiting.append((imported, f"{way} > {imported}"))


def test_packages_import_nothing_heavy_by_themselves():
    for package in ("gazecore", "gazecore.tools", "gazecore.schemas", "gazecore.prep", "gazecore.metrics"):
        assert not {name.split(".")[0] for name in imports(package)} - sys.stdlib_module_names, package


@pytest.mark.parametrize("module", [name for name in OURS if part(name) == "tools"])
def test_a_tool_imports_the_rest_when_it_runs(module):
    tree = ast.parse(modules()[module].read_text("utf-8"))
    top = {name for node in tree.body for name in named(node)}
    if module == "gazecore.tools.__main__":
        top.discard("gazecore")
    rest = {name for name in top if name.split(".")[0] not in sys.stdlib_module_names}
    assert rest <= MAY_BE_AT_THE_TOP_OF_A_TOOL


def test_the_shell_is_light_at_its_top():
    for module in ("gazecore.cli", "gazecore.cli_options", "gazecore.cli_help", "gazecore.errors", "gazecore"):
        tree = ast.parse(modules()[module].read_text("utf-8"))
        top = {name.split(".")[0] for node in tree.body for name in named(node)}
        assert top - sys.stdlib_module_names <= {"typer", "gazecore"}


def test_nobody_imports_the_top_level_folders_by_their_own_names():
    for module in OURS:
        assert not {name.split(".")[0] for name in imports(module)} & {"tools", "schemas", "tests"}, module
