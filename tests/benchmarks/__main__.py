"""`just bench`: every row of the speed table, ours beside the peer in one run, as a ratio.

Each bench_*.py beside this file has `rows() -> list[dict]` with work, ours, peer, peer_name, unit, goal; a row's
`better` says "less" where small figures are good (times, bytes). Names on the command line choose files.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    chosen = sys.argv[1:]
    files = sorted(Path(__file__).parent.glob("bench_*.py"))
    print(f"{'work':58}{'ours':>14}{'peer':>14}  {'unit':12}{'ratio':>8}{'goal':>8}  peer")
    for file in files:
        if chosen and not any(word in file.stem for word in chosen):
            continue
        for row in import_module(f"tests.benchmarks.{file.stem}").rows():
            less = row.get("better") == "less"
            ratio = row["peer"] / row["ours"] if less else row["ours"] / row["peer"]
            mark = "" if ratio >= row["goal"] else "  MISSED"
            print(
                f"{row['work']:58}{row['ours']:14,.4g}{row['peer']:14,.4g}  {row['unit']:12}{ratio:8.2f}"
                f"{row['goal']:8.2f}  {row['peer_name']}{mark}",
                flush=True,
            )
            if "GZ_BENCH_JSON" in os.environ:
                with Path(os.environ["GZ_BENCH_JSON"]).open("a") as out:
                    out.write(json.dumps(row | {"ratio": ratio}) + "\n")


if __name__ == "__main__":
    main()
