"""Names of the torch functions that networks call, by what they mean for relevance."""

from __future__ import annotations

ELEMENTWISE = frozenset(
    {
        *("gelu", "silu", "hardswish", "mish", "elu", "selu", "celu", "tanh", "softsign", "softplus", "relu6"),
        *("hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "pow", "square", "sqrt", "logsigmoid"),
        *("hardshrink", "__pow__", "log1p", "expm1", "erf", "sin", "cos", "tanhshrink"),
        *("softshrink", "threshold"),
    }
)
"""Functions of each value by itself, through which all relevance passes."""
CONSTANT = frozenset(
    {
        *("sigmoid", "hardsigmoid", "exp", "exp2", "rsqrt", "reciprocal", "norm", "vector_norm"),
        *("linalg_vector_norm", "var", "std", "var_mean", "std_mean", "softmin", "gumbel_softmax"),
        *("__rtruediv__", "__rdiv__", "cosine_similarity"),
    }
)
"""Gates and scales: they multiply what carries the relevance, and receive none themselves."""
KEEPS_SIGN = frozenset(
    {
        *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "sum", "amax"),
        *("max", "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"),
        *("clone", "dropout", "chunk", "split", "unbind", "__getitem__", "to", "float", "dropout2d", "expand"),
        *("roll", "flip", "relu6", "relu", "moveaxis", "movedim", "unflatten", "narrow", "select", "repeat"),
        *("tile", "feature_dropout", "view_as", "T", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
        *("alpha_dropout", "__get__", "swapaxes", "upsample", "pad"),
    }
)
"""Functions whose output is not negative if their input is not."""
PRODUCTS = frozenset(
    {
        *("mul", "multiply", "matmul", "bmm", "einsum", "__mul__", "__rmul__", "__matmul__"),
        *("baddbmm", "bilinear"),
    }
)
"""Products; two factors that depend on the image receive half of the relevance each."""
READS = frozenset(
    {
        *("__get__", "size", "dim", "numel", "stride", "is_floating_point", "is_contiguous", "type", "__len__"),
    }
)
"""Functions that only read properties of a tensor."""
RESCALES = frozenset(
    {
        *("add", "sub", "mul", "div", "true_divide", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__"),
        *("__rmul__", "__truediv__", "clamp", "clip", "batch_norm", "multiply", "subtract", "divide"),
        *("neg", "__neg__"),
    }
)
"""Functions of each value that leave relevance on the pixel that has it."""
REARRANGES = frozenset(
    {
        *("to", "float", "clone", "contiguous", "reshape", "view", "permute", "transpose", "flatten"),
        *("unflatten", "flip", "__getitem__", "cat", "pad", "unsqueeze", "squeeze", "chunk", "split"),
        *("interpolate", "roll", "movedim", "type", "pixel_unshuffle", "unfold", "moveaxis", "type_as"),
        *("dropout", "detach_", "_pad", "unbind", "double", "half"),
    }
)
"""Functions that move pixels, and their relevance with them."""
QUOTIENTS = frozenset({"div", "true_divide", "divide", "__truediv__"})
"""Quotients, whose divisor is a scale."""
SUMS = frozenset({"add", "sub", "subtract", "__add__", "__radd__", "__sub__", "__rsub__", "rsub"})
"""Sums and differences, in which constants absorb their share."""
JOINS = frozenset({"cat", "concat", "concatenate", "stack"})
"""Concatenations, in which constant parts absorb their share."""
