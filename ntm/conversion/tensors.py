"""Named tensors of checkpoint files: shapes, types, and where to read their numbers."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import ml_dtypes
import numpy as np

# Types of tensors that are read, by their names in .safetensors files.
TYPES_BY_NAME = {name: np.dtype(dtype) for name, dtype in {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
}.items()}


@dataclasses.dataclass(frozen=True)
class TensorSpec:
  """Shape and type of a tensor; raises ValueError for a type that is not supported."""

  shape: tuple[int, ...]
  dtype: np.dtype

  def __post_init__(self):
    if self.dtype not in TYPES_BY_NAME.values():
      raise ValueError(f"numbers of type {self.dtype} are not read; expected one of "
                       f"{', '.join(map(str, TYPES_BY_NAME.values()))}")

  def __str__(self) -> str:
    return f"{list(self.shape)} {self.dtype}"

  @property
  def nbytes(self) -> int:
    """Size in bytes."""
    return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class TensorFiles:
  """The tensors of a file, or of the shards of one model.

  Attributes:
    paths: the files.
    specs: by tensor name, in the order of the files.
    read: tensor name → array; nothing is cached, so the caller owns the memory.
    metadata: text entries in the header of the first file.
  """

  paths: list[pathlib.Path]
  specs: dict[str, TensorSpec]
  read: Callable[[str], np.ndarray]
  metadata: dict[str, str]

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name."""
    return {name: spec.shape for name, spec in self.specs.items()}
