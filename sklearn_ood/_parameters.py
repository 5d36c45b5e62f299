"""Parameters of estimators: annotated class attributes, checked at fit by their types."""

import re
import typing
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from datetime import date
from inspect import cleandoc, get_annotations, signature
from numbers import Integral, Number, Real
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, dataclass_transform

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    make_constraint,
)

Positive = Annotated[float, Interval(Real, 0, None, closed="neither")]
NonNegative = Annotated[float, Interval(Real, 0, None, closed="left")]
Share = Annotated[float, Interval(Real, 0, 1, closed="neither")]
PositiveShare = Annotated[float, Interval(Real, 0, 1, closed="right")]
ShareOrZero = Annotated[float, Interval(Real, 0, 1, closed="left")]
ClosedShare = Annotated[float, Interval(Real, 0, 1, closed="both")]
LARGEST = 2**31 - 1
Count = Annotated[int, Interval(Integral, 1, LARGEST, closed="both")]
Several = Annotated[int, Interval(Integral, 2, LARGEST, closed="both")]
Natural = Annotated[int, Interval(Integral, 0, LARGEST, closed="both")]
RandomState = Annotated[Any, "random_state"]
Estimator = Annotated[Any, HasMethods("fit")]
F = TypeVar("F", bound=Callable)
# The order of a docstring's first sections; the others stay as they are.
FIRST = "", "Parameters", "Attributes", "Returns", "Yields", "Raises"


def fitted(*, init: Literal[False] = False):
    """An attribute that fit sets, declared with its type: only such ones can be saved."""
    return field(init=init)  # which tells type checkers that it is no parameter


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field, fitted))
class Parameterized(BaseEstimator):
    """An estimator whose parameters are its annotated class attributes.

    They become the signature, scikit-learn's own constraints, and the entries of the docstring
    that a subclass inherits. All are keyword-only but one that says ``field(default=...,
    kw_only=False)``; those that say ``fitted()`` are no parameters. A class that has one of
    these need not document it:

    Parameters
    ----------
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows, as in a pipeline.
    n_jobs : int or None, default=None
        How many parts are fitted at the same time.
    device : {"auto"} or torch device, default="auto"
        Where networks run: "auto" is CUDA where there is one.
    verbose : int, default=0
        1 shows a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of all that is random: the same int gives the same bits on a CPU, in any thread.
    """

    _parameter_constraints: ClassVar[dict] = {}  # of an estimator without parameters

    # What scikit-learn's functions set: of validate_data, set_output and metadata routing.
    n_features_in_: int
    feature_names_in_: object
    _sklearn_output_config: dict
    _metadata_request: object

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if get_annotations(cls):
            declare(cls)
        if (fit := vars(cls).get("fit")) and fit.__doc__:
            texts = [_fit.__doc__, fit.__doc__]
            fit.__doc__ = _inherited(texts, signature(fit), ("Parameters", "Returns"))
        if cls.__doc__:
            texts = [parent.__doc__ for parent in reversed(cls.__mro__)]
            cls.__doc__ = _inherited(texts, signature(cls), ("Parameters", "Attributes"))

    def set_params(self, **params):
        held = self.get_params(deep=False) | params
        for name in params:
            outer, _, inner = name.partition("__")
            if inner and outer in held and not hasattr(held[outer], "set_params"):
                raise ValueError(
                    f"Got {name}={params[name]!r}, but {outer}={held[outer]!r} has no "
                    f"parameters to set; of a callable set {outer}=functools.partial("
                    f"{getattr(held[outer], '__name__', 'function')}, {inner}=...) itself."
                )
        return super().set_params(**params)

    def _validate_params(self):
        check_parameters(vars(self), self._parameter_constraints, type(self).__name__)

    def _weight_in(self, params):
        """The ``sample_weight`` among what ``fit`` is given beside X and y, or None."""
        if others := sorted(params.keys() - {"sample_weight"}):
            raise TypeError(
                f"Got {others}, but {type(self).__name__}.fit takes X, y and sample_weight."
            )
        return params.get("sample_weight")


def _fit(X, y=None, sample_weight=None):
    """What every ``fit`` says, where it says nothing else.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
    y : array-like of shape (n_samples,), default=None
        Labels; None is one class.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts.
    **params : dict of str to array-like
        ``sample_weight``: how much each row counts.

    Returns
    -------
    self
    """


def forget(estimator):
    """Drop what an earlier ``fit`` learned: an interrupted one must not leave a mixture."""
    kept = {name: value for name, value in vars(estimator).items() if not name.endswith("_")}
    estimator.__dict__ = kept  # at once, or an interrupt would leave a part


def check_parameters(values, constraints, owner):
    """Raise for the first of the values that meets none of its constraints."""
    for name, choices in constraints.items():
        allowed = [make_constraint(each) for each in choices]
        if allowed and not any(_satisfies(values[name], each) for each in allowed):
            expected = " or ".join(map(_shown, allowed))
            raise InvalidParameterError(
                f"Got {name}={values[name]!r}, but expected {expected} for {owner}."
            )


def drawn_seed(random_state):
    """A whole number that seeds others, drawn from a parameter ``random_state``."""
    return int(check_random_state(random_state).randint(LARGEST))


def check_label(value, name):
    """Raise for what is no label: neither a number, text or a date, nor None; NaN is none."""
    is_label = isinstance(value, str | bytes | Number | np.generic | date | None)
    if not is_label or value != value:
        raise ValueError(f"Got {name}={value!r}, but expected one label: a number or text.")


def whole_numbers(values, name):
    """One whole number from 1 on, or a sequence of them, as a tuple of int."""
    several = isinstance(values, list | tuple | range | np.ndarray) and np.iterable(values)
    sizes = values if several else [values]
    if not all(isinstance(n, Integral) and n is not True and 0 < n < 2**63 for n in sizes):
        raise ValueError(
            f"Got {name}={values!r}, but expected a whole number from 1 on, or several."
        )
    return tuple(map(int, sizes))


def called(name, function, *arguments):
    """What a user's function gives; where it takes other arguments, an error with its name."""
    try:
        return function(*arguments)
    except TypeError as error:
        raise TypeError(f"Got {name}={function!r}, which fails: {error}") from error


def check_arguments(function, arguments):
    """Raise for the first argument of a function that its annotation does not allow."""
    hints = typing.get_type_hints(function, include_extras=True)
    constraints = {name: _constraints(hints.get(name, Any)) for name in arguments}
    check_parameters(arguments, constraints, function.__name__)


def _satisfies(value, constraint):
    """Whether a constraint allows a value."""
    # True, False and integers beyond 64 bits are no numbers here, and a class has no methods.
    is_flag = isinstance(value, bool | np.bool_)
    is_huge = isinstance(value, Integral) and abs(int(value)) >= 2**63
    if isinstance(constraint, Interval) and (is_flag or is_huge):
        return False
    if isinstance(constraint, HasMethods) and isinstance(value, type):
        return False
    if isinstance(constraint, Options) and not isinstance(value, Hashable):
        return False
    return constraint.is_satisfied_by(value)


def declare(cls):
    """Make the annotated attributes of a class its parameters, beside those of its parents."""
    own_init = "__init__" in vars(cls)
    dataclass(cls, eq=False, repr=False, kw_only=True)
    names = [each.name for each in fields(cls) if each.init]
    hints = typing.get_type_hints(cls, include_extras=True)
    cls._parameter_constraints = {name: _constraints(hints[name]) for name in names}
    if not own_init:
        plain = typing.get_type_hints(cls)
        cls.__init__.__annotations__ = {name: plain[name] for name in names}
    return cls


def _shown(constraint):
    if isinstance(constraint, Options):
        return f"one of {', '.join(sorted(map(repr, constraint.options)))}"
    text = str(constraint).replace(f" in the range [-{LARGEST}, {LARGEST}]", "")
    return text.replace(f", {LARGEST}]", ", inf)")


def _constraints(hint):
    """scikit-learn's constraints in an annotation; none where anything is allowed."""
    hint = getattr(typing.get_origin(hint) or hint, "__value__", hint)  # of an alias
    parents = getattr(typing.get_origin(hint), "__mro__", ())
    if hint is Any or typing.Protocol in parents:  # as parts of ArrayLike are
        return []
    if typing.get_origin(hint) is Annotated:
        return list(typing.get_args(hint)[1:])
    if typing.get_origin(hint) is Literal:
        return [Options(object, set(typing.get_args(hint)))]
    if hint is NoneType:
        return [None]
    if hint in (bool, int, float):
        whole = Interval(Integral, -LARGEST, LARGEST, closed="both")
        return {bool: ["boolean"], int: [whole, "boolean"], float: [Real]}[hint]
    if typing.get_origin(hint) in (Union, UnionType):
        parts = [_constraints(part) for part in typing.get_args(hint)]
        return [each for part in parts for each in part] if all(parts) else []
    return [typing.get_origin(hint) or hint]


def inherits(*parents: Callable) -> Callable[[F], F]:
    """Let a function's docstring have the entries on parameters and errors that it lacks."""

    def decorator(function):
        texts = [each.__doc__ for each in (*parents, function)]
        function.__doc__ = _inherited(texts, signature(function), ("Parameters", "Raises"))
        return function

    return decorator


def _inherited(texts, signed, titles):
    """The last of some docstrings, with the entries of sections that only those before have."""
    said = [_sections(text) for text in texts]
    made = said[-1]
    for title in titles:
        entries = {}
        for each in said:
            parts = re.split(r"(?m)^(?=\S)", each.get(title, ""))
            entries |= {re.match(r"\**(\w+)", part)[1]: part for part in parts if part}
        if title == "Parameters":  # in the order of the signature
            entries = {name: entries[name] for name in signed.parameters if name in entries}
        if entries:
            made[title] = "".join(entries.values())
    order = [title for title in dict.fromkeys((*FIRST, *made)) if title in made]
    parts = (f"{title}\n{'-' * len(title)}\n{made[title]}" for title in order)
    return "\n".join(parts).lstrip()


def _sections(text):
    """What a docstring says by the title of its sections, first what is before them."""
    summary, *parts = re.split(r"(?m)^(\w[\w ]*)\n-{3,}\n", cleandoc(text or ""))
    said = dict(zip(["", *parts[::2]], [summary, *parts[1::2]], strict=True))
    return {title: part.rstrip("\n") + "\n" for title, part in said.items()}


def as_chosen(estimator, fitted):
    """An estimator with what its fit chooses from the rows as another fit of it has chosen."""
    if isinstance(fitted, FrozenEstimator):
        return estimator
    if isinstance(fitted, Pipeline):
        if not isinstance(estimator, Pipeline):  # rows are converted for it first
            return as_chosen(estimator, fitted[-1])
        name, last = estimator.steps[-1]
        return clone(estimator).set_params(**{name: as_chosen(last, fitted[-1])})
    if isinstance(fitted, BaseSearchCV):
        return clone(fitted.best_estimator_)
    chosen = getattr(fitted, "chosen_params", dict)()
    return clone(estimator).set_params(**chosen) if chosen else estimator


def clone_completed(estimator, *, random_state=None, input_shape=None):
    """An unfitted clone, whose ``random_state`` and ``input_shape`` of None are filled in.

    Also inside of pipelines: with the int, or seeds drawn from a RandomState; with an image's
    (C, H, W), where it is one, but behind a step that takes images and gives something else.
    """
    filled, parameters = {}, estimator.get_params(deep=True)
    inside = [("", estimator), *((f"{name}__", each) for name, each in parameters.items())]
    pipelines = [(prefix, each) for prefix, each in inside if isinstance(each, Pipeline)]
    later = tuple(
        f"{prefix}{name}__"
        for prefix, each in pipelines
        for i, (name, _) in enumerate(each.steps)
        if any(hasattr(step, "input_shape") for _, step in each.steps[:i])
    )
    for name, value in sorted(parameters.items()):
        parameter = name.rpartition("__")[2]
        if parameter == "random_state" and value is None and random_state is not None:
            draws = isinstance(random_state, np.random.RandomState)
            filled[name] = drawn_seed(random_state) if draws else random_state
        is_open = parameter == "input_shape" and value is None and not name.startswith(later)
        if is_open and len(input_shape or ()) == 3:
            filled[name] = input_shape
    completed = clone(estimator)
    return completed.set_params(**filled) if filled else completed  # what is frozen has none
