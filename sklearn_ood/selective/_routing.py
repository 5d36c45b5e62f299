"""Metadata, such as weights of rows: for who decides, and for what is trained inside."""

from sklearn.utils._metadata_requests import _raise_for_params, _routing_enabled
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import has_fit_parameter

from sklearn_ood._response import is_frozen


class Router:
    """Takes metadata itself, and passes them on to the estimators that it trains."""

    _routes_to: tuple[str, ...] = ("estimator",)

    def get_metadata_routing(self) -> MetadataRouter:
        """What is wanted here and inside, for scikit-learn's routing.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        trained = {name: each for name, each in self._inside().items() if not is_frozen(each)}
        return router.add(method_mapping=mapping, **trained) if trained else router

    def _inside(self):
        """The estimators that are there, by the name of their parameter."""
        given = {name: getattr(self, name) for name in self._routes_to}
        return {name: each for name, each in given.items() if each is not None}

    def _route(self, **metadata):
        """What ``fit`` does with metadata itself, and what each estimator inside gets.

        Parameters
        ----------
        **metadata : dict
            Of those that are None nothing is said.

        Returns
        -------
        own : dict
            Without those that are asked not to be used here.
        inside : list of dict
            For the ``fit`` of each of ``_inside()``.
        """
        given = {name: value for name, value in metadata.items() if value is not None}
        if not given:
            return {}, [{} for _ in self._inside()]
        requests = self._get_metadata_request().fit.requests
        _raise_for_params(given, self, "fit", allow=requests.keys())
        if _routing_enabled():
            routed = process_routing(self, "fit", **given)
            inside = [routed[name].fit if name in routed else {} for name in self._inside()]
            return {n: v for n, v in given.items() if requests.get(n) is not False}, inside
        weights = {n: v for n, v in given.items() if n == "sample_weight"}
        trained = [not is_frozen(each) for each in self._inside().values()]
        for each, is_trained in zip(self._inside().values(), trained, strict=True):
            if weights and is_trained and not has_fit_parameter(each, "sample_weight"):
                raise TypeError(
                    f"Got sample_weight, but {type(each).__name__} takes none in fit; let "
                    "scikit-learn route it (enable_metadata_routing, set_fit_request), or "
                    "freeze what is inside, so that weights calibrate alone."
                )
        return given, [weights if is_trained else {} for is_trained in trained]
