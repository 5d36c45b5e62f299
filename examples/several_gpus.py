"""
Several GPUs, one network
=========================

One process for each GPU, and each learns from its own share of the rows. At every step
accelerate averages the processes' gradients, by a callback of skorch: all of them hold the same
network at all times, and any of them can keep it. Run it with ::

    pip install "sklearn-ood[accelerate]"
    accelerate launch --num_processes 2 examples/several_gpus.py

or, without a GPU, with ``ACCELERATE_USE_CPU=yes torchrun --nproc_per_node 2``.

The shares must be equally long, or a process would wait for the others' last step for ever; for
the same reason ``early_stopping``, which every process would decide for itself, stays off. It
is for networks without a GAN beside them.
"""

from accelerate import Accelerator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sklearn_ood import SoftmaxClassifier, save


class AverageGradients(Callback):
    """The mean of all processes' gradients, before each step."""

    def __init__(self, accelerator):
        self.accelerator = accelerator

    def on_grad_computed(self, net, named_parameters, **kwargs):
        for _, parameter in named_parameters:
            parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")


def fit_together(classifier, X, y, accelerator):
    """Fit a classifier on this process' share of the rows, together with the others."""
    n, rank = accelerator.num_processes, accelerator.process_index
    share = slice(rank, len(X) // n * n, n)
    classifier.set_params(
        device=str(accelerator.device),
        net_params={"callbacks": [("average", AverageGradients(accelerator))]},
    )
    classifier.fit(X[share], y[share])
    # The callback holds the connection to the others, which no file can keep.
    return classifier.set_params(net_params=None)


def main():
    accelerator = Accelerator()
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    # The same seed in every process: the same weights to begin with.
    classifier = SoftmaxClassifier(batch_size=32, max_epochs=30, random_state=0)
    fit_together(classifier, X_train, y_train, accelerator)
    if accelerator.is_main_process:
        print(f"{accelerator.num_processes} processes: {classifier.score(X_test, y_test):.3f}")
        save(classifier, "digits.ood")


if __name__ == "__main__":
    main()
