"""Checks of a layer's class when it is registered: its arguments, and its formulas at small numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, Literal, get_args, get_origin, get_type_hints

from resnet_factory.errors import all_of, one_of, shown
from resnet_factory.layers.axes import SAME, Axes, Padding, axes_entries
from resnet_factory.layers.layer import BOTH, FLAT, INPUT, MAP, NEITHER, OUTPUT, POINT, Layer

FORMS, SAVED = (MAP, POINT, FLAT), (INPUT, OUTPUT, BOTH, NEITHER)
CHANNELS, NUMBERS, RATES = (64, 12), (1, 2, 3, 4, 16, 0, -1, 5), (0.5, 1.0, 2.0, 0.0, -1.0)
"""The values that arguments are tried with."""
PER_AXIS, PER_SIDE = ((1, 2, 3), (4, 4, 2)), (((0, 1), (1, 0), (1, 1)), SAME)
"""Further ones of arguments that may be one number per axis, for three axes, and of paddings."""
DIMS = (2, 1, 3)
OWN = ("channels", "dims")
"""Fields that the planner fills in."""
UNLESS = ", unless valid() refuses these arguments"
FORBIDDEN = ("name", "when", "layer", "layers")
"""Keys of an item or a slot, which no argument may be called."""

COUNTS: dict[str, Callable[[Any], Any]] = {
    "out_channels": lambda layer: layer.out_channels,
    "size(56, 0)": lambda layer: layer.size(56, 0),
    "params()": lambda layer: layer.params(),
    "biases()": lambda layer: layer.biases(),
    "macs(49)": lambda layer: layer.macs(49),
    "extra_bytes(size, 4, True)": lambda layer: layer.extra_bytes((7,) * layer.dims, 4, True),
    "scratch_bytes(size, 4, 2)": lambda layer: layer.scratch_bytes((7,) * layer.dims, 4, 2),
    "workspace()": lambda layer: layer.workspace(),
    "buffers(4)": lambda layer: layer.buffers(4),
}
"""Formulas that give a whole number, as they are called."""


def probe_layer_class(layer: object) -> None:
    """Check a class that is to be a layer.

    Raises:
        TypeError: it is not a frozen dataclass derived from `Layer`, or a recipe cannot give its arguments.
        ValueError: a formula fails or does not give a number, or `valid` refuses without a fault.
    """
    if not isinstance(layer, type) or not issubclass(layer, Layer) or layer is Layer:
        raise TypeError(f"a layer is a class derived from resnet_factory.layers.Layer, found {shown(layer)}")
    name = layer.__qualname__
    if not is_dataclass(layer) or "__dataclass_fields__" not in vars(layer):
        raise TypeError(f"{name} is not a dataclass; write @dataclass(frozen=True, slots=True) above it")
    if not layer.__dataclass_params__.eq:  # type: ignore[attr-defined]
        raise TypeError(f"{name} compares by identity; leave eq=False out of its @dataclass")
    try:
        hints = get_type_hints(layer, include_extras=True)
    except Exception as error:
        raise TypeError(f"the types of {name}'s arguments cannot be read: {error}") from error
    values: dict[str, tuple[Any, ...]] = {}
    for entry in fields(layer):
        if entry.name not in OWN:
            values[entry.name] = _probed_argument_values(name, entry, hints[entry.name])
    for message in _probed_attribute_faults(layer):
        raise TypeError(f"{name}.{message}")
    names = tuple(entry.name for entry in fields(layer))
    required = [entry.name for entry in fields(layer) if entry.default is MISSING and entry.name not in OWN]
    for dims, channels, i in product(DIMS, CHANNELS, range(len(NUMBERS))):
        given = {key: values[key][i % len(values[key])] for key in required}
        _probe_layer_formulas(layer, {"channels": channels, "dims": dims, **given}, names)
    first = {key: values[key][0] for key in required}
    for dims, (key, tried) in product(DIMS, values.items()):
        for value in tried:
            axes = value[:dims] if isinstance(value, tuple) else value
            _probe_layer_formulas(layer, {"channels": CHANNELS[0], "dims": dims, **first, key: axes}, names)


def _probed_argument_values(name: str, entry: Field[Any], hint: Any) -> tuple[Any, ...]:
    """Return values to try an argument with.

    Raises:
        TypeError: a recipe cannot give it.
    """
    what = f"the argument {entry.name!r} of {name}"
    if entry.name in FORBIDDEN:
        raise TypeError(f"{what} has a name that is reserved in recipes; choose another")
    if get_origin(hint) is Literal and all(isinstance(word, str) for word in get_args(hint)):
        values: tuple[Any, ...] = get_args(hint)
        allowed = entry.default in get_args(hint)
    elif hint in (int, float, bool):
        values = {int: NUMBERS, float: RATES, bool: (False, True)}[hint]
        allowed = type(entry.default) in ((int, float) if hint is float else (hint,))
    elif hint in (Axes, Padding):
        values = NUMBERS + PER_AXIS + (PER_SIDE if hint == Padding else ())
        allowed = type(entry.default) is int or (hint == Padding and entry.default == SAME)
    else:
        constant = f"; for a constant of the class write ClassVar: {entry.name}: ClassVar[…] = …"
        hinted = constant if entry.name in vars(Layer) else ""
        raise TypeError(f"{what} is not an int, float, bool, Axes, Padding or Literal of strings{hinted}")
    if entry.default_factory is not MISSING or not (allowed or entry.default is MISSING):
        raise TypeError(f"{what} has a default that does not match its type")
    return values


def _probed_attribute_faults(layer: type[Layer]) -> Iterator[str]:
    """Yield what is wrong with the class's constants."""
    if not isinstance(layer.family, str) or not layer.family.isidentifier():
        yield (
            f"family is {shown(layer.family)}; expected an identifier, with which the layer's names begin, "
            "as 'act'"
        )
    if not isinstance(layer.accepts, tuple) or not layer.accepts or not set(layer.accepts) <= set(FORMS):
        yield f"accepts is {shown(layer.accepts)}; expected a tuple of {all_of(map(repr, FORMS))}"
    produces: Any = layer.produces
    if not isinstance(produces, property) and produces not in (None, *FORMS):
        yield f"produces is {shown(produces)}; expected None, {one_of(map(repr, FORMS))}"
    for flag in ("numbered", "elementwise", "counted"):
        if not isinstance(getattr(layer, flag), bool):
            yield f"{flag} is {shown(getattr(layer, flag))}; expected True or False"


def _probe_layer_formulas(layer: type[Layer], arguments: dict[str, Any], names: tuple[str, ...]) -> None:
    """Check the formulas of one layer.

    Raises:
        ValueError: one of them fails.
    """
    said = {key: value for key, value in arguments.items() if (key, value) != ("dims", 2)}
    given = ", ".join(f"{key}={value!r}" for key, value in said.items())
    shown_layer = f"{layer.__qualname__}({given})"

    def ask(formula: str, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except Exception as error:
            unless = "" if formula in ("making it", "valid()", "faults()") else UNLESS
            message = f"{shown_layer}: {formula} fails: {type(error).__name__}: {error}{unless}"
            raise ValueError(message) from error

    def make() -> Layer:
        channels = arguments["channels"]
        rest = {key: value for key, value in arguments.items() if key != "channels"}
        layer.complete(rest)
        return layer(channels, **rest)

    made = ask("making it", make)
    valid = ask("valid()", made.valid)
    if not isinstance(valid, bool):
        raise ValueError(f"{shown_layer}: valid() is {shown(valid)}; expected True or False")
    if not valid:
        reasons = ask("faults()", lambda: list(made.faults()))
        pairs = all(isinstance(reason, tuple) and len(reason) == 2 for reason in reasons)
        if not reasons or not pairs or any(key not in names for key, _ in reasons):
            wanted = "yield an argument's name and what is wrong with it"
            raise ValueError(f"{shown_layer}: valid() is False, but faults() does not say why; {wanted}")
        return
    for formula, compute in COUNTS.items():
        value = ask(formula, partial(compute, made))
        least = {"out_channels": 1, "size(56, 0)": None}.get(formula, 0)
        if type(value) is not int or (least is not None and value < least):
            kind = "an int" if least is None else f"an int of at least {least}"
            raise ValueError(f"{shown_layer}: {formula} is {shown(value)}; expected {kind}{UNLESS}")
    step = ask("step", lambda: made.step)
    if not all(type(entry) in (int, Fraction) and entry > 0 for entry in axes_entries(step)):
        raise ValueError(
            f"{shown_layer}: step is {shown(step)}; expected an int of at least 1, or one per axis"
        )
    reach = ask("reach", lambda: made.reach)
    if reach is not None and (
        len(reach) != 2 or not all(type(side) in (int, Fraction) for side in axes_entries(reach))
    ):
        raise ValueError(
            f"{shown_layer}: reach is {shown(reach)}; expected None, or two ints: before and after"
        )
    if (produces := ask("produces", lambda: made.produces)) not in (None, *FORMS):
        raise ValueError(
            f"{shown_layer}: produces is {shown(produces)}; expected None, {one_of(map(repr, FORMS))}"
        )
    if not isinstance(misfit := ask("misfit((7, 7))", lambda: made.misfit((7,) * made.dims)), str):
        raise ValueError(
            f"{shown_layer}: misfit((7, 7)) is {shown(misfit)}; expected a string, empty if the map fits"
        )
    if (saves := ask("saves", lambda: made.saves)) not in SAVED:
        raise ValueError(f"{shown_layer}: saves is {shown(saves)}; expected {one_of(map(repr, SAVED))}")
    if not isinstance(view := ask("view(True)", lambda: made.view(True)), bool):
        raise ValueError(f"{shown_layer}: view(True) is {shown(view)}; expected True or False")
