"""Batches that a network is trained on."""

from contextlib import nullcontext

import torch

from sklearn_ood.data._blocks import drawn_by


class ArrayBatches:
    """skorch's iterator over :class:`Arrays`; a single row that is left joins a batch."""

    random = nullcontext()

    def __init__(self, dataset, batch_size, shuffle=False, drop_last=False, num_workers=0):
        if num_workers:
            raise ValueError(
                f"Got num_workers={num_workers}, but batches are slices; leave it out."
            )
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.shuffle, self.drop_last = shuffle, drop_last

    def __iter__(self):
        with self.random:
            order = self._order()
        self._start = 0
        while parts := self._parts():
            size = self.batch_size
            indices = parts if order is None else [order[part] for part in parts]
            for part, batch in zip(parts, self.dataset.batches(indices), strict=True):
                self._start = part.stop
                yield batch
                if self.batch_size != size:
                    break

    def _order(self):
        """Positions of the rows of an epoch; None where they come once and as they lie."""
        n_rows, weight = len(self.dataset), self.dataset.weight
        order = torch.randperm(n_rows) if self.shuffle or weight is not None else None
        if weight is None:
            return order
        drawn = drawn_by(weight, order.numpy(), float(torch.rand(())))
        return torch.from_numpy(drawn)[torch.randperm(n_rows)]

    def _parts(self):
        n_rows, size = len(self.dataset), self.batch_size
        starts = list(range(self._start, n_rows, size))
        if starts and self.drop_last and n_rows - starts[-1] < size:
            starts.pop()
            n_rows = starts[-1] + size if starts else 0
        elif len(starts) > 1 < size and n_rows - starts[-1] == 1:
            starts.pop()
        return list(map(slice, starts, [*starts[1:], n_rows]))

    def halve_and_repeat(self, n_rows):
        """Give the last ``n_rows`` rows again, in batches of half the size."""
        self._start -= n_rows
        self.batch_size = max(1, n_rows // 2)
