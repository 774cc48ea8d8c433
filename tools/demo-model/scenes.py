"""The domain of the demo model: scenes, their captions and their images.

A scene is a background colour and one or two flat shapes.  Except for the few
captions that leave the background open, a caption determines its scene fully.
"""
import math
import zlib
from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (220, 40, 40), "green": (40, 170, 70), "blue": (45, 90, 220),
    "yellow": (245, 210, 50), "orange": (245, 140, 40), "purple": (140, 60, 190),
    "pink": (245, 140, 190), "cyan": (60, 200, 215), "white": (245, 245, 245),
    "black": (25, 25, 30), "gray": (130, 130, 135), "brown": (125, 80, 45),
}
SHAPES = ("circle", "square", "triangle", "star", "heart",
          "ring", "cross", "diamond", "moon", "hexagon")
RADIUS = {"": 0.26, "small": 0.16, "large": 0.37, "pair": 0.19}  # of the shorter side
# place -> column and row, each -1, 0 or 1
PLACES = {
    "": (0, 0), "top left": (-1, -1), "top": (0, -1), "top right": (1, -1),
    "left": (-1, 0), "right": (1, 0),
    "bottom left": (-1, 1), "bottom": (0, 1), "bottom right": (1, 1),
}
COLOUR_NAMES = tuple(COLOURS)
PLACE_NAMES = tuple(PLACES)


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str
    size: str    # "", "small", "large"; "pair" for one of two
    place: str   # a key of PLACES


@dataclass(frozen=True)
class Scene:
    background: str
    things: tuple  # one Thing, or two: left then right, or upper then lower


def random_scene(rng, pair_share=0.4):
    """rng: random.Random."""
    background = rng.choice(COLOUR_NAMES)
    others = [c for c in COLOUR_NAMES if c != background]
    if rng.random() >= pair_share:
        size = rng.choice(("", "", "small", "large"))
        place = rng.choice(PLACE_NAMES) if rng.random() < 0.7 else ""
        return Scene(background, (Thing(rng.choice(others), rng.choice(SHAPES), size, place),))
    while True:
        a = (rng.choice(others), rng.choice(SHAPES))
        b = (rng.choice(others), rng.choice(SHAPES))
        if a != b:
            break
    first, second = rng.choice((("left", "right"), ("top", "bottom")))
    return Scene(background, (Thing(*a, "pair", first), Thing(*b, "pair", second)))


def held_out(scene):
    """Whether the scene is excluded from training: one in 50, by a hash of its repr."""
    return zlib.crc32(repr(scene).encode()) % 50 == 0


# ---------------------------------------------------------------- captions

SIZE_WORDS = {"small": ("small",) * 8 + ("tiny", "little"),
              "large": ("large",) * 7 + ("big", "big", "huge")}
PLACE_WORDS = {
    "top left": ("in the top left",), "top": ("at the top",), "top right": ("in the top right",),
    "left": ("on the left",), "right": ("on the right",), "bottom left": ("in the bottom left",),
    "bottom": ("at the bottom",), "bottom right": ("in the bottom right",),
    "": ("in the centre", "in the center", "in the middle"),
}
RELATIONS = {  # (place of the thing named first, of the other) -> phrases between them
    ("left", "right"): ("left of", "to the left of"), ("right", "left"): ("right of", "to the right of"),
    ("top", "bottom"): ("above",), ("bottom", "top"): ("below",),
}

ZH_COLOURS = {
    "red": ("红色",), "green": ("绿色",), "blue": ("蓝色",), "yellow": ("黄色",), "orange": ("橙色",),
    "purple": ("紫色",), "pink": ("粉色", "粉红色"), "cyan": ("青色",), "white": ("白色",),
    "black": ("黑色",), "gray": ("灰色",), "brown": ("棕色", "棕色", "褐色"),
}
ZH_SHAPES = {
    "circle": ("圆形",), "square": ("方形", "正方形"), "triangle": ("三角形",), "star": ("星形", "五角星", "星星"),
    "heart": ("心形", "爱心"), "ring": ("圆环", "环形"), "cross": ("十字", "十字形"), "diamond": ("菱形",),
    "moon": ("月亮", "月牙"), "hexagon": ("六边形",),
}
ZH_PLACES = {
    "top left": ("左上角",), "top": ("上方",), "top right": ("右上角",), "left": ("左边",), "": ("中间",),
    "right": ("右边",), "bottom left": ("左下角",), "bottom": ("下方",), "bottom right": ("右下角",),
}
ZH_SIZES = {"": ("",), "small": ("小的",), "large": ("大的",)}
ZH_RELATIONS = {"left": ("左边",), "right": ("右边",), "top": ("上方", "上面"), "bottom": ("下方", "下面")}


def _article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def _colour(rng, colour):
    return "grey" if colour == "gray" and rng.random() < 0.3 else colour


def _frame(rng, subject, background, articles):
    """Joins subject and background into an English caption; background None leaves it open."""
    put = _article if articles else str
    form = rng.random()
    if background is None:
        text = subject if form < 0.5 else "a picture of " + subject
    elif form < 0.45:
        text = f"{subject} on {put(background + ' background')}"
    elif form < 0.7:
        text = f"{background} background, {subject}"
    elif form < 0.9:
        text = f"a picture of {subject} on {background}"
    else:
        text = f"{subject} on {background}"
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.3 else "")


def _english(rng, scene, name_background):
    articles = rng.random() < 0.95
    put = _article if articles else str
    background = _colour(rng, scene.background) if name_background else None
    if len(scene.things) == 1:
        thing = scene.things[0]
        words = f"{_colour(rng, thing.colour)} {thing.shape}"
        if thing.size:
            words = f"{rng.choice(SIZE_WORDS[thing.size])} {words}"
        subject = put(words)
        if thing.place or rng.random() < 0.25:
            subject += " " + rng.choice(PLACE_WORDS[thing.place])
    else:
        a, b = scene.things if rng.random() < 0.5 else scene.things[::-1]
        relation = rng.choice(RELATIONS[a.place, b.place])
        first, second = (put(f"{_colour(rng, t.colour)} {t.shape}") for t in (a, b))
        subject = f"{first} {relation} {second}"
    return _frame(rng, subject, background, articles)


def _chinese(rng, scene, name_background):
    pick = rng.choice
    ground = pick(ZH_COLOURS[scene.background]) + "背景" if name_background else ""
    if len(scene.things) == 1:
        t = scene.things[0]
        words = "一个" + pick(ZH_SIZES[t.size]) + pick(ZH_COLOURS[t.colour]) + pick(ZH_SHAPES[t.shape])
        place = pick(ZH_PLACES[t.place]) if t.place or rng.random() < 0.25 else ""
        if not ground:
            text = place + words
        elif place:
            text = pick((f"{ground}上{place}{words}", f"{ground}上，{place}有{words}",
                         f"{ground}，{place}{words}", f"{ground}上，{words}在{place}", f"{words}在{place}，{ground}"))
        else:
            text = pick((f"{ground}上{words}", f"{ground}上{words}", f"{ground}，{words}"))
    else:
        a, b = scene.things if rng.random() < 0.5 else scene.things[::-1]
        first, second = (pick(ZH_COLOURS[t.colour]) + pick(ZH_SHAPES[t.shape]) for t in (a, b))
        text = f"{first}在{second}的{pick(ZH_RELATIONS[a.place])}"
        if ground:
            text = pick((f"{ground}上，{text}", f"{ground}上，{text}", f"{ground}，{text}"))
    return text + ("。" if rng.random() < 0.15 else "")


def caption(rng, scene, chinese_share=0.15, open_share=0.03):
    """-> text, whether it names the background. open_share: probability that it does not"""
    named = rng.random() >= open_share
    write = _chinese if rng.random() < chinese_share else _english
    return write(rng, scene, named), named


# ------------------------------------------------------------------ images

def _polygon_distance(x, y, points):
    """Signed distance to a closed polygon, negative inside."""
    best = np.full(x.shape, np.inf)
    sign = np.ones(x.shape)
    for (ax, ay), (bx, by) in zip(points, points[-1:] + points[:-1]):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        best = np.minimum(best, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        up, down, side = y >= ay, y < by, ex * wy > ey * wx
        sign = np.where((up & down & side) | (~up & ~down & ~side), -sign, sign)
    return sign * np.sqrt(best)


def _corners(count, radius, start, inner=None):
    """Corners of a regular polygon or (with inner) a star; angles from 'right', clockwise."""
    radii = [radius] * count if inner is None else [radius, inner] * count
    step = 2 * math.pi / len(radii)
    return [(r * math.cos(start + i * step), r * math.sin(start + i * step)) for i, r in enumerate(radii)]


def _box(x, y, half_width, half_height):
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def _heart(x, y, r):
    """Two half discs on a square on its corner; fits the circle of radius r."""
    s = 1.5 * r
    x, y = np.abs(x) / s, 0.55 - y / s            # the tip is at (0, 0), y up
    lobe = np.hypot(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    half = 0.5 * np.maximum(x + y, 0)
    near = np.minimum(np.hypot(x, y - 1), np.hypot(x - half, y - half))
    return s * np.where(x + y > 1, lobe, near * np.sign(x - y))


def distance(shape, x, y, r):
    """Signed distance in pixels; x to the right and y down from the shape's centre."""
    up = -math.pi / 2
    if shape == "circle":
        return np.hypot(x, y) - r
    if shape == "square":
        return _box(x, y, 0.85 * r, 0.85 * r)
    if shape == "triangle":
        return _polygon_distance(x, y, _corners(3, r, up))
    if shape == "star":
        return _polygon_distance(x, y, _corners(5, r, up, 0.42 * r))
    if shape == "heart":
        return _heart(x, y, r)
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.77 * r) - 0.23 * r
    if shape == "cross":
        return np.minimum(_box(x, y, 0.32 * r, r), _box(x, y, r, 0.32 * r))
    if shape == "diamond":
        return _polygon_distance(x, y, _corners(4, r, up))
    if shape == "moon":
        return np.maximum(np.hypot(x, y) - r, 0.8 * r - np.hypot(x - 0.5 * r, y + 0.15 * r))
    if shape == "hexagon":
        return _polygon_distance(x, y, _corners(6, r, 0.0))
    raise ValueError(shape)


def centre(thing, width, height):
    """-> x, y and radius of a thing, in pixels"""
    short = min(width, height)
    r = RADIUS[thing.size] * short
    column, row = PLACES[thing.place]
    out = []
    for side, at in ((width, column), (height, row)):
        edge = max(0.27 * side, r - 0.05 * short) if thing.size == "large" else 0.27 * side
        out.append((edge, side / 2, side - edge)[at + 1])
    return out[0], out[1], r


def mask(thing, width, height):
    """The antialiased mask of a thing: float32 [height, width], 0 to 1."""
    cx, cy, r = centre(thing, width, height)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.clip(0.5 - distance(thing.shape, x - cx, y - cy, r), 0, 1).astype(np.float32)


def colour_value(colour):
    """A colour in -1..1."""
    return np.array(COLOURS[colour], np.float32) / 127.5 - 1


def render(scene, width, height):
    """The image of a scene: float32 [height, width, 3], -1 to 1."""
    ground = colour_value(scene.background)
    image = np.broadcast_to(ground, (height, width, 3)).copy()
    for thing in scene.things:
        image += mask(thing, width, height)[..., None] * (colour_value(thing.colour) - ground)
    return image
