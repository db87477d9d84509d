"""``pycnn convert``: weights of other formats to safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .models.weight_files import SUFFIXES, WeightsError, match_weights, read_weights
from .models.weights import file_sha256
from .train.checkpoint import replace_durably


def convert(source: str | Path, target: str | Path, model=None, force: bool = False) -> dict[str, np.ndarray]:
    """Write a file of weights as safetensors, in one piece or not at all; returns its arrays by name.

    The file carries the name and the sha256 of its source, so that its record (preprocessing, classes) is still found, and the
    order of the arrays, which matters where layers are matched by it.

    Args:
        source: what :func:`~pycnn.models.weight_files.read_weights` reads; PyTorch's formats need PyTorch.
        target: a ``.safetensors`` file.
        model: a :class:`~pycnn.nn.Module` under whose names to write; left out, the names stay.
        force: write over a file that is there.

    Raises:
        WeightsError: the source cannot be read or does not fit the model, or the target is there already.
    """
    from safetensors.numpy import save

    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: what is written is safetensors, its name must end in .safetensors")
    if source.suffix not in SUFFIXES:
        raise WeightsError(f"{source}: weights are read from {', '.join(SUFFIXES)} files")
    if target.exists() and not force:
        raise WeightsError(f"{target} is there already; --force writes over it")
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}")
    state = read_weights(source)
    if model is not None:
        state = match_weights(model, state, str(source))
    types = {"bfloat16": "f4"}  # which safetensors' NumPy writer does not know
    arrays = {name: np.asarray(a, types.get(a.dtype.name, a.dtype), order="C") for name, a in state.items()}
    order = json.dumps(list(arrays))
    notes = {"pycnn.source": source.name, "pycnn.source_sha256": file_sha256(source), "pycnn.order": order, "format": "pt"}
    replace_durably(target, save(arrays, metadata=notes))
    return arrays
