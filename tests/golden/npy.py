#!/usr/bin/env python3
"""Writes npy/*.npy and npy.txt, the files that t_npy.c reads. Needs NumPy.

    python3 tests/golden/npy.py

A line of npy.txt is "NAME DTYPE [SIZES] HOW", where HOW is `save` when numpy.save wrote the file from an
array in row-major order, so that ours must have the same bytes, and `other` otherwise. Element k, in
row-major order, is what value() says.
"""
import math
import os

import numpy as np
from numpy.lib import format as npy

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "npy")
os.makedirs(folder, exist_ok=True)

DTYPES = {"f32": "f4", "f64": "f8", "f16": "f2", "i8": "i1", "i16": "i2", "i32": "i4", "i64": "i8",
          "u8": "u1", "bool": "b1"}


def value(dtype, k):
    if dtype == "bool":
        return k % 3 == 0
    if dtype == "u8":
        return k + 1
    if dtype == "i8":
        return k - 2
    if dtype[0] == "i":
        return 300 * k - 2
    return 0.5 * k - 1


lines = []


def write(name, dtype, shape, fortran=False, swap=False, version=(1, 0)):
    code = (">" if swap else "<") + DTYPES[dtype]
    values = [value(dtype, k) for k in range(math.prod(shape))]
    a = np.array(values, dtype=code).reshape(shape, order="C")
    a = np.asfortranarray(a) if fortran else a
    path = os.path.join(folder, name + ".npy")
    if version == (1, 0):
        np.save(path, a)
    else:
        with open(path, "wb") as f:
            npy.write_array(f, a, version)
    same = version == (1, 0) and not swap and not fortran
    lines.append(f"{name} {dtype} [{','.join(map(str, shape))}] {'save' if same else 'other'}")


for dtype in DTYPES:
    write(dtype, dtype, (2, 3))
    write(dtype + "_fortran", dtype, (3, 2, 2), fortran=True)
    write(dtype + "_swapped", dtype, (5,), swap=True)
    write(dtype + "_empty", dtype, (0,))
write("scalar", "f32", ())
write("scalar_i64", "i64", ())
write("scalar_swapped", "f64", (), swap=True)
write("one", "f64", (1,))
write("vector", "f64", (7,))
write("column", "f32", (5, 1))
write("four", "i32", (2, 3, 2, 2))
write("rank_8", "f16", (1, 2, 1, 2, 1, 2, 1, 1))
write("rank_16", "i64", (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
write("rank_16_fortran", "i16", (2, 1, 2, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2), fortran=True)
write("empty_rows", "f64", (0, 3))
write("empty_columns", "bool", (3, 0))
write("empty_long", "u8", (123456789012345, 0))
write("empty_fortran", "f32", (2, 0, 3), fortran=True)
write("header_longer", "u8", (1000000, 0, 1000000, 1, 1, 1, 1, 1, 1, 1, 1))
for major in (2, 3):
    write(f"version_{major}", "f64", (2, 3), version=(major, 0))
    write(f"version_{major}_scalar", "f32", (), version=(major, 0))
    write(f"version_{major}_fortran", "i32", (2, 3), version=(major, 0), fortran=True)
    write(f"version_{major}_swapped", "i16", (2, 3), version=(major, 0), swap=True)

with open(os.path.join(here, "npy.txt"), "w") as f:
    f.write("\n".join(lines) + "\n")
