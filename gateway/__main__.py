"""Wiring: `rivergate`, and `python -m gateway`: what has to be said before anything else is imported."""

import gc
import os


def main() -> None:
    """The command line, and fast: to import it is nearly all of a start (bench/startup.py)."""
    gc.disable()  # until all is imported (`cli`): modules are no garbage, and would be looked at 142 times
    # Pydantic would look for plugins in every distribution that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from gateway.commands.app import app

    app()


if __name__ == "__main__":
    main()
