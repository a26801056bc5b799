"""Element types: which dtype a result has, as tables, and values of types other than f32 and f64.

A table has a row per kind of first operand and a column per kind of second: `f32` a tensor, `f32.`
a 0-dim tensor, `int` and `real` numbers. `-` says that PyTorch refuses, `?` that it has no say: it
takes no number there, or merely lacks a kernel for the dtype, where we may have one.
"""
import torch

from cases import BY_NAME, DTYPES, OPS, Case, step
from pointwise import DOMAINS, spread

PAIRS = """add sub mul div pow fmod remainder atan2 hypot maximum minimum logaddexp xlogy copysign
    eq lt logical_and where cat stack matmul lerp mse_loss""".split()
SINGLE = list(DOMAINS) + [
    "sum", "mean", "prod", "amax", "var", "logsumexp", "cumsum", "cumprod", "logcumsumexp",
    "argmax", "argmin", "nansum", "norm", "count_nonzero", "any", "all", "max_dim", "min_dim",
    "median_dim", "sort", "topk", "cummax", "cummin", "softmax", "log_softmax", "gelu", "elu", "leaky_relu", "hardtanh", "clamp"
]
ARGUMENTS = {
    "cumsum": {"dim": 0}, "cumprod": {"dim": 0}, "argmin": {"dim": 0}, "norm": {"p": 2},
    "max_dim": {"dim": 0}, "min_dim": {"dim": 0}, "median_dim": {"dim": 0}, "sort": {"dim": 0},
    "topk": {"k": 1, "dim": 0}, "cummax": {"dim": 0}, "cummin": {"dim": 0}, "logcumsumexp": {"dim": 0}, "argmax": {"dim": 0}, "softmax": {"dim": 0},
    "log_softmax": {"dim": 0}, "gelu": {"tanh": 0}, "elu": {"alpha": 1},
    "leaky_relu": {"slope": 0.5}, "hardtanh": {"lo": -1, "hi": 1}, "clamp": {"lo": -1,
    "hi": 1}, "cat": {"dim": 0}, "stack": {"dim": 0}
}
KINDS = [(name, dtype, shape) for suffix, shape in [("", [2]), (".", [])]
    for name, dtype in [(DTYPES[d] + suffix, d) for d in DTYPES]]


def operands():
    for name, dtype, shape in KINDS:
        yield name, torch.ones(shape, dtype=dtype)
    yield "int", 1
    yield "real", 1.


def answer(op, *given):
    if op == "where":
        given = (torch.tensor([True, False]), ) + given
    if op == "lerp":
        given += (.5, )
    try:
        y = OPS[op](*given, **ARGUMENTS.get(op, {}))
    except (TypeError, AttributeError):
        return "?"
    except RuntimeError as error:
        return "?" if "not implemented for" in str(error) else "-"
    return DTYPES[y.dtype]


def table(name, columns, rows):
    lines = ["table " + name, "".rjust(12) + "".join(c.rjust(6) for c in columns)]
    lines += [label.ljust(12) + "".join(cell.rjust(6) for cell in cells) for label, cells in rows]
    return "\n".join(lines) + "\n"


def tables():
    kinds = list(operands())
    names = [name for name, _ in kinds]
    for op in PAIRS:

        def cell(a, b):
            numbers = not torch.is_tensor(a) and not torch.is_tensor(b)
            return "?" if numbers and op != "where" else answer(op, a, b)

        yield table(op, names, [(name, [cell(a, b) for _, b in kinds]) for name, a in kinds])
    plain = kinds[:len(DTYPES)]
    yield table("single", [name for name, _ in plain],
        [(op, [answer(op, x) for _, x in plain]) for op in SINGLE])


# ---- values ----

LIMITS = {
    torch.int8: (-128, 127), torch.int16: (-2**15, 2**15 - 1), torch.int32: (-2**31, 2**31 - 1),
    torch.int64: (-2**63, 2**63 - 1), torch.uint8: (0, 255)
}


def integers():
    """Sums and products wrap; quotients and remainders are those of the mathematics."""
    for dtype, (low, high) in LIMITS.items():
        some = [0, 1, 2, 3, 7, 100, high, high -
            1] if low == 0 else [0, 1, -1, 2, -3, 7, -100, high, low]
        if dtype is torch.int64: # both ends read numbers as doubles
            some = [0, 1, -1, 2, -3, 7, -100, 2**40, high, low]
        a, b = (t.reshape(-1)
            for t in torch.meshgrid(*[torch.tensor(some, dtype=dtype)] * 2, indexing="ij"))
        name = DTYPES[dtype]
        for op in ["add", "sub", "mul", "maximum", "minimum", "lt", "eq"]:
            if dtype is torch.int64 and op in ("add", "sub", "mul"):
                keep = (a.abs() < 2**41) & (b.abs() < 2**41) & (a > low) & (b > low)
                a2, b2 = (a[keep], b[keep]) if op != "mul" else (a[keep & (a.abs() < 2**11)],
                    b[keep & (a.abs() < 2**11)])
            else:
                a2, b2 = a, b
            yield Case(f"{op}.{name}", [(a2, False), (b2, False)], [step(op, "%0", "%1")],
                0,
                f32=False)
        divisor = (b != 0) & ~((a == low) & (b == -1))
        for op in ["fmod", "remainder"]:
            yield Case(f"{op}.{name}", [(a[divisor], False), (b[divisor], False)],
                [step(op, "%0", "%1")],
                0,
                f32=False)
        exponents = torch.tensor([0, 1, 2, 3, 5], dtype=dtype)
        base = torch.tensor([v for v in some if abs(v) <= 128], dtype=dtype)
        a, b = (t.reshape(-1) for t in torch.meshgrid(base, exponents, indexing="ij"))
        yield Case(f"pow.{name}", [(a, False), (b, False)], [step("pow", "%0", "%1")], 0, f32=False)
        x = torch.tensor([v for v in some if dtype is not torch.int64 or abs(v) <= 2**40],
            dtype=dtype)
        for op in [
                "neg", "abs", "sign", "square", "relu", "floor", "sum", "prod", "amax", "argmax",
                "argmin", "cumsum"
        ]:
            if op not in ("square", "prod") or dtype is not torch.int64:
                yield Case(f"{op}.{name}", [(x, False)], [step(op, "%0", **ARGUMENTS.get(op, {}))],
                    0,
                    f32=False)
        yield Case(f"add.{name}.number", [(x, False)], [step("add", "%0", 1)], 0, f32=False)
        yield Case(f"mul.{name}.number", [(x, False)], [step("mul", "%0", -3)], 0, f32=False)
        yield Case(f"sum.{name}.wide",
            [(torch.full([3], high, dtype=dtype) if dtype is not torch.int64 else x, False)],
            [step("sum", "%0")],
            0,
            f32=False)


def halves():
    """Computed in float32 and rounded once."""
    values = [
        0, 1, -1, 1 / 3, -2.7, 1e-3, 1024.5, 2047, 2049, 60000, 65504, -65504, 6e-5, 6e-8,
        float("inf"),
        float("nan")
    ]
    for dtype in [torch.float16, torch.bfloat16]:
        name = DTYPES[dtype]
        x = torch.tensor(values, dtype=torch.float64).to(dtype)
        a, b = (t.reshape(-1) for t in torch.meshgrid(x[:12], x[:12], indexing="ij"))
        for op in ["add", "sub", "mul", "div", "maximum", "hypot", "lt"]:
            yield Case(f"{op}.{name}", [(a, False), (b, False)], [step(op, "%0", "%1")],
                0,
                f32=False)
        for op in [
                "neg", "abs", "reciprocal", "sqrt", "floor", "round", "square", "relu", "exp",
                "tanh", "sigmoid", "log1p"
        ]:
            yield Case(f"{op}.{name}", [(x, False)], [step(op, "%0")], 0, f32=False)
        mild = torch.tensor([.1, -.7, 1.3, 2.9, -1.1, .33], dtype=torch.float64).to(dtype)
        for op in ["sum", "mean", "amax", "prod", "cumsum", "cumprod", "softmax", "log_softmax",
                   "logsumexp"]:
            yield Case(f"{op}.{name}", [(mild, False)], [step(op, "%0", **ARGUMENTS.get(op, {}))],
                0,
                f32=False)
        yield Case(f"number.{name}", [(mild, True)],
            [step("mul", "%0", .1), step("add", "%1", 1)],
            1,
            f32=False)
        for op in ["mul", "div", "add", "sub", "maximum"]:
            yield Case(f"{op}.{name}.gradient", [(mild, True), (mild.flip(0).contiguous(), True)],
                [step(op, "%0", "%1")],
                1,
                f32=False)
        for op in ["exp", "tanh", "sigmoid", "relu", "square", "sum", "mean"]:
            yield Case(f"{op}.{name}.gradient", [(mild, True)], [step(op, "%0")], 1, f32=False)
        yield Case(f"ones.{name}", [(torch.ones([64, 64], dtype=dtype), False)],
            [step("sum", "%0")],
            0,
            f32=False)
        yield Case(f"to.{name}", [(torch.tensor(values, dtype=torch.float64), False)],
            [step("to", "%0", dtype=name)],
            0,
            f32=False)


def casts():
    values = torch.tensor([0, .5, -.5, 1.5, 2.5, -2.5, 100.7, -100.7], dtype=torch.float64)
    for name in ["i8", "i16", "i32", "i64", "bool", "f32", "f16", "bf16"]:
        yield Case(f"to.{name}.from_f64", [(values, False)], [step("to", "%0", dtype=name)],
            0,
            f32=False)
    whole = torch.tensor([0, 1, 127, 128, 200, 255, 256, 300, 32767, 32768, 65535, 65536],
        dtype=torch.int64)
    for name in ["i8", "i16", "i32", "u8", "bool", "f32", "f64", "f16", "bf16"]:
        yield Case(f"to.{name}.from_i64", [(whole, False)], [step("to", "%0", dtype=name)],
            0,
            f32=False)
    x = torch.tensor([.5, -1.5, 2.25], dtype=torch.float64)
    for name in ["f32", "f16", "bf16"]:
        yield Case(f"to.{name}.gradient", [(x, True)],
            [step("to", "%0", dtype=name),
            step("mul", "%1", "%1"),
            step("to", "%2", dtype="f64")],
            1,
            f32=False)


def mixed():
    """Operands of two dtypes: the gradient of each has its dtype. Not u8, which PyTorch negates and
    squares as such."""
    pairs = [("f32", "f64"), ("f64", "f32"), ("f16", "f64"), ("bf16", "f32"), ("f16", "bf16"),
        ("f64", "i32"), ("i64", "f64"), ("f32", "bool"), ("i16", "f16")]
    for da, db in pairs:
        a = torch.tensor([[1.5, -2, .75], [3, .5, -1.25]], dtype=torch.float64).to(BY_NAME[da])
        b = torch.tensor([2., 3, 1], dtype=torch.float64).to(BY_NAME[db])
        for label, y in [("row", b), ("scalar", b[0].clone())]:
            for op in ["add", "mul", "div", "pow", "atan2", "maximum", "mse_loss"]:
                if op == "mse_loss" and not a.is_floating_point():
                    continue
                base = a.abs() if op == "pow" else a
                yield Case(f"{op}.{da}.{db}.{label}", [(base, base.is_floating_point()),
                    (y, y.is_floating_point())], [step(op, "%0", "%1")],
                    1,
                    f32=False)
    a, b = (torch.tensor([.5, -1.5], dtype=d) for d in [torch.float32, torch.float64])
    yield Case("where.f32.f64", [(torch.tensor([True, False]), False), (a, True), (b, True)],
        [step("where", "%0", "%1", "%2")],
        1,
        f32=False)
    yield Case("cat.f32.f64", [(a, True), (b, True)], [step("cat", "%0", "%1", dim=0)],
        1,
        f32=False)


def half_gradients():
    """Structured operations in half: PyTorch's kernels compute in float32 there, as ours do."""
    for dtype in [torch.float16, torch.bfloat16]:
        name = DTYPES[dtype]

        def x(shape, seed):
            return spread(shape, -2, 2, seed).to(dtype), True

        target = torch.tensor([0, 2]), False
        cases = [([x([2, 3], 1)], [step(op, "%0", dims=[1])])
            for op in ["sum", "mean", "amax", "amin", "logsumexp", "nansum"]]
        cases += [([x([2, 3], 1)], [step("norm", "%0", p=p, dims=[1])]) for p in [1, 2, 3]]
        cases += [([x([2, 3], 1)], [step(op, "%0", dim=1)])
            for op in ["max_dim", "median_dim", "sort", "cummax"]]
        cases += [([x([2, 3], 2)], [step(op, "%0", dim=1)])
            for op in ["softmax", "log_softmax", "cumsum"]]
        cases += [
            ([x([2, 3], 3), x([3, 2], 4)], [step("matmul", "%0", "%1")]),
            ([x([2, 3], 3), x([2, 3], 4), x([2], 5)], [step("linear", "%0", "%1", "%2")]),
            ([x([2, 2], 3), x([2, 3], 4), x([3, 2], 5)], [step("addmm", "%0", "%1", "%2")]),
            ([x([2, 4], 6), x([4], 7), x([4], 8)],
            [step("layer_norm", "%0", "%1", "%2", n=1, eps=1e-5)]),
            ([x([2, 3], 1), target], [step("cross_entropy", "%0", "%1")]),
            ([x([2, 3], 1), x([2, 3], 2)], [step("mse_loss", "%0", "%1")]),
            ([x([3, 2], 1), target], [step("index_select", "%0", "%1", dim=0)]),
            ([x([3, 2], 1), target], [step("embedding", "%0", "%1")]),
            ([x([2, 2], 1)],
            [step("transpose", "%0", d0=0, d1=1), step("reshape", "%1", shape=[4])]),
            ([x([2], 1), x([2], 2)], [step("cat", "%0", "%1", dim=0)])]
        for leaves, steps in cases:
            yield Case(f"{steps[0][0]}.{name}.structured", leaves, steps, 1, f32=False)


def values():
    yield from half_gradients()
    yield from mixed()
    yield from integers()
    yield from halves()
    yield from casts()
