"""Training of networks: a skorch net whose batches are slices of arrays on the device."""

from contextlib import contextmanager, nullcontext
from inspect import signature

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, LRScheduler, ProgressBar
from skorch.helper import predefined_split
from torch.utils.data import Dataset

from sklearn_ood.data._blocks import PagedRows, is_mapped
from sklearn_ood.nets._evaluation import resolve_device, take_batch

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

# skorch's own averaging and printing; Net averages its losses without leaving the device.
DEFAULT_CALLBACKS = ("epoch_timer", "train_loss", "valid_loss", "print_log")


class Arrays(Dataset):
    """Arrays of equal length, sliced together; those that fit on the device move there."""

    def __init__(self, *arrays, device="cpu"):
        self.device = torch.device(device)
        self.arrays = [_on_device(array, self.device) for array in arrays]

    def __len__(self):
        return len(self.arrays[0])

    def batch(self, index):
        """Rows of every array by a slice or an index tensor, as tensors on the device."""
        return tuple(take_batch(array, index, self.device) for array in self.arrays)


class ArrayBatches:
    """skorch's iterator over :class:`Arrays`: whole batches by one indexing call.

    A single row that is left joins the batch before it (batch normalisation needs two),
    unless ``drop_last`` leaves it out.
    """

    random = nullcontext()

    def __init__(self, dataset, batch_size, shuffle=False, drop_last=False, num_workers=0):
        if num_workers:
            raise ValueError(
                f"Got num_workers={num_workers}, but batches are slices of arrays, which no "
                "worker makes faster; leave it out."
            )
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.shuffle, self.drop_last = shuffle, drop_last

    def __iter__(self):
        n_rows = len(self.dataset)
        with self.random:
            order = torch.randperm(n_rows) if self.shuffle else None
        self._start = 0
        while n_rows - self._start >= (self.batch_size if self.drop_last else 1):
            start, stop = self._start, min(self._start + self.batch_size, n_rows)
            if n_rows - stop == 1 < self.batch_size and not self.drop_last:
                stop = n_rows
            self._start = stop
            yield self.dataset.batch(slice(start, stop) if order is None else order[start:stop])

    def halve_and_repeat(self, n_rows):
        """Give the last ``n_rows`` rows again, in batches of half the size."""
        self._start -= n_rows
        self.batch_size = max(1, n_rows // 2)


class Net(NeuralNet):
    """A skorch net on :class:`Arrays`; a method overrides ``batch_loss`` or ``losses``.

    Every key of a step's result that ends in "loss" is averaged over the epoch, must stay
    finite, and is kept in the history as ``train_<key>`` and ``valid_<key>``. ``random`` is
    the context in which a :func:`train` draws.
    """

    random = nullcontext()

    def get_iterator(self, dataset, training=False):
        iterator = super().get_iterator(dataset, training=training)
        iterator.random = self.random
        return iterator

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        self._set_training(training)
        if training:
            _forget_batches(self.history[:-1])
        totals, n_rows = {}, 0
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            size = len(batch[0])
            try:
                step = step_fn(batch, **fit_params)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                iterator.halve_and_repeat(size)
                continue
            for key, value in step.items():
                if key.endswith("loss"):
                    totals[key] = totals.get(key, 0.0) + value.detach() * size
            n_rows += size
            self.history.record_batch(f"{prefix}_batch_size", size)
            said = {"y_pred": None} | step
            self.notify("on_batch_end", batch=batch, training=training, **said)
        for key, total in totals.items():
            self.history.record(f"{prefix}_{key}", _finite(float(total) / n_rows, key, self))
        losses = self.history[:, f"{prefix}_loss"]
        self.history.record(f"{prefix}_loss_best", losses[-1] == min(losses))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.random = nullcontext()
        _forget_batches(self.history)

    def train_step_single(self, batch, **fit_params):
        with self.random:
            losses = self.losses(batch)
        losses["loss"].backward()
        return losses

    @torch.no_grad()
    def validation_step(self, batch, **fit_params):
        with self.random:
            return self.losses(batch)

    def losses(self, batch):
        """What is recorded of a batch ``(inputs, targets)``: its loss, and the outputs."""
        inputs, targets = batch
        outputs = self.module_(inputs)
        return {"loss": self.criterion_(outputs, targets), "y_pred": outputs}

    def predict(self, X):
        """Position of the likeliest class, for the callbacks that score."""
        outputs = self.predict_proba(X)
        if hasattr(self.criterion_, "class_logits"):
            outputs = self.criterion_.class_logits(torch.from_numpy(outputs)).numpy()
        return outputs.argmax(axis=1)


def make_net(
    network,
    *,
    criterion=torch.nn.CrossEntropyLoss,
    net_class=Net,
    optimizer="adam",
    lr=1e-3,
    lr_schedule=None,
    weight_decay=0.0,
    max_epochs=100,
    batch_size=64,
    early_stopping=False,
    n_iter_no_change=10,
    device="auto",
    verbose=0,
    net_params=None,
):
    """A net ready for :func:`train`; ``net_params`` go to skorch and win over the rest."""
    callbacks = []
    if early_stopping:
        stopping = EarlyStopping(patience=n_iter_no_change, load_best=True)
        callbacks.append(("early_stopping", stopping))
    if lr_schedule is not None:
        callbacks.append(("lr_schedule", _lr_scheduler(lr_schedule, max_epochs)))
    if verbose:
        callbacks.append(("progress_bar", ProgressBar()))
    net_params = net_params or {}
    callbacks += net_params.get("callbacks") or []
    parameters = {
        "criterion": criterion,
        "optimizer": _optimizer(optimizer),
        "lr": lr,
        "optimizer__weight_decay": weight_decay,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "iterator_train": ArrayBatches,
        "iterator_valid": ArrayBatches,
        "iterator_train__shuffle": True,
        "train_split": None,
        **{f"callbacks__{name}": None for name in DEFAULT_CALLBACKS},
        "device": str(resolve_device(device)),
        "verbose": 0,
    }
    return net_class(network, **parameters | net_params | {"callbacks": callbacks})


def training_parameters(estimator):
    """The arguments of :func:`make_net` that are parameters of an estimator."""
    names = signature(make_net).parameters.keys() & estimator.get_params(deep=False).keys()
    return {name: getattr(estimator, name) for name in names}


def train(net, *arrays, validation=None, random):
    """Train ``net`` on arrays of equal length, watching the ``validation`` arrays.

    All that is random is drawn from ``random``, a :class:`Seeded`. An interrupt by the user
    reaches the caller: a half-trained net is never handed out. A loss or a weight that
    becomes NaN or infinite raises.
    """
    if validation is not None:
        net.set_params(train_split=predefined_split(Arrays(*validation, device=net.device)))
    net.random = random
    with random:
        net.initialize()
    if not any(weights.requires_grad for _, weights in net.get_all_learnable_params()):
        raise ValueError(
            "Got a network none of whose weights can be trained; give it one that requires a "
            "gradient, or take SoftmaxClassifier.from_module for a network that is trained."
        )
    data = Arrays(*arrays, device=net.device)
    net.notify("on_train_begin", X=data, y=None)
    try:
        net.fit_loop(data)
    except KeyboardInterrupt:  # skorch's way to end early
        stopping = (each for _, each in net.callbacks_ if isinstance(each, EarlyStopping))
        if not any(each.misses_ >= each.patience for each in stopping):
            raise
    net.notify("on_train_end", X=data, y=None)
    net.set_params(train_split=None)
    net.module_.eval()
    for _, weights in net.get_all_learnable_params():
        _finite(float(weights.detach().sum()), "sum of weights", net)
    return net


@contextmanager
def training_errors(estimator):
    """Errors of torch as one that shows the parameters of the estimator that is trained."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, OverflowError) as error:
        raise ValueError(
            f"Got {estimator}, which torch cannot train: {error} Choose smaller parameters: "
            "these need more memory than there is, or are too large for float32."
        ) from error


def recorded(net, key):
    """A column of a net's history; an AttributeError where it has none."""
    try:
        return net.history[:, key]
    except KeyError as error:
        raise AttributeError(f"This net recorded no {key}.") from error


def wrap_trained(module, *, device="auto"):
    """A net around a module that is trained already."""
    net = make_net(module, device=device).initialize()
    net.module_.eval()
    return net


def _forget_batches(epochs):
    for epoch in epochs:
        del epoch["batches"][:-1]  # checkpoints ask for the last


def _finite(value, key, net):
    if np.isfinite(value):
        return value
    raise ValueError(
        f"Training diverged: the {key} of epoch {len(net.history)} is {value}; use a smaller "
        f"lr than {net.lr}, or scale the inputs (for instance with StandardScaler)."
    )


def _optimizer(optimizer):
    optimizer = OPTIMIZERS.get(optimizer, optimizer)
    if not issubclass(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"Got optimizer={optimizer!r}, but expected one of {sorted(OPTIMIZERS)} or a "
            "torch.optim.Optimizer class."
        )
    return optimizer


def _lr_scheduler(lr_schedule, max_epochs):
    if lr_schedule == "cosine":
        return LRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max_epochs)
    step = max(1, round(0.6 * max_epochs))
    return LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=step, gamma=0.1)


def _on_device(array, device):
    """The array as a tensor on the device if it fits there, else as it is."""
    if isinstance(array, torch.Tensor):
        return array.to(device)
    if is_mapped(array):
        return PagedRows(array)
    if not array.flags.writeable:
        return array
    tensor = torch.from_numpy(array)
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return tensor
    return tensor.to(device)
