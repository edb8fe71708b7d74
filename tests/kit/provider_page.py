"""The configurations of `deploy/reference/providers.md`, each with the simulation that it names."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "deploy" / "reference" / "providers.md"
LISTENER = '[server]\nlisten = "127.0.0.1:0"\n'
UNMOVED = "breaker_failures = 0\nmax_cooldown_seconds = 0\n"  # an upstream is asked however often it has failed
KEY = "sk-page-9e8d7c6b5a"


@dataclass(frozen=True, slots=True)
class Documented:
    """One part of the page: its heading, its configuration, and the name of its simulation."""

    heading: str
    configuration: str
    like: str

    @property
    def model(self) -> str:
        """The first model that a client may ask for."""
        first: str = re.findall(r'^id = "(.*)"$', self.configuration, re.M)[0]
        return first

    @property
    def variables(self) -> dict[str, str]:
        """A key in each environment variable that the configuration names."""
        return dict.fromkeys(re.findall(r'_env = "(\w+)"', self.configuration), KEY)

    def at(self, origin: str) -> str:
        """The configuration with the provider at another origin, for a gateway that takes any free port."""
        moved = re.sub(r'base_url = "https?://[^/"]+', f'base_url = "{origin}', self.configuration)
        if "[routing]" not in moved:
            moved = f"[routing]\n{moved}"
        return LISTENER + moved.replace("[routing]\n", f"[routing]\n{UNMOVED}")


def documented() -> list[Documented]:
    """The parts of the page that name a simulation."""
    found = []
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        like = re.search(r"^`rivergate sim --like ([a-z0-9.-]+)`", part, re.M)
        if like is not None:
            (block,) = re.findall(r"```toml\n(.*?)```", part, re.S)
            found.append(Documented(part.splitlines()[0], block, like[1]))
    return found
