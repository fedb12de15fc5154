"""How large what flows along the edges can get, told before anything runs.

Every output gets a bound from those of its node's inputs: how large a number, how long a text, how many
pixels and items. So a graph cannot hide a range of a million behind a sum, or a gigabyte behind a scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from impasto_core.graphs.catalogue import NodeType
from impasto_core.graphs.limits import (
    MAX_ITEMS,
    MAX_LATENT_PIXELS,
    MAX_NUMBER,
    MAX_PROMPT,
    MAX_SIDE,
    MAX_STEPS,
    MAX_TEXT,
)


@dataclass(frozen=True)
class Number:
    """From `low` to `high`, both included; a boolean is 0 or 1."""

    low: float
    high: float


@dataclass(frozen=True)
class Text:
    """At most so many characters."""

    length: int


@dataclass(frozen=True)
class Size:
    """At most so many pixels each way: of an image, of a mask, or of the image that latents stand for."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class Many:
    """At most `length` items, each within `item`."""

    length: int
    item: Bound


@dataclass(frozen=True)
class Tile:
    """A part of an image: how large it is, and how large the image."""

    part: Size
    whole: Size


@dataclass(frozen=True)
class Network:
    """What denoises: a UNet or a transformer, of a model that may paint so many pixels."""

    base: str
    max_pixels: int


Bound = Number | Text | Size | Many | Tile | Network | None
"""None: something that has no size, such as a conditioning."""


class Unbounded(Exception):
    """An input of the node is too large, or how large it gets cannot be told."""

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.code = code
        self.detail = detail


def join(bounds: Iterable[Bound]) -> Bound:
    """The smallest bound that holds for all of them."""
    joined: Bound = None
    for bound in bounds:
        joined = _join(joined, bound)
    return joined


def _join(one: Bound, other: Bound) -> Bound:
    match one, other:
        case None, _:
            return other
        case Number(), Number():
            return Number(min(one.low, other.low), max(one.high, other.high))
        case Text(), Text():
            return Text(max(one.length, other.length))
        case Size(), Size():
            return Size(max(one.width, other.width), max(one.height, other.height))
        case Many(), Many():
            return Many(max(one.length, other.length), _join(one.item, other.item))
        case Tile(), Tile():
            return Tile(_size(join([one.part, other.part])), _size(join([one.whole, other.whole])))
        case Network(), Network():
            return min(one, other, key=lambda network: network.max_pixels)
        case _:
            return one


def _size(bound: Bound) -> Size:
    assert isinstance(bound, Size)  # noqa: S101
    return bound


def bound_of(value: Any, references: Mapping[str, Bound]) -> Bound:
    """The bound of a value of the graph; `references` has those of the images and models that it names."""
    match value:
        case bool() | int() | float():
            return Number(float(value), float(value))
        case str():
            return Text(len(value))
        case list():
            return Many(len(value), join(bound_of(item, references) for item in value))
        case {"image_name": str(name)} | {"key": str(name)}:
            return references.get(name)
        case {"x_min": int(left), "x_max": int(right), "y_min": int(top), "y_max": int(bottom)}:
            return Size(abs(right - left), abs(bottom - top))
        case {"coords": {"left": int(left), "right": int(right), "top": int(top), "bottom": int(bottom)}}:
            return Tile(Size(abs(right - left), abs(bottom - top)), Size(right, bottom))
        case _:
            return None


class Node:
    """A node, and the bound of each input: of what an edge brings, of its value, or of its default."""

    def __init__(
        self,
        type_: NodeType,
        values: Mapping[str, Any],
        fed: Mapping[str, Bound],
        references: Mapping[str, Bound],
    ) -> None:
        self.type = type_
        self.values = {
            name: values.get(name, field.schema.get("default")) for name, field in type_.inputs.items()
        }
        self.fed = fed
        self.bounds = {
            name: fed[name] if name in fed else bound_of(value, references)
            for name, value in self.values.items()
        }

    def given(self, field: str) -> bool:
        return field in self.fed or self.values[field] is not None

    def number(self, field: str) -> Number:
        """Raises Unbounded."""
        bound = self.bounds[field]
        if isinstance(bound, Number):
            return bound
        raise Unbounded(field, "unbounded", "How large this gets cannot be told beforehand.")

    def within(self, field: str, low: float, high: float) -> Number:
        """The number of that input, which must lie between the two. Raises Unbounded."""
        bound = self.number(field)
        if bound.low < low or bound.high > high:
            found = f"{bound.low:g}" if bound.low == bound.high else f"{bound.low:g} to {bound.high:g}"
            raise Unbounded(field, "out_of_range", f"It is {found}, and must be from {low:g} to {high:g}.")
        return bound

    def text(self, field: str) -> int:
        """Characters of that input at most. Raises Unbounded."""
        match self.bounds[field]:
            case Text(length):
                return length
            case Number():
                return 40  # InvokeAI writes a number out where text is wanted
            case _ if not self.given(field):
                return 0
        raise Unbounded(field, "unbounded", "How long this gets cannot be told beforehand.")

    def size(self, *fields: str) -> Size:
        """Of the largest picture among those inputs, of all inputs by default. Raises Unbounded."""
        bounds = [self.bounds[field] for field in fields or self.bounds]
        found = join(size for bound in bounds if isinstance(size := _picture_in(bound), Size))
        if isinstance(found, Size):
            return found
        field = next((name for name in fields or self.bounds if self.given(name)), next(iter(self.bounds)))
        raise Unbounded(
            field, "unbounded", "How large this picture gets cannot be told before the graph runs."
        )


def _picture_in(bound: Bound) -> Bound:
    return bound.item if isinstance(bound, Many) else bound


Rule = Callable[[Node], Mapping[str, Bound]]
"""The bounds of a node's outputs, as far as they do not follow from their types. May raise Unbounded."""


def corners(operation: Callable[[float, float], float], a: Number, b: Number) -> Number:
    """The range of an operation that is largest and smallest at the ends of its operands' ranges."""
    results = [operation(x, y) for x, y in product((a.low, a.high), (b.low, b.high))]
    return Number(min(results), max(results))


def _divide(node: Node) -> Number:
    a, b = node.number("a"), node.number("b")
    if b.low <= 0 <= b.high:
        raise Unbounded("b", "unbounded", "It may be zero.")
    return corners(lambda x, y: x / y, a, b)


def _power(node: Node) -> Number:
    a, b = node.within("a", 0, 10_000), node.within("b", 0, 16)
    return Number(0, max(1.0, a.high) ** b.high)


def _arithmetic(node: Node, operation: str) -> Number:
    if operation == "DIV":
        return _divide(node)
    if operation == "EXP":
        return _power(node)
    a, b = node.number("a"), node.number("b")
    match operation:
        case "ADD":
            return Number(a.low + b.low, a.high + b.high)
        case "SUB":
            return Number(a.low - b.high, a.high - b.low)
        case "MUL":
            return corners(lambda x, y: x * y, a, b)
        case "MIN":
            return Number(min(a.low, b.low), min(a.high, b.high))
        case "MAX":
            return Number(max(a.low, b.low), max(a.high, b.high))
        case "MOD":
            size = max(abs(b.low), abs(b.high))
            return Number(-size, size)
        case "SQRT":
            return Number(0, math.sqrt(max(0.0, a.high)))
        case _:  # ABS
            return Number(0, max(abs(a.low), abs(a.high)))


def _fixed_arithmetic(operation: str) -> Rule:
    return lambda node: {"value": _arithmetic(node, operation)}


def _chosen_arithmetic(node: Node) -> Mapping[str, Bound]:
    if "operation" in node.fed:
        raise Unbounded("operation", "unbounded", "The operation must stand in the graph itself.")
    return {"value": _arithmetic(node, node.values["operation"])}


def _float_to_int(node: Node) -> Mapping[str, Bound]:
    value, multiple = node.number("value"), node.within("multiple", 1, MAX_NUMBER).high
    return {"value": Number(value.low - multiple, value.high + multiple)}


def _random(node: Node) -> Mapping[str, Bound]:
    return {"value": Number(node.number("low").low, node.number("high").high)}


def _items(length: float, low: float, high: float) -> Mapping[str, Bound]:
    return {"collection": Many(math.ceil(length), Number(low, high))}


def _range(node: Node) -> Mapping[str, Bound]:
    start, stop, step = node.number("start"), node.number("stop"), node.number("step")
    if step.low <= 0 <= step.high:
        raise Unbounded("step", "unbounded", "It may be zero.")
    length = (stop.high - start.low) / min(abs(step.low), abs(step.high))
    if length > MAX_ITEMS:
        raise Unbounded("stop", "too_long", f"It may have {length:.0f} items, and {MAX_ITEMS} at most.")
    return _items(max(0.0, length), start.low, stop.high)


def _range_of_size(node: Node) -> Mapping[str, Bound]:
    start, step = node.number("start"), node.number("step")
    size = node.within("size", 1, MAX_ITEMS)
    reach = corners(lambda x, y: x * y, step, Number(0, size.high))
    return _items(size.high, start.low + reach.low, start.high + reach.high)


def _random_range(node: Node) -> Mapping[str, Bound]:
    return _items(node.within("size", 0, MAX_ITEMS).high, node.number("low").low, node.number("high").high)


def _float_range(node: Node) -> Mapping[str, Bound]:
    ends = join([node.number("start"), node.number("stop")])
    assert isinstance(ends, Number)  # noqa: S101
    return _items(node.within("steps", 1, MAX_ITEMS).high, ends.low, ends.high)


def _joined(*fields: str) -> Rule:
    return lambda node: {"value": Text(sum(node.text(field) for field in fields))}


def _split(*outputs: str) -> Rule:
    return lambda node: {output: Text(node.text("string")) for output in outputs}


def _prompt(*fields: str) -> Rule:
    def rule(node: Node) -> Mapping[str, Bound]:
        for field in fields:
            if (length := node.text(field)) > MAX_PROMPT:
                raise Unbounded(
                    field, "too_long", f"The prompt may have {length} characters, and {MAX_PROMPT} at most."
                )
        return {}

    return rule


def _same(*pairs: str) -> Rule:
    """The output of that name is what the input of that name is."""
    return lambda node: {name: node.bounds[name] for name in pairs}


def _picture(node: Node, field: str, width: float, height: float) -> Mapping[str, Bound]:
    """Every picture that the node makes. `field` is to blame where it is too large."""
    size = Size(math.ceil(width), math.ceil(height))
    if size.width > MAX_SIDE or size.height > MAX_SIDE:
        raise Unbounded(
            field,
            "too_many_pixels",
            f"It may get {size.width} x {size.height} pixels large, and {MAX_SIDE} x {MAX_SIDE} at most.",
        )
    if size.pixels > MAX_LATENT_PIXELS and any(
        o.type.name == "LatentsField" for o in node.type.outputs.values()
    ):
        raise Unbounded(
            field,
            "too_many_pixels",
            f"The latents may be of {size.pixels} pixels, and of {MAX_LATENT_PIXELS} at most.",
        )
    sides: dict[str, Bound] = {"width": Number(1, size.width), "height": Number(1, size.height)}
    pictures = {name: size for name, output in node.type.outputs.items() if output.type.name in PICTURES}
    return {**pictures, **{name: side for name, side in sides.items() if name in node.type.outputs}}


def _sized(node: Node) -> Mapping[str, Bound]:
    """A picture of the size that is asked for."""
    width, height = node.within("width", 1, MAX_SIDE), node.within("height", 1, MAX_SIDE)
    return _picture(node, "width", width.high, height.high)


def _scaled(field: str) -> Rule:
    def rule(node: Node) -> Mapping[str, Bound]:
        size, factor = node.size(field), node.within("scale_factor", 0, 64).high
        return _picture(node, "scale_factor", size.width * factor, size.height * factor)

    return rule


def _padded(node: Node) -> Mapping[str, Bound]:
    size = node.size("image")
    left, right, top, bottom = (
        max(0, node.within(side, -MAX_SIDE, MAX_SIDE).high) for side in ("left", "right", "top", "bottom")
    )
    return _picture(node, "left", size.width + left + right, size.height + top + bottom)


def _pasted(node: Node) -> Mapping[str, Bound]:
    base, image = node.size("base_image"), node.size("image")
    x, y = node.within("x", -MAX_SIDE, MAX_SIDE), node.within("y", -MAX_SIDE, MAX_SIDE)
    width = max(base.width, image.width + x.high) - min(0, x.low)
    height = max(base.height, image.height + y.high) - min(0, y.low)
    return _picture(node, "x", width, height)


def _box(node: Node) -> Mapping[str, Bound]:
    x_min, x_max, y_min, y_max = (
        node.within(side, 0, MAX_SIDE) for side in ("x_min", "x_max", "y_min", "y_max")
    )
    return {"bounding_box": Size(int(x_max.high - x_min.low), int(y_max.high - y_min.low))}


def _box_of_mask(node: Node) -> Mapping[str, Bound]:
    size, margin = node.size("mask"), int(node.within("margin", 0, MAX_SIDE).high)
    return {"bounding_box": Size(size.width + 2 * margin, size.height + 2 * margin)}


def _cropped_to_box(node: Node) -> Mapping[str, Bound]:
    size = node.size("bounding_box" if node.given("bounding_box") else "image")
    return _picture(node, "bounding_box", size.width, size.height)


def _ideal_size(node: Node) -> Mapping[str, Bound]:
    width, height = node.within("width", 1, MAX_SIDE), node.within("height", 1, MAX_SIDE)
    network = node.bounds["unet"]
    native = {"sd-1": 512, "sd-2": 768}.get(network.base, 1024) if isinstance(network, Network) else 1024
    dimension = native * node.within("multiplier", 0.01, 8).high

    def longest(aspect: float) -> Number:
        return Number(
            8, max(dimension / 2, dimension / math.sqrt(aspect)) * aspect if aspect > 1 else dimension
        )

    return {"width": longest(width.high / height.low), "height": longest(height.high / width.low)}


def _tiles_of(columns: float, rows: float, part: Size, whole: Size) -> Mapping[str, Bound]:
    count = math.ceil(columns) * math.ceil(rows)
    if count > MAX_ITEMS:
        raise Unbounded("overlap", "too_long", f"There may be {count} tiles, and {MAX_ITEMS} at most.")
    return {"tiles": Many(count, Tile(part, whole))}


def _whole(node: Node) -> Size:
    width, height = node.within("image_width", 1, MAX_SIDE), node.within("image_height", 1, MAX_SIDE)
    return Size(int(width.high), int(height.high))


def _tiles_of_size(overlap_field: str) -> Rule:
    def rule(node: Node) -> Mapping[str, Bound]:
        whole = _whole(node)
        overlap = node.within(overlap_field, 0, MAX_SIDE).high
        width, height = node.within("tile_width", 1, MAX_SIDE), node.within("tile_height", 1, MAX_SIDE)
        if overlap >= min(width.low, height.low):
            raise Unbounded(overlap_field, "out_of_range", "It must be less than a tile's width and height.")
        part = Size(int(min(width.high, whole.width)), int(min(height.high, whole.height)))
        columns = max(1, (whole.width - overlap) / (min(width.low, whole.width) - overlap))
        rows = max(1, (whole.height - overlap) / (min(height.low, whole.height) - overlap))
        return _tiles_of(columns, rows, part, whole)

    return rule


def _tiles_evenly(node: Node) -> Mapping[str, Bound]:
    whole = _whole(node)
    overlap = node.within("overlap", 0, MAX_SIDE).high
    columns, rows = node.within("num_tiles_x", 1, MAX_ITEMS), node.within("num_tiles_y", 1, MAX_ITEMS)

    def part(side: int, count: Number) -> int:
        # Rounded down to multiples of 8; what is left over falls to the last one.
        return min(side, math.ceil(side / count.low + overlap + 8 * count.high))

    return _tiles_of(
        columns.high, rows.high, Size(part(whole.width, columns), part(whole.height, rows)), whole
    )


def _tile(bound: Bound, field: str) -> Tile:
    if isinstance(bound, Tile):
        return bound
    raise Unbounded(field, "unbounded", "How large the tiles are cannot be told beforehand.")


def _tile_properties(node: Node) -> Mapping[str, Bound]:
    tile = _tile(node.bounds["tile"], "tile")
    across, down = Number(0, tile.whole.width), Number(0, tile.whole.height)
    return {
        "width": Number(1, tile.part.width),
        "height": Number(1, tile.part.height),
        **dict.fromkeys(("coords_left", "coords_right", "overlap_left", "overlap_right"), across),
        **dict.fromkeys(("coords_top", "coords_bottom", "overlap_top", "overlap_bottom"), down),
    }


def _merged_tiles(node: Node) -> Mapping[str, Bound]:
    whole = _tile(_picture_in(node.bounds["tiles_with_images"]), "tiles_with_images").whole
    return _picture(node, "tiles_with_images", whole.width, whole.height)


def _images_collected(node: Node) -> Mapping[str, Bound]:
    collections = [bound for name in ("collection", "images") if isinstance(bound := node.bounds[name], Many)]
    return {"collection": Many(sum(c.length for c in collections), join(c.item for c in collections))}


def _chosen(node: Node) -> Mapping[str, Bound]:
    return {"value": join([node.bounds["true_input"], node.bounds["false_input"]])}


def _iterated(node: Node) -> Mapping[str, Bound]:
    collection = node.bounds["collection"]
    if not isinstance(collection, Many):
        raise Unbounded("collection", "unbounded", "How many items there are cannot be told beforehand.")
    place = Number(0, collection.length)
    return {"item": collection.item, "index": place, "total": place}


def _denoised(node: Node) -> Mapping[str, Bound]:
    """Denoising keeps the size: of the latents, or of the noise where there are none."""
    steps = "num_steps" if "num_steps" in node.values else "steps"
    node.within(steps, 1, MAX_STEPS)
    if "width" in node.type.inputs:
        # FLUX and SD 3 make their own noise where they are given none.
        asked = Size(
            int(node.within("width", 1, MAX_SIDE).high), int(node.within("height", 1, MAX_SIDE).high)
        )
        brought = [node.bounds[field] for field in ("latents", "noise") if field in node.fed]
        size = _size(join([asked, *brought]))
    else:
        size = node.size("latents", "noise")
    network = join([node.bounds.get("unet"), node.bounds.get("transformer")])
    if isinstance(network, Network) and size.pixels > network.max_pixels:
        raise Unbounded(
            "latents" if "latents" in node.fed else "noise",
            "too_many_pixels",
            f"It may be of {size.width} x {size.height} pixels, and the model paints {network.max_pixels}.",
        )
    return _picture(node, "latents", size.width, size.height)


PICTURES = {"ImageField", "LatentsField", "TensorField", "DenoiseMaskField", "BoundingBoxField"}
"""Types of outputs that have a size in pixels."""

NETWORKS = {"UNetField", "TransformerField", "ModelIdentifierField"}

DENOISERS = {
    "denoise_latents",
    "denoise_latents_meta",
    "tiled_multi_diffusion_denoise_latents",
    "sd3_denoise",
    "flux_denoise",
    "flux_denoise_meta",
}

RULES: dict[str, Rule] = {
    "add": _fixed_arithmetic("ADD"),
    "sub": _fixed_arithmetic("SUB"),
    "mul": _fixed_arithmetic("MUL"),
    "div": _fixed_arithmetic("DIV"),
    "integer_math": _chosen_arithmetic,
    "float_math": _chosen_arithmetic,
    "float_to_int": _float_to_int,
    "round_float": _same("value"),
    "rand_int": _random,
    "rand_float": _random,
    "integer": _same("value"),
    "float": _same("value"),
    "boolean": _same("value"),
    "string": _same("value"),
    "integer_collection": _same("collection"),
    "float_collection": _same("collection"),
    "boolean_collection": _same("collection"),
    "string_collection": _same("collection"),
    "latents_collection": _same("collection"),
    "conditioning_collection": _same("collection"),
    "image_collection": _images_collected,
    "range": _range,
    "range_of_size": _range_of_size,
    "random_range": _random_range,
    "float_range": _float_range,
    "string_join": _joined("string_left", "string_right"),
    "string_join_three": _joined("string_left", "string_middle", "string_right"),
    "string_split": _split("string_1", "string_2"),
    "string_split_neg": _split("positive_string", "negative_string"),
    "compel": _prompt("prompt"),
    "sdxl_compel_prompt": _prompt("prompt", "style"),
    "sdxl_refiner_compel_prompt": _prompt("style"),
    "sd3_text_encoder": _prompt("prompt"),
    "flux_text_encoder": _prompt("prompt"),
    "decode_watermark": lambda node: {"value": Text(int(node.within("length", 1, 256).high))},
    "blank_image": _sized,
    "img_crop": _sized,
    "img_resize": _sized,
    "lresize": _sized,
    "crop_latents": _sized,
    "noise": _sized,
    "rectangle_mask": _sized,
    "img_scale": _scaled("image"),
    "lscale": _scaled("latents"),
    "img_pad_crop": _padded,
    "img_paste": _pasted,
    "bounding_box": _box,
    "get_image_mask_bounding_box": _box_of_mask,
    "crop_image_to_bounding_box": _cropped_to_box,
    "ideal_size": _ideal_size,
    "calculate_image_tiles": _tiles_of_size("overlap"),
    "calculate_image_tiles_min_overlap": _tiles_of_size("min_overlap"),
    "calculate_image_tiles_even_split": _tiles_evenly,
    "tile_to_properties": _tile_properties,
    "pair_tile_image": lambda node: {"tile_with_image": node.bounds["tile"]},
    "merge_tiles_to_image": _merged_tiles,
    "if": _chosen,
    "iterate": _iterated,
    **dict.fromkeys(DENOISERS, _denoised),
}

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "canvas_paste_back": {"mask_blur": (0, 64)},
    "create_gradient_mask": {"edge_radius": (0, 256)},
    "img_blur": {"radius": (0, 512)},
    "invokeai_img_dilate_erode": {"radius_w": (0, 64), "radius_h": (0, 64)},
    "invokeai_img_composite": {"x_offset": (-MAX_SIDE, MAX_SIDE), "y_offset": (-MAX_SIDE, MAX_SIDE)},
    "mask_edge": {"edge_size": (0, 256), "edge_blur": (0, 512)},
    "unsharp_mask": {"radius": (0, 512)},
    "unsharp_mask_oklab": {"radius": (0, 512)},
}
"""Inputs whose size a node's time or memory grows with, beside its pictures."""


def outputs_of(node: Node) -> dict[str, Bound]:
    """The bounds of all outputs of the node, but for a collect node. Raises Unbounded."""
    for field, (low, high) in RANGES.get(node.type.type, {}).items():
        node.within(field, low, high)
    rule = RULES.get(node.type.type)
    bounds = dict(rule(node)) if rule else dict(_by_type(node))
    for output, bound in _by_type(node).items() if rule else ():
        bounds.setdefault(output, bound)
    for bound in bounds.values():
        _check_value(node, bound)
    return bounds


def _by_type(node: Node) -> Mapping[str, Bound]:
    """A picture is as large as the largest that its node is given; a network stays the same."""
    types = {name: output.type.name for name, output in node.type.outputs.items()}
    networks = join(bound for bound in node.bounds.values() if isinstance(bound, Network))
    bounds: dict[str, Bound] = {name: networks for name, kind in types.items() if kind in NETWORKS}
    if node.type.type not in RULES and PICTURES & set(types.values()):
        size = node.size()
        bounds |= _picture(node, next(iter(node.type.inputs)), size.width, size.height)
    return bounds


def _check_value(node: Node, bound: Bound) -> None:
    bound = _picture_in(bound)
    field = next((name for name in node.type.inputs if node.given(name)), "id")
    if isinstance(bound, Number) and max(abs(bound.low), abs(bound.high)) > MAX_NUMBER:
        raise Unbounded(field, "out_of_range", "The result may be a number above 2^53.")
    if isinstance(bound, Text) and bound.length > MAX_TEXT:
        raise Unbounded(
            field, "too_long", f"The result may have {bound.length} characters, and {MAX_TEXT} at most."
        )
