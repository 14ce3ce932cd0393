"""A device for machines without one: tensors that compute in host memory but may not meet tensors of the host.

Inside ``with PretendDevice():`` the name ``"meta"`` stands for an accelerator that computes, so that
``calculator(model, device="meta")`` gives real numbers. What fails on a GPU fails here: operations on tensors of both
kinds, a tensor of the device given to NumPy, a buffer left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

PRETENDED = "meta"
_aten = torch.ops.aten
#: What takes a tensor of one device and gives one of another.
_CROSSING = {_aten._to_copy.default, _aten.copy_.default}
#: What may index a tensor of the device with one of the host.
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
#: What the host waits for: numbers, or shapes that depend on numbers.
_WAITING = {_aten._local_scalar_dense.default, _aten.nonzero.default, _aten.equal.default, _aten._unique2.default}


class DeviceTensor(Tensor):
    """A tensor that says it is on the device; its numbers are ``host``."""

    host: Tensor
    is_cuda = True  # a GPU's ways are taken
    is_meta = False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        """Take the shape and type of the numbers."""
        made: DeviceTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=PRETENDED,
        )
        made.host = host
        return made

    def __repr__(self) -> str:
        return f"DeviceTensor({self.host!r})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute where the device is not switched on, as in a backward pass of another thread."""
        return _run(func, args, dict(kwargs or {}))

    # What PyTorch does for a tensor of "meta", or of a subclass, without a word to ``__torch_dispatch__``.

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_without_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_without_lists(index), value)

    def tolist(self) -> Any:
        """Copy to the host, which subclasses have not."""
        return self.host.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Any:
        """Make a tensor of Python's numbers beside this one."""
        return self.host.new_tensor(data, **options).to(PRETENDED)

    @property
    def data(self) -> Any:
        """The numbers without their history; to set them is to change them for all who hold the tensor."""
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, other: DeviceTensor) -> None:
        Tensor.data.__set__(self, other)
        self.host = other.host


class PretendDevice(TorchDispatchMode):
    """Switch the device on, and count what a GPU and its host do to each other."""

    n_crossings = 0
    """Copies from one to the other, and waits of the host for the device."""

    def __enter__(self) -> PretendDevice:
        self._before = torch.tensor, torch.as_tensor
        torch.tensor, torch.as_tensor = map(_made_on_the_host, self._before)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.tensor, torch.as_tensor = self._before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute an operation on whichever side its tensors are."""
        result = _run(func, args, dict(kwargs or {}))
        tensors = [value for value in tree_flatten((args, kwargs, result))[0] if isinstance(value, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        mixed = there and any(tensor.dim() for tensor in tensors if not isinstance(tensor, DeviceTensor))
        masked = func in _INDEXING and any(tensor.dtype is torch.bool for tensor in there[1:])
        if there and (func in _WAITING or masked or mixed or (func in _CROSSING and len(there) < len(tensors))):
            self.n_crossings += 1
        return result


def _made_on_the_host(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make tensors of Python's numbers on the host, and then move them: PyTorch makes empty ones on "meta"."""

    def made(data: Any, *, device: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
        if torch.device(device or "cpu").type == PRETENDED:
            return make(data, **options).to(device).requires_grad_(requires_grad)
        given = {"requires_grad": True} if requires_grad else {}
        return make(data, device=device, **given, **options)

    return made


def _without_lists(index: Any) -> Any:
    """Make tensors of an index's lists, as PyTorch does where it cannot be watched."""
    if isinstance(index, tuple):
        return tuple(_without_lists(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    assert not any(tensor.is_meta and not isinstance(tensor, DeviceTensor) for tensor in tensors), f"{func}: no numbers"
    on_device = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    on_host = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor) and tensor.dim()]
    if on_device and on_host and func not in _CROSSING | _INDEXING:
        shapes = ", ".join(f"{type(tensor).__name__}{tuple(tensor.shape)}" for tensor in tensors)
        raise RuntimeError(f"{func} got tensors of the device and of the host: {shapes}")
    target = kwargs.get("device")
    there = bool(on_device) if target is None else torch.device(target).type == PRETENDED
    if target is not None and there:
        kwargs["device"] = torch.device("cpu")
    inner_args, inner_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.host, (args, kwargs))
    result = func(*inner_args, **inner_kwargs)
    if func is _aten.copy_.default:
        return args[0]
    if not there:
        return result
    wrapped = tree_map_only(Tensor, DeviceTensor, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if on_device else wrapped
