#!/usr/bin/env python3
"""Writes print.txt, the cases of t_print.c: how PyTorch prints a tensor. Needs torch.

    python3 tests/golden/print.py > tests/golden/print.txt

A case says how its tensor is made and what it looks like:

    case NAME
    bits DTYPE [SIZES] WORDS...           the elements in hexadecimal, as they lie in memory
    steps DTYPE [SIZES] START STEP        or element i is START + i * STEP, exact in DTYPE
    do NAME NUMBERS...                    then, any number of times: a view or an operation
    text N                                the N lines that follow
"""
import math
import random

import torch

DTYPES = {
    "f32": (torch.float32, torch.int32, 32), "f64": (torch.float64, torch.int64, 64),
    "f16": (torch.float16, torch.int16, 16), "bf16": (torch.bfloat16, torch.int16, 16),
    "i8": (torch.int8, torch.int8, 8), "i16": (torch.int16, torch.int16, 16),
    "i32": (torch.int32, torch.int32, 32), "i64": (torch.int64, torch.int64, 64),
    "u8": (torch.uint8, torch.uint8, 8), "bool": (torch.bool, torch.uint8, 8),
}
FLOATS = ["f32", "f64", "f16", "bf16"]
inf, nan = math.inf, math.nan

OPERATIONS = {
    "grad": lambda t: t.requires_grad_(),
    "transpose": lambda t, a, b: t.transpose(a, b),
    "permute": lambda t, *dims: t.permute(*dims),
    "slice": lambda t, d, start, stop, step: t[(slice(None),) * d + (slice(start, stop, step),)],
    "select": lambda t, d, i: t.select(d, i),
    "expand": lambda t, *shape: t.expand(*shape),
    "reshape": lambda t, *shape: t.reshape(*shape),
    "detach": lambda t: t.detach(),
    "mul": lambda t, k: t * k,
    "sum": lambda t: t.sum(),
    "exp": lambda t: t.exp(),
    "relu": lambda t: t.relu(),
    "softplus": lambda t: torch.nn.functional.softplus(t),
    "log_softmax": lambda t, d: t.log_softmax(d),
    "logcumsumexp": lambda t, d: t.logcumsumexp(d),
}


def emit(name, how, t, steps):
    print("case", name)
    print(how)
    for step in steps:
        t = OPERATIONS[step[0]](t, *step[1:])
        print("do", *step)
    lines = repr(t).split("\n")
    print("text", len(lines))
    print("\n".join(lines))


def sizes(shape):
    return "[" + ",".join(map(str, shape)) + "]"


def case(name, dtype, shape, values, *steps):
    torch_dtype, integer, bits = DTYPES[dtype]
    t = torch.tensor(values, dtype=torch_dtype).reshape(shape)
    words = t.view(integer).reshape(-1).tolist()
    words = " ".join(f"{w & (1 << bits) - 1:x}" for w in words)
    emit(name, f"bits {dtype} {sizes(shape)} {words}".rstrip(), t, steps)


def steps(name, dtype, shape, start, step, *then):
    n = math.prod(shape)
    t = (torch.arange(n, dtype=torch.float64) * step + start).to(DTYPES[dtype][0]).reshape(shape)
    emit(name, f"steps {dtype} {sizes(shape)} {start} {step}", t, then)


def section(name):
    print("section", name)


section("scalars")
for dtype in FLOATS:
    for i, v in enumerate([0.0, -0.0, 1.0, -2.5, 1e-3, 9.9e-5, 60000.0, nan, inf, -inf, 1 / 3]):
        case(f"{dtype}_{i}", dtype, (), [v])
for dtype in ["i8", "i16", "i32", "i64", "u8", "bool"]:
    case(dtype, dtype, (), [1])
case("i64_least", "i64", (), [-2**63])
case("f64_denormal", "f64", (), [5e-324])
case("f64_most", "f64", (), [1.7976931348623157e308])
case("f32_1e8", "f32", (), [1e8])
case("f32_above_1e8", "f32", (), [1.0000001e8])
case("one_of_one", "f32", (1,), [7])
case("one_of_one_of_one", "f32", (1, 1), [7])

section("vectors")
for dtype in ["i8", "i16", "i32", "i64"]:
    case(f"{dtype}_mixed", dtype, (5,), [0, -1, 100, 7, -128])
case("i64_range", "i64", (2,), [-2**63, 2**63 - 1])
case("u8", "u8", (4,), [0, 255, 16, 1])
case("bool", "bool", (3,), [True, False, True])
case("bool_true", "bool", (2,), [True, True])
for dtype in FLOATS:
    case(f"{dtype}_integral", dtype, (4,), [1, -2, 300, 0])
    case(f"{dtype}_fraction", dtype, (4,), [1.5, -2.25, 10, 0])
    case(f"{dtype}_scientific", dtype, (4,), [1e-5, -2.25, 10, 0])
    case(f"{dtype}_specials", dtype, (6,), [nan, inf, -inf, 0.0, -0.0, 1.5])
    case(f"{dtype}_integral_specials", dtype, (5,), [nan, inf, -inf, 12, -0.0])
    case(f"{dtype}_scientific_specials", dtype, (5,), [nan, inf, -inf, 1e-6, -0.0])
    case(f"{dtype}_nan", dtype, (3,), [nan, nan, nan])
    case(f"{dtype}_inf", dtype, (3,), [inf, -inf, 0])
    case(f"{dtype}_zeros", dtype, (3,), [0.0, -0.0, 0.0])
    case(f"{dtype}_ratio_1000", dtype, (2,), [1, 1000])
    case(f"{dtype}_ratio_1024", dtype, (2,), [1, 1024])
case("f32_integral_1e8", "f32", (2,), [1e8, 1e6])
case("f32_integral_2e8", "f32", (2,), [2e8, 1e6])
case("f32_least_1e-4", "f32", (1,), [1e-4])
case("f32_least_9.99e-5", "f32", (1,), [9.99e-5])
case("f64_least_1e-4", "f64", (1,), [1e-4])
case("f32_denormals", "f32", (3,), [1e-45, 1.17e-38, -1e-40])
case("f64_denormals", "f64", (3,), [5e-324, -2.2e-308, 1e-310])
case("f16_denormals", "f16", (3,), [6e-8, 6.1e-5, -1e-6])
case("bf16_denormals", "bf16", (2,), [1e-40, 1e-39])
case("f64_extremes", "f64", (3,), [1e308, 1e-308, -1])
case("f64_hundred_digits", "f64", (2,), [1e100, -1e100])
case("f32_extremes", "f32", (2,), [3.4028234663852886e38, 1.1754943508222875e-38])
case("round_half", "f64", (4,), [0.00005, 0.00015, 0.12345, 2.5])
case("round_up", "f64", (2,), [0.99999, 9.99996])
case("round_up_exponent", "f64", (2,), [9.99999e-7, 9.99996e5])
case("negative_rounds_to_zero", "f64", (2,), [-0.0001, 0.05])
for n in [8, 9, 10, 18, 19, 20, 40]:
    steps(f"f32_row_{n}", "f32", (n,), 0.25, 0.5)
    steps(f"i64_row_{n}", "i64", (n,), -3, 1)
    case(f"f64_scientific_row_{n}", "f64", (n,), [10.0 ** (i % 12 - 6) for i in range(n)])
case("bool_row", "bool", (40,), [i % 3 == 0 for i in range(40)])
case("wide_numbers", "i64", (8,), [10**17 + i for i in range(8)])
case("scientific_by_ratio", "f64", (3,), [-1.5, 1e8 - 0.5, 3])

section("blocks")
for dtype in ["f32", "f64", "i64", "i32", "u8", "bf16"]:
    steps(f"{dtype}_2x3", dtype, (2, 3), 0, 1)
    steps(f"{dtype}_2x2x3", dtype, (2, 2, 3), 0, 1)
steps("column", "f32", (5, 1), -1, 0.5)
steps("row", "f32", (1, 5), -1, 0.5)
steps("4_dims", "f32", (2, 2, 2, 2), 0, 1)
steps("5_dims", "i64", (1, 2, 1, 2, 3), 0, 1)
steps("many_ones", "f32", (1, 1, 1, 1, 1, 1), 3, 1)
steps("8_dims", "i64", (1, 2, 1, 2, 1, 2, 1, 2), 0, 1)
steps("wrapped_rows", "f32", (2, 30), 0, 0.5)
steps("wrapped_rows_of_3_dims", "i64", (2, 2, 25), 990, 1)
case("specials", "f32", (2, 3), [nan, 1, -2, inf, -inf, 0.5])
case("scientific", "f64", (2, 2), [1e-10, 1, -1e10, 0])
case("bool", "bool", (2, 2), [True, False, False, True])

section("empty")
for dtype in DTYPES:
    case(f"{dtype}_0", dtype, (0,), [])
    case(f"{dtype}_2x0", dtype, (2, 0), [])
case("0x0", "f32", (0, 0), [])
case("0x3", "f32", (0, 3), [])
case("1x0x2", "i64", (1, 0, 2), [])
case("long_size", "f64", (1000000000, 0, 100000000, 3, 3, 1, 1, 1, 1), [])
case("grad", "f32", (0, 3), [], ["grad"])
case("grad_fn", "f64", (0,), [], ["grad"], ["mul", 2])

section("summaries")
for n in [1000, 1001, 2000]:
    steps(f"vector_{n}", "i64", (n,), 0, 1)
    steps(f"vector_f32_{n}", "f32", (n,), 0, 0.5)
steps("only_shown_elements_count", "f32", (2000,), 0, 1)
steps("hidden_fraction", "f64", (1, 2001), 0, 0.25, ["slice", 1, 0, 2001, 4], ["expand", 3, 501])
for shape in [(6, 200), (7, 200), (200, 6), (200, 7), (1001, 1), (1, 1001), (40, 40), (6, 6, 40),
              (7, 7, 40), (40, 7, 6), (2, 600), (11, 11, 11), (7, 2, 7, 12),
              (6, 3, 6, 10), (1, 1, 1200)]:
    steps("i64_" + "x".join(map(str, shape)), "i64", shape, 0, 1)
steps("f32_33x33", "f32", (33, 33), -500, 1)
steps("f64_33x33", "f64", (33, 33), -500.5, 1.25)
steps("bf16", "bf16", (1200,), 1, 0)
steps("grad", "f32", (1200,), 1, 0, ["grad"])
steps("scientific", "f64", (1100,), 1e-3, 4)
steps("wide_cut_row", "f64", (1100,), -2.0**52, 2.0**40)

section("suffixes")
for n in [1, 2, 6, 7, 8, 9]:
    steps(f"requires_grad_{n}", "f32", (n,), 0.5, 1, ["grad"])
    steps(f"f64_grad_{n}", "f64", (n,), 0.5, 1, ["grad"])
    steps(f"mul_{n}", "f32", (n,), 0.5, 1, ["grad"], ["mul", 2])
    steps(f"f64_relu_{n}", "f64", (n,), 0.5, 1, ["grad"], ["relu"])
    steps(f"f64_logcumsumexp_{n}", "f64", (n,), 0.5, 0, ["grad"], ["logcumsumexp", 0])
    steps(f"f16_grad_{n}", "f16", (n,), 0.5, 1, ["grad"])
for n in range(14, 20):
    steps(f"i32_{n}", "i32", (n,), 0, 1)
    steps(f"i16_{n}", "i16", (n,), 10, 1)
steps("scalar", "f32", (), 2, 0, ["grad"])
steps("scalar_sum", "f32", (3,), 2, 0, ["grad"], ["sum"])
steps("matrix", "f64", (2, 7), 0.5, 1, ["grad"], ["mul", 2])
steps("softplus", "f32", (2,), 64, 64, ["grad"], ["softplus"])
steps("log_softmax", "f32", (1, 2), 1, 0, ["grad"], ["log_softmax", 1])
steps("detached", "f32", (3,), 0, 1, ["grad"], ["mul", 2], ["detach"])
steps("exp", "f32", (2,), 0, 0, ["grad"], ["exp"])

section("views")
steps("transposed", "f32", (2, 3), 0, 1, ["transpose", 0, 1])
steps("transposed_grad", "f32", (2, 3), 0, 1, ["grad"], ["transpose", 0, 1])
steps("permuted", "i64", (2, 3, 4), 0, 1, ["permute", 2, 0, 1])
steps("expanded", "f32", (3, 1), 0, 1, ["expand", 3, 4])
steps("expanded_scalar", "f64", (), 1.5, 0, ["expand", 2, 2])
steps("expanded_grad", "f32", (3,), 0, 1, ["grad"], ["expand", 2, 3])
steps("sliced", "f32", (10,), 0, 1, ["slice", 0, 1, 9, 3])
steps("sliced_columns", "i64", (3, 6), 0, 1, ["slice", 1, 1, 6, 2])
steps("sliced_grad", "f64", (10,), 0, 1, ["grad"], ["slice", 0, 2, 4, 1])
steps("sliced_to_nothing", "f64", (10,), 0, 1, ["slice", 0, 4, 4, 1])
steps("selected", "f32", (3, 4), 0, 0.5, ["select", 1, 2])
steps("selected_scalar", "f32", (4,), 0, 0.5, ["grad"], ["select", 0, 3])
steps("large_transposed", "i64", (30, 50), 0, 1, ["transpose", 0, 1])
steps("large_expanded", "f32", (1, 50), 0, 1, ["expand", 50, 50])
steps("large_sliced", "i64", (5000,), 0, 1, ["slice", 0, 0, 5000, 4])
steps("reshaped_transpose", "i32", (4, 3), 0, 1, ["transpose", 0, 1], ["reshape", 2, 6])

section("random")
rng = random.Random(1)


def random_value(kind):
    if rng.random() < 0.05:
        return rng.choice([0.0, -0.0, nan, inf, -inf])
    if kind == "integral":
        return float(rng.randint(-999, 999))
    if kind == "fraction":
        return rng.uniform(-10, 10)
    return rng.choice([-1, 1]) * 10.0 ** rng.uniform(-12, 12)


for seed in range(60):
    dtype = rng.choice(FLOATS)
    kind = rng.choice(["integral", "fraction", "magnitudes"])
    shape = tuple(rng.randint(1, 5) for _ in range(rng.randint(0, 3)))
    values = [random_value(kind) for _ in range(math.prod(shape))]
    then = [["grad"]] if rng.random() < 0.3 else []
    case(f"{kind}_{seed}", dtype, shape, values, *then)
for seed in range(20):
    dtype = rng.choice(["i8", "i16", "i32", "i64", "u8", "bool"])
    bits = 1 if dtype == "bool" else 8 if dtype == "u8" else int(dtype[1:]) - 1
    bits = rng.randint(1, bits)
    low = 0 if dtype in ("u8", "bool") else -2**bits
    shape = tuple(rng.randint(1, 12) for _ in range(rng.randint(1, 2)))
    case(f"integers_{seed}", dtype, shape,
         [rng.randint(low, 2**bits - 1) for _ in range(math.prod(shape))])
