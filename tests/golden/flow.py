"""The numbers of tests/t_flow_*.c: each case again in PyTorch, by the loops and branches of Python.

    python tests/golden/flow.py [NAME...]      prints the cases' entries for FLOW_CHECK

d1 are the gradients of S0, the sum over the outputs of (1 + j + k / 8) * element k of output j; d2
those of S1, the same sum over d1; d3 those of S2. See flow.h.
"""

import sys

import torch

torch.set_default_dtype(torch.float64)

CASES = {}


def case(*inputs, orders=3, unused=(), name=None):
    """Enters the function below it; numbers and lists become tensors: float64, int64 or bool."""

    def enter(f):
        CASES[name or f.__name__] = (f, [torch.as_tensor(x) for x in inputs], orders, unused)
        return f

    return enter


def number(x):
    if x != x:
        return "NAN"
    return str(int(x)) if float(x).is_integer() and abs(x) < 1e15 else repr(float(x))


def numbers(t):
    return ", ".join(number(x) for x in t.detach().reshape(-1).tolist())


def entry(t):
    if t.ndim == 0 and t.dtype == torch.float64:
        return f"SCALAR({numbers(t)})"
    if t.ndim == 0 and t.dtype == torch.int64:
        return f"INTEGER({numbers(t)})"
    if t.ndim == 0 and t.dtype == torch.bool:
        return f"TRUTH({numbers(t)})"
    if t.ndim == 1 and t.dtype == torch.float64 and t.numel():
        return f"VECTOR({numbers(t)})"
    dtype = {torch.float64: "AG_F64", torch.float32: "AG_F32", torch.int64: "AG_I64",
             torch.int32: "AG_I32", torch.bool: "AG_BOOL"}[t.dtype]
    shape = ", ".join(map(str, t.shape))
    return f"TENSOR({dtype}, AG_SHAPE({shape}){', ' if t.numel() else ''}{numbers(t)})"


def weigh(tensors):
    total = torch.zeros(())
    for j, t in enumerate(tensors):
        if t is not None and t.is_floating_point():
            w = 1 + j + torch.arange(t.numel(), dtype=t.dtype).reshape(t.shape) / 8
            total = total + (t * w).sum().double()
    return total


def entries(f, inputs, orders, unused):
    x = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
    out = f(*x)
    out = list(out) if isinstance(out, (tuple, list)) else [out]
    text = [".in = { " + ", ".join(map(entry, x)) + " }",
            ".out = { " + ", ".join(map(entry, out)) + " }"]
    wanted = [i for i, t in enumerate(x) if t.is_floating_point()]
    for order in range(1, orders + 1 if wanted else 1):
        total = weigh(out)
        g = [None] * len(wanted)
        if total.requires_grad:
            g = torch.autograd.grad(total, [x[i] for i in wanted], create_graph=True,
                                    allow_unused=True)
        out = [None] * len(x)
        for i, d in zip(wanted, g):
            out[i] = torch.zeros_like(x[i]) if d is None else d
        row = []
        for i in range(len(x)):
            if i not in wanted:
                row.append("{ NULL, 0 }")
            elif i in unused and order == 1:
                row.append("UNUSED")
            else:
                row.append(f"AG_VALUES({numbers(out[i])})")
        text.append(f".d{order} = {{ " + ", ".join(row) + " }")
    return text


def repeat(steps, f, *state):
    for _ in range(int(steps)):
        state = f(*state)
        state = state if isinstance(state, tuple) else (state,)
    return state if len(state) > 1 else state[0]


# ---- t_flow_while.c ----

def counter(a, b):
    while a < b:
        a, b = a + 2, b + 1
    return a, b


case(0, 10, name="counter_integers")(counter)
case(0., 10., name="counter_floats")(counter)
case([0.5], [3.25], name="counter_one_element")(counter)


def power(x, n):
    return repeat(n, lambda y: y * x, torch.ones_like(x))


case(3., 4, name="power_4")(power)
case(3., 1, name="power_1")(power)
case(3., 0, name="power_0")(power)
case([2., -1., .5], 5, name="power_vector")(power)


@case(1.5, 4)
def rising(x, n):
    y = torch.ones_like(x)
    for i in range(n):
        y = y * (x + i)
    return y


@case(10)
def factorial(n):
    i, y = 1, torch.tensor(1)
    while i <= n:
        y, i = y * i, i + 1
    return y


@case(27)
def collatz(n):
    steps, n = 0, n.clone()
    while n != 1:
        n = torch.where(n % 2 == 0, n // 2, 3 * n + 1)
        steps += 1
    return n, torch.tensor(steps)


@case(2.)
def square_below_100(x):
    while x < 100:
        x = x * x
    return x


@case(2., 3.)
def multiply_below_100(x, a):
    while x < 100:
        x = x * a
    return x


@case([1., 2., 3.])
def double_while_short(x):
    while x.square().sum() < 500:
        x = x + x.square() / 4
    return x


@case(1.5, -2.)
def fibonacci(a, b):
    return repeat(7, lambda a, b: (b, a + b), a, b)


@case(1.5, -2.)
def swapped(a, b):
    return repeat(5, lambda a, b: (b, a), a, b)


@case(1.5, 0.5, -2.)
def rotated(a, b, d):
    return repeat(4, lambda a, b, d: (b, d, a * b), a, b, d)


@case([1., 2., -1.], [.5, -.5, 2.], 3.)
def affine(s, w, b):
    return repeat(3, lambda s: s * w + b, s)


@case(1.25)
def limited(x):
    return repeat(3, lambda x: x * x, x)


@case(0.7, 1.5)
def serial(x, a):
    return repeat(3, lambda z: z * z + a, repeat(4, lambda y: torch.sin(y) * a, x))


@case(0.7)
def parallel(x):
    return repeat(3, lambda y: y * x, x) * repeat(2, lambda y: torch.sin(y + x), x)


@case(1.5)
def detach_in_body(x):
    return repeat(3, lambda y: y * x + y.detach(), x)


@case(1.5)
def detach_carry(x):
    return repeat(3, lambda y: y.detach() * x * x, x)


@case(1.5, -0.5)
def invariant(x, w):
    return repeat(3, lambda y, w: (y * w + torch.cos(w), w), x, w)


@case(1.5, 2.5)
def carried_in_vain(x, w):
    return repeat(3, lambda y, w: (y * y - 1, w * 2), x, w)[0]


@case(1.5, 2.5, unused=(1,))
def untouched(x, w):
    return repeat(3, lambda y: y * y - 1, x)


@case(1.5, orders=1)
def count_beside(x):
    k = torch.tensor(0.)
    while x < 100:
        x, k = x * 2, k + 1
    return k


@case(0.3, 3.2)
def logistic(x, r):
    return repeat(6, lambda x: r * x * (1 - x), x)


@case(2.)
def newton_until(x):
    y = x
    while abs(y * y - x) > 1e-6:
        y = (y + x / y) / 2
    return y


@case([[1., .5], [-.25, .75]], [1., -2.], 3)
def matrix_power(a, v, n):
    return repeat(n, lambda v: a @ v, v)


@case([[.5, .25], [-.5, 1.]])
def matrix_square(a):
    return repeat(2, lambda p: p @ p, a)


@case(3.)
def flagged(x):
    go = True
    while go:
        x = x * x / 2
        go = x < 50
    return x


@case([1., 2.])
def growing(x):
    while x.numel() < 5:
        x = torch.cat([x, x.sum().reshape(1) * x[-1] / 4])
    return x


case(torch.tensor([1.5, -2.], dtype=torch.float32), orders=2, name="single")(
    lambda x: repeat(3, lambda y: y * x, x))
case(torch.zeros(0, 3), orders=2, name="empty")(lambda x: repeat(3, lambda y: y * x, x))


# ---- t_flow_cond.c ----

def branches(p, x, y):
    return (x * x * y, y) if p else (torch.sin(x), x * y)


case(True, 1.5, .75, name="branches_true")(branches)
case(False, 1.5, .75, name="branches_false")(branches)
case([[True]], 1.5, .75, name="branches_one_element")(branches)


def positive(x):
    return x * x * x if x > 0 else torch.exp(x)


case(1.5, name="positive_1")(positive)
case(-.5, name="positive_0")(positive)
case(2., name="captured_1")(lambda x: torch.sin(x) * x if x > 1 else x)
case(.5, name="captured_0")(lambda x: torch.sin(x) * x if x > 1 else x)


def guarded(x):
    return torch.sqrt(x) if x > 0 else 2 * x * x * x


case(0., name="guarded_at_0")(guarded)
case(-1., name="guarded_below")(guarded)
case(4., name="guarded_above")(guarded)


@case([0., -1.], orders=2)
def guarded_vector(x):
    return torch.log(x) / x if (x > 0).all() else x * x


case(True, 2., 3., name="constant_1")(lambda p, x, y: torch.tensor(7.) if p else x * y)
case(False, 2., 3., name="constant_0")(lambda p, x, y: torch.tensor(7.) if p else x * y)
case(True, 2., 3., name="passed_1")(lambda p, x, y: (x, y) if p else (y, x))
case(False, 2., 3., name="passed_0")(lambda p, x, y: (x, y) if p else (y, x))


def three(x):
    return x * x if x > 1 else (x ** 3 if x > -1 else torch.exp(-x))


case(2., name="three_1")(three)
case(.5, name="three_2")(three)
case(-2., name="three_3")(three)


def lengths(p, x):
    return x[:2] * x[1:3] if p else x * x


case(True, [1., 2., 3.], name="lengths_1")(lengths)
case(False, [1., 2., 3.], name="lengths_0")(lengths)


@case(True, 3., 5)
def beside_integers(p, x, n):
    return (x * x, n + 1) if p else (x, n - 1)


def selected(i, x, y):
    return [lambda: x * y, lambda: torch.sin(x), lambda: y * y * x][i if 0 <= i < 3 else 2]()


for i, text in ((0, "0"), (1, "1"), (2, "2"), (3, "3"), (-1, "minus_1"), (1 << 40, "far")):
    case(i, 1.5, .5, name="selected_" + text)(selected)
case(torch.tensor([1], dtype=torch.int32), 1.5, .5, name="selected_i32")(selected)
case(5, 1.5, name="selected_alone")(lambda i, x: x * x)


@case(True, 1.5)
def twice(p, x):
    y = x * x if p else x
    return y * torch.sin(y) if p else y


# ---- t_flow_scan.c ----

def scan(f, carry, *xs, steps=None, reverse=False):
    steps = len(xs[0]) if xs else steps
    ys = [None] * steps
    for i in reversed(range(steps)) if reverse else range(steps):
        carry, ys[i] = f(carry, *(x[i] for x in xs))
    return carry, torch.stack(ys)


case(1., [1., -2., 3., .5], name="cumsum")(lambda c, x: scan(lambda c, x: (c + x,) * 2, c, x))
case(1., [1., -2., 3., .5], name="cumprod")(lambda c, x: scan(lambda c, x: (c * x,) * 2, c, x))
case(1.5, [2., -1., 0., 3.], name="horner")(
    lambda x, a: scan(lambda c, a: (c * x + a,) * 2, torch.tensor(0.), a)[0])


def tanh_steps(reverse):
    def f(c, x):
        c = torch.tanh(c / 2 + x)
        return c, c * x
    return lambda c, x: scan(f, c, x, reverse=reverse)


case(.5, [.25, -.5, 1.], name="tanh_forward")(tanh_steps(False))
case(.5, [.25, -.5, 1.], name="tanh_reverse")(tanh_steps(True))
case(1.5, name="powers")(lambda x: scan(lambda c: (c * x, c), torch.ones_like(x), steps=4))
case(1.5, name="powers_reverse")(
    lambda x: scan(lambda c: (c * x, c), torch.ones_like(x), steps=4, reverse=True))
case([.5, 1.5, -1.], 2., name="map")(
    lambda x, a: torch.stack([torch.sin(x[i]) * a * x[i] for i in range(3)]))
case(2., [.5, 1.5, -1.], name="fold")(
    lambda c, x: scan(lambda c, x: (torch.sin(c) + c * x,) * 2, c, x)[0])
case([1., 2.], torch.zeros(0, 2), orders=2, name="no_steps")(
    lambda c, x: (c * 3, torch.zeros(0, 2) * x))


@case(0, 1., [1., -2., 3.], [.5, .25, -1.])
def several(i, c, x, z):
    y1, y2 = [], []
    for k in range(3):
        c, i = c * z[k] + x[k] * i, i + 1
        y1.append(c * x[k])
        y2.append(i * 2)
    return i, c, torch.stack(y1), torch.stack(y2)


@case(torch.tensor([[.5, -.25], [.75, 1.]]), torch.tensor([.1, -.2]),
      torch.tensor([[1., .5], [-.5, .25], [.75, -1.]]))
def rnn(w, h, x):
    def f(h, x):
        h = torch.tanh(w @ h + x)
        return h, h
    return scan(f, h, x)


@case(torch.tensor([[.5, -.25], [.75, 1.], [-.5, .25], [.125, -1.]]),
      torch.tensor([.5, -.75, 1., .25]), torch.tensor([.1, .2, -.3, .4]),
      torch.tensor([.1, -.2]), torch.tensor([[1., .5], [-.5, .25], [.75, -1.]]), orders=2)
def lstm(w, u, b, hc, x):
    h, c, ys = hc[0], hc[1], []
    for k in range(3):
        z = w @ x[k] + u * h + b
        i, f, g, o = torch.sigmoid(z[0]), torch.sigmoid(z[1]), torch.tanh(z[2]), torch.sigmoid(z[3])
        c = f * c + i * g
        h = o * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys), h, c


@case(1.5, 2.5, [.5, -1., 2.])
def scan_in_vain(c, w, x):
    return scan(lambda c, x: (c * x + 1,) * 2, c, x)[0]


@case(1.5, [.5, -1., 2.])
def scan_detached(c, x):
    return scan(lambda c, x: (c.detach() * x + c * x.detach(),) * 2, c, x)


@case([True, False, True], [1.5, -1., 2.], 1.)
def scan_chosen(p, x, c):
    return scan(lambda c, p, x: (c * x if p else c + x * x,) * 2, c, p, x)


@case([1., 2., 3.])
def scan_of_scan(x):
    _, y = scan(lambda c, x: (c + x * x,) * 2, torch.tensor(0.), x)
    return scan(lambda c, y: (c * y / 4,) * 2, torch.tensor(1.), y)


@case([[1., 2.], [.5, -1.]])
def scan_constant_y(x):
    return scan(lambda c, x: (c * x, x * 2), torch.ones(2), x)


# ---- t_flow_nested.c ----

def triangle(x, n):
    y = x
    for i in range(int(n)):
        for _ in range(i):
            y = y * x
        y = y + 1
    return y


case(1.25, 4, name="triangle_4")(triangle)
case(1.25, 1, name="triangle_1")(triangle)
case(1.25, 0, name="triangle_0")(triangle)


@case(1.1)
def three_deep(x):
    y = x
    for i in range(2):
        for j in range(2):
            for k in range(2):
                y = y * x + .25 * i + .125 * j
    return y


@case(.8)
def serial_inner(x):
    return repeat(2, lambda y: repeat(2, lambda z: torch.sin(z) * x,
                                      repeat(3, lambda z: z * x + 1, y)), x)


@case(.8)
def parallel_inner(x):
    return repeat(2, lambda y: repeat(2, lambda z: z * y, y) + repeat(3, lambda z: z * x / 2, y), x)


@case(.5, [1., -1., .5], 2)
def scan_in_while(c, x, n):
    return repeat(n, lambda c: scan(lambda c, x: (c * x + torch.sin(c),) * 2, c, x)[1].sum(), c)


def while_in_scan(c, x):
    def f(c, x):
        while c < 10:
            c = c * 2 + x
        return c / 8, c
    return scan(f, c, x)


case(1.5, [1., .5, 2.], name="while_in_scan")(while_in_scan)
case(1.5, [1., 90., 2., 81.], name="while_in_scan_some")(
    lambda c, x: scan(lambda c, x: while_below(c + x, x), c, x))


def while_below(c, x):
    while c < 10:
        c = c * 2 + x
    return c / 8, c * x


def collatz_float(x):
    for _ in range(5):
        x = x * x / 4 if x > 2 else 3 * x + x * x
    return x


case(1.25, name="cond_in_while")(collatz_float)


def outer_pred(p, x):
    return repeat(3, lambda y: y * x if p else y + torch.sin(x), x)


case(True, 1.5, name="outer_pred_1")(outer_pred)
case(False, 1.5, name="outer_pred_0")(outer_pred)


def while_in_cond(p, x):
    return repeat(3, lambda y: y * y - x, x) if p else repeat(2, lambda y: torch.exp(-y) * x, x)


case(True, 1.5, name="while_in_cond_1")(while_in_cond)
case(False, 1.5, name="while_in_cond_0")(while_in_cond)


@case([1., -2., 3., .25], .5)
def cond_in_scan(x, a):
    return scan(lambda c, x: (c * x if x > 0 else c + a * x * x,) * 2, a, x)


@case(.75)
def switch_in_while(x):
    y = x
    for i in range(5):
        y = [lambda: y * x, lambda: torch.sin(y), lambda: y + x * x][i if i < 3 else 2]()
    return y


@case(1.5)
def guarded_in_while(x):
    for _ in range(4):
        x = torch.sqrt(x) * 2 - 2 if x > 0 else x * x + 1
    return x


@case([1., 2.], [[.5, -1.], [1., .25]])
def matrix_rows(v, a):
    def row(v):
        return torch.stack([scan(lambda c, r: (c + r[0] * r[1],) * 2, torch.tensor(0.),
                                 torch.stack([a[i], v], 1))[0] for i in range(2)])
    return repeat(2, row, v)


@case(1.2, 3)
def grid(x, n):
    return scan(lambda c, i: (repeat(n, lambda z: z * x + c * i, c) / 4,) * 2, x,
                torch.tensor([1., .5, -1.]))


# ---- t_flow_edges.c ----

@case(1.25)
def aliased(x):
    def step(a, b):
        s = a * b + torch.sin(a)
        return s, s
    return repeat(3, step, x, x)


case(1.5, .75, name="captured_next")(lambda x, z: repeat(3, lambda y, w: (y * w, z), x, x))
case(1.5, name="constant_next")(
    lambda x: repeat(3, lambda y, w: (y * w, torch.tensor(.5)), x, x))
case([[.5, -1.], [2., .25]], name="transposed")(lambda a: repeat(3, lambda y: y.T @ a, a))
case([1., -2., .5], name="spread")(
    lambda x: repeat(3, lambda y: (y * x).sum().expand(3), x))
case([1., -2., .5], name="flipped")(lambda x: repeat(3, lambda y: y.flip(0) * x, x))


@case(1.5, 10.)
def limit_only(x, limit):
    y = x
    while y < limit:
        y = y * x
    return y


@case(1.25)
def loop_of_gradient(x):
    g = torch.autograd.grad(repeat(3, lambda y: y * x, x), x, create_graph=True)[0]
    return repeat(2, lambda y: y * x + torch.sin(y), g)


@case([1.5, -.5])
def rows_of_carry(x):
    return repeat(3, lambda y: torch.stack([y[1], y[0] * y[1]]), x)


@case(1.5)
def both_used(x):
    a, b = repeat(3, lambda a, b: (a * b, b + x), x, torch.tensor(1.))
    return a * b, b


# ---- t_flow_higher.c ----

def grad(y, x):
    return torch.autograd.grad(y, x, create_graph=True)[0]


case(1.5, 2., name="tangent")(lambda x, v: 5 * x ** 4 * v)
case(1.5, 2., name="tangent_of_gradient")(lambda x, v: 20 * x ** 3 * v)
case(1.5, 2., name="tangent_of_tangent")(lambda x, v: 20 * x ** 3 * v * v)


@case(5.)
def cube_root(a):
    y = a * .5
    for _ in range(8):
        f = y ** 3 - a
        y = y - f / grad(f, y)
    return y


@case([1., -.5], [.5, 2.], .1)
def descent(w, data, rate):
    for _ in range(3):
        loss = ((w * data - 1).square() + (w ** 4) / 8).sum()
        w = w - rate * grad(loss, w)
    return w


@case(.3)
def halley(x):
    for _ in range(3):
        f = torch.cos(x) - x
        d = grad(f, x)
        dd = grad(d, x)
        x = x - 2 * f * d / (2 * d * d - f * dd)
    return x


@case(.3, 2.)
def minimum(x, a):
    for _ in range(6):
        f = torch.exp(x) - a * x
        d = grad(f, x)
        x = x - d / grad(d, x)
    return x


@case(1.5, [.5, -.25, 2.])
def scan_gradients(c, x):
    def f(c, x):
        y = torch.sin(c * x)
        return c * .5 + grad(y, c), grad(y, c) * x
    return scan(f, c, x)


def branch_gradient(p, x):
    return grad(torch.sin(x) * x, x) if p else grad(x ** 4, x)


case(True, 1.5, name="branch_gradient_1")(branch_gradient)
case(False, 1.5, name="branch_gradient_0")(branch_gradient)


@case(.5, 1.5, orders=2)
def gradient_of_inner(x, a):
    def body(y):
        inner = repeat(2, lambda z: z * z * a, y)
        return grad(inner, y) / 4 + x
    return repeat(2, body, x)


@case(1.25, .5)
def gradient_of_captured(x, w):
    return repeat(2, lambda y: y * w + grad(torch.sin(w * w), w), x)


@case(1.5)
def gradient_of_outer(x):
    f = x ** 3
    return repeat(2, lambda y: y * x + grad(f, x), x)


@case(1., 0., .1)
def pendulum(q, p, h):
    return repeat(4, lambda q, p: (q + h * (p - h * torch.sin(q)), p - h * torch.sin(q)), q, p)


@case(1., .25, orders=2)
def runge_kutta(y, h):
    def f(y):
        return y * (2 - y)

    def step(y):
        k1 = f(y)
        k2 = f(y + h * k1 / 2)
        k3 = f(y + h * k2 / 2)
        k4 = f(y + h * k3)
        return y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return repeat(3, step, y)


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        print(f"/* {name} */", *entries(*CASES[name]), sep="\n", end="\n\n")
