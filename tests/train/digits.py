"""Writes digits.npz and digits.bin from the digits data that scikit-learn carries.

    digits.py DIGITS_CSV_GZ

The argument is `sklearn/datasets/data/digits.csv.gz` of the package scikit-learn (1.9.1 was used):
1,797 images of 8x8 handwritten digits, 0 to 16, a copy of the test part of "Optical Recognition of
Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0),
as carried by scikit-learn (BSD-3-Clause).

digits.npz: `images` u8 [1797, 8, 8] and `labels` u8 [1797], what vision.py trains and tests on.
digits.bin: the last 397 of them, which no model is trained on, 65 bytes each: 64 pixels, label.
The data stand in the order of their writers, so that the last ones are of other hands.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

TEST = 397

rows = np.loadtxt(gzip.open(sys.argv[1]), delimiter=",").astype(np.uint8)
here = Path(__file__).parent
np.savez_compressed(here / "digits.npz", images=rows[:, :64].reshape(-1, 8, 8), labels=rows[:, 64])
rows[-TEST:].tofile(here / "digits.bin")
print(f"{len(rows)} digits, {TEST} of them to test with")
