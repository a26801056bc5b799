"""Cases of the pointwise operations: each on all kinds of operands, then at its special points."""
import itertools
import math

import torch

from cases import Case, step

INF, NAN = math.inf, math.nan


def spread(shape, lo, hi, seed):
    """Values with few digits, evenly spread over (lo, hi) in a scrambled order."""
    n = torch.Size(shape).numel()
    k = torch.arange(n, dtype=torch.float64)
    x = lo + (hi - lo) * (((k + 1) * 0.6180339887 + 0.37 * seed) % 1)
    return (torch.round(x * 1000) / 1000).reshape(shape)


# Where each function is smooth; functions with two pieces have one domain that spans both.
DOMAINS = dict(neg=(-2, 2),
    abs=(-2, 2),
    sign=(-2, 2),
    sqrt=(.2, 3),
    rsqrt=(.2, 3),
    reciprocal=(.3, 3),
    square=(-2, 2),
    exp=(-3, 3),
    exp2=(-3, 3),
    expm1=(-2, 2),
    log=(.2, 3),
    log2=(.2, 3),
    log10=(.2, 3),
    log1p=(-.7, 3),
    sin=(-3, 3),
    cos=(-3, 3),
    tan=(-1, 1),
    asin=(-.8, .8),
    acos=(-.8, .8),
    atan=(-2, 2),
    sinh=(-2, 2),
    cosh=(-2, 2),
    tanh=(-2, 2),
    asinh=(-2, 2),
    acosh=(1.2, 3),
    atanh=(-.8, .8),
    erf=(-2, 2),
    erfc=(-2, 2),
    erfinv=(-.7, .7),
    lgamma=(.3, 6),
    digamma=(.5, 6),
    sigmoid=(-3, 3),
    logit=(.1, .9),
    softplus=(-3, 3),
    relu=(-2, 2),
    selu=(-2, 2),
    silu=(-2, 2),
    mish=(-2, 2),
    hardsigmoid=(-4, 4),
    hardswish=(-4, 4),
    floor=(-3, 3),
    ceil=(-3, 3),
    round=(-3, 3),
    trunc=(-3, 3),
    sinc=(-2.7, 2.7),
    nan_to_num=(-2, 2),
    isnan=(-2, 2),
    isinf=(-2, 2),
    isfinite=(-2, 2),
    logical_not=(-2, 2))
PREDICATES = {"isnan", "isinf", "isfinite", "logical_not"}
ATTRIBUTES = [("leaky_relu", {"slope": .01}), ("leaky_relu", {"slope": -.5}),
    ("leaky_relu", {"slope": 0}), ("elu", {"alpha": 1}), ("elu", {"alpha": .3}),
    ("celu", {"alpha": 1}), ("celu", {"alpha": 2.5}), ("celu", {"alpha": .4}),
    ("gelu", {"tanh": 0}), ("gelu", {"tanh": 1}), ("hardtanh", {"lo": -1, "hi": 1}),
    ("hardtanh", {"lo": -.5, "hi": 1.5}), ("clamp", {"lo": -1, "hi": 1}),
    ("clamp", {"lo": .25, "hi": INF}), ("clamp", {"lo": -INF, "hi": 0}),
    ("clamp", {"lo": 1, "hi": -1}), ("polygamma", {"n": 0}), ("polygamma", {"n": 1}),
    ("polygamma", {"n": 2}), ("polygamma", {"n": 4})]

SPECIAL = [
    0., -0., INF, -INF, NAN, 1, -1, .5, -.5, 2, -2, 3, -3, 1.5, 2.5, 1e-10, -1e-10, 20, -20, 25,
    -25, 40, -40, 88, -88, 300, -300, 1000, -1000
]

LONG = 35 # a few vectors of the widest kind, and a rest


def unary_shapes(name, op, lo, hi, arguments, order):
    """The operand as it is, transposed, a number, empty, repeated, and a strided piece."""

    def x(shape, seed):
        return [(spread(shape, lo, hi, seed), True)]

    last = step(op, "%1", **arguments)
    yield Case(name, x([3, 4], 1), [step(op, "%0", **arguments)], order)
    yield Case(name + ".transposed", x([3, 2], 2), [step("transpose", "%0", d0=0, d1=1), last],
        order)
    yield Case(name + ".scalar", x([], 3), [step(op, "%0", **arguments)], order)
    yield Case(name + ".empty", x([0, 3], 1), [step(op, "%0", **arguments)], order)
    yield Case(name + ".expanded", x([2, 1], 4), [step("expand", "%0", shape=[2, 3]), last], order)
    yield Case(name + ".strided", x([5], 5),
        [step("slice", "%0", dim=0, start=1, stop=5, step=2), last], order)


def unary():
    """A function on its domain to second order; at its special points the gradient only, since the
    second derivatives there are accidents of how a formula was composed."""
    plain = [(op, {}) for op in DOMAINS]
    for op, arguments in plain + ATTRIBUTES:
        lo, hi = DOMAINS.get(op, (.5, 5) if op == "polygamma" else (-2, 2))
        name = ".".join([op] + [f"{k}{v}" for k, v in arguments.items()])
        order = 0 if op in PREDICATES else 2
        yield from unary_shapes(name, op, lo, hi, arguments, order)
        yield Case(name + ".long", [(spread([LONG], lo, hi, 6), True)],
            [step(op, "%0", **arguments)], min(order, 1))
        yield Case(name + ".special", [(torch.tensor(SPECIAL, dtype=torch.float64), True)],
            [step(op, "%0", **arguments)],
            min(order, 1),
            unknown=UNKNOWN.get(op, ()))


# Elements of SPECIAL at which PyTorch is not the measure: it gives 0 for sinc's derivative near 0,
# and NaN for gelu at the infinities where there are limits.
UNKNOWN = {"sinc": ["g0:15", "g0:16"], "gelu": ["y:3", "g0:2", "g0:3"]}

BINARY = dict(add=(-2, 2, -2, 2),
    sub=(-2, 2, -2, 2),
    mul=(-2, 2, -2, 2),
    div=(-2, 2, .4, 2),
    pow=(.3, 2, -2, 3),
    fmod=(-5, 5, .7, 2),
    remainder=(-5, 5, -2, -.7),
    atan2=(-2, 2, .3, 2),
    hypot=(-2, 2, .3, 2),
    maximum=(-2, 2, -2, 2),
    minimum=(-2, 2, -2, 2),
    logaddexp=(-2, 2, -2, 2),
    xlogy=(-2, 2, .3, 2),
    copysign=(-2, 2, -2, 2),
    eq=(-2, 2, -2, 2),
    ne=(-2, 2, -2, 2),
    lt=(-2, 2, -2, 2),
    le=(-2, 2, -2, 2),
    gt=(-2, 2, -2, 2),
    ge=(-2, 2, -2, 2),
    logical_and=(-2, 2, -2, 2),
    logical_or=(-2, 2, -2, 2))
TESTS = {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"}
NO_NUMBER_LEFT = {
    "atan2", "hypot", "maximum", "minimum", "logaddexp", "copysign", "fmod", "remainder", "eq",
    "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"
} # in PyTorch
NO_NUMBER_RIGHT = {"atan2", "hypot", "maximum", "minimum", "logaddexp", "logical_and", "logical_or"}
SHAPES = [("plain", [2, 3], [2, 3]), ("broadcast", [2, 1], [3]), ("scalars", [], []),
    ("mixed", [], [2, 2]), ("right", [2, 2], []), ("empty", [0, 3], [1, 3]),
    ("outer", [3, 1, 2], [2, 1])]


def binary():
    for op, (alo, ahi, blo, bhi) in BINARY.items():
        order = 0 if op in TESTS else 2
        for label, sa, sb in SHAPES:
            yield Case(f"{op}.{label}", [(spread(sa, alo, ahi, 1), True),
                (spread(sb, blo, bhi, 2), True)], [step(op, "%0", "%1")], order)
        yield Case(op + ".long", [(spread([LONG], alo, ahi, 5), True),
            (spread([LONG], blo, bhi, 6), True)], [step(op, "%0", "%1")], min(order, 1))
        a, b = spread([3, 2], alo, ahi, 3), spread([2, 3], blo, bhi, 4)
        yield Case(op + ".transposed", [(a, True), (b, True)],
            [step("transpose", "%0", d0=0, d1=1),
            step(op, "%2", "%1")], order)
        yield Case(op + ".left_only", [(a, True), (b.t().contiguous(), False)],
            [step(op, "%0", "%1")], order)
        yield Case(op + ".right_only", [(a, False), (b.t().contiguous(), True)],
            [step(op, "%0", "%1")], order)
        yield Case(op + ".itself", [(spread([3], max(alo, blo), min(ahi, bhi), 1)
            if op != "remainder" else spread([3], -2, -1, 1), True)], [step(op, "%0", "%0")],
            min(order, 1))
        if op not in NO_NUMBER_RIGHT:
            yield Case(op + ".number", [(a, True)],
                [step(op, "%0", 1.5 if op != "remainder" else -1.5)], order)
        if op not in NO_NUMBER_LEFT:
            yield Case(op + ".number_left", [(b, True)], [step(op, 1.5, "%0")], order)
    yield from powers()
    yield from binary_special()
    yield from ternary()


def powers():
    a = torch.tensor([-2, -.5, .5, 2, 3.], dtype=torch.float64)
    for e in [0, 1, 2, 3, -1, -2, 0., 1., 2., .5, -.5, 2.7, 3.]:
        base = a if float(e).is_integer() else a.abs()
        yield Case(f"pow.exponent{e}", [(base, True)], [step("pow", "%0", e)])
    for base in [2, .5, 3., 1, 2.7]:
        yield Case(f"pow.base{base}", [(a, True)], [step("pow", base, "%0")])
    zero = torch.tensor([0., 0., 0.], dtype=torch.float64)
    for e in [0, 1, 2, 3, 0.5, -1, -.5]:
        yield Case(f"pow.zero{e}", [(zero, True)], [step("pow", "%0", e)], 1)


SPECIAL_PAIRS = [0., -0., INF, -INF, NAN, 1, -1, 2, -2, 3, -3, .5, -.5, 5.5, -5.5, 1000, -1000]


def binary_special():
    pairs = torch.tensor(list(itertools.product(SPECIAL_PAIRS, SPECIAL_PAIRS)), dtype=torch.float64)
    a, b = pairs[:, 0].contiguous(), pairs[:, 1].contiguous()
    for op in BINARY:
        yield Case(op + ".special", [(a, True), (b, True)], [step(op, "%0", "%1")],
            0 if op in TESTS else 1,
            unknown=UNKNOWN_PAIRS.get(op, ()))


def where(name, condition):
    pairs = itertools.product(SPECIAL_PAIRS, SPECIAL_PAIRS)
    return [f"{name}:{k}" for k, pair in enumerate(pairs) if condition(*pair)]


# PyTorch divides the result by the operand, inf by inf; a remainder by 0 is NaN, with any gradient.
UNKNOWN_PAIRS = {
    "copysign": where("g0", lambda a, b: math.isinf(a)),
    "remainder": where("g1", lambda a, b: b == 0)
}


def ternary():
    cond = torch.tensor([[True, False, True], [False, False, True]])
    shapes = [("plain", [2, 3], [2, 3]), ("broadcast", [2, 1], [3]), ("scalars", [], [])]
    for label, sa, sb in shapes:
        yield Case("where." + label, [(cond, False), (spread(sa, -2, 2, 1), True),
            (spread(sb, -2, 2, 2), True)], [step("where", "%0", "%1", "%2")])
    x = (spread([2, 3], -2, 2, 3), True)
    yield Case("where.number", [(cond, False), x], [step("where", "%0", "%1", 0.5)])
    yield Case("where.number_left", [(cond, False), x], [step("where", "%0", 2, "%1")])
    yield Case("where.scalar_condition", [(torch.tensor(False), False), x, x],
        [step("where", "%0", "%1", "%2")])
    a, b, w = (spread([LONG], -2, 2, seed) for seed in [1, 2, 3])
    yield Case("where.long", [(w > 0, False), (a, True), (b, True)],
        [step("where", "%0", "%1", "%2")], 1)
    yield Case("lerp.long", [(a, True), (b, True), (w, True)], [step("lerp", "%0", "%1", "%2")], 1)
    root = torch.tensor([-1, 0., 4], dtype=torch.float64)
    yield Case("where.trap", [(root, True)],
        [step("gt", "%0", 0),
        step("sqrt", "%0"), step("where", "%1", "%2", 0.)], 1)
    for label, sa, sb, sw in [("plain", [2, 3], [2, 3], [2, 3]), ("broadcast", [2, 1], [3], [2, 3]),
        ("scalars", [], [], []), ("scalar_weight", [2, 2], [2], []), ("empty", [0, 2], [2], [0,
        1])]:
        yield Case("lerp." + label, [(spread(sa, -2, 2, 1), True), (spread(sb, -2, 2, 2), True),
            (spread(sw, -.5, 1.5, 3), True)], [step("lerp", "%0", "%1", "%2")])
    for w in [.25, .75, 1, 0]:
        yield Case(f"lerp.number{w}", [x, (spread([2, 3], -2, 2, 5), True)],
            [step("lerp", "%0", "%1", w)])
