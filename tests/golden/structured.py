"""Cases of the operations that are not pointwise: reductions, shapes, products, norms, losses and
indexing, each on the forms that its rule has to tell apart."""
import itertools
import math

import torch

from cases import DTYPES, Case, step
from pointwise import spread


def given(shape, seed, lo=-2, hi=2):
    return spread(shape, lo, hi, seed), True


def index(*values):
    return torch.tensor(values, dtype=torch.int64), False


def floats(values, grad=True):
    return torch.tensor(values, dtype=torch.float64), grad


SWAP = step("transpose", "%0", d0=0, d1=1)

# ---- reductions and scans ----

DIMS = [[], [0], [1], [-1], [0, 1], [0, 2], [-1, 0], [1, 2], [0, 1, 2]]


def reductions():
    for op in ["sum", "mean", "prod", "amax", "amin", "var", "std", "logsumexp", "nansum"]:
        for dims, keepdim in itertools.product(DIMS, [0, 1]):
            name = f"{op}.dims{'_'.join(map(str, dims))}{'.keepdim' if keepdim else ''}"
            arguments = {"dims": dims} if dims else {}
            if keepdim:
                arguments["keepdim"] = 1
            yield Case(name, [given([2, 3, 2], 1)], [step(op, "%0", **arguments)])
        order = 1 if op in ("var", "std") else 2 # the second derivative of NaN is an accident
        yield Case(op + ".scalar", [given([], 2)], [step(op, "%0")], order)
        yield Case(op + ".transposed", [given([4, 3], 3)], [SWAP, step(op, "%1", dims=[0])])
        yield Case(op + ".expanded", [given([3, 1], 4)],
            [step("expand", "%0", shape=[3, 2]),
            step(op, "%1", dims=[1])])
        yield Case(op + ".long", [given([37], 5, .8, 1.2)], [step(op, "%0")])
        yield Case(op + ".no_rows", [given([0, 3], 1)], [step(op, "%0", dims=[1])])
        yield Case(op + ".one", [given([3, 1], 6)], [step(op, "%0", dims=[1])], 1)
    for op in ["sum", "mean", "prod", "logsumexp", "nansum"]:
        yield Case(op + ".nothing", [given([0, 3], 1)], [step(op, "%0", dims=[0])], 1)
    for op in ["var", "std"]:
        for dims in [[], [0], [1, 2]]:
            arguments = {"correction_zero": 1, **({"dims": dims} if dims else {})}
            yield Case(f"{op}.population{len(dims)}", [given([2, 3, 2], 7)],
                [step(op, "%0", **arguments)])
    yield from special_reductions()
    yield from norms_of_vectors()
    yield from counts()
    yield from scans()


def special_reductions():
    inf, nan = math.inf, math.nan
    for label, rows in [("ties", [[2, 2, 1], [3, 1, 3]]), ("nan", [[1, nan, 2], [nan, nan, 3]]),
        ("infinite", [[inf, 1, inf], [-inf, -inf, 2]])]:
        for op in ["amax", "amin"]:
            # PyTorch's amax, unlike its max, makes the whole gradient NaN for one NaN.
            yield Case(f"{op}.{label}", [floats(rows)], [step(op, "%0", dims=[1])],
                2 if label == "ties" else 1,
                unknown=["g0"] if label == "nan" else [])
        for op in ["argmax", "argmin"]:
            yield Case(f"{op}.{label}", [floats(rows, False)], [step(op, "%0", dim=1)], 0)
    for k, row in enumerate([[2, 0, 3, 4], [2, 0, 0, 3], [0, 0, 0, 1], [0.], [0., 5]]):
        yield Case(f"prod.zeros{k}", [floats(row)], [step("prod", "%0")])
    yield Case("prod.zeros_by_row", [floats([[2, 0, 3], [1, 2, 3], [0, 0, 2]])],
        [step("prod", "%0", dims=[1])])
    yield Case("logsumexp.large", [floats([[1000, 1000.5], [-1000, -1001]])],
        [step("logsumexp", "%0", dims=[1])])
    yield Case("logsumexp.infinite", [floats([[-inf, 0], [inf, 0], [-inf, -inf], [inf, inf]])],
        [step("logsumexp", "%0", dims=[1])],
        1,
        unknown=["g0:4", "g0:5"]) # 0 is better than NaN
    yield Case("std.equal", [floats([[1., 1, 1], [1, 2, 3]])], [step("std", "%0", dims=[1])], 1)
    yield Case("var.offset", [floats([1e6 + 1, 1e6 + 2, 1e6 + 4])], [step("var", "%0")], f32=False)
    for dim, keepdim in itertools.product([0, 1, 2, -1], [0, 1]):
        for op in ["argmax", "argmin"]:
            yield Case(f"{op}.dim{dim}.{keepdim}", [(given([2, 3, 2], 1)[0], False)],
                [step(op, "%0", dim=dim, keepdim=keepdim)], 0)


POWERS = [0, .5, 1, 1.5, 2, 2.5, 3, -1, -2.5, math.inf, -math.inf]


def norms_of_vectors():
    inf, nan = math.inf, math.nan
    for p in POWERS:
        order = 2 if p else 0 # PyTorch knows no gradient for 0, ours is 0
        for dims, keepdim in [([], 0), ([], 1), ([1], 0), ([-1, 0], 0), ([0, 2], 1)]:
            name = f"norm.{p}.dims{'_'.join(map(str, dims))}{'.keepdim' if keepdim else ''}"
            arguments = {"p": p, **({"dims": dims} if dims else {})}
            if keepdim:
                arguments["keepdim"] = 1
            yield Case(name, [given([2, 3, 2], 1)], [step("norm", "%0", **arguments)], order)
        yield Case(f"norm.{p}.scalar", [given([], 2)], [step("norm", "%0", p=p)], order)
        yield Case(f"norm.{p}.transposed", [given([4, 3], 3)],
            [SWAP, step("norm", "%1", p=p, dims=[0])], order)
        yield Case(f"norm.{p}.expanded", [given([3, 1], 4)],
            [step("expand", "%0", shape=[3, 2]),
            step("norm", "%1", p=p, dims=[1])], order)
        yield Case(f"norm.{p}.long", [given([70], 5, .8, 1.2)], [step("norm", "%0", p=p)], order)
        yield Case(f"norm.{p}.no_rows", [given([0, 3], 1)], [step("norm", "%0", p=p, dims=[1])],
            order)
        if p >= 0 and p != inf:
            yield Case(f"norm.{p}.nothing", [given([0, 3], 1)], [step("norm", "%0", p=p, dims=[0])],
                min(order, 1))
        # PyTorch's second derivatives are NaN at zeros, and its powers of infinities
        yield Case(f"norm.{p}.zeros", [floats([[0., 0, 0], [3, 0, -4], [0, -2, 0]])],
            [step("norm", "%0", p=p, dims=[1])], min(order, 1))
        yield Case(f"norm.{p}.infinite",
            [floats([[inf, 1, 2], [nan, inf, 1], [-inf, inf, 1], [nan, 0, 1]], False)],
            [step("norm", "%0", p=p, dims=[1])], 0)


def counts():
    cube = torch.tensor([[[0, 1], [0, 0], [2, 3]], [[0, 0], [0, 5], [1, -1]]])
    for op in ["count_nonzero", "any", "all"]:
        for dims in [[], [0], [-1], [0, 2], [1, 2]]:
            arguments = {"dims": dims} if dims else {}
            for dtype in [torch.float64, torch.int64, torch.uint8, torch.bool, torch.float16]:
                yield Case(f"{op}.dims{'_'.join(map(str, dims))}.{DTYPES[dtype]}",
                    [(cube.to(dtype), False)], [step(op, "%0", **arguments)], 0)
        yield Case(op + ".nan", [floats([[math.nan, 0], [math.nan, 1], [0, -0.], [math.inf, 0]],
            False)], [step(op, "%0", dims=[1])], 0)
        yield Case(op + ".scalar", [floats(3., False)], [step(op, "%0")], 0)
        for dims in [[], [0], [1]]:
            yield Case(f"{op}.nothing{'_'.join(map(str, dims))}", [(torch.zeros([0, 3]), False)],
                [step(op, "%0", **({"dims": dims} if dims else {}))], 0)
        if op != "count_nonzero":
            yield Case(op + ".keepdim", [(cube, False)], [step(op, "%0", dims=[1], keepdim=1)], 0)
    yield Case("nansum.nan", [floats([[math.nan, 1, 2], [math.nan] * 3, [math.inf, math.nan, 1]])],
        [step("nansum", "%0", dims=[1])])


def scans():
    for op in ["cumsum", "cumprod", "logcumsumexp"]:
        for dim in [0, 1, -1]:
            yield Case(f"{op}.dim{dim}", [given([2, 3, 2], 1)], [step(op, "%0", dim=dim)])
        yield Case(op + ".transposed", [given([3, 2], 2)], [SWAP, step(op, "%1", dim=1)])
        yield Case(op + ".scalar", [given([], 3)], [step(op, "%0", dim=0)])
        yield Case(op + ".empty", [given([2, 0], 3)], [step(op, "%0", dim=1)])
    for k, row in enumerate([[2, 0, 3, 4], [2, 0, 0, 3], [0, 0, 0, 1], [0.], [1, 3, 0.]]):
        yield Case(f"cumprod.zeros{k}", [floats(row)], [step("cumprod", "%0", dim=0)])
    yield Case("cumprod.zeros_by_row", [floats([[2, 0, 3], [1, 2, 3], [0, 0, 2]])],
        [step("cumprod", "%0", dim=1)])
    yield Case("cumprod.long", [given([37], 5, .8, 1.2)], [step("cumprod", "%0", dim=0)])
    yield Case("logcumsumexp.large", [floats([1000, 0, 1001, -1000.])],
        [step("logcumsumexp", "%0", dim=0)])
    yield Case("logcumsumexp.infinite", [floats([-math.inf, -math.inf, 0, 1])],
        [step("logcumsumexp", "%0", dim=0)], 0)


# ---- elements chosen along a dimension ----

CHOICES = [("max_dim", {}), ("min_dim", {}), ("median_dim", {}), ("sort", {}),
    ("sort", {"descending": 1}), ("topk", {"k": 2}), ("topk", {"k": 2, "largest": 1}),
    ("cummax", {}), ("cummin", {})]


def choices():
    inf, nan = math.inf, math.nan
    cube, long = given([2, 3, 2], 1), given([70], 2)
    special = [("ties", [[2, 2, 1], [3, 1, 3], [0., -0., 0.]]),
        ("nan", [[1, nan, 2, 0], [nan, nan, 3, 1], [-inf, nan, inf, 1]]),
        ("infinite", [[inf, 1, -inf], [-inf, -inf, 2]])]
    for op, more in CHOICES:
        label = op + "".join("." + name for name in more if name != "k")
        for which in [0, 1]:

            def case(name, leaf, order=2, **arguments):
                if which:
                    leaf, order = (leaf[0], False), 0
                    arguments["which"] = 1
                operation = step(op, "%0", **{**more, **arguments})
                return Case(f"{label}.{name}{'.index' * which}", [leaf], [operation], order)

            for dim in [1, -2]:
                yield case(f"dim{dim}", cube, dim=dim)
            if op.endswith("_dim"):
                for dim in [0, 1, -1]:
                    yield case(f"dim{dim}.keepdim", cube, dim=dim, keepdim=1)
            yield case("long", long, dim=0)
            yield case("scalar", given([], 3), dim=0, **({"k": 1} if op == "topk" else {}))
            yield case("no_rows", given([0, 3], 3), dim=1)
            if not op.endswith("_dim") and op != "topk":
                yield case("nothing", given([0, 3], 3), dim=0)
            for name, rows in special:
                if which and (op == "topk" or op == "median_dim" and name != "nan"):
                    continue # PyTorch promises nothing about equal elements
                order = 0 if op in ("median_dim", "topk") else 2
                yield case(name, floats(rows), order, dim=1)
        yield Case(label + ".transposed", [given([4, 3], 3)],
            [SWAP, step(op, "%1", dim=0, **more),
            step("square", "%2")])
        yield Case(label + ".expanded", [given([3, 1], 4)],
            [step("expand", "%0", shape=[3, 2]),
            step(op, "%1", dim=0, **more)])
        for dtype in [torch.uint8, torch.int64, torch.float16, torch.bool]:
            values = torch.tensor([3, 0, 7, 1, 2]).to(dtype)
            if dtype is not torch.bool or op not in ("median_dim", "topk"):
                yield Case(f"{label}.{DTYPES[dtype]}", [(values, False)],
                    [step(op, "%0", dim=0, **more)], 0)
    yield Case("topk.none", [given([2, 3], 1)], [step("topk", "%0", k=0, dim=1)])
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    for op in ["max_dim", "min_dim", "median_dim", "sort"]:
        yield Case(op + ".limits", [(torch.tensor([2, high, low, -1, high]), False)],
            [step(op, "%0", dim=0, which=1)], 0)


# ---- shapes ----


def shapes():
    x, cube = given([2, 3], 1), given([2, 3, 2], 2)
    one = [("reshape", x, {"shape": [3, 2]}), ("reshape", x, {"shape": [-1]}),
        ("reshape", cube, {"shape": [2, -1]}), ("view", x, {"shape": [6]}),
        ("view", cube, {"shape": [3, -1, 2]}), ("permute", cube, {"dims": [2, 0, 1]}),
        ("permute", cube, {"dims": [-1, 1, 0]}), ("transpose", cube, {"d0": 0, "d1": 2}),
        ("transpose", cube, {"d0": -1, "d1": -2}), ("t", x, {}), ("t", given([3], 1), {}),
        ("expand", given([3, 1], 3), {"shape": [3, 4]}),
        ("expand", given([3], 3), {"shape": [2, -1]}), ("expand", given([], 3), {"shape": [2, 2]}),
        ("expand", given([1], 3), {"shape": [0]}), ("squeeze", given([2, 1, 3], 4), {"dim": 1}),
        ("squeeze", given([2, 1, 3], 4), {"dim": 0}), ("squeeze", given([2, 1], 4), {"dim": -1}),
        ("unsqueeze", x, {"dim": 0}), ("unsqueeze", x, {"dim": -1}),
        ("unsqueeze", given([], 1), {"dim": 0}), ("flatten", cube, {"start": 0, "end": -1}),
        ("flatten", cube, {"start": 1, "end": 2}), ("flatten", given([],
        1), {"start": 0, "end": -1}), ("select", x, {"dim": 0, "i": 1}),
        ("select", cube, {"dim": -2, "i": -1}), ("select", given([3], 1), {"dim": 0, "i": 2}),
        ("slice", given([5, 2], 5), {"dim": 0, "start": 1, "stop": 4, "step": 1}),
        ("slice", given([7], 5), {"dim": 0, "start": 0, "stop": 7, "step": 3}),
        ("slice", given([2, 5], 5), {"dim": 1, "start": -4, "stop": -1, "step": 2}),
        ("slice", given([4], 5), {"dim": 0, "start": 3, "stop": 1, "step": 1}),
        ("slice", given([4], 5), {"dim": 0, "start": 2, "stop": 100, "step": 1}),
        ("narrow", given([4, 3], 6), {"dim": 0, "start": 1, "length": 2}),
        ("narrow", given([4, 3], 6), {"dim": -1, "start": 0, "length": 0}),
        ("narrow", given([4, 3], 6), {"dim": 1, "start": -2, "length": 2}),
        ("flip", cube, {"dims": [0]}), ("flip", cube, {"dims": [0, -1]}),
        ("flip", given([], 1), {"dims": []}), ("contiguous", x, {}), ("clone", x, {})]
    one += [(op, given(shape, 7), {"k": k}) for op in ["tril", "triu"]
        for shape in [[3, 3], [2, 4], [2, 3, 2]] for k in [0, 1, -1, 5]]
    for k, (op, leaf, arguments) in enumerate(one):
        yield Case(f"{op}.{k}", [leaf], [step(op, "%0", **arguments), step("sin", "%1")])
    turned = [("reshape", {"shape": [-1]}), ("flatten", {"start": 0, "end": 1}), ("contiguous", {}),
        ("clone", {}), ("select", {"dim": 1, "i": 0}), ("flip", {"dims": [1]}), ("tril", {"k": 0}),
        ("unsqueeze", {"dim": 1}), ("expand", {"shape": [2, 3, 2]}),
        ("slice", {"dim": 0, "start": 1, "stop": 3, "step": 1})]
    for op, arguments in turned:
        yield Case(op + ".transposed", [given([2, 3], 8)],
            [SWAP, step(op, "%1", **arguments),
            step("square", "%2")])
    yield from strided()
    yield from joins()


def strided():
    cube, square = given([2, 3, 2], 2), given([3, 3], 6)
    for a, b in [(0, 2), (2, 0), (-1, 1), (1, 1)]:
        yield Case(f"movedim.{a}.{b}", [cube],
            [step("movedim", "%0", **{
            "from": a, "to": b
            }), step("sin", "%1")])
    for k, (x, offset, d1, d2) in enumerate([(square, 0, 0, 1), (square, 1, 0, 1),
        (square, -2, 0, 1), (square, 3, 0, 1), (cube, 0, 0, 1), (cube, 1, -1, 1), (cube, -1, 2, 0),
        (given([0, 3], 1), 0, 0, 1)]):
        yield Case(f"diagonal.{k}", [x],
            [step("diagonal", "%0", offset=offset, d1=d1, d2=d2),
            step("square", "%1")])
    yield Case("diagonal.transposed", [given([2, 3], 8)],
        [SWAP, step("diagonal", "%1", offset=-1, d1=0, d2=1),
        step("square", "%2")])
    for k, (x, dim, size, apart) in enumerate([(given([6], 1), 0, 3, 1), (given([7], 1), 0, 2, 3),
        (given([2, 5], 2), 1, 3, 2), (given([3, 2], 2), 0, 2, 1), (given([2, 2], 2), 1, 0, 1),
        (given([], 3), 0, 1, 1)]):
        yield Case(f"unfold.{k}", [x],
            [step("unfold", "%0", dim=dim, size=size, step=apart),
            step("square", "%1")])
    yield Case("unfold.transposed", [given([2, 4], 8)],
        [SWAP, step("unfold", "%1", dim=0, size=3, step=1),
        step("square", "%2")])
    for k, (shape, strides, offset) in enumerate([([2, 2], [1, 3], 1), ([4, 3], [1, 1], 0),
        ([2, 3], [0, 1], 2), ([0, 2], [5, 5], 0), ([], [], 4)]):
        yield Case(f"as_strided.{k}", [given([2, 3], 4)],
            [step("as_strided", "%0", shape=shape, strides=strides, offset=offset),
            step("square", "%1")])
    yield Case("as_strided.transposed", [given([2, 3], 4)],
        [SWAP, step("as_strided", "%1", shape=[2, 2], strides=[2, 1], offset=1),
        step("square", "%2")])
    yield Case("as_strided.expanded", [given([1, 3], 4)], [
        step("expand", "%0", shape=[2, 3]),
        step("as_strided", "%1", shape=[2, 2], strides=[1, 1], offset=0),
        step("square", "%2")
    ])
    yield Case("as_strided.part", [given([3, 2], 4)], [
        step("narrow", "%0", dim=0, start=1, length=2),
        step("as_strided", "%1", shape=[5], strides=[1], offset=0),
        step("square", "%2")
    ])
    for k, (op, arguments) in enumerate([("split", {"size": 2, "dim": 0, "i": 2}),
        ("split", {"size": 3, "dim": 0}), ("chunk", {"chunks": 3, "dim": 0, "i": 1}),
        ("split", {"size": 1, "dim": -1, "i": 0}), ("unbind", {"dim": 0, "i": 3}),
        ("chunk", {"chunks": 4, "dim": 0}), ("unbind", {"dim": 1})]):
        yield Case(f"{op}.{k}", [given([5, 2], 5)],
            [step(op, "%0", **arguments), step("square", "%1")])


def joins():
    a, b, c = given([2, 3], 1), given([2, 3], 2), given([1, 3], 3)
    for dim in [0, 1, -1]:
        yield Case(f"cat.dim{dim}", [a, b], [step("cat", "%0", "%1", dim=dim)])
    for dim in [0, 1, 2, -1]:
        yield Case(f"stack.dim{dim}", [a, b], [step("stack", "%0", "%1", dim=dim)])
    yield Case("cat.sizes", [a, c, b], [step("cat", "%0", "%1", "%2", dim=0), step("square", "%3")])
    yield Case("cat.same", [a], [step("cat", "%0", "%0", dim=1), step("square", "%1")])
    yield Case("cat.one", [a], [step("cat", "%0", dim=0)])
    yield Case("cat.empty", [a, given([0, 3], 1)], [step("cat", "%0", "%1", dim=0)])
    yield Case("cat.legacy_empty", [a, given([0], 1)], [step("cat", "%0", "%1", dim=0)])
    yield Case("cat.transposed", [a, given([3, 1], 4)], [SWAP, step("cat", "%2", "%1", dim=1)])
    yield Case("cat.mixed", [a, (spread([2, 3], -1, 1, 5), False)],
        [step("cat", "%0", "%1", dim=0)])
    yield Case("stack.scalars", [given([], 1), given([], 2)], [step("stack", "%0", "%1", dim=0)])


# ---- products ----


def products():
    ranks = [[3], [2, 3], [2, 2, 3]], [[3], [3, 2], [2, 3, 2]]
    pairs = list(itertools.product(*ranks)) + [([2, 1, 2, 3], [3, 3, 2]), ([1, 2, 3], [2, 3, 2]),
        ([2, 3, 2, 2], [2, 1]), ([2], [3, 2, 2]), ([2, 0], [0, 3]), ([0, 2], [2, 3]),
        ([2, 2, 0], [0, 2]), ([0], [0]), ([2, 0], [0]), ([1, 1], [1, 1]), ([0, 2, 3], [3, 2]),
        ([5, 7], [7, 4]), ([2, 1, 4], [1, 4, 3])]
    for a, b in pairs:
        yield Case(f"matmul.{'x'.join(map(str, a))}.{'x'.join(map(str, b))}",
            [given(a, 1), given(b, 2)], [step("matmul", "%0", "%1")])
    yield Case("matmul.transposed", [given([3, 2], 1), given([4, 3], 2)],
        [SWAP, step("transpose", "%1", d0=0, d1=1),
        step("matmul", "%2", "%3")])
    yield Case("matmul.expanded", [given([1, 3], 1), given([3, 1], 2)], [
        step("expand", "%0", shape=[2, 3]),
        step("expand", "%1", shape=[3, 2]),
        step("matmul", "%2", "%3")
    ])
    yield Case("matmul.itself", [given([2, 2], 1)], [step("matmul", "%0", "%0")])
    yield Case("matmul.left", [given([2, 3], 1), (given([3, 2], 2)[0], False)],
        [step("matmul", "%0", "%1")])
    for op, a, b in [("mm", [2, 3], [3, 2]), ("mm", [2, 0], [0, 2]), ("bmm", [2, 2, 3], [2, 3, 1]),
        ("bmm", [0, 2, 3], [0, 3, 1]), ("mv", [2, 3], [3]), ("mv", [2, 0], [0]), ("dot", [4], [4]),
        ("dot", [0], [0])]:
        yield Case(f"{op}.{'x'.join(map(str, a))}", [given(a, 3), given(b, 4)],
            [step(op, "%0", "%1")])
    for m, beta, alpha in [([2, 2], 1, 1), ([2, 2], .5, -2), ([2], 2, .25), ([1, 2], -1, 1),
        ([2, 1], 1, 3), ([], .5, .5)]:
        yield Case(f"addmm.{'x'.join(map(str, m))}.{beta}.{alpha}",
            [given(m, 1), given([2, 3], 2), given([3, 2], 3)],
            [step("addmm", "%0", "%1", "%2", beta=beta, alpha=alpha)])
    for x in [[3], [2, 3], [2, 2, 3], [0, 3]]:
        leaves = [given(x, 1), given([2, 3], 2), given([2], 3)]
        yield Case(f"linear.{'x'.join(map(str, x))}", leaves, [step("linear", "%0", "%1", "%2")])
        yield Case(f"linear.{'x'.join(map(str, x))}.no_bias", leaves[:2],
            [step("linear", "%0", "%1", None)])


# ---- norms and losses ----


def norms():
    for op in ["softmax", "log_softmax"]:
        for dim in [0, 1, -1]:
            yield Case(f"{op}.dim{dim}", [given([2, 3, 2], 1)], [step(op, "%0", dim=dim)])
        yield Case(op + ".transposed", [given([3, 2], 2)], [SWAP, step(op, "%1", dim=1)])
        yield Case(op + ".scalar", [given([], 3)], [step(op, "%0", dim=0)])
        yield Case(op + ".one", [given([2, 1], 3)], [step(op, "%0", dim=1)])
        yield Case(op + ".empty", [given([0, 3], 3)], [step(op, "%0", dim=1)])
        yield Case(op + ".large", [floats([[1000, 0, 999], [-1000, -1001, -1002]])],
            [step(op, "%0", dim=1)])
        yield Case(op + ".infinite",
            [floats([[-math.inf, 0, 1], [-math.inf] * 3, [math.inf, 0, 1], [math.nan, 0, 1]])],
            [step(op, "%0", dim=1)], 1)
    for n, (weight, bias) in itertools.product([1, 2], itertools.product([True, False], repeat=2)):
        shape = [3, 2, 4]
        leaves = [given(shape, 1)
                  ] + [given(shape[-n:], s) for s, on in [(2, weight), (3, bias)] if on]
        normalise = step("layer_norm",
            "%0",
            "%1" if weight else None,
            f"%{1 + weight}" if bias else None,
            n=n,
            eps=1e-5)
        yield Case(f"layer_norm.{n}{'.weight' if weight else ''}{'.bias' if bias else ''}", leaves,
            [normalise])
    yield Case("layer_norm.eps", [given([2, 3], 4)],
        [step("layer_norm", "%0", None, None, n=1, eps=.5)])
    yield Case("layer_norm.transposed", [given([3, 2], 5), given([3], 6)],
        [SWAP, step("layer_norm", "%2", "%1", None, n=1, eps=1e-5)])
    yield Case("layer_norm.constant", [floats([[2., 2, 2], [1, 2, 4]])],
        [step("layer_norm", "%0", None, None, n=1, eps=1e-5)], 1)


FORMS = [("NC", [4, 3], index(0, 2, 1, 2)), ("C", [3], (torch.tensor(1), False)),
    ("NCd", [2, 3, 2], (torch.tensor([[0, 2], [1, 1]]), False)),
    ("NCdd", [1, 3, 2, 2], (torch.tensor([[[0, 2], [1, 0]]]), False))]


def losses():
    weights = spread([3], .2, 2, 9), False
    for op, (form, shape, target) in itertools.product(["nll_loss", "cross_entropy"], FORMS):
        for reduction, weighted in itertools.product([0, 1, 2], [False, True]):
            leaves = [given(shape, 1), target] + ([weights] if weighted else [])
            operands = ["%0", "%1"] + (["%2"] if weighted else [])
            name = f"{op}.{form}.{reduction}{'.weight' if weighted else ''}"
            yield Case(name, leaves, [(op, operands, {"reduction": reduction})])
            if form in ("NC", "NCd"):
                yield Case(name + ".ignore", leaves,
                    [(op, operands, {"reduction": reduction, "ignore_index": 2})])
            if op == "cross_entropy":
                yield Case(name + ".smooth", leaves,
                    [(op, operands, {"reduction": reduction, "label_smoothing": .1})])
                if form != "C":
                    yield Case(name + ".smooth.ignore", leaves, [(op, operands,
                        {"reduction": reduction, "label_smoothing": .25, "ignore_index": 2})])
    for op in ["nll_loss", "cross_entropy"]:
        yield Case(op + ".transposed", [given([3, 2], 3), index(0, 2)],
            [SWAP, step(op, "%2", "%1")])
        yield Case(op + ".all_ignored", [given([2, 3], 3), index(-100, -100)],
            [step(op, "%0", "%1")], 1)
        yield Case(op + ".some_ignored", [given([3, 3], 3), index(-100, 1, -100)],
            [step(op, "%0", "%1")])
    for reduction in [0, 1, 2]:
        yield Case(f"mse_loss.{reduction}", [given([2, 3], 1), given([2, 3], 2)],
            [step("mse_loss", "%0", "%1", reduction=reduction)])
        yield Case(f"mse_loss.broadcast{reduction}",
            [given([2, 1], 1), given([3], 2)], [step("mse_loss", "%0", "%1", reduction=reduction)])
        yield Case(f"mse_loss.target_constant{reduction}",
            [given([2], 1),
            (given([2], 2)[0], False)], [step("mse_loss", "%0", "%1", reduction=reduction)])
    yield Case("mse_loss.scalar", [given([], 1), given([], 2)], [step("mse_loss", "%0", "%1")])
    yield Case("mse_loss.empty", [given([0], 1), given([0], 2)], [step("mse_loss", "%0", "%1")], 1)


# ---- indexing ----


def indexing():
    x = given([3, 2], 1)
    for dim, at in [(0, (0, 2, 0, 0)), (1, (1, 1)), (-1, (0, )), (0, ()), (0, (2, 1))]:
        yield Case(f"index_select.{dim}.{''.join(map(str, at))}", [x, index(*at)],
            [step("index_select", "%0", "%1", dim=dim),
            step("square", "%2")])
    yield Case("index_select.vector", [given([4], 1), index(3, 3, 0)],
        [step("index_select", "%0", "%1", dim=0)])
    yield Case("index_select.transposed", [given([2, 3], 2), index(1, 0, 1)],
        [SWAP, step("index_select", "%2", "%1", dim=0)])
    for dim, at in [(0, [[0, 1], [0, 0]]), (0, [[2, 2]]), (1, [[0, 1, 1], [1, 1, 0], [0, 0, 0]]),
        (-1, [[1]]), (0, [[2], [0], [2]])]:
        yield Case(f"gather.{dim}.{len(at)}x{len(at[0])}", [x, (torch.tensor(at), False)],
            [step("gather", "%0", "%1", dim=dim),
            step("square", "%2")])
    for label, at in [("vector", torch.tensor([0, 2, 0, 1])),
        ("matrix", torch.tensor([[1, 1], [2, 1]])), ("scalar", torch.tensor(1)),
        ("empty", torch.zeros([0], dtype=torch.int64))]:
        yield Case("embedding." + label, [x, (at, False)],
            [step("embedding", "%0", "%1"), step("square", "%2")], 1 if label == "empty" else 2)
    yield Case("one_hot.vector", [index(0, 2, 1)], [step("one_hot", "%0", classes=4)], 0)
    yield Case("one_hot.matrix", [(torch.tensor([[0], [1]]), False)],
        [step("one_hot", "%0", classes=2)], 0)
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    yield Case("masked_fill.number", [x, (mask, False)], [step("masked_fill", "%0", "%1", -1.5)])
    yield Case("masked_fill.tensor", [x, (mask, False), given([], 2)],
        [step("masked_fill", "%0", "%1", "%2")])
    yield Case("masked_fill.row", [x, (mask[0], False)], [step("masked_fill", "%0", "%1", 0)])
    yield Case("masked_fill.infinite", [x, (mask, False)],
        [step("masked_fill", "%0", "%1", -math.inf),
        step("softmax", "%2", dim=0)])
    yield Case("masked_fill.wider_mask", [given([2], 3), (mask, False)],
        [step("masked_fill", "%0", "%1", 1.)])
    yield from adding()
    yield from advanced()
    yield from masked(mask)


def adding():
    x = given([3, 2], 1)
    for dim, at, shape in [(0, (0, 2, 0, 0), [4, 2]), (1, (1, 1), [3, 2]), (-1, (0, ), [3, 1]),
        (0, (), [0, 2])]:
        yield Case(f"index_add.{dim}.{len(at)}",
            [x, index(*at), given(shape, 2)],
            [step("index_add", "%0", "%1", "%2", dim=dim),
            step("square", "%3")])
    yield Case("index_add.scalar", [given([], 1), (torch.tensor(0), False), given([], 2)],
        [step("index_add", "%0", "%1", "%2", dim=0)])
    for op in ["scatter", "scatter_add"]: # the index of scatter repeats no place
        for dim, at in [(0, [[2, 0], [1, 2]]), (1, [[1, 0], [0, 1], [1, 0]]), (-1, [[1]]),
            (0, [[2], [0]])]:
            at = torch.tensor(at)
            yield Case(f"{op}.{dim}.{'x'.join(map(str, at.shape))}",
                [x, (at, False), given(list(at.shape), 2)],
                [step(op, "%0", "%1", "%2", dim=dim),
                step("square", "%3")])
        yield Case(op + ".transposed", [given([2, 3], 2), index(2, 0), given([2], 3)], [
            SWAP,
            step("select", "%3", dim=1, i=1),
            step(op, "%4", "%1", "%2", dim=0),
            step("square", "%5")
        ])
    yield Case("scatter_add.again",
        [x, (torch.tensor([[0, 1], [0, 1], [0, 0]]), False),
        given([3, 2], 2)], [step("scatter_add", "%0", "%1", "%2", dim=0),
        step("square", "%3")])


LISTS = {
    "rows": ([4, 3], [[2, -4, 2]]), "pair": ([2, 3, 2], [[[1, 0], [1, 1]], [2, -3]]),
    "second": ([2, 3, 2], [None, [[2, 0], [1, 2]]]), "middle": ([2, 2, 2, 3], [None, [1, 0, 1],
    [1]]), "apart": ([2, 3, 2, 2], [[1, 0, 1], None, [1, 1, 0]]),
    "apart_later": ([2, 3, 2, 2], [None, [1, 0], None, [1, 1]]), "scalar": ([2, 3], [1, -1]),
    "mask": ([2, 3], [[[True, False, True], [False, False, True]]]),
    "mask_row": ([2, 3, 4], [[True, True], None, [3, 0]]),
    "mask_later": ([2, 3, 2], [None, [[True, False], [True, False], [False, True]]])
}


def advanced():
    for label, (shape, at) in LISTS.items():
        x, tensors = given(shape, 1), [torch.tensor(t) for t in at if t is not None]
        result, numbers = [], iter(range(1, 5))
        for t in at:
            result.append(None if t is None else f"%{next(numbers)}")
        leaves = [(t, False) for t in tensors]
        n = 1 + len(leaves)
        yield Case("index." + label, [x] + leaves,
            [step("index", "%0", *result), step("square", f"%{n}")])
        y = torch.ops.aten.index(x[0], [None if t is None else torch.tensor(t) for t in at])
        for values in [list(y.shape), list(y.shape)[1:], []]:
            v = given(values, 2)
            for accumulate in [0, 1]:
                places = torch.arange(x[0].numel()).reshape(shape)
                taken = torch.ops.aten.index(places,
                    [None if t is None else torch.tensor(t) for t in at]).reshape(-1)
                if not accumulate and len(taken.unique()) < len(taken):
                    continue # which value stays is not defined
                yield Case(f"index_put.{label}.{len(values)}.{accumulate}", [x] + leaves + [v], [
                    step("index_put", "%0", f"%{n}", *result, accumulate=accumulate),
                    step("square", f"%{n + 1}")
                ])
    for label, at in [("vector", [0, 5, -1]), ("matrix", [[1, 1], [-6, 2]]), ("scalar", 3)]:
        yield Case("take." + label, [given([2, 3], 1), (torch.tensor(at), False)],
            [step("take", "%0", "%1"), step("square", "%2")])
    yield Case("take.transposed", [given([2, 3], 1), index(1, 2, 1)],
        [SWAP, step("take", "%2", "%1"),
        step("square", "%3")])


def masked(mask):
    x = given([3, 2], 1)
    for label, leaf, m in [("plain", x, mask), ("row", x, mask[0]), ("wider", given([2], 3), mask),
        ("none", x, mask & False)]:
        yield Case("masked_select." + label, [leaf, (m, False)],
            [step("masked_select", "%0", "%1"), step("square", "%2")])
        yield Case("masked_scatter." + label, [leaf, (m, False), given([2, 4], 4)],
            [step("masked_scatter", "%0", "%1", "%2"), step("square", "%3")])
