"""List what other packages add: commands, models, metrics.

Example: gz plugins --json
"""

from gazecore.cli import run

GROUPS = ("gz.commands", "gz.models", "gz.metrics")


def main() -> None:
    from importlib.metadata import entry_points

    from gazecore import cli

    found = []
    for group in GROUPS:
        for point in sorted(entry_points(group=group), key=lambda p: p.name):
            try:
                point.load()
                state = "ok"
            except Exception as error:  # a stranger's module may fail in any way; the list says how
                state = f"cannot be loaded: {error!r}"
            package = point.dist.name if point.dist else "?"
            found.append(
                {"group": group, "name": point.name, "object": point.value, "package": package, "state": state}
            )
    if not found:
        cli.say("gz plugins: none is installed")
    cli.result(found, [tuple(entry.values()) for entry in found], ("group", "name", "object", "package", "state"))


if __name__ == "__main__":
    run(main)
