"""Random expressions: operations drawn one after another over values that are there already.

A draw that PyTorch refuses, that leaves a moderate range or that turns out badly conditioned is
thrown away, so a case needs no luck to hold within 1e-10.
"""
import random

import torch

from cases import OPS, Case, well_conditioned

SHAPES = [[], [3], [2, 3], [2, 1], [1, 3], [2, 2], [3, 2], [2, 1, 3], [1], [4]]
UNARY = """neg abs square exp expm1 sin cos tanh atan sinh sigmoid softplus relu selu silu mish
    asinh erf hardswish sinc floor sign clone contiguous""".split()
POSITIVE = ["sqrt", "log", "rsqrt", "log1p", "lgamma", "digamma", "reciprocal"]
UNIT = ["asin", "atanh", "erfinv", "acos"]
BINARY = """add sub mul mul add maximum minimum atan2 hypot logaddexp matmul""".split()
REDUCTIONS = ["sum", "mean", "prod", "amax", "amin", "logsumexp"]


class Draw:

    def __init__(self, rng):
        self.rng, self.values, self.steps = rng, [], []
        self.leaves = []
        for _ in range(rng.randint(1, 4)):
            shape = rng.choice(SHAPES)
            n = torch.Size(shape).numel()
            x = torch.tensor([rng.randint(-160, 160) / 100 for _ in range(n)], dtype=torch.float64)
            self.leaves.append((x.reshape(shape), True))
        self.values = [x for x, _ in self.leaves]
        self.target = rng.randint(5, 25)

    def pick(self):
        """Mostly a recent value, so that expressions get deep; else any: values are reused."""
        n = len(self.values)
        k = self.rng.randrange(max(0, n -
            4), n) if self.rng.random() < .6 else self.rng.randrange(n)
        return k

    def step(self, op, operands, **arguments):
        """Appends a step when PyTorch takes it; gives the new value's number or None."""
        given = [self.values[int(o[1:])] if isinstance(o, str) else o for o in operands]
        try:
            y = OPS[op](*given, **arguments)
        except (RuntimeError, IndexError):
            return None
        if y.numel() > 24 or y.numel() == 0 or y.dim() > 4:
            return None
        if y.is_floating_point() and not (y.isfinite().all() and (y.abs() < 30).all()):
            return None
        self.values.append(y)
        self.steps.append((op, operands, arguments))
        return len(self.values) - 1

    def draw(self):
        """One to three steps."""
        rng, k = self.rng, self.pick()
        x, name = self.values[k], f"%{k}"
        if not x.is_floating_point():
            return
        n = x.dim()
        dim = rng.randrange(-n, n) if n else None
        kind = rng.random()
        if kind < .26:
            self.step(rng.choice(UNARY), [name])
        elif kind < .33:
            self.positive(name)
        elif kind < .62:
            self.binary(name, f"%{self.pick()}")
        elif kind < .68:
            self.attribute(name)
        elif n and kind < .78:
            dims = rng.sample(range(n), rng.randint(1, n))
            self.step(rng.choice(REDUCTIONS), [name], dims=dims, keepdim=rng.randint(0, 1))
        elif n and kind < .84:
            self.step(rng.choice(["softmax", "log_softmax", "cumsum", "logcumsumexp"]), [name],
                dim=dim)
        elif n:
            self.shape(name, x, dim)

    def positive(self, name):
        """A function that needs positive or small operands gets them."""
        if self.rng.random() < .6:
            k = self.step("square", [name])
            k = k and self.step("add", [f"%{k}", 0.5])
            if k:
                self.step(self.rng.choice(POSITIVE), [f"%{k}"])
        else:
            k = self.step("sin", [name])
            k = k and self.step("mul", [f"%{k}", 0.75])
            if k:
                self.step(self.rng.choice(UNIT), [f"%{k}"])

    def binary(self, a, b):
        rng = self.rng
        kind = rng.random()
        if kind < .7:
            self.step(rng.choice(BINARY), [a, b])
        elif kind < .8:
            k = self.step("exp", [b])
            if k:
                self.step("div", [a, f"%{k}"])
        elif kind < .88:
            k = self.step("sigmoid", [a])
            if k:
                self.step("pow", [f"%{k}", b])
        elif kind < .94:
            k = self.step(rng.choice(["gt", "le"]), [a, b])
            if k:
                self.step("where", [f"%{k}", a, f"%{self.pick()}"])
        else:
            self.step("lerp", [a, b, f"%{self.pick()}"])

    def attribute(self, name):
        rng = self.rng
        op, operands, arguments = rng.choice([("leaky_relu", [name], {"slope": .1}),
            ("elu", [name], {"alpha": .7}), ("celu", [name], {"alpha": 1.3}),
            ("gelu", [name], {"tanh": 0}), ("gelu", [name], {"tanh": 1}),
            ("hardtanh", [name], {"lo": -.9, "hi": 1.1}), ("clamp", [name], {"lo": -1.2, "hi": .8}),
            ("mul", [name, rng.choice([2, -1.5, .5])], {}), ("sub", [1, name], {}),
            ("add", [name, rng.choice([1, .25])], {}),
            ("pow", [name, rng.choice([2, 3, 2., 3.])], {}),
            ("div", [name, rng.choice([2, 3, -4.])], {})])
        self.step(op, operands, **arguments)

    def shape(self, name, x, dim):
        rng, n = self.rng, x.dim()
        order = rng.sample(range(n), n)
        size = x.shape[dim]
        choice = rng.randrange(12)
        if choice == 0:
            self.step("permute", [name], dims=order)
        elif choice == 1:
            self.step("transpose", [name], d0=rng.randrange(n), d1=rng.randrange(n))
        elif choice == 2:
            self.step("reshape", [name], shape=[-1])
        elif choice == 3:
            self.step("unsqueeze", [name], dim=rng.randint(0, n))
        elif choice == 4:
            self.step("squeeze", [name], dim=dim)
        elif choice == 5:
            self.step("select", [name], dim=dim, i=rng.randrange(-size, size))
        elif choice == 6 and size > 1:
            self.step("slice", [name],
                dim=dim,
                start=rng.randint(0, 1),
                stop=size,
                step=rng.randint(1, 2))
        elif choice == 7:
            self.step("cat", [name, f"%{self.pick()}"], dim=dim)
        elif choice == 8:
            self.step("stack", [name, name, f"%{self.pick()}"], dim=dim)
        elif choice == 9:
            self.step("flip", [name], dims=[dim])
        elif choice == 10 and n > 1:
            self.step(rng.choice(["tril", "triu"]), [name], k=rng.randint(-1, 1))
        elif n < 4:
            self.step("expand", [name], shape=[2] + list(x.shape))

    def join(self):
        """Adds up what nothing uses yet, so that the result depends on all that was drawn."""
        used = {o for _, operands, _ in self.steps for o in operands if isinstance(o, str)}
        loose = [
            k for k in range(len(self.values))
            if f"%{k}" not in used and self.values[k].is_floating_point()
        ]
        total = loose.pop()
        for k in loose:
            joined = self.step("add", [f"%{total}", f"%{k}"])
            if joined is None:
                k = self.step("sum", [f"%{k}"])
                joined = k and self.step("add", [f"%{total}", f"%{k}"])
            total = joined or total


def prune(leaves, steps):
    """The steps that the last one depends on, and all leaves, renumbered."""
    wanted = {len(leaves) + len(steps) - 1}
    for k in range(len(steps) - 1, -1, -1):
        if len(leaves) + k in wanted:
            wanted |= {int(o[1:]) for o in steps[k][1] if isinstance(o, str)}
    number, kept = {f"%{k}": f"%{k}" for k in range(len(leaves))}, []
    for k, (op, operands, arguments) in enumerate(steps):
        if len(leaves) + k in wanted:
            number[f"%{len(leaves) + k}"] = f"%{len(leaves) + len(kept)}"
            kept.append((op, [number.get(o, o) for o in operands], arguments))
    return kept


def expressions(count):
    made = seed = 0
    while made < count:
        seed += 1
        draw = Draw(random.Random(seed))
        for _ in range(400):
            if len(draw.steps) >= draw.target - 2:
                break
            draw.draw()
        draw.join()
        steps = prune(draw.leaves, draw.steps)
        case = Case(f"expression{seed}", draw.leaves, steps)
        if 5 <= len(steps) <= 25 and well_conditioned(case):
            made += 1
            yield case
