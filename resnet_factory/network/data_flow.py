"""A network's data flow: which layer reads what and how paths join, as planned and as run.

Both sides give every tensor a number, the same for equal computations: a layer by its name and its input, a
join by its operation and its operands. Plan and module agree where what leaves them has the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from resnet_factory.layers import Layer
from resnet_factory.network.builder import Network
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select, join

OPERATIONS = {"__add__": "add", "__mul__": "mul"}
"""Operators under the names of the functions they call."""
SYMMETRIC = ("add", "mul")


class Numbering:
    """Numbers for computations: equal operations on equal operands have one number."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], int] = {}

    def number(self, operation: str, *operands: int) -> int:
        """The number of what `operation` makes of its operands."""
        ordered = tuple(sorted(operands)) if operation in SYMMETRIC else operands
        return self.known.setdefault((operation, *ordered), len(self.known))


def verify(network: Network, image: tuple[int, int, int]) -> None:
    """Hold what the network runs for an image of shape (C, H, W) against its plan; no numbers are computed.

    Raises:
        AssertionError: a layer reads something else than planned, or paths are joined in another way.
    """
    numbering = Numbering()
    wanted = _planned(network.plan, numbering)
    try:
        found = _run(network, image, numbering)
    except (RuntimeError, KeyError) as error:
        raise AssertionError(f"the network cannot run as planned: {error}") from error
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    assert not wrong, f"what the network runs is not what was planned, first at {wrong[0] or 'its output'}"


def _planned(plan: Plan, numbering: Numbering) -> dict[str, int]:
    """The number of each layer's output, by the layer's name; of the whole network's under the empty name."""
    outputs: dict[str, int] = {}

    def flow(node: Node, value: int, name: str) -> int:
        match node:
            case Layer():
                value = outputs[name] = numbering.number(name, value)
            case Chain(children=children):
                for key, child in children:
                    value = flow(child, value, join(name, key))
            case Residual(body=body, shortcut=shortcut):
                value = numbering.number("add", flow(body, value, name), flow(shortcut, value, name))
            case Gate(gate=gate):
                value = numbering.number("mul", value, flow(gate, value, name))
            case Select(gate=gate, parts=parts):
                split = numbering.number("reshape", value)
                weights = flow(gate, numbering.number("sum", split), name)
                for operation in ("sigmoid",) if parts == 1 else ("view", "transpose", "softmax"):
                    weights = numbering.number(operation, weights)
                weights = numbering.number("reshape", weights)
                value = numbering.number("sum", numbering.number("mul", split, weights))
            case Branches(branches=branches, split=split_up, linked=linked):
                shares = [value] * len(branches)
                if split_up:
                    shares = [numbering.number(f"chunk {i}", value) for i in range(len(branches))]
                ends: list[int] = []
                for i, (branch, share) in enumerate(zip(branches, shares, strict=True)):
                    entry = numbering.number("add", ends[-1], share) if 0 < i < linked else share
                    ends.append(flow(branch, entry, join(name, str(i))))
                value = numbering.number("cat", *ends)
        return value

    outputs[""] = flow(plan.root, numbering.number("image"), "")
    return outputs


class _Recorder(TorchFunctionMode):
    """Numbers the tensors that pass between layers: hooks number a layer's output, this what joins them."""

    def __init__(self, numbering: Numbering) -> None:
        super().__init__()
        self.numbering = numbering
        self.numbers: dict[int, int] = {}
        self.alive: list[Tensor] = []
        """Tensors numbered so far: an identity is theirs only while they exist."""
        self.inside = 0
        """Depth of layers being run, whose own operations are not recorded."""
        self.outputs: dict[str, int] = {}

    def note(self, tensor: Tensor, number: int) -> None:
        """Give a tensor its number."""
        self.numbers[id(tensor)] = number
        self.alive.append(tensor)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args = tuple(args)
        result = func(*args, **(kwargs or {}))
        if self.inside:
            return result
        name = getattr(func, "__name__", "")
        name = OPERATIONS.get(name, name)
        given = [entry for arg in args for entry in (arg if isinstance(arg, (list, tuple)) else (arg,))]
        operands = [self.numbers[id(entry)] for entry in given if id(entry) in self.numbers]
        if isinstance(result, Tensor):
            self.note(result, self.numbering.number(name, *operands))
        elif isinstance(result, (list, tuple)):
            for i, entry in enumerate(result):
                if isinstance(entry, Tensor):
                    self.note(entry, self.numbering.number(f"{name} {i}", *operands))
        return result


def _run(network: Network, image: tuple[int, int, int], numbering: Numbering) -> dict[str, int]:
    """The number of each layer's output when the network runs, by the layer's name."""
    recorder = _Recorder(numbering)
    handles: list[RemovableHandle] = []

    def enter(_module: nn.Module, _given: Any) -> None:
        recorder.inside += 1

    def leave(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def note(_module: nn.Module, given: Any, output: Tensor) -> Tensor:
            recorder.inside -= 1
            number = numbering.number(name, recorder.numbers[id(given[0])])
            recorder.outputs[name] = number
            # A layer may hand its input on: the tensor that leaves it must have an identity of its own.
            output = output.view_as(output)
            recorder.note(output, number)
            return output

        return note

    for name, _ in network.plan.leaves:
        module = network.get_submodule(name)
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave(name))]
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    dtype = next((tensor.dtype for tensor in held.values() if tensor.is_floating_point()), torch.float32)
    x = torch.empty(1, *image, dtype=dtype, device="meta")
    without_numbers = {name: tensor.detach().to("meta") for name, tensor in held.items()}
    training = [module for module in network.modules() if module.training]
    try:
        network.eval()
        with torch.no_grad(), recorder:
            recorder.note(x, numbering.number("image"))
            output = functional_call(network, without_numbers, (x,))
    finally:
        for module in training:
            module.training = True
        for handle in handles:
            handle.remove()
    last = list(output.values())[-1] if isinstance(output, dict) else output
    recorder.outputs[""] = recorder.numbers[id(last)]
    return recorder.outputs
