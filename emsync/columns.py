"""Checked arrays for the frozen values of this package: read-only copies, compared by value."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def floats(name: str, values: npt.ArrayLike, unit: str) -> FloatArray:
    """A read-only copy of finite numbers, shape (N,). `name` and `unit` go into the error.

    Raises `InputError` if `values` is not a row of finite numbers.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a row of numbers in {unit}, and numpy cannot read it as one") from error
    if array.ndim != 1:
        raise InputError(f"{name} must be one row of numbers, not an array of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        value = f"{name}[{bad[0]}] is {array[bad[0]]}"
        raise InputError(f"{value}, which is not a number of {unit}; leave it out or mend it")
    array.setflags(write=False)
    return array


def integers(name: str, values: npt.ArrayLike, low: int, high: int, remedy: str) -> IntArray:
    """A read-only copy of whole numbers from `low` to `high`, shape (N,). `name` and `remedy` go into the error.

    Raises `InputError` if `values` is not a row of such numbers.
    """
    given = np.asarray(values)
    if given.ndim != 1:
        raise InputError(f"{name} must be one row of numbers, not an array of shape {given.shape}")
    if len(given) and given.dtype.kind not in "iu" and not (given.dtype.kind == "f" and np.all(np.mod(given, 1) == 0)):
        raise InputError(f"{name} must hold whole numbers from {low} to {high}, not {given.dtype} values; {remedy}")
    bad = np.flatnonzero((given < low) | (given > high)) if len(given) else given
    if len(bad):
        raise InputError(f"{name}[{bad[0]}] is {given[bad[0]]:g}, outside {low} to {high}; {remedy}")
    array = np.array(given, dtype=np.int64)
    array.setflags(write=False)
    return array


class ByValue:
    """`==` over all dataclass fields with `compare=True`, arrays element by element. Such values have no hash."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [name for name, each in self.__dataclass_fields__.items() if each.compare]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]
