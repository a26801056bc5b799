"""Cases: small programs run by PyTorch and written down for t_golden.c.

A case has leaves and steps. A step names an operation, its operands ("%0" is value 0: leaves come
first, then the results of the steps; numbers stand for themselves, None is NULL) and its arguments.
The last value is the result. In a data file (values are written with %.17g):

    case NAME f32           f32: the case also holds, within the reader's tolerance, in float32
    x f64 [2,3] grad: ...   leaves; `grad` ones are differentiated
    = sum %0 dims=0,-1      steps
    y f64 [3]: ...          the result
    g0: ...                 the gradient of sum(y v) for leaf 0
    h0: ...  hv: ...        the gradient of sum over i of sum(g_i u_i), for leaf 0 and for v

v and u_i are not written: both sides make them by pattern(). `?` in place of a number claims
nothing about it (PyTorch's is known to be wrong or arbitrary there).
"""
import math

import mpmath
import torch
import torch.nn.functional as F

DTYPES = {
    torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64", torch.uint8: "u8",
    torch.bool: "bool"
}
BY_NAME = {name: dtype for dtype, name in DTYPES.items()}


def pattern(shape, stream, dtype=torch.float64):
    """Numbers that both sides can make: odd sixteenths, -15/16 to 17/16."""
    n = torch.Size(shape).numel()
    k = torch.arange(n, dtype=torch.int64)
    return ((2 * ((7 * k + 5 * stream + 3) % 17) - 15).to(torch.float64) /
        16).reshape(shape).to(dtype)


HALVES = (torch.float16, torch.bfloat16) # PyTorch rounds some results in between
REDUCTIONS = ["mean", "sum", "none"]


def dims_of(x, dims):
    return tuple(dims) if dims else tuple(range(x.dim()))


def prod(x, dims=(), keepdim=0):
    if x.dtype in HALVES:
        return prod(x.float(), dims, keepdim).to(x.dtype)
    for d in sorted((d % x.dim() for d in dims_of(x, dims)), reverse=True):
        x = torch.prod(x, d, keepdim=bool(keepdim))
    return x


def reduction(function):
    return lambda x, dims=(), keepdim=0: function(x, dims_of(x, dims), keepdim=bool(keepdim))


def truth(function):
    return lambda x, dims=(), keepdim=0: function(x, tuple(dims) or None, keepdim=bool(keepdim))


def spread(function):
    return lambda x, dims=(), keepdim=0, correction_zero=0: function(
        x, dims_of(x, dims), correction=0 if correction_zero else 1, keepdim=bool(keepdim))


def loss(function):

    def call(x, target, weight=None, ignore_index=-100, label_smoothing=None, reduction=0):
        more = {} if label_smoothing is None else {"label_smoothing": label_smoothing}
        return function(x,
            target,
            weight=weight,
            ignore_index=ignore_index,
            reduction=REDUCTIONS[reduction],
            **more)

    return call


def plain(name):
    return getattr(torch, name, None) or getattr(F, name)


def mse_loss(x, target, reduction=0):
    if x.dtype in HALVES and target.dtype is x.dtype:
        return mse_loss(x.float(), target.float(), reduction).to(x.dtype)
    return F.mse_loss(x, target, reduction=REDUCTIONS[reduction])


def log_softmax(x, dim):
    if x.dtype in HALVES:
        return torch.log_softmax(x.float(), dim).to(x.dtype)
    return torch.log_softmax(x, dim)


def layer_norm(x, weight, bias, n, eps):
    shape = x.shape[x.dim() - n:]
    if weight is None and bias is not None: # else PyTorch fails in the second derivative
        weight = torch.ones(shape, dtype=x.dtype)
    return F.layer_norm(x, shape, weight, bias, eps)


# ---- what PyTorch computes with fewer digits than float64 has ----


def is_float(v):
    return torch.is_tensor(v) and v.is_floating_point()


def tensors(a, b):
    """A number beside a float tensor, as a tensor of that shape; truth values as numbers, since the
    derivative of a power subtracts 1 from them."""
    if is_float(a) and torch.is_tensor(b) and b.dtype is torch.bool:
        b = b.to(a.dtype)
    numbers = [isinstance(v, (int, float)) for v in (a, b)]
    other = b if numbers[0] else a
    if not any(numbers) or not other.is_floating_point():
        return a, b
    return [torch.full_like(other, v) if n else v for v, n in zip((a, b), numbers)]


def elementwise(function, x):
    y = [function(v) for v in x.detach().reshape(-1).tolist()]
    dtype = x.dtype if x.is_floating_point() else torch.float32
    return torch.tensor(y, dtype=torch.float64).reshape(x.shape).to(dtype)


def polygamma_at(n, x):
    if math.isnan(x) or x == -math.inf:
        return math.nan
    if x == math.inf:
        return math.inf if n == 0 else math.copysign(0, 1 if n % 2 else -1)
    if x == math.floor(x) and x <= 0: # poles: one-sided limits at 0, none where the sides differ
        return (math.copysign(math.inf, -x) if x == 0 else math.nan) if n == 0 else \
            (math.inf if n % 2 else -math.inf)
    return float(mpmath.polygamma(n, mpmath.mpf(x)))


class Polygamma(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x, n):
        ctx.save_for_backward(x)
        ctx.n = n
        return elementwise(lambda v: polygamma_at(n, v), x)

    @staticmethod
    def backward(ctx, g):
        return g * Polygamma.apply(ctx.saved_tensors[0], ctx.n + 1), None


class Lgamma(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.lgamma(x)

    @staticmethod
    def backward(ctx, g):
        return g * Polygamma.apply(ctx.saved_tensors[0], 0)


def hardsigmoid(x):
    inner = (x > -3) & (x < 3)
    return torch.where(inner, x / 6 + .5, F.hardsigmoid(x.detach()))


def result(parts, i):
    return torch.cat(parts) if i is None else parts[i]


# ---- operations by name ----

OPS = {
    name: plain(name) for name in """neg abs sign sqrt rsqrt reciprocal square exp exp2 expm1 log
    log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv
    lgamma digamma sigmoid logit softplus relu selu silu mish hardsigmoid hardswish floor ceil round
    trunc sinc nan_to_num isnan isinf isfinite logical_not add sub mul div pow fmod remainder atan2
    hypot maximum minimum logaddexp xlogy copysign eq ne lt le gt ge logical_and logical_or where
    lerp matmul mm bmm mv dot clone""".split()
}
OPS.update(
    # PyTorch keeps numbers, 1/6 and 1/alpha in float32 in places, and its trigamma has nine digits.
    pow=lambda a, b: torch.pow(*tensors(a, b)),
    xlogy=lambda a, b: torch.xlogy(*tensors(a, b)),
    celu=lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(x.where(~(x > 0), 0) / alpha)),
    hardsigmoid=lambda x: hardsigmoid(x),
    lgamma=lambda x: Lgamma.apply(x),
    digamma=lambda x: Polygamma.apply(x, 0),
    polygamma=lambda x, n: Polygamma.apply(x, n),
    leaky_relu=lambda x, slope: F.leaky_relu(x, slope),
    elu=lambda x, alpha: F.elu(x, alpha),
    gelu=lambda x, tanh: F.gelu(x, approximate="tanh" if tanh else "none"),
    hardtanh=lambda x, lo, hi: F.hardtanh(x, lo, hi),
    clamp=lambda x, lo, hi: torch.clamp(x, lo, hi),
    to=lambda x, dtype: x.to(BY_NAME[dtype]),
    sum=reduction(torch.sum),
    mean=reduction(torch.mean),
    prod=prod,
    amax=reduction(torch.amax),
    amin=reduction(torch.amin),
    logsumexp=reduction(torch.logsumexp),
    nansum=reduction(torch.nansum),
    norm=lambda x, p, dims=(), keepdim=0: torch.linalg.vector_norm(
        x, p, tuple(dims) or None, keepdim=bool(keepdim)),
    count_nonzero=lambda x, dims=(): torch.count_nonzero(x, tuple(dims) or None),
    any=truth(torch.any),
    all=truth(torch.all),
    var=spread(torch.var),
    std=spread(torch.std),
    argmax=lambda x, dim, keepdim=0: torch.argmax(x, dim, bool(keepdim)),
    argmin=lambda x, dim, keepdim=0: torch.argmin(x, dim, bool(keepdim)),
    cumsum=lambda x, dim: torch.cumsum(x, dim),
    cumprod=lambda x, dim: torch.cumprod(x, dim),
    logcumsumexp=lambda x, dim: torch.logcumsumexp(x, dim),
    max_dim=lambda x, dim, keepdim=0, which=0: torch.max(x, dim, bool(keepdim))[which],
    min_dim=lambda x, dim, keepdim=0, which=0: torch.min(x, dim, bool(keepdim))[which],
    median_dim=lambda x, dim, keepdim=0, which=0: torch.median(x, dim, bool(keepdim))[which],
    sort=lambda x, dim, descending=0, which=0: torch.sort(
        x, dim=dim, descending=bool(descending), stable=True)[which],
    topk=lambda x, k, dim, largest=0, which=0: torch.topk(x, k, dim, bool(largest))[which],
    cummax=lambda x, dim, which=0: torch.cummax(x, dim)[which],
    cummin=lambda x, dim, which=0: torch.cummin(x, dim)[which],
    reshape=lambda x, shape: x.reshape(shape),
    view=lambda x, shape: x.view(shape),
    expand=lambda x, shape: x.expand(shape),
    permute=lambda x, dims: x.permute(dims),
    transpose=lambda x, d0, d1: x.transpose(d0, d1),
    t=lambda x: x.t(),
    squeeze=lambda x, dim: x.squeeze(dim),
    unsqueeze=lambda x, dim: x.unsqueeze(dim),
    flatten=lambda x, start, end: x.flatten(start, end),
    select=lambda x, dim, i: x.select(dim, i),
    slice=lambda x, dim, start, stop, step: torch.ops.aten.slice(x, dim, start, stop, step),
    narrow=lambda x, dim, start, length: x.narrow(dim, start, length),
    cat=lambda *x, dim: torch.cat(x, dim),
    stack=lambda *x, dim: torch.stack(x, dim),
    flip=lambda x, dims: x.flip(dims),
    tril=lambda x, k: x.tril(k),
    triu=lambda x, k: x.triu(k),
    contiguous=lambda x: x.contiguous(),
    addmm=lambda m, a, b, beta=1, alpha=1: torch.addmm(m, a, b, beta=beta, alpha=alpha),
    linear=lambda x, w, b=None: F.linear(x, w, b),
    softmax=lambda x, dim: torch.softmax(x, dim),
    log_softmax=log_softmax,
    layer_norm=layer_norm,
    mse_loss=mse_loss,
    nll_loss=loss(F.nll_loss),
    cross_entropy=loss(F.cross_entropy),
    index_select=lambda x, i, dim: x.index_select(dim, i),
    gather=lambda x, i, dim: x.gather(dim, i),
    embedding=lambda w, i: F.embedding(i, w),
    one_hot=lambda i, classes: F.one_hot(i, classes),
    masked_fill=lambda x, mask, v: x.masked_fill(mask, v),
    movedim=lambda x, **to: torch.movedim(x, to["from"], to["to"]),
    diagonal=lambda x, offset, d1, d2: x.diagonal(offset, d1, d2),
    unfold=lambda x, dim, size, step: x.unfold(dim, size, step),
    as_strided=lambda x, shape, strides, offset: x.as_strided(shape, strides, offset),
    split=lambda x, size, dim, i=None: result(x.split(size, dim), i),
    chunk=lambda x, chunks, dim, i=None: result(x.chunk(chunks, dim), i),
    unbind=lambda x, dim, i=None: result(x.unbind(dim), i),
    index_add=lambda x, i, src, dim: x.index_add(dim, i, src),
    scatter=lambda x, i, src, dim: x.scatter(dim, i, src),
    scatter_add=lambda x, i, src, dim: x.scatter_add(dim, i, src),
    take=lambda x, i: x.take(i),
    index=lambda x, *at: torch.ops.aten.index(x, at),
    index_put=lambda x, v, *at, accumulate=0: torch.ops.aten.index_put(x, at, v, bool(accumulate)),
    masked_select=lambda x, mask: x.masked_select(mask),
    masked_scatter=lambda x, mask, src: x.masked_scatter(mask, src),
)

# ---- cases ----


def step(op, *operands, **arguments):
    return op, operands, arguments


class Case:
    """A leaf is (values, grad). order: 0 for the result alone, 1 with gradients, 2 with gradients
    of gradients. unknown names what is written as `?`: "h0", or "h0:3" for one element of it."""

    def __init__(self, name, leaves, steps, order=2, f32=True, unknown=()):
        self.name, self.leaves, self.steps, self.order = name, leaves, steps, order
        self.f32, self.unknown = f32, set(unknown)

    def evaluate(self, dtype=torch.float64, shift=0.0):
        """The written quantities by name, in order."""
        values = []
        for x, grad in self.leaves:
            if x.dtype == torch.float64:
                x = (x * (1 + shift * pattern(x.shape, 9))).to(dtype)
            values.append(x.detach().clone().requires_grad_(grad))
        leaves = list(values)
        for op, operands, arguments in self.steps:
            given = [values[int(o[1:])] if isinstance(o, str) else o for o in operands]
            values.append(OPS[op](*given, **arguments))
        result = {"y": values[-1]}
        if self.order and values[-1].requires_grad:
            self.differentiate(leaves, values[-1], result)
        return {name: value.detach() for name, value in result.items()}

    def differentiate(self, leaves, y, result):
        wanted = [(i, x) for i, x in enumerate(leaves) if x.requires_grad]
        xs = [x for _, x in wanted]
        v = pattern(y.shape, 0, y.dtype).requires_grad_()
        gs = torch.autograd.grad((y * v).sum(),
            xs,
            create_graph=self.order > 1,
            allow_unused=True,
            materialize_grads=True)
        result.update({f"g{i}": g for (i, _), g in zip(wanted, gs)})
        if self.order < 2:
            return
        total = sum((g * pattern(g.shape, i + 1, g.dtype)).sum() for (i, _), g in zip(wanted, gs))
        hs = [torch.zeros_like(x) for x in xs + [v]]
        try:
            if total.requires_grad:
                hs = torch.autograd.grad(total, xs + [v], allow_unused=True, materialize_grads=True)
        except RuntimeError as error: # PyTorch has no second derivative of some functions
            assert "is not implemented" in str(error)
            return
        result.update({f"h{i}": h for (i, _), h in zip(wanted, hs)})
        result["hv"] = hs[-1]

    def holds_in_f32(self, exact):
        if not self.f32:
            return False
        rough = self.evaluate(torch.float32)
        return all(close(rough[name].double(), exact[name].double(), 5e-4) for name in exact)

    def text(self):
        exact = self.evaluate()
        lines = ["case " + self.name + (" f32" if self.holds_in_f32(exact) else "")]
        for x, grad in self.leaves:
            lines.append(f"x {head(x)}{' grad' if grad else ''}:{numbers(x)}")
        for op, operands, arguments in self.steps:
            words = ["=", op] + [operand(o) for o in operands]
            lines.append(" ".join(words + [argument(*a) for a in arguments.items()]))
        for name, value in exact.items():
            start = f"y {head(value)}" if name == "y" else name
            words = numbers(value).split()
            for k in range(len(words)):
                if name in self.unknown or f"{name}:{k}" in self.unknown:
                    words[k] = "?"
            lines.append(" ".join([start + ":"] + words))
        return "\n".join(lines) + "\n"


def close(a, b, tolerance):
    same = (a == b) | (a.isnan() & b.isnan())
    near = (a - b).abs() <= tolerance * b.abs().clamp(min=1)
    return bool((same | near).all())


def well_conditioned(case):
    """Shifting the leaves by 1e-9 moves nothing by more than 1e-5: rounding by 1e-16, some tens of
    times, moves nothing by more than 1e-10."""
    try:
        exact, moved = case.evaluate(), case.evaluate(shift=1e-9)
    except RuntimeError:
        return False
    finite = all(bool(t.isfinite().all() and (t.abs() < 1e3).all()) for t in exact.values())
    return finite and all(close(moved[name], exact[name], 1e-5) for name in exact)


def head(x):
    return DTYPES[x.dtype] + " [" + ",".join(str(n) for n in x.shape) + "]"


def number(v):
    v = v.item()
    if isinstance(v, (bool, int)):
        return str(int(v))
    short = repr(v)
    return short[:-2] if short.endswith(".0") else short


def numbers(x):
    return "".join(" " + number(v) for v in x.detach().reshape(-1))


def operand(o):
    if o is None:
        return "-"
    return o if isinstance(o, str) else repr(o)


def argument(name, value):
    if isinstance(value, (list, tuple)):
        return name + "=" + ",".join(str(v) for v in value)
    return f"{name}={value}"


def write(path, heading, blocks):
    with open(path, "w") as file:
        file.write(f"# {heading} Made by make.py with PyTorch; cases.py describes the format.\n")
        for block in blocks:
            file.write("\n" + block)
