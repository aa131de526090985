"""What every test starts from: no command is running, stdout belongs to nobody."""

import logging
import sys

import pytest

from gazecore.artifacts import pipe, provenance


def seed_weights() -> None:
    """Random weights are the same in every run; tests without torch do not import it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def same_weights_in_every_module():
    """Nor do those of a module's fixtures depend on the modules before it."""
    seed_weights()


@pytest.fixture(autouse=True)
def same_weights_in_every_test():
    """Nor those of a test on the tests before it."""
    seed_weights()


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
