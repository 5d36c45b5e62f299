"""Training of networks: a skorch net on batches of arrays, with randomness of its own."""

from contextlib import contextmanager, nullcontext
from inspect import signature
from threading import local
from typing import ClassVar

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, LRScheduler, ProgressBar
from skorch.helper import predefined_split

from sklearn_ood._parameters import drawn_seed
from sklearn_ood._threads import one_loop_if
from sklearn_ood.nets._batches import ArrayBatches
from sklearn_ood.nets._evaluation import LENDING, Arrays, Mode, resolve_device, with_leaves

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

# Of numbers in a step of a network, up to which it takes no longer in one thread.
MOST_PRODUCTS = 2**23
FLOATS = frozenset(["empty", "zeros", "ones", "full", "rand", "randn", "eye", "linspace"])
BORROWER = local()


class Net(NeuralNet):
    """A skorch net on :class:`Arrays`; a method overrides ``losses``, which are recorded."""

    # In which :func:`train` draws.
    random = nullcontext()
    # skorch's own average and print; here losses are averaged without leaving the device.
    _default_callbacks: ClassVar[list] = []

    def get_dataset(self, X, y=None):
        """Flat rows of a callback's own as batches; what is one stays."""
        is_array = isinstance(X, (np.ndarray, torch.Tensor))
        return Arrays(X, np.zeros(len(X)) if y is None else y) if is_array else X

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

    def get_all_learnable_params(self):
        """Names and weights; of a network without any a number that is never trained."""
        return list(super().get_all_learnable_params()) or [("none", torch.zeros(()))]

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

    def predict_proba(self, X):
        """Probabilities of the classes, for the callbacks that score."""
        outputs = super().predict_proba(X)
        if not hasattr(self.criterion_, "class_logits"):  # skorch has its softmax
            return outputs
        return self.criterion_.class_logits(torch.from_numpy(outputs)).softmax(dim=1).numpy()

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


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
    if net_params.get("train_split") is not None:
        raise ValueError(
            "Got a train_split in net_params, but early_stopping holds out rows; leave it out."
        )
    optimizer, own = _optimizer(optimizer), net_params.get("callbacks")
    callbacks += [] if own in (None, "disable") else own
    decays = weight_decay or "weight_decay" in signature(optimizer).parameters
    parameters = {
        "criterion": criterion,
        "optimizer": optimizer,
        "lr": lr,
        **({"optimizer__weight_decay": weight_decay} if decays else {}),
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "iterator_train": ArrayBatches,
        "iterator_valid": ArrayBatches,
        "iterator_train__shuffle": True,
        "train_split": None,
        "device": str(resolve_device(device)),
        "verbose": 0,
    }
    try:
        return net_class(network, **parameters | net_params | {"callbacks": callbacks})
    except (TypeError, ValueError) as error:
        raise type(error)(f"Got net_params={net_params!r}, but skorch says: {error}") from error


def training_parameters(estimator):
    names = signature(make_net).parameters.keys() & estimator.get_params(deep=False).keys()
    return {name: getattr(estimator, name) for name in names}


def train(net, rows, codes, weight=None, *, validation=None, random):
    """Train ``net`` on rows and codes, drawn by weight, watching those of ``validation``."""
    if validation is not None:
        *held_out, their_weight = validation
        watched = Arrays(*held_out, weight=their_weight, device=net.device)
        net.set_params(train_split=predefined_split(watched))
    net.random = random
    with random:
        net.initialize()
    if not any(weights.requires_grad for _, weights in net.get_all_learnable_params()):
        raise ValueError(
            "Got a network none of whose weights can be trained; give it one that requires a "
            "gradient, or take SoftmaxClassifier.from_module for a network that is trained."
        )
    data = Arrays(rows, codes, weight=weight, device=net.device)
    net.notify("on_train_begin", X=data, y=None)
    try:
        with one_loop_if(_is_small(net)):
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


def _is_small(net):
    """Whether the products of a step are few: convolutions take each weight many times."""
    n_weights = sum(each.numel() for each in net.module_.parameters())
    repeats = any(hasattr(layer, "kernel_size") for layer in net.module_.modules())
    return not repeats and net.batch_size * n_weights <= MOST_PRODUCTS


@contextmanager
def training_errors(estimator):
    """Errors of torch as one that shows the parameters of the estimator that is trained."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except KeyError as error:  # skorch's, where a callback asks the history
        if "valid" not in str(error) or getattr(estimator, "early_stopping", True):
            raise
        raise ValueError(
            "Got net_params with a callback that watches held-out rows, but none are held out "
            f"({error}); pass early_stopping=True, or let it watch train_loss."
        ) from error
    except TypeError as error:
        net_params = getattr(estimator, "net_params", None)
        if not net_params or str(error).startswith("Got "):
            raise
        raise TypeError(
            f"Got net_params={net_params!r}, with which training fails: {error}"
        ) from error
    except (RuntimeError, OverflowError) as error:
        raise ValueError(
            f"Got {estimator}, which torch cannot train: {error} Look at module and "
            "net_params, or choose smaller parameters, which memory and float32 can hold."
        ) from error


class Seeded(Mode):
    """A context, of one thread, in which torch draws from generators of its own."""

    def __init__(self, random_state):
        super().__init__()
        self.seed = drawn_seed(random_state)
        self._generators = {}

    def generator(self, device="cpu"):
        """The generator of a device; on a CPU it draws what ``torch.manual_seed`` would."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.__name__, dict(kwargs or {})
        if name in FLOATS and kwargs.get("dtype") is None and "out" not in kwargs:
            is_float = name != "full" or isinstance(args[1], float)
            kwargs["dtype"] = torch.float32 if is_float else None
        draw = DRAWS.get(name)
        device = _device(args, kwargs) if draw else None
        if draw is None or device.type == "meta" or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return draw(self.generator(device), func, *args, **kwargs)


def _device(args, kwargs):
    """Where a function draws: where its first tensor is, or as it is told."""
    tensors = (each.device for each in (*args, *kwargs.values()) if torch.is_tensor(each))
    return next(tensors, torch.device(kwargs.get("device") or "cpu"))


def _with_own(generator, func, /, *args, **kwargs):
    return func(*args, **kwargs | {"generator": generator})


def _like(generator, func, /, *args, **kwargs):
    fill = torch.Tensor.uniform_ if func.__name__ == "rand_like" else torch.Tensor.normal_
    return fill(torch.empty_like(*args, **kwargs), generator=generator)


def _dropout(generator, func, inputs, p=0.5, training=True, inplace=False, *, train=None):
    """torch's dropout, to the bit on a CPU; of whole channels by the number in its name."""
    if not (training if train is None else train) or p == 0:
        return inputs
    channels = func.__name__[-2:] in ("1d", "2d", "3d")
    shape = (*inputs.shape[:2], *(1,) * (inputs.dim() - 2)) if channels else inputs.shape
    kept = torch.empty(shape, dtype=inputs.dtype, device=inputs.device)
    kept.bernoulli_(1 - p, generator=generator).div_(1 - p if p < 1 else 1)
    return inputs.mul_(kept) if inplace or func.__name__ == "dropout_" else inputs * kept


def _with_lent(generator, func, /, *args, **kwargs):
    """What a function gives while torch's global generator draws what this one would."""
    if getattr(BORROWER, "has_it", False):  # a function that calls another of its kind
        return func(*args, **kwargs)
    torch_of = torch.cuda if generator.device.type == "cuda" else torch
    place = (generator.device,) if torch_of is torch.cuda else ()
    with LENDING:
        found = torch_of.get_rng_state(*place)

        def give_back():
            torch_of.set_rng_state(found, *place)
            BORROWER.has_it = False

        try:  # twice, since an interrupt may come while it is given back
            try:
                BORROWER.has_it = True
                torch_of.set_rng_state(generator.get_state(), *place)
                return func(*args, **kwargs)
            finally:
                generator.set_state(torch_of.get_rng_state(*place))
                give_back()
        finally:
            give_back()


# How a function that draws is called, that it draws from a generator; torch's names.
IN_PLACE = "uniform_ normal_ bernoulli_ exponential_ cauchy_ log_normal_ geometric_ random_"
INITIAL = "kaiming_uniform_ kaiming_normal_ xavier_uniform_ xavier_normal_ trunc_normal_"
DRAWN = "rand randn randint randperm normal bernoulli multinomial poisson"
OTHERS = "alpha_dropout feature_alpha_dropout rrelu gumbel_softmax randint_like"
LAYERS = "lstm gru rnn_tanh rnn_relu multi_head_attention_forward scaled_dot_product_attention"
POOLS = "fractional_max_pool2d fractional_max_pool3d"
DRAWS = {
    **dict.fromkeys(f"{IN_PLACE} {INITIAL} {DRAWN}".split(), _with_own),
    **dict.fromkeys(["rand_like", "randn_like"], _like),
    **dict.fromkeys(["dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d"], _dropout),
    **dict.fromkeys(f"{OTHERS} {LAYERS} {POOLS}".split(), _with_lent),
}


def recorded(key):
    """A fitted attribute: a column of the net's history, if that has one."""

    def column(estimator):
        try:
            return estimator.net_.history[:, key]
        except KeyError as error:
            raise AttributeError(f"This net recorded no {key}.") from error

    return property(column)


def wrap_trained(module, *, device="auto"):
    net = make_net(with_leaves(module), device=device).initialize()
    net.module_.eval()
    return net


def _forget_batches(epochs):
    for epoch in epochs:
        del epoch["batches"][:-1]  # checkpoints ask for the last


def _finite(value, key, net):
    if np.isfinite(value):
        return value
    half = any(each.dtype == torch.float16 for each in net.module_.parameters())
    raise ValueError(
        f"Training diverged: the {key} of epoch {len(net.history)} is {value}; use a smaller "
        f"lr than {net.lr}, or scale the inputs (for instance with StandardScaler)"
        f"{'; or train in float32, module.float(), and not in float16' if half else ''}."
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
