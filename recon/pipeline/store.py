"""The results of stages on disk: any nested value of tensors, our frozen dataclasses and plain Python, in one file.

A safetensors file holds the tensors; its metadata holds the structure as JSON, with references to them. Values come
back equal, on the CPU. No pickle: a run folder from a stranger cannot run code.
"""

import dataclasses
import json
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from recon import types
from recon.errors import InputError
from recon.files import atomic_path

TENSOR, ARRAY, KIND, TUPLE = "$tensor", "$array", "$type", "$tuple"


def save(path: Path, value: Any) -> None:
    """Write `value` to `path`, atomically.

    Raises:
        TypeError: `value` holds something that is neither a tensor, one of our dataclasses nor plain Python.
        ResourceError: the disk is full or the folder not writable.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(value, tensors)
    content = tensors_to_bytes(tensors, metadata={"tree": json.dumps(tree)})
    with atomic_path(path) as temporary:  # bytes first: safetensors' own writer hides what went wrong with the disk
        temporary.write_bytes(content)


def load(path: Path) -> Any:
    """The value that `save` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tree = json.loads(file.metadata()["tree"])
            return _unpack(tree, file.get_tensor)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is missing or damaged ({error}). Delete it and run the same command again."
        ) from error


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        key = str(len(tensors))
        tensors[key] = torch.as_tensor(value).detach().cpu().clone().contiguous()
        return {TENSOR if isinstance(value, Tensor) else ARRAY: key}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not hasattr(types, type(value).__name__):
            raise TypeError(f"cannot store a {type(value).__name__}: not a type of recon.types")
        fields = {f.name: _pack(getattr(value, f.name), tensors) for f in dataclasses.fields(value)}
        return {KIND: type(value).__name__, "fields": fields}
    if isinstance(value, Enum):
        return {KIND: type(value).__name__, "value": value.value}
    if isinstance(value, tuple):
        return {TUPLE: [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if isinstance(value, dict):
        return {str(key): _pack(item, tensors) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot store a {type(value).__name__}")


def _unpack(tree: Any, tensor_of: Any) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, tensor_of) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if TENSOR in tree:
        return tensor_of(tree[TENSOR])
    if ARRAY in tree:
        return tensor_of(tree[ARRAY]).numpy()
    if TUPLE in tree:
        return tuple(_unpack(item, tensor_of) for item in tree[TUPLE])
    if KIND in tree:
        kind = getattr(types, tree[KIND])
        if "value" in tree:
            return kind(tree["value"])
        return kind(**{name: _unpack(item, tensor_of) for name, item in tree["fields"].items()})
    return {key: _unpack(item, tensor_of) for key, item in tree.items()}
