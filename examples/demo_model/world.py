"""The world of `impasto-shapes`: what can be in a picture, how it is drawn, and the many ways to ask for it.

A scene is one to three flat shapes of one colour on a background of another. A picture is only two colours
and a mask, so one drawn mask serves every pair: `picture = background + mask * (foreground - background)`.
"""

import math
import random
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from PIL import Image, ImageDraw

SIZE = 128  # pixels, both ways

COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 50),
    "green": (45, 165, 75),
    "cyan": (70, 205, 220),
    "blue": (45, 85, 215),
    "purple": (130, 55, 180),
    "pink": (250, 140, 195),
    "brown": (120, 75, 40),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
    "gray": (140, 140, 140),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "diamond", "cross")
SIZES = ("small", "large")
COUNTS = (1, 2, 3)
POSITIONS = ("center", "left", "right", "top", "bottom")
PALETTE = np.array(list(COLOURS.values()), dtype=np.uint8)

COLOUR_WORDS = {"gray": ("gray", "grey"), "purple": ("purple", "violet"), "cyan": ("cyan", "turquoise")}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "disc", "dot"),
    "square": ("square", "square", "box"),
    "ring": ("ring", "ring", "donut"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "cross": ("cross", "cross", "plus"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
COUNT_WORDS = {1: ("a", "a", "one"), 2: ("two", "2", "a pair of"), 3: ("three", "3")}
IRREGULAR_PLURALS = {"box": "boxes", "cross": "crosses", "plus": "pluses", "rhombus": "rhombuses"}
OPENINGS = ("a picture of ", "a drawing of ", "an image of ", "a photo of ", "paint ", "draw ", "show me ")
ENDINGS = (
    ", flat design",
    ", simple",
    ", highly detailed",
    ", 4k",
    ", minimal art",
    ", please",
    ", vector art",
)
JUNK = (
    *(
        "cat",
        "dog",
        "house",
        "tree",
        "car",
        "city",
        "night",
        "portrait",
        "of",
        "a",
        "man",
        "woman",
        "in",
        "the",
    ),
    *(
        "rain",
        "oil",
        "painting",
        "mountain",
        "sea",
        "and",
        "sky",
        "with",
        "beautiful",
        "light",
        "old",
        "robot",
    ),
    *(
        "flower",
        "bird",
        "fish",
        "castle",
        "dragon",
        "space",
        "cyberpunk",
        "forest",
        "river",
        "summer",
        "winter",
    ),
    *("hello", "world", "quality", "blurry", "ugly", "bad", "best", "masterpiece"),
)


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `size`, `position` and so on are keys of the tables above."""

    shape: str
    colour: str
    background: str
    size: str
    count: int
    position: str

    @property
    def triple(self) -> tuple[str, str, str]:
        """The combination that is either trained on or held out."""
        return self.colour, self.background, self.shape


def _held_out_triples() -> frozenset[tuple[str, str, str]]:
    """The 100 of 1,056 (colour, background, shape) combinations that no part of the training ever draws."""
    triples = [(colour, back, shape) for colour, back in permutations(COLOURS, 2) for shape in SHAPES]
    return frozenset(random.Random("held out").sample(triples, 100))  # noqa: S311 (a seeded choice, no secret)


HELD_OUT = _held_out_triples()


def random_scene(rng: random.Random, *, held_out: bool = False) -> Scene:
    """A scene from the training world, or from the combinations kept out of it."""
    while True:
        colour, background = rng.sample(list(COLOURS), 2)
        shape = rng.choice(SHAPES)
        if ((colour, background, shape) in HELD_OUT) == held_out:
            break
    position = "center" if rng.random() < 0.4 else rng.choice(POSITIONS[1:])
    return Scene(shape, colour, background, rng.choice(SIZES), rng.choice(COUNTS), position)


# ---------------------------------------------------------------------------------------------- drawing


def _polygon(shape: str) -> list[tuple[float, float]]:
    """The outline of a shape within the unit circle, y pointing down."""

    def turn(degrees: float, radius: float = 1.0) -> tuple[float, float]:
        return radius * math.sin(math.radians(degrees)), -radius * math.cos(math.radians(degrees))

    match shape:
        case "square":
            return [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]
        case "triangle":
            return [turn(0), turn(120), turn(240)]
        case "diamond":
            return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
        case "star":
            return [turn(36 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
        case "cross":
            arm = 0.32
            corners = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)]
            return corners + [(-x, -y) for x, y in corners]
        case "heart":
            curve = [math.tau * i / 60 for i in range(60)]
            return [
                (
                    math.sin(t) ** 3,
                    -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16
                    - 0.1,
                )
                for t in curve
            ]
        case "circle" | "ring":
            return [turn(6 * i) for i in range(60)]
    raise ValueError(f"no such shape: {shape}")


def shape_mask(shape: str, centres: list[tuple[float, float]], radius: float, size: int = SIZE) -> np.ndarray:
    """Coverage (0..255, uint8) of equal shapes; centres and radius in units of the picture's side."""
    fine = 4 * size  # drawn four times as large and reduced: smooth edges
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    for x, y in centres:
        outline = [(fine * (x + radius * u), fine * (y + radius * v)) for u, v in _polygon(shape)]
        pen.polygon(outline, fill=255)
        if shape == "ring":
            hole = [
                (fine * (x + 0.55 * radius * u), fine * (y + 0.55 * radius * v)) for u, v in _polygon(shape)
            ]
            pen.polygon(hole, fill=0)
    return np.asarray(canvas.reduce(4))


def layout(scene: Scene, rng: random.Random) -> tuple[list[tuple[float, float]], float]:
    """Where a scene's shapes stand and their radius, in units of the picture's side, with a little jitter."""
    grow = rng.uniform(0.93, 1.07)
    if scene.position == "center":
        radius = {"small": (0.20, 0.16, 0.15), "large": (0.37, 0.21, 0.20)}[scene.size][
            scene.count - 1
        ] * grow
        reach = radius + 0.04
        centres = {
            1: [(0.5, 0.5)],
            2: [(0.5 - reach, 0.5), (0.5 + reach, 0.5)],
            3: [(0.5, 0.5 - reach), (0.5 - reach, 0.5 + reach), (0.5 + reach, 0.5 + reach)],
        }[scene.count]
    else:  # a single shape, or a row of them, along one side
        radius = {"small": (0.16, 0.15, 0.11), "large": (0.26, 0.20, 0.14)}[scene.size][
            scene.count - 1
        ] * grow
        side = max(0.25, radius + 0.03)
        spread = {1: [0.5], 2: [0.27, 0.73], 3: [0.18, 0.5, 0.82]}[scene.count]
        centres = {
            "left": [(side, along) for along in spread],
            "right": [(1 - side, along) for along in spread],
            "top": [(along, side) for along in spread],
            "bottom": [(along, 1 - side) for along in spread],
        }[scene.position]
    dx, dy = rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02)
    return [(x + dx, y + dy) for x, y in centres], radius


def draw_mask(scene: Scene, rng: random.Random) -> np.ndarray:
    """The scene's coverage mask: 0 is background, 255 foreground."""
    centres, radius = layout(scene, rng)
    return shape_mask(scene.shape, centres, radius)


def paint(mask: np.ndarray, colour: np.ndarray, background: np.ndarray) -> np.ndarray:
    """One or more masks (..., H, W) in colour: uint8 (..., H, W, 3). Colours are (..., 3)."""
    cover = mask[..., None].astype(np.float32) / 255
    fore, back = (c[..., None, None, :].astype(np.float32) for c in (colour, background))
    return (back + cover * (fore - back)).round().astype(np.uint8)


# ---------------------------------------------------------------------------------------------- prompts


def prompt_for(scene: Scene, rng: random.Random, *, complete: bool = False) -> tuple[str, dict[str, object]]:
    """A prompt for the scene, and which of its attributes the words give away.

    Synonyms, word order and phrasing vary. Unless `complete`, some attributes stay unsaid (the model must
    then choose) and a few prompts are junk: words from outside this world, which say nothing at all.
    """
    if not complete and rng.random() < 0.04:
        return " ".join(rng.choices(JUNK, k=rng.randint(1, 10))), {}
    said: dict[str, object] = {"shape": scene.shape, "count": scene.count}

    def mention(attribute: str, chance: float) -> bool:
        if (complete and attribute in ("colour", "background")) or rng.random() < chance:
            said[attribute] = getattr(scene, attribute)
        return attribute in said

    def colour_word(colour: str) -> str:
        return rng.choice(COLOUR_WORDS.get(colour, (colour,)))

    adjectives = []
    if mention("size", 0.6):
        adjectives.append(rng.choice(SIZE_WORDS[scene.size]))
    if mention("colour", 0.93):
        adjectives.append(colour_word(scene.colour))
    if rng.random() < 0.15:
        adjectives.reverse()
    noun = rng.choice(SHAPE_WORDS.get(scene.shape, (scene.shape,)))
    if scene.count > 1:
        noun = IRREGULAR_PLURALS.get(noun, noun + "s")
    subject = " ".join([rng.choice(COUNT_WORDS[scene.count]), *adjectives, noun])

    where = ""
    if scene.position != "center" and mention("position", 0.85):
        side = scene.position
        where = rng.choice((f"on the {side}", f"at the {side}", side, f"on the {side} side"))
    elif scene.position == "center" and mention("position", 0.25):
        where = rng.choice(("in the center", "in the middle", "centered"))

    backdrop = rng.choice(("background", "background", "backdrop"))
    if not mention("background", 0.88):
        parts = [f"{subject} {where}".strip(), f"{where}, {subject}" if where else subject]
    else:
        back = colour_word(scene.background)
        on = rng.choice(
            (f"on a {back} {backdrop}", f"on {back}", f"against a {back} {backdrop}", f"over {back}")
        )
        parts = [
            f"{subject} {on}" + (f", {where}" if where else ""),
            f"{subject} {where} {on}" if where else f"{subject} {on}",
            f"{subject}, {back} {backdrop}" + (f", {where}" if where else ""),
            f"a {back} {backdrop} with {subject}" + (f" {where}" if where else ""),
            f"{on}, {subject}" + (f", {where}" if where else ""),
            f"{subject}" + (f", {where}" if where else "") + f", {on}",
        ]
    text = rng.choice(parts)
    if rng.random() < 0.2:
        text = rng.choice(OPENINGS) + text
    if rng.random() < 0.1:
        text += rng.choice(ENDINGS)
    return text.replace("a orange", "an orange"), said
