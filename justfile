# Commands for people. `just` alone lists them; each is one line that can also be typed without just.

# Parts of the tests that start processes or listen on ports.
slow := "--ignore=tests/process --ignore=tests/clients --ignore=tests/deploy --ignore=tests/guards --ignore=tests/http"
# More of these, of which coverage is measured nevertheless.
others := "--ignore=tests/cases --ignore=tests/bench --ignore=tests/commands --ignore=tests/run --ignore=tests/upstream"

_list:
    @just --list --unsorted

# Make .venv with the pinned tools and this checkout in it.
setup:
    python3 -m venv .venv
    .venv/bin/pip install -q --require-hashes -r requirements-dev.lock
    .venv/bin/pip install -q --no-deps -e .

# Run the gateway in front of simulated providers on 127.0.0.1:8080.
demo *options:
    .venv/bin/rivergate demo {{options}}

# Check format, style, types and the reference pages.
check:
    .venv/bin/ruff format --check .
    .venv/bin/ruff check .
    .venv/bin/mypy
    .venv/bin/python deploy/reference/generate.py --check

# Put format and style right, and rewrite the tables of the reference pages.
fix:
    .venv/bin/ruff format .
    .venv/bin/ruff check --fix .
    .venv/bin/python deploy/reference/generate.py

# Run the tests that need no process and no port, in about a minute.
test-fast *options:
    HYPOTHESIS_PROFILE=fast .venv/bin/pytest -q -n 3 --dist loadgroup -m 'not deep' {{slow}} {{others}} {{options}}

# Run the tests as the README does, in less than five minutes.
test *options:
    .venv/bin/pytest -q -n 4 --dist loadgroup -m 'not deep' {{options}}

# Run what `test` leaves out: huge bodies, kills, full disks, browsers, whole programs, installation.
test-deep *options:
    .venv/bin/pytest -q -n 4 --dist loadgroup -m deep {{options}}

# Measure which lines and branches the tests beside the packages reach.
coverage *options:
    .venv/bin/pytest -q -n 4 --dist loadgroup -m 'not deep' {{slow}} --cov --cov-report=term:skip-covered {{options}}

# Run every bench and tell which targets are met: an hour on an idle machine; `just bench --quick` shows that all works.
bench *options:
    .venv/bin/python -m bench run all {{options}}

# Pin the newest versions of all tools in requirements-dev.lock; needs Python 3.11, whose set contains that of newer ones.
lock:
    python3 -m venv .venv-lock
    .venv-lock/bin/pip install -q pip-tools
    .venv-lock/bin/pip-compile -q --upgrade --extra test --unsafe-package rivergate --generate-hashes --strip-extras \
      --no-header --annotation-style=line --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
      -o .venv-lock/lock pyproject.toml
    { sed -n '/^#/p;/^[^#]/q' requirements-dev.lock; sed '/^# WARNING/,$d' .venv-lock/lock; } > .venv-lock/new
    mv .venv-lock/new requirements-dev.lock
