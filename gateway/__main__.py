"""Wiring: `python -m gateway` is `rivergate`."""

from gateway.cli import main

main()
