"""Names of layers and arguments in other libraries, and their equivalents in recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from resnet_factory.errors import found, one_of

LAYERS = {
    "concat": "'parallel' with 'join: concat'",
    "cat": "'parallel' with 'join: concat'",
    "concatenate": "'parallel' with 'join: concat'",
    "add": "'residual', or 'parallel' with 'join: sum'",
    "sum": "'residual', or 'parallel' with 'join: sum'",
    "skip": "'residual', or 'tap' and 'read' for a map by its name",
    "multiply_by": "'gate', or 'parallel' with 'join: product'",
    "split": "'parallel' with 'split: true', or with the channels of each branch",
    "chunk": "'parallel' with 'split: true', or with the channels of each branch",
    "inception": "'parallel' with 'join: concat'",
    "loop": "'repeat'",
    "for": "'repeat'",
    "store": "'tap'",
    "save": "'tap'",
    "load": "'read'",
    "sequential": "'chain', which runs layers in sequence",
    "sequence": "'chain', which runs layers in sequence",
    "relu_": "'relu', or 'act' for the model's activation",
    "swish": "'silu'",
    "leakyrelu": "'leaky_relu'",
    "hardswish": "'hard_swish'",
    "hardsigmoid": "'hard_sigmoid'",
    "batchnorm": "'batch_norm', or 'norm' for the model's norm",
    "batchnorm2d": "'batch_norm', or 'norm' for the model's norm",
    "bn": "'batch_norm', or 'norm' for the model's norm",
    "groupnorm": "'group_norm'",
    "layernorm": "'layer_norm'",
    "maxpool": "'max_pool'",
    "maxpool2d": "'max_pool'",
    "avgpool": "'avg_pool'",
    "avgpool2d": "'avg_pool'",
    "adaptiveavgpool": "'global_pool'",
    "adaptiveavgpool2d": "'global_pool'",
    "globalavgpool": "'global_pool'",
    "gap": "'global_pool'",
    "dense": "'linear'",
    "fc": "'linear'",
    "fullyconnected": "'linear'",
    "depthwise": "'conv' with 'groups: channels'",
    "depthwiseconv": "'conv' with 'groups: channels'",
    "dwconv": "'conv' with 'groups: channels'",
    "pointwise": "'conv' with 'kernel: 1'",
    "squeezeexcitation": "the slot 'attention', with model/attention=se",
    "se": "the slot 'attention', with model/attention=se",
    "droppath": "'stochastic_depth', or the slot 'drop_path'",
    "dropblock": "'block_dropout', or the slot 'drop_block'",
    "dropout2d": "'dropout', which drops single elements; no layer drops whole channels",
    "blur": "'blur_pool'",
    "layerscale": "'scale', or the slot 'gain'",
    "grn": "'global_response_norm'",
    "mean": "'reduce' with 'how: mean'",
    "max": "'reduce' with 'how: max'",
    "globalmaxpool": "'reduce' with 'over: positions, how: max'",
    "adaptivemaxpool2d": "'reduce' with 'over: positions, how: max'",
    "interpolate": "'upsample'",
    "resize": "'upsample'",
    "pixelshuffle": "'depth_to_space'",
    "pixelunshuffle": "'space_to_depth'",
    "shuffle": "'channel_shuffle'",
    "slice": "'narrow'",
    "mhsa": "'self_attention', after a convolution to queries, keys and values",
    "multiheadattention": "'self_attention', after a convolution to queries, keys and values",
    "pad": "'border', which pads the map, or 'zero_pad', which pads its channels",
    "zeropad2d": "'border'",
}
"""Layer, folded to lower case without underscores -> its equivalent here."""
MISSING = (
    "unpool", "deconv", "convtranspose", "convtranspose2d", "transposedconv", "conv1d", "conv3d",
    "transformer", "einsum", "matmul", "logsoftmax", "permute", "transpose", "reshape", "view",
    "embedding", "lstm", "gru", "rnn", "instancenorm", "localresponsenorm", "lrn", "glu", "deformconv",
    "lambda", "min",
)  # fmt: skip
"""Layers, folded in the same way, that the vocabulary does not have."""
ARGUMENTS = {
    "kernelsize": "kernel", "ksize": "kernel", "k": "kernel", "outchannels": "to", "out": "to",
    "filters": "to", "outfeatures": "to", "channels": "to", "strides": "stride", "s": "stride", "pad":
    "padding", "p": "padding", "dilationrate": "dilation", "usebias": "bias", "numgroups": "groups",
    "negativeslope": "slope", "scalefactor": "scale", "blocksize": "block", "numheads": "heads",
    "dropprob": "rate", "prob": "rate", "epsilon": "eps",
}  # fmt: skip
"""Argument, folded in the same way -> the argument of a layer here."""
LACKING = {
    "inplace": "activations are never in place",
    "paddingmode": "convolutions pad with zeros",
    "outputpadding": "there are no transposed convolutions",
    "affine": "norms have weights and biases",
}
"""Argument, folded in the same way, that no layer has -> the reason."""


def layer_vocabulary_hint(word: str) -> str:
    """Return the message for another library's name of a layer, or one with arguments; empty for others."""
    plain = _normalised_vocabulary_word(word)
    if with_arguments := re.fullmatch(r"(\w+):\s*(\S.*)", word):
        layer, arguments = with_arguments.groups()
        return f"{word!r} is a string; write a layer with arguments in braces: {{{layer}: {arguments}}}"
    if plain in LAYERS:
        return f"unknown layer {word!r}; use {LAYERS[plain]}"
    if plain in MISSING:
        return f"{word!r} is not a layer; 'conf/README.md' lists all layers"
    return ""


def argument_vocabulary_hint(word: str, of: str, known: frozenset[str] | tuple[str, ...]) -> str:
    """Return the message for another library's name of an argument; empty for other names."""
    plain = _normalised_vocabulary_word(word)
    if plain in LACKING:
        return f"{of!r} has no {word!r}: {LACKING[plain]}"
    if ARGUMENTS.get(plain) in known:
        return f"unknown argument {word!r} of {of!r}; use {ARGUMENTS[plain]!r}"
    return ""


def item_vocabulary_hint(entry: Any) -> str:
    """Return the message for an entry of a list that is neither a name nor one layer with its arguments."""
    layers = [key for key in entry if key not in ("name", "when")] if isinstance(entry, Mapping) else []
    if len(layers) == 1 and len(entry) > 1:
        beside = one_of(repr(key) for key in entry if key != layers[0])
        inside = ", ".join(f"{key}: {entry[key]}" for key in entry if key != layers[0])
        return f"{beside} must be inside {layers[0]!r}, as '{layers[0]}: {{{inside}, …}}'"
    return f"expected a layer, as 'norm' or 'conv: {{kernel: 3, to: out}}', found {found(entry)}"


def _normalised_vocabulary_word(word: str) -> str:
    return re.sub(r"[_\-\s]", "", word).lower()
