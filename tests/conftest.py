"""What every test starts from: no command is running, stdout belongs to nobody."""

import logging

import pytest

from gazecore.artifacts import pipe, provenance


@pytest.fixture(autouse=True)
def fresh_command(monkeypatch):
    """The library's only global state, as a new process has it."""
    monkeypatch.setattr(provenance, "_current", None)
    monkeypatch.setattr(pipe, "_json", False)
    monkeypatch.setattr(pipe, "_speaks", False)
    monkeypatch.setattr(pipe, "_references", False)
    library = logging.getLogger("gazecore")
    monkeypatch.setattr(library, "handlers", [])
    monkeypatch.setattr(library, "propagate", True)
