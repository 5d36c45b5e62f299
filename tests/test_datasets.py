import numpy as np
import pytest
from scipy import stats

from sklearn_ood.datasets import (
    inside_rings,
    inside_two_gaussians,
    make_birds,
    make_rings,
    make_two_gaussians,
)

MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
CENTERS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])


def nearest(X, centers):
    return np.linalg.norm(X[:, None] - centers, axis=2).min(axis=1)


class TestTwoGaussians:
    @pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
    def test_in_distribution_is_a_gaussian_cut_at_three_sigma(self, sigma):
        X, y = make_two_gaussians(6000, sigma=sigma, random_state=0)
        assert X.shape == (6000, 2)
        assert np.bincount(y).tolist() == [3000, 3000]
        assert inside_two_gaussians(X, sigma=sigma).all()
        squared = ((X - MEANS[y]) ** 2).sum(axis=1) / sigma**2
        whole = stats.chi2(2)
        cut = stats.kstest(squared, lambda r: whole.cdf(r) / whole.cdf(9.0))
        assert cut.pvalue > 0.01

    def test_covariance_has_no_direction(self):
        X, y = make_two_gaussians(20_000, random_state=1)
        spread = np.cov((X - MEANS[y]).T)
        assert spread[0, 1] == pytest.approx(0.0, abs=0.03)
        assert spread[0, 0] == pytest.approx(spread[1, 1], rel=0.05)

    def test_boundary_is_uniform_in_the_rings(self):
        X, y = make_two_gaussians(
            10, sigma=2.0, outliers="boundary", n_outliers=4000, random_state=0
        )
        radius = nearest(X[y == -1], MEANS)
        assert (radius > 6.0).all()
        assert (radius <= 7.0).all()
        uniform = stats.uniform(36.0, 13.0)
        assert stats.kstest(radius**2, uniform.cdf).pvalue > 0.01
        assert 0.45 < (X[y == -1, 0] < 0).mean() < 0.55

    def test_boundary_leaves_out_the_other_disc(self):
        X, y = make_two_gaussians(
            10, sigma=4.0, outliers="boundary", n_outliers=500, random_state=0
        )
        assert (nearest(X[y == -1], MEANS) > 12.0).all()

    @pytest.mark.parametrize("box", [10.0, 20.0, 50.0])
    def test_box_is_uniform_outside_the_discs(self, box):
        X, y = make_two_gaussians(10, outliers="box", n_outliers=3000, box=box, random_state=0)
        outliers = X[y == -1]
        assert len(outliers) == 3000
        assert (np.abs(outliers) <= box).all()
        assert not inside_two_gaussians(outliers).any()
        above = outliers[outliers[:, 1] > 3.0, 1]
        assert stats.kstest(above, stats.uniform(3.0, box - 3.0).cdf).pvalue > 0.01

    def test_outliers_default_to_as_many_rows(self):
        _, y = make_two_gaussians(30, outliers="box", ood_label=7, random_state=0)
        assert np.unique(y, return_counts=True)[1].tolist() == [15, 15, 30]
        assert set(y) == {0, 1, 7}

    def test_without_outliers_there_are_only_the_classes(self):
        _, y = make_two_gaussians(31, random_state=0)
        assert np.bincount(y).tolist() == [16, 15]

    def test_seed_decides(self):
        first = make_two_gaussians(50, outliers="box", random_state=3)
        second = make_two_gaussians(50, outliers="box", random_state=3)
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"n_samples": 1}, r"Got n_samples=1, but expected an int in the range \[2, inf\)"),
            ({"sigma": 0}, r"Got sigma=0, but expected a float in the range \(0.0, inf\)"),
            ({"sigma": np.nan}, "Got sigma=nan"),
            ({"box": "wide"}, "Got box='wide'"),
            ({"ring_width": -1.0}, "Got ring_width=-1.0"),
            ({"ood_label": 1}, "Got ood_label=1, but that is a class"),
            ({"ood_label": "out"}, "Got ood_label='out', but expected an int"),
            (
                {"outliers": "ring"},
                "Got outliers='ring', but expected one of 'boundary', 'box'",
            ),
            ({"outliers": "box", "n_outliers": -1}, "Got n_outliers=-1"),
            ({"n_outliers": 5}, "Got n_outliers=5 with outliers=None"),
            ({"outliers": "box", "box": 3.0, "sigma": 5.0}, "Got box=3.0 with sigma=5.0"),
        ],
    )
    def test_bad_parameters(self, parameters, message):
        with pytest.raises(ValueError, match=message):
            make_two_gaussians(**parameters)

    def test_smallest_box_that_reaches_outside_is_accepted(self):
        # The corner (0, b) leaves the disc of radius 15 around (-10, 0) at b = sqrt(125).
        X, y = make_two_gaussians(
            4, sigma=5.0, outliers="box", box=11.5, n_outliers=20, random_state=0
        )
        assert not inside_two_gaussians(X[y == -1], sigma=5.0).any()
        with pytest.raises(ValueError, match=r"Got box=11\.1"):
            make_two_gaussians(sigma=5.0, outliers="box", box=11.1)

    def test_points_of_the_plane_only(self):
        with pytest.raises(ValueError, match="3 columns, but expected 2"):
            inside_two_gaussians(np.zeros((2, 3)))


class TestRings:
    def test_every_class_is_uniform_on_its_ring(self):
        X, y = make_rings(6000, random_state=0)
        assert np.bincount(y).tolist() == [2000] * 3
        offset = X - CENTERS[y]
        radius = np.hypot(*offset.T)
        uniform = stats.uniform(0.36, 0.13)
        assert stats.kstest(radius**2, uniform.cdf).pvalue > 0.01
        angle = np.arctan2(*offset.T)
        assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01

    def test_outliers_are_in_the_box_and_on_no_ring(self):
        X, y = make_rings(30, n_outliers=500, box=3.0, ood_label=9, random_state=0)
        assert np.array_equal(inside_rings(X), y != 9)
        assert (np.abs(X[y == 9]) <= 3.0).all()
        assert np.abs(X[y == 9]).max() > 2.5

    def test_other_radii(self):
        X, _ = make_rings(300, inner_radius=0.2, thickness=0.8, random_state=0)
        assert inside_rings(X, inner_radius=0.2, thickness=0.8).all()
        assert not inside_rings(X).all()

    def test_same_seed_same_rows(self):
        first, second = (make_rings(9, n_outliers=4, random_state=5)[0] for _ in range(2))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"n_samples": 2}, r"Got n_samples=2, but expected an int in the range \[3, inf\)"),
            ({"inner_radius": 0}, "Got inner_radius=0"),
            ({"thickness": -0.1}, "Got thickness=-0.1"),
            ({"inner_radius": 0.95}, "rings would overlap"),
            ({"n_outliers": 1.5}, "Got n_outliers=1.5"),
            ({"box": 0.0}, "Got box=0.0"),
            ({"ood_label": 2}, "Got ood_label=2, but that is a class"),
        ],
    )
    def test_bad_parameters(self, parameters, message):
        with pytest.raises(ValueError, match=message):
            make_rings(**parameters)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_birds_are_a_table_as_people_have_it(missing):
    X, y = make_birds(3000, n_unknown=200, missing=missing, random_state=0)
    assert (y == "crossbill").sum() == 200
    assert [each.name for each in X.dtypes[3:]] == ["category", "category", "bool"]
    assert X.isna().to_numpy()[:, :5].mean() == pytest.approx(missing, abs=0.02)
    sparrows, finches = X[y == "sparrow"], X[y == "finch"]
    assert sparrows["wing"].mean() == pytest.approx(78, abs=0.5)
    assert finches["habitat"].value_counts(normalize=True)["hedge"] == pytest.approx(
        0.4, abs=0.05
    )
    again, _ = make_birds(3000, n_unknown=200, missing=missing, random_state=0)
    assert X.equals(again)
