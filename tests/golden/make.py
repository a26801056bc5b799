"""Makes the data files beside it, with PyTorch: `python make.py [GROUP...]`. See cases.py."""
import os
import sys
import warnings

import cases
import expressions
import pointwise

GROUPS = {
    "unary": (pointwise.unary, "Pointwise operations of one operand."),
    "binary": (pointwise.binary, "Pointwise operations of two and three operands."),
    "expressions": (lambda: expressions.expressions(320), "Random expressions."),
}


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in sys.argv[1:] or GROUPS:
        make, heading = GROUPS[name]
        blocks = [case.text() for case in make()]
        cases.write(os.path.join(folder, name + ".txt"), heading, blocks)
        print(f"{name}: {len(blocks)} cases")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
