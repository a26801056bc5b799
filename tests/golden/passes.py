"""Makes passes.txt with PyTorch: `python passes.py`. Random graphs of numbers, hooks and passes.

A program is a list of lines, which tests/t_pass_programs.c runs too:

    leaf a 0.5                  float64, requires grad
    mul c a b                   c = an operation: mul add sub sin neg
    hook L v 2                  hook L of tensor v multiplies by 2 (0: it changes nothing);
                                likewise `pre` and `post` of v's node
    after L a                   hook L after accumulation into leaf a
    retain v, remove L
    backward RETAIN CREATE v w / a b    from roots v w, into inputs a b (none: all leaves)
    grad RETAIN CREATE v / a            gradients of the inputs
    error : SENTENCE            the pass failed
    log L=3.5 M=1 ...           the hooks that were called, with the gradient each was given
    then L=3.5 ...              those after accumulation, by letter: ours come when all is done
    gave 1.5 none ...           results of grad
    see v 2.5 | none            .grad of leaves and retained tensors after the pass
"""
import os
import random
import sys

import torch

N_PROGRAMS = 150
UNARY = ["sin", "neg"]
BINARY = ["mul", "add", "sub", "mul", "add"]


def text(g):
    return "none" if g is None else f"{g.item():.10g}"


class Program:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.lines = [f"program {seed}"]
        self.names, self.leaves, self.retained, self.handles = {}, [], [], {}
        self.freed = False  # something was
        self.hooked = set()  # results whose node has hooks
        self.below = {}  # what each tensor was made of, itself included
        self.log, self.later = [], []

    def name(self, t):
        name = "abcdefghijklmnopqrstuvwxyz"[len(self.names)]
        self.names[name] = t
        return name

    def results(self):
        return [k for k in self.names if k not in self.leaves]

    # ---- lines ----

    def leaf(self):
        t = torch.tensor(self.dice.randint(-12, 12) / 8, dtype=torch.double, requires_grad=True)
        self.leaves.append(self.name(t))
        self.below[self.leaves[-1]] = {self.leaves[-1]}
        self.lines.append(f"leaf {self.leaves[-1]} {t.item():g}")

    def operation(self):
        near = list(self.names)[-6:]
        a, b = self.dice.choice(near), self.dice.choice(near)
        if self.dice.random() < 0.3:
            op = self.dice.choice(UNARY)
            k = self.name(getattr(self.names[a], op)())
            self.lines.append(f"{op} {k} {a}")
            self.below[k] = self.below[a] | {k}
        else:
            op = self.dice.choice(BINARY)
            k = self.name(getattr(self.names[a], op)(self.names[b]))
            self.lines.append(f"{op} {k} {a} {b}")
            self.below[k] = self.below[a] | self.below[b] | {k}

    def hook(self):
        kind = self.dice.choice(["hook", "hook", "pre", "post", "after"])
        letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(self.handles)]
        factor = self.dice.choice([0, 0, 2, -0.5])
        v = self.dice.choice(self.leaves if kind == "after" else
                             list(self.names) if kind == "hook" else self.results())
        t, node = self.names[v], self.names[v].grad_fn
        if kind in ("pre", "post"):
            self.hooked.add(v)

        def on_tensor(g):
            self.log.append(f"{letter}={text(g)}")
            return g * factor if factor else None

        def before(grads):
            self.log.append(f"{letter}={text(grads[0])}")
            return tuple(None if g is None else g * factor for g in grads) if factor else None

        def behind(grads_in, grads_out):
            self.log.append(f"{letter}={text(grads_in[0])}")
            return tuple(None if g is None else g * factor for g in grads_in) if factor else None

        if kind == "hook":
            self.handles[letter] = t.register_hook(on_tensor)
        elif kind == "pre":
            self.handles[letter] = node.register_prehook(before)
        elif kind == "post":
            self.handles[letter] = node.register_hook(behind)
        else:
            factor = 0
            self.handles[letter] = t.register_post_accumulate_grad_hook(
                lambda leaf: self.later.append(f"{letter}={text(leaf.grad)}"))
        self.lines.append(f"{kind} {letter} {v} {factor}")

    def retain(self):
        k = self.dice.choice(self.results())
        self.names[k].retain_grad()
        self.retained.append(k)
        self.lines.append(f"retain {k}")

    def remove(self):
        left = [k for k, h in self.handles.items() if h is not None]
        if left:
            k = self.dice.choice(left)
            self.handles[k].remove()
            self.handles[k] = None
            self.lines.append(f"remove {k}")

    # ---- passes ----

    def run(self):
        dice = self.dice
        word = dice.choice(["backward", "backward", "grad"])
        roots = dice.sample(self.results()[-5:], dice.randint(1, 2))
        if dice.random() < 0.1:
            roots.append(roots[0])
        inputs = []
        if word == "grad" or dice.random() < 0.4:
            inputs = dice.sample(self.leaves, dice.randint(1, len(self.leaves)))
        if dice.random() < 0.2:
            inputs = [dice.choice(self.results())]
            if inputs[0] in self.hooked or self.freed:  # PyTorch runs the node of such an input
                inputs = self.leaves
        if inputs and not all(self.below[r] & set(inputs) for r in roots):
            inputs = self.leaves  # hooks of a root that leads to no input are called in PyTorch
        if word == "grad" and any(k in self.retained for k in self.results()):
            word = "backward"  # PyTorch's grad() writes .grad of retained results
        retain, create = dice.random() < 0.8, dice.random() < 0.25
        retain = retain or (word == "backward" and not set(inputs) <= set(self.leaves))
        self.freed = self.freed or not (retain or create)
        names = f"{' '.join(roots)} / {' '.join(inputs)}".strip()
        self.lines.append(f"{word} {int(retain)} {int(create)} {names}")
        self.log, self.later = [], []
        try:
            self.perform(word, roots, inputs, retain or create, create)
        except RuntimeError as error:
            self.lines.append("error : " + str(error).split(". ")[0][:70])
            return False
        self.lines.append(" ".join(["log"] + self.log))
        self.lines.append(" ".join(["then"] + sorted(self.later)))
        for k in dict.fromkeys(self.leaves + self.retained):
            self.lines.append(f"see {k} {text(self.names[k].grad)}")
        return True

    def perform(self, word, roots, inputs, retain, create):
        roots = [self.names[k] for k in roots]
        wanted = [self.names[k] for k in inputs]
        if word == "grad":
            grads = torch.autograd.grad(roots, wanted, retain_graph=retain, create_graph=create,
                                        allow_unused=True)
            self.lines.append(" ".join(["gave"] + [text(g) for g in grads]))
        else:
            torch.autograd.backward(roots, retain_graph=retain, create_graph=create,
                                    inputs=wanted or None)
            self.retained += [k for k in inputs if k not in self.leaves]


def make(seed):
    p = Program(seed)
    for _ in range(p.dice.randint(1, 3)):
        p.leaf()
    for _ in range(p.dice.randint(3, 10)):
        p.operation()
    for _ in range(p.dice.randint(2, 5)):
        for _ in range(p.dice.randint(0, 3)):
            p.dice.choice([p.hook, p.hook, p.retain, p.remove, p.operation])()
        if not p.run():  # PyTorch leaves a failed pass half done
            break
    lines = "\n".join(p.lines + ["end"]) + "\n"
    return None if "nan" in lines or "inf" in lines else lines


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    texts, seed = [], 0
    while len(texts) < N_PROGRAMS:
        seed += 1
        made = make(seed)
        if made:
            texts.append(made)
    with open(os.path.join(folder, "passes.txt"), "w") as f:
        f.write("# Made by passes.py, which explains the lines.\n" + "".join(texts))
    errors = sum(t.count("error :") for t in texts)
    print(f"{len(texts)} programs, {errors} errors", file=sys.stderr)


if __name__ == "__main__":
    main()
