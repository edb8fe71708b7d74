"""Pure: how many tokens an image in a prompt costs, by the rules that three providers document.

- OpenAI ("Images and vision", developers.openai.com/api/docs/guides/images-vision), by its model:
  - gpt-4, gpt-5 and the o series: a base, and so much for each tile of 512 pixels of the image, which is scaled down
    into a square of 2,048 pixels, and then until its shorter side has at most 768. Low detail costs the base.
  - the minis and nanos, and gpt-5.1 and later: patches of 32 pixels, up to a budget into which the image is scaled
    down, times a factor. Low detail is an image of 512 pixels a side. From gpt-5.6 on only high detail has a budget.
- Anthropic ("Vision", platform.claude.com/docs/en/build-with-claude/vision): patches of 28 pixels, at most 4,784, of
  an image that is scaled down until its longer side has at most 2,576 pixels. Until 2025 it documented width times
  height by 750, which is more for some images: the larger count holds. It knows no detail.
- Google (ai.google.dev/gemini-api/docs/image-understanding and media-resolution): up to Gemini 2.5, 258 up to 384
  pixels a side; a larger image is cut into tiles whose side is its shorter side by 1.5, at least 256 and at most 768,
  each for 258, after its sides are scaled down to 3,072. From Gemini 3 on 1,120 whatever its size, and 2,240 at the
  resolution "ultra high".

The factor 1.2 of gpt-5.1 and later is in OpenAI's price calculator and in what was measured, not in its guide: images
of 1,024, 1,280 x 720 and 4,032 x 3,024 pixels were billed as 1,229, 1,104 and 14,364 tokens.

The name of a model tells whose rule holds. Where it does not, the dearest one holds, so that the estimate is not
below the bill; but for the rules of minis and nanos, whose tokens cost so much less that their number says nothing.
Where the size of an image is not known, the ceiling of the rule counts.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from gateway.dialects.image_size import size_of

MAX_SIDE, MAX_SHORT_SIDE, TILE = 2048, 768, 512  # pixels
MAX_TILES = (MAX_SIDE // TILE) * -(-MAX_SHORT_SIDE // TILE)
PATCH, LOW_PATCHES = 32, 256  # pixels; the patches of an image of low detail
SMALL_BUDGET, HIGH_BUDGET, ORIGINAL_BUDGET = 1536, 2500, 10_000  # patches
NO_BUDGET = 100_000  # patches of a hundred megapixels, for models that take any image in its own size
ELSEWHERE_PATCHES = 11_970  # of a photograph of twelve megapixels, for models without a budget if its size is unknown
ANTHROPIC_SIDE, ANTHROPIC_PATCH, ANTHROPIC_PIXELS, ANTHROPIC_TOKENS = 2576, 28, 750, 4784
GOOGLE_SIDE, GOOGLE_SMALL, GOOGLE_TOKENS = 3072, 384, 258  # longest side, side of a small image, tokens of a tile
GOOGLE_TILE_LEAST, GOOGLE_TILE_MOST = 256, 768  # pixels
GEMINI_3_TOKENS, GEMINI_3_MOST = 1120, 2240

MANY_MODELS = 64  # above this number their names are not looked at

_OPENAI = re.compile(r"(?:^|[/:.@_-])(?:(?:chat)?gpt[.-]?(?P<major>\d+)?(?:\.(?P<minor>\d+))?|o[1-9])")
_GEMINI = re.compile(r"gemini[.-]?(\d*)")


class ImageTokens(NamedTuple):
    """Some images, in the units of each rule; OpenAI's patches by the budgets that its models have."""

    number: int = 0  # of images
    tiles: int = 0  # of OpenAI's; an image of low detail has none
    small_patches: int = 0  # for minis and nanos, and up to gpt-5.3
    gpt_5_4_patches: int = 0
    gpt_5_5_patches: int = 0
    patches: int = 0  # for later models
    anthropic: int = 0  # tokens
    gemini_2: int = 0  # tokens
    gemini_3: int = 0  # tokens

    def plus(self, other: "ImageTokens", times: int = 1) -> "ImageTokens":
        """The sum with other images, each of which stands there so many times."""
        return ImageTokens(*(own + times * more for own, more in zip(self, other, strict=True)))

    def of(self, models: Collection[str]) -> int:
        """The most that these images cost if any of these models answers; by the dearest rule if they are many."""
        if not self.number:
            return 0
        if not 0 < len(models) <= MANY_MODELS:
            return self._dearest
        return max(map(self._of, models))

    @property
    def _dearest(self) -> int:
        return max(self._tiled(85, 170), _times(1.2, self.patches), self.anthropic, self.gemini_2, self.gemini_3)

    def _of(self, model: str) -> int:
        name = model.lower()
        if "claude" in name:
            return self.anthropic
        if (gemini := _GEMINI.search(name)) is not None:
            version = gemini[1]
            return max(self.gemini_2 if version in ("", "1", "2") else 0, self.gemini_3 if version not in "12" else 0)
        found = _OPENAI.search(name)
        return self._dearest if found is None else self._of_openai(name, found["major"], found["minor"])

    def _of_openai(self, name: str, major: str | None, minor: str | None) -> int:
        if major is not None and len(major) == 2:  # Azure's deployments are often called gpt-41, gpt-35
            major, minor = major[0], major[1]
        if "nano" in name:
            return _times(2.46, self.small_patches)
        if "mini" in name:
            if "4o" in name:
                return self._tiled(2833, 5667)
            return _times(1.62 if major else 1.72, self.small_patches)
        version = (int(major), int(minor or 0)) if major else (0, 0)
        if version < (5, 0):
            return self._tiled(85, 170)  # 75 and 150 for o1 and o3
        if version <= (5, 3):
            tiled = self._tiled(70, 140)
            return tiled if minor is None and "codex" not in name else max(tiled, _times(1.2, self.small_patches))
        patches = {(5, 4): self.gpt_5_4_patches, (5, 5): self.gpt_5_5_patches}.get(version, self.patches)
        return _times(1.2, patches)

    def _tiled(self, base: int, tile: int) -> int:
        return base * self.number + tile * self.tiles


# An image of which neither the size nor the detail is known. Google's largest are two rows of the smallest tiles.
MAX_IMAGE_TOKENS = ImageTokens(
    number=1,
    tiles=MAX_TILES,
    small_patches=SMALL_BUDGET,
    gpt_5_4_patches=ORIGINAL_BUDGET,
    gpt_5_5_patches=ORIGINAL_BUDGET,
    patches=ELSEWHERE_PATCHES,
    anthropic=ANTHROPIC_TOKENS,
    gemini_2=GOOGLE_TOKENS * 2 * (GOOGLE_SIDE // GOOGLE_TILE_LEAST),
    gemini_3=GEMINI_3_MOST,
)


def image_tokens(url: str, detail: Any = None) -> ImageTokens:
    """An image at `url`, which may be a data URL, at the `detail` that the request asks for."""
    size = size_of(url)
    is_usual = detail in (None, "auto", "low", "medium", "high")
    if size is None:
        found = MAX_IMAGE_TOKENS
        if is_usual:
            found = found._replace(gpt_5_4_patches=HIGH_BUDGET)
        if detail == "high":
            found = found._replace(gpt_5_5_patches=HIGH_BUDGET, patches=HIGH_BUDGET)
    else:
        high, original = _patches(*size, HIGH_BUDGET), _patches(*size, ORIGINAL_BUDGET)
        found = ImageTokens(
            number=1,
            tiles=_tiles(*size),
            small_patches=_patches(*size, SMALL_BUDGET),
            gpt_5_4_patches=high if is_usual else original,
            gpt_5_5_patches=high if detail == "high" else original,
            patches=high if detail == "high" else _patches(*size, NO_BUDGET),
            anthropic=_anthropic(*size),
            gemini_2=_gemini_2(*size),
        )
    found = found._replace(gemini_3=GEMINI_3_TOKENS if is_usual else GEMINI_3_MOST)
    if detail != "low":
        return found
    names = ("small_patches", "gpt_5_4_patches", "gpt_5_5_patches", "patches")
    return found._replace(tiles=0, **dict.fromkeys(names, LOW_PATCHES))


def _tiles(width: int, height: int) -> int:
    scale = min(1.0, MAX_SIDE / max(width, height))
    scale = min(scale, MAX_SHORT_SIDE / min(width, height))
    across, down = (-(-max(round(side * scale), 1) // TILE) for side in (width, height))
    return min(across * down, MAX_TILES)


def _patches(width: int, height: int, budget: int) -> int:
    """The patches that cover an image, which is scaled down to whole patches if they are more than the budget."""
    across, down = -(-width // PATCH), -(-height // PATCH)
    if across * down <= budget:
        return across * down
    scale = (budget * PATCH * PATCH / (width * height)) ** 0.5
    sides = [side * scale / PATCH for side in (width, height)]  # in patches
    shrink = min(max(int(side), 1) / side for side in sides)
    across, down = (-(-max(int(side * min(shrink, 1.0) * PATCH), 1) // PATCH) for side in sides)
    return min(across * down, budget)


def _anthropic(width: int, height: int) -> int:
    scale = min(1.0, ANTHROPIC_SIDE / max(width, height))
    width, height = (max(int(side * scale), 1) for side in (width, height))
    patches = -(-width // ANTHROPIC_PATCH) * -(-height // ANTHROPIC_PATCH)
    return min(max(patches, -(-width * height // ANTHROPIC_PIXELS)), ANTHROPIC_TOKENS)


def _gemini_2(width: int, height: int) -> int:
    if max(width, height) <= GOOGLE_SMALL:
        return GOOGLE_TOKENS
    scale = min(1.0, GOOGLE_SIDE / max(width, height))
    width, height = (max(round(side * scale), 1) for side in (width, height))
    tile = min(max(min(width, height) * 2 // 3, GOOGLE_TILE_LEAST), GOOGLE_TILE_MOST)
    return GOOGLE_TOKENS * -(-width // tile) * -(-height // tile)


def _times(factor: float, patches: int) -> int:
    return -(-round(100 * factor) * patches // 100)
