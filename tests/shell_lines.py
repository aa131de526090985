"""Shell lines as a user types them, with the gz under test first on the path."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One line of bash in a folder; temporary artifacts go to its tmp/."""
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GZ_TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
    }
    script = f"set -eo pipefail; {line}"
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
