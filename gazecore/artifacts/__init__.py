"""Read, write, check and pipe artifacts.

artifacts.open(path)            an artifact of any container, lazily readable
artifacts.create(path, kind)    a writer: append rows, complete or nothing
artifacts.inputs(path)          what a command reads: paths, the pipe, bytes
artifacts.Output(out)           what a command writes: a file, a reference down the pipe, bytes
"""

from gazecore.artifacts.pipe import Output, inputs
from gazecore.artifacts.store import Artifact, Packed, Variable
from gazecore.artifacts.store import open_artifact as open
from gazecore.artifacts.writer import Writer
from gazecore.artifacts.writer import Writer as create

__all__ = ["Artifact", "Output", "Packed", "Variable", "Writer", "create", "inputs", "open"]
