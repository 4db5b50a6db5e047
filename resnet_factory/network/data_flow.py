"""The data flow of a network, as planned and as run: the input of each layer, and the joins of paths.

Both sides assign every tensor a number, equal for equal computations: a layer's output by its name and
input, a join's by its operation and operands. Plan and module agree if their outputs have equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from resnet_factory.layers import Layer
from resnet_factory.network.network import Network
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import CASCADE, CONCAT, DENSE, PREVIOUS, SELECT, SUM, Parallel, Walk

OPERATIONS = {"__add__": "add", "add_": "add", "__mul__": "mul"}
"""Names of operators -> names of the functions they call."""
SYMMETRIC = ("add", "mul")


class DataFlowNumbering:
    """Assigns numbers to computations: equal operations on equal operands have the same number."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], int] = {}

    def number(self, operation: str, *operands: int) -> int:
        """Return the number of the result of `operation` on its operands."""
        ordered = tuple(sorted(operands)) if operation in SYMMETRIC else operands
        return self.known.setdefault((operation, *ordered), len(self.known))


def verify_data_flow(network: Network, image: tuple[int, ...]) -> None:
    """Check the network's forward pass for an image, (C, H, W), against its plan, without computing.

    Raises:
        AssertionError: a layer has another input than planned, or paths are joined in another way.
    """
    numbering = DataFlowNumbering()
    wanted = _planned_numbers(network.plan, numbering)
    try:
        found = _recorded_numbers(network, image, numbering)
    except (RuntimeError, KeyError) as error:
        raise AssertionError(f"the network cannot run as planned: {error}") from error
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    assert not wrong, (
        f"the network does not run its plan; the first difference is at {wrong[0] or 'its output'}"
    )


def _planned_numbers(plan: Plan, numbering: DataFlowNumbering) -> dict[str, int]:
    """Return the number of each layer's output by layer name; the network's own has the empty name."""
    flow = _PlannedDataFlow(numbering)
    flow.outputs[""] = flow.through(plan.root, numbering.number("image"))
    return flow.outputs


class _PlannedDataFlow(Walk[int]):
    """Numbers the outputs of a plan's layers and joins."""

    def __init__(self, numbering: DataFlowNumbering) -> None:
        self.number = numbering.number
        self.outputs: dict[str, int] = {}

    def layer(self, layer: Layer, value: int, name: str) -> int:
        number = self.outputs[name] = self.number(name, value)
        return number

    def entry(self, node: Parallel, branch: int, value: int, ends: list[int], name: str) -> int:
        source = node.source(branch)
        if source == PREVIOUS:
            return ends[-1]
        if node.split:
            value = self.number(f"{'chunk' if node.split is True else 'split'} {branch}", value)
        if node.join == SELECT:
            value = self.number("unflatten", value)
            return self.number("sum", value) if branch else value
        if source == DENSE:
            return self.number("cat", value, *ends)
        return self.number("add", ends[-1], value) if source == CASCADE else value

    def join(self, node: Parallel, value: int, ends: list[int], name: str) -> int:
        if node.join == CONCAT:
            return self.number("cat", *ends)
        if node.join == SELECT:
            parts, weights = ends
            for operation in ("sigmoid",) if node.parts == 1 else ("view", "transpose", "softmax"):
                weights = self.number(operation, weights)
            return self.number("sum", self.number("mul", parts, self.number("reshape", weights)))
        operation = "add" if node.join == SUM else "mul"
        return reduce(lambda one, other: self.number(operation, one, other), ends)


class _DataFlowRecorder(TorchFunctionMode):
    """Numbers the tensors between layers: hooks number layer outputs, this mode the results of joins."""

    def __init__(self, numbering: DataFlowNumbering) -> None:
        super().__init__()
        self.numbering = numbering
        self.numbers: dict[int, int] = {}
        self.alive: list[Tensor] = []
        """Tensors numbered so far: an identity is theirs only while they exist."""
        self.inside = 0
        """Depth of layers being run, whose own operations are not recorded."""
        self.outputs: dict[str, int] = {}

    def note(self, tensor: Tensor, number: int) -> None:
        """Record the number of a tensor."""
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


def _recorded_numbers(
    network: Network, image: tuple[int, ...], numbering: DataFlowNumbering
) -> dict[str, int]:
    """Return the number of each layer's output when the network runs, by the layer's name."""
    recorder = _DataFlowRecorder(numbering)
    handles: list[RemovableHandle] = []

    def enter(_module: nn.Module, _given: Any) -> None:
        recorder.inside += 1

    def leave(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def note(_module: nn.Module, given: Any, output: Tensor) -> Tensor:
            recorder.inside -= 1
            number = numbering.number(name, recorder.numbers[id(given[0])])
            recorder.outputs[name] = number
            # A layer may return its input: its output must be a different tensor object.
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
    maps = list(output.values()) if isinstance(output, dict) else output
    last = maps if isinstance(maps, Tensor) else maps[-1]
    recorder.outputs[""] = recorder.numbers[id(last)]
    return recorder.outputs
