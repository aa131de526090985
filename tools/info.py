"""Say what is inside an artifact or a checkpoint: sizes, variables, where it comes from.

Example: gz info samples.zarr        gz prep-gazefollow raw | gz info --json
"""

from typing import Any

from gazecore.cli import run
from gazecore.cli_options import Inputs


def main(input: Inputs = ["-"]) -> None:  # noqa: B006  typer copies the default
    from gazecore import artifacts, cli
    from gazecore.artifacts import provenance

    checkpoints = [source for source in input if source.endswith(".safetensors")]
    documents = [_describe_checkpoint(path) for path in checkpoints]
    documents += [_describe(artifact) for artifact in artifacts.inputs([s for s in input if s not in checkpoints])]
    cli.plan()
    if cli.current().json:
        cli.result(documents[0] if len(documents) == 1 else documents)
        return
    for document in documents:
        if "variables" not in document:
            cli.result(None, [(key, value) for key, value in document.items() if key != "provenance"])
            continue
        head = [(key, document[key]) for key in ("path", "schema", "container", "id", "records", "bytes")]
        rest = [(k, v) for k, v in document["attributes"].items() if k not in ("Conventions", "history")]
        cli.result(None, [*head, *rest])
        rows = [(n, v["dtype"], " x ".join(f"{d} {s}" for d, s in zip(v["dims"], v["shape"], strict=True)), v["units"],
                 v["help"]) for n, v in document["variables"].items()]  # fmt: skip
        cli.result(None, rows, ("variable", "dtype", "dims", "units", "what it is"))
        steps = [(e["id"], e.get("started", "-"), provenance.shell_line(e["argv"])) for e in document["provenance"]]
        cli.result(None, steps, ("step", "started", "command"))


def _describe_checkpoint(path: str) -> dict[str, Any]:
    from gazecore import checkpoints

    return {"path": path, **checkpoints.info(path)}


def _describe(artifact: Any) -> dict[str, Any]:
    hidden = ("gz_schema", "gz_schema_version", "gz_id", "gz_complete", "gz_provenance")  # said in other words
    return {
        "path": str(artifact.path),
        "schema": f"{artifact.kind} {artifact.version}",
        "container": artifact.container,
        "id": artifact.id,
        "records": len(artifact),
        "bytes": artifact.nbytes,
        "dims": artifact.dims,
        "variables": {
            v.name: {
                "dtype": v.dtype_name,
                "dims": list(v.dims),
                "shape": list(v.shape),
                "units": str(v.attrs.get("units", "1")),
                "help": str(v.attrs.get("long_name", "")),
            }
            for v in artifact.variables.values()
        },
        "attributes": {k: v for k, v in artifact.attrs.items() if k not in hidden},
        "provenance": artifact.provenance,
    }


if __name__ == "__main__":
    run(main)
