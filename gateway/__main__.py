"""Wiring: `rivergate` and `python -m gateway`: the settings that must stand before anything else is imported."""

import gc
import os


def main() -> None:
    """Run the command line. Importing it is nearly all of the time that a start takes (bench/startup.py)."""
    gc.disable()  # until `commands.running` has everything imported: the collector would walk over it 142 times
    # Without this variable Pydantic looks for plugins in every installed distribution, which takes 25 to 50 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from gateway.commands.app import app

    app()


if __name__ == "__main__":
    main()
