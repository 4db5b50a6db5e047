"""Attention between the positions of a map; each module is made from its layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_factory import layers
from resnet_factory.layers import per_axis
from resnet_factory.network.truncated_normal import draw_truncated_normal

AXES = (("length",), ("height", "width"), ("depth", "height", "width"))
"""Names of the axes of maps, which the embeddings of distances carry."""


class SelfAttention(nn.Module):
    """Multi-head self-attention: (N, heads * (2 * key + value), H, W) -> (N, heads * value, H, W).

    Embeddings of distances have the names of timm's PosEmbedRel, `height_rel` and `width_rel`, and biases
    that of its RelPosBias, `relative_position_bias_table`.
    """

    def __init__(self, layer: layers.SelfAttention) -> None:
        super().__init__()
        self.heads, self.key, self.value = layer.heads, layer.key, layer.value
        self.order, self.position, self.dims = layer.order, layer.position, layer.dims
        self.scale = layer.key**-0.5
        self.sides = per_axis(layer.sides, layer.dims)
        distances = [layer.distances(axis) for axis in range(layer.dims)]
        if self.position == "relative":
            for name, count in zip(AXES[layer.dims - 1], distances, strict=True):
                self.register_parameter(f"{name}_rel", nn.Parameter(torch.empty(count, layer.key)))
        elif self.position == "bias":
            table = torch.empty(layer.params() // layer.heads, layer.heads)
            self.relative_position_bias_table = nn.Parameter(table)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw embeddings and biases from the normal distributions of timm's modules."""
        for table in self.parameters():
            draw_truncated_normal(table, self.scale if self.position == "relative" else 0.02)

    def forward(self, x: Tensor) -> Tensor:
        check_attention_map_size(x, self.sides)
        query, key, value = self.parts(x.flatten(2))
        weights = self.weights(query, key)
        output: Tensor = value.flatten(0, 1) @ weights.transpose(-1, -2)
        sides = [x.shape[2 + axis] for axis in range(self.dims)]
        return output.reshape(x.shape[0], self.heads * self.value, *sides)

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the softmax of the logits, (N * heads, positions, positions)."""
        if self.position == "relative":
            query = query.transpose(-1, -2).flatten(0, 1).contiguous()
            logits = (query @ key.flatten(0, 1)) * self.scale
            pairs = torch.unflatten(torch.unflatten(logits, 2, self.sides), 1, self.sides)
            return pairs.add_(self.relative(query)).view_as(logits).softmax(-1)
        query = (query * self.scale).transpose(-1, -2).flatten(0, 1)
        logits = query @ key.flatten(0, 1)
        if self.position == "bias":
            logits = torch.unflatten(logits, 0, (-1, self.heads)).add_(self.bias()).flatten(0, 1)
        return logits.softmax(-1)

    def parts(self, x: Tensor) -> list[Tensor]:
        """Return queries, keys and values, each (N, heads, channels, positions)."""
        channels = [self.key, self.key, self.value]
        if self.order == "head":
            parts = torch.split(torch.unflatten(x, 1, (self.heads, -1)), channels, dim=2)
            return [parts[i] for i in range(3)]
        parts = torch.split(x, [self.heads * part for part in channels], dim=1)
        return [torch.unflatten(parts[i], 1, (self.heads, -1)) for i in range(3)]

    def relative(self, query: Tensor) -> Tensor:
        """Return what embeddings of distances add to the logits: (N * heads, H, W, H, W) in 2 dimensions.

        The product with all distances along an axis is made first; a shift by one number per row then picks
        those from each position (Srinivas et al. 2021, reference code; Shaw et al. 2018).
        """
        total: Tensor | None = None
        for axis, name in enumerate(AXES[self.dims - 1]):
            side = self.sides[axis]
            products = torch.unflatten(query @ getattr(self, f"{name}_rel").transpose(0, 1), 1, self.sides)
            rows = functional.pad(products.movedim(1 + axis, -2), (0, 1)).flatten(-2)
            del products
            picked = torch.unflatten(rows[..., side - 1 : -1], -1, (side, 2 * side - 1))[..., :side]
            term = picked.movedim(-2, 1 + axis)
            # The term is the same for all keys of one place along its axis.
            for other in range(self.dims):
                if other != axis:
                    term = term.unsqueeze(1 + self.dims + other)
            total = term if total is None else total + term
        assert total is not None
        return total

    def bias(self) -> Tensor:
        """Return the biases of all pairs of positions: (heads, positions, positions)."""
        table = torch.unflatten(self.relative_position_bias_table, 0, [2 * side - 1 for side in self.sides])
        for axis, side in enumerate(self.sides):
            table = table.unfold(axis, side, 1)
        # (query positions, heads, key positions), the latter from the largest distance to the smallest.
        table = table.movedim(self.dims, 0).flip([1 + self.dims + axis for axis in range(self.dims)])
        return table.flatten(1, self.dims).flatten(2)

    def extra_repr(self) -> str:
        sides = f", sides={self.sides}" if any(self.sides) else ""
        return (
            f"heads={self.heads}, key={self.key}, value={self.value}, position={self.position}{sides}, "
            f"order={self.order}"
        )


class AttentionPool(nn.Module):
    """Attention of the mean to all positions: (N, C, H, W) -> (N, to); names as timm's AttentionPool2d."""

    def __init__(self, layer: layers.AttentionPool) -> None:
        super().__init__()
        channels = layer.channels
        self.heads, self.scale = layer.heads, (channels // layer.heads) ** -0.5
        self.sides = per_axis(layer.sides, layer.dims)
        self.pos_embed = nn.Parameter(torch.empty(layer.tokens, channels))
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, layer.to)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as timm does: with variance 1 / channels."""
        spread = self.pos_embed.shape[1] ** -0.5
        for linear in (self.q, self.k, self.v):
            draw_truncated_normal(linear.weight, spread)
            nn.init.zeros_(linear.bias)
        draw_truncated_normal(self.pos_embed, spread)

    def forward(self, x: Tensor) -> Tensor:
        check_attention_map_size(x, self.sides)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.pos_embed
        query = self.by_head(self.q(tokens.narrow(1, 0, 1))) * self.scale
        weights = (query @ self.by_head(self.k(tokens)).transpose(-1, -2)).softmax(-1)
        pooled: Tensor = self.proj((weights @ self.by_head(self.v(tokens))).flatten(1))
        return pooled

    def by_head(self, x: Tensor) -> Tensor:
        """Return the channels of each head apart: (N, tokens, C) -> (N, heads, tokens, C / heads)."""
        return torch.unflatten(x, 2, (self.heads, -1)).transpose(1, 2)


def check_attention_map_size(x: Tensor, sides: tuple[int, ...]) -> None:
    """Check the size of a map, (N, C, *sides); 0 allows any.

    Raises:
        AssertionError: it has another size.
    """
    for axis, side in enumerate(sides):
        if side:
            wanted = "x".join(map(str, sides))
            message = f"this attention is made for maps of {wanted}; the input has another size"
            torch._assert(x.shape[2 + axis] == side, message)  # type: ignore[no-untyped-call]
