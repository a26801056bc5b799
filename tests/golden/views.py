"""Makes views.txt with PyTorch: `python views.py`. Random programs that write in place through views.

A program is a list of lines, which tests/t_view_programs.c runs too:

    leaf a 3 4 : NUMBERS        float64, requires grad; `const` does not
    select v a 0 1              v = a view (select narrow slice transpose permute diagonal chunk
                                view unsqueeze squeeze expand unfold detach) or a value
                                (clone mul add sub tanh sin)
    mul_ v w  /  mul_ v 1.5     in place, by a tensor or a number: mul_ add_ sub_ copy_ fill_ zero_
    detach_ v, requires v 1, nograd 1
    error : SENTENCE            the line before failed; nothing has changed
    see v VERSION REQUIRES LEAF GRAD_FN SHAPE : NUMBERS      what the program left in v
    inputs a b ...              the leaves that gradients are asked for
    loss v w ...                sum over them of v[i] (1 + i/4), i in row-major order
    grad a : NUMBERS | none     of the loss, for each input
    grad2 a : NUMBERS | none    of the sum of squares of these gradients
    backward_error : SENTENCE   instead of grad and grad2; the sentence of the pass
"""
import os
import random
import re
import sys

import torch

N_PROGRAMS = 140
SHAPES = [(3, 4), (2, 3, 2), (6,), (4, 3), (2, 2)]
VALUES = ["mul", "add", "sub", "tanh", "sin", "clone"]
WRITES = ["mul_", "add_", "sub_", "copy_", "fill_", "zero_"]
FRAGMENT = 90  # of a sentence


def numbers(t):
    return " ".join(f"{v:.12g}" for v in t.detach().reshape(-1).tolist())


def places(t):
    """Where the elements of t lie."""
    at = torch.tensor([t.storage_offset()])
    for size, stride in zip(t.shape, t.stride()):
        at = at.reshape(-1, 1) + torch.arange(size) * stride
    return at.reshape(-1).tolist()


def weights(t):
    return 1 + torch.arange(t.numel(), dtype=torch.double).reshape(t.shape) / 4


def fragment(error):
    text = re.sub(r"^Output \d+ of \w+ is", "is", str(error))  # nodes are named otherwise there
    return text.split("\n")[0].split(" If you are")[0][:FRAGMENT].strip()


class Program:
    def __init__(self, seed, dice):
        self.lines = [f"program {seed}"]
        self.dice = dice
        self.names = {}
        self.leaves = []
        self.grad = True
        self.outside = set()  # views made while there was no graph to be in
        self.without_grad = set()  # those of them made in no_grad mode

    def new(self, t):
        name = "abcdefghijklmnopqrstuvwxyz"[len(self.names)]
        self.names[name] = t
        if t._is_view() and not (self.grad and t.requires_grad):
            self.outside.add(name)
        if t._is_view() and not self.grad:
            self.without_grad.add(name)
        return name

    def dead_end(self, name):
        """Requires grad for its base's sake alone: gradients of what is made from it lead nowhere.
        (To ask for grad_fn or is_leaf would bring the view up to date.)"""
        t = self.names[name]
        return (name in self.outside and t._is_view() and t._base.requires_grad
                and (name in self.without_grad or t._base.is_leaf))

    def source(self, word):
        shape = self.dice.choice(SHAPES)
        n = 1
        for size in shape:
            n *= size
        values = [self.dice.randint(-16, 16) / 8 for _ in range(n)]
        t = torch.tensor(values, dtype=torch.double).reshape(shape).clone()
        t.requires_grad_(word == "leaf")
        name = self.new(t)
        if word == "leaf":
            self.leaves.append(name)
        self.lines.append(f"{word} {name} {' '.join(map(str, shape))} : {numbers(t)}")

    def attempt(self, line, run):
        """Runs a line; adds it, and the error when it fails. The result, or None."""
        self.lines.append(line)
        try:
            with torch.set_grad_enabled(self.grad):
                return run()
        except RuntimeError as error:
            self.lines.append("error : " + fragment(error))
            return None

    def pick(self):
        return self.dice.choice([k for k in self.names if not self.dead_end(k)])

    # ---- views ----

    def view(self):
        source = self.pick()
        t = self.names[source]
        choice = self.view_of(t)
        if not choice:
            return
        op, arguments, run = choice
        made = self.attempt(f"{op} ? {source} {' '.join(map(str, arguments))}".strip(), run)
        self.name_result(made)

    def name_result(self, made):
        at = -1 if made is not None else -2
        if made is None:
            del self.lines[at:]  # a call that fails and makes nothing is tested elsewhere
            return
        self.lines[at] = self.lines[at].replace("?", self.new(made), 1)

    def view_of(self, t):
        dice, n = self.dice, t.dim()
        d = dice.randrange(n) if n else 0
        kinds = ["unsqueeze", "detach"]
        if n:
            kinds += ["chunk", "select", "select", "narrow", "narrow", "slice", "expand", "unfold"]
        if n > 1:
            kinds += ["transpose", "permute", "transpose", "diagonal", "diagonal"]
        base = t._base if t._is_view() else t  # results of permuted operands are permuted, not ours
        if n and t.is_contiguous() and base.is_contiguous():
            kinds += ["view"]
        if 1 in t.shape:
            kinds += ["squeeze"]
        kind = dice.choice(kinds)
        if kind == "select":
            i = dice.randrange(t.shape[d])
            return kind, (d, i), lambda: t.select(d, i)
        if kind == "chunk":
            i = dice.randrange(min(2, t.shape[d]))
            return kind, (2, d, i), lambda: t.chunk(2, d)[i]
        if kind == "narrow":
            start = dice.randrange(t.shape[d])
            length = dice.randint(1, t.shape[d] - start)
            return kind, (d, start, length), lambda: t.narrow(d, start, length)
        if kind == "slice":
            start = dice.randrange(t.shape[d])
            stop = dice.randint(start + 1, t.shape[d])
            step = dice.randint(1, 2)
            sliced = torch.ops.aten.slice.Tensor
            return kind, (d, start, stop, step), lambda: sliced(t, d, start, stop, step)
        if kind == "expand":
            if dice.random() < 0.6:
                return None
            shape = (2,) + tuple(t.shape)
            return kind, shape, lambda: t.expand(shape)
        if kind == "transpose":
            e = dice.randrange(n)
            return kind, (d, e), lambda: t.transpose(d, e)
        if kind == "permute":
            dims = list(range(n))
            dice.shuffle(dims)
            return kind, dims, lambda: t.permute(dims)
        if kind == "view":
            shape = dice.choice([(t.numel(),), tuple(reversed(t.shape)), (1,) + tuple(t.shape)])
            return kind, shape, lambda: t.view(shape)
        if kind == "diagonal":
            e = dice.choice([k for k in range(n) if k != d])
            offset = dice.randint(1 - t.shape[d], t.shape[e] - 1)
            return kind, (offset, d, e), lambda: t.diagonal(offset, d, e)
        if kind == "unfold":
            size = dice.randint(1, t.shape[d])
            step = size + dice.randrange(2)  # windows that do not overlap
            return kind, (d, size, step), lambda: t.unfold(d, size, step)
        if kind == "squeeze":
            e = list(t.shape).index(1)
            return kind, (e,), lambda: t.squeeze(e)
        if kind == "unsqueeze":
            e = dice.randint(0, n)
            return kind, (e,), lambda: t.unsqueeze(e)
        return "detach", (), lambda: t.detach()

    # ---- values ----

    def value(self, source=None):
        source = source or self.pick()
        t = self.names[source]
        op = self.dice.choice(VALUES)
        if op in ("tanh", "sin", "clone"):
            made = self.attempt(f"{op} ? {source}", lambda: getattr(t, op)())
        else:
            other, u = self.operand(t)
            made = self.attempt(f"{op} ? {source} {other}", lambda: getattr(t, op)(u))
        self.name_result(made)

    def operand(self, t):
        """A number, or a tensor that broadcasts to t's shape."""
        fits = [k for k, u in self.names.items()
                if u.dim() <= t.dim() and not self.dead_end(k)
                and all(a in (1, b) for a, b in zip(u.shape[::-1], t.shape[::-1]))]
        if not fits or self.dice.random() < 0.4:
            v = self.dice.choice([-1.5, -0.5, 0.5, 0.75, 1.25, 2])
            return v, v
        k = self.dice.choice(fits)
        return k, self.names[k]

    # ---- writes ----

    def write(self):
        name = self.pick()
        while self.part_of_leaf(self.names[name]) and self.dice.random() < 0.85:
            name = self.pick()
        t = self.names[name]
        if name in self.outside - self.without_grad:
            try:
                t.grad_fn  # else PyTorch takes a view whose base has joined a graph for a leaf
            except RuntimeError:
                return
        op = self.dice.choice(WRITES)
        if op == "zero_" and 0 in t.stride():
            return
        if op == "zero_":
            self.attempt(f"zero_ {name}", lambda: t.zero_())
            return
        other, u = self.operand(t)
        if op == "fill_" and torch.is_tensor(u):
            op = "copy_"
        if op == "copy_" and not torch.is_tensor(u):
            op = "fill_"
        if torch.is_tensor(u) and self.overlap(t, u) or u is t and op == "mul_":
            return  # PyTorch saves the u of mul_(u, u) and finds it changed
        if 0 in t.stride() and (op == "fill_" or u is t):
            return  # PyTorch lets these write many elements in one place
        self.attempt(f"{op} {name} {other}", lambda: getattr(t, op)(u))

    def part_of_leaf(self, t):
        base = t._base if t._is_view() else t
        return base.requires_grad and base.is_leaf

    def overlap(self, t, u):
        """Of writes between parts of one storage only those with a defined result remain."""
        if t.untyped_storage().data_ptr() != u.untyped_storage().data_ptr():
            return False
        a, b = places(t), places(u)
        return bool(set(a) & set(b)) and (a != b or t.shape != u.shape or t.stride() != u.stride())

    def other(self):
        roll = self.dice.random()
        name = self.pick()
        t = self.names[name]
        if roll < 0.35:
            self.attempt(f"nograd {int(self.grad)}", lambda: None)
            self.grad = not self.grad
        elif roll < 0.6:
            self.attempt(f"detach_ {name}", lambda: t.detach_())
        else:
            on = self.dice.random() < 0.8
            self.attempt(f"requires {name} {int(on)}", lambda: t.requires_grad_(on))

    # ---- the end ----

    def see(self, name, t):
        try:
            grad_fn, requires = t.grad_fn, int(t.requires_grad)
        except RuntimeError as error:
            self.lines.append(f"see_error {name} : {fragment(error)}")
            return False
        called = type(grad_fn).__name__ if grad_fn is not None else "-"
        if called.startswith("Fill"):
            called = "FillBackward"  # its number says how the value was given
        shape = " ".join(map(str, t.shape))
        self.lines.append(f"see {name} {t._version} {requires} {int(t.is_leaf)} {called} {shape}"
                          f" : {numbers(t)}".replace("  ", " "))
        return bool(requires)

    def finish(self):
        if not self.grad:
            self.lines.append("nograd 0")
        alive = [k for k, t in self.names.items() if self.see(k, t) and not self.dead_end(k)]
        read = [k for k in alive if self.dice.random() < 0.7] or alive[-1:]
        if not read:
            return False
        leaves = [k for k in alive if self.names[k].is_leaf]
        if not leaves:
            return False
        self.lines.append("inputs " + " ".join(leaves))
        self.lines.append("loss " + " ".join(read))
        loss = sum((self.names[k] * weights(self.names[k])).sum() for k in read)
        try:
            self.gradients(loss, leaves)
        except RuntimeError as error:
            self.lines.append("backward_error : " + fragment(error))
        self.lines.append("end")
        return True

    def gradients(self, loss, leaves):
        inputs = [self.names[k] for k in leaves]
        grads = torch.autograd.grad(loss, inputs, allow_unused=True, create_graph=True)
        lines = [f"grad {k} : {numbers(g) if g is not None else 'none'}"
                 for k, g in zip(leaves, grads)]
        squares = [(g * g).sum() for g in grads if g is not None and g.requires_grad]
        if squares:
            second = torch.autograd.grad(sum(squares), inputs, allow_unused=True)
            lines += [f"grad2 {k} : {numbers(g) if g is not None else 'none'}"
                      for k, g in zip(leaves, second)]
        self.lines += lines


def make(seed):
    dice = random.Random(seed)
    p = Program(seed, dice)
    for word in ["leaf", "const", "leaf"][:dice.randint(1, 3)]:
        p.source(word)
    p.value(p.leaves[0])
    n = dice.randint(5, 14)
    while n and len(p.names) < 14:
        roll = dice.random()
        (p.view if roll < 0.4 else p.write if roll < 0.8 else p.value if roll < 0.94 else p.other)()
        n -= 1
    complete = p.finish()
    text = "\n".join(p.lines) + "\n"
    # where a saved tensor was detached in place we look at its version first
    bad = not complete or "nan" in text or "inf" in text or "detached in-place" in text
    return None if bad else text


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    texts, seed = [], 0
    while len(texts) < N_PROGRAMS:
        seed += 1
        text = make(seed)
        if text:
            texts.append(text)
    with open(os.path.join(folder, "views.txt"), "w") as f:
        f.write("# Made by views.py, which explains the lines.\n" + "".join(texts))
    count = {word: sum(line.startswith(word) for text in texts for line in text.split("\n"))
             for word in ("error", "see_error", "backward_error", "grad ", "grad2 ")}
    print(len(texts), "programs", count, file=sys.stderr)


if __name__ == "__main__":
    main()
