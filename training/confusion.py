"""The table that every score of a classifier is computed from."""

import numpy as np
from numpy.typing import NDArray


def confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int = 3) -> NDArray[np.int64]:
    """How often each label [row] got each answer [column]."""
    return np.bincount(labels * classes + answers, minlength=classes**2).reshape(classes, classes)
