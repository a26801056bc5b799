"""Makes the data files beside it, with PyTorch: `python make.py [GROUP...]`. See cases.py."""
import os
import sys
import warnings

import cases
import dtypes
import expressions
import pointwise
import structured

GROUPS = {
    "unary": (pointwise.unary, "Pointwise operations of one operand."),
    "binary": (pointwise.binary, "Pointwise operations of two and three operands."),
    "reductions": (structured.reductions, "Reductions and scans."),
    "choices": (structured.choices, "Elements chosen along a dimension."),
    "shapes": (structured.shapes, "Views and copies."),
    "products": (structured.products, "Products of vectors and matrices."),
    "norms": (structured.norms, "Softmax and layer normalisation."),
    "losses": (structured.losses, "Losses."),
    "indexing": (structured.indexing, "Indexing."),
    "promotion": (dtypes.tables, "Dtypes of results: dtypes.py explains the tables."),
    "dtypes": (dtypes.values, "Values of all dtypes."),
    "expressions": (lambda: expressions.expressions(320), "Random expressions."),
}


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in sys.argv[1:] or GROUPS:
        make, heading = GROUPS[name]
        blocks = [block if isinstance(block, str) else block.text() for block in make()]
        cases.write(os.path.join(folder, name + ".txt"), heading, blocks)
        print(f"{name}: {len(blocks)} blocks")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
