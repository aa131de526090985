# `just` alone: lint + fast tests. Everything runs through `uv run`, so the first call installs what is needed.

export OMP_NUM_THREADS := "1"

default: lint test

# the fast suite: CPU, offline
test *args:
    uv run --all-extras pytest -n auto {{args}}

# golden numbers and what takes long: all that the fast suite leaves out
test-slow *args:
    uv run --all-extras pytest -n auto -m "golden or slow" {{args}}

# numbers computed by other people's implementations; GZ_GOLDEN names another folder of them
golden *args:
    uv run --all-extras pytest -m golden {{args}}

# ours beside the peer, as ratios
bench *args:
    uv run --all-extras python -m tests.benchmarks {{args}}

# the generated documents: README's command table, tools/README.md, schemas/README.md
docs *args:
    uv run --all-extras python tests/docs.py {{args}}

lint:
    uv run --all-extras ruff format --check
    uv run --all-extras ruff check
    rm -rf .typecheck && mkdir -p .typecheck/gazecore
    for part in gazecore/* tools schemas; do ln -s "../../$part" .typecheck/gazecore/; done
    cd .typecheck && uv run --all-extras mypy -p gazecore
    uv run --all-extras python tests/docs.py --check
