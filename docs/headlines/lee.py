"""Training confidence-calibrated classifiers."""

from records import metric, read

from headlines import claim, part

SIMPLE = "batch_size=32; beta=1.0; channels=128; epochs=1; lr=0.001; net=simple_cnn; "
SIMPLE += "rows=10000; test_rows=1000"


def headlines():
    where = {"experiment": "images", "data": "mnist"}

    def mnist(method, measure, data="mnist", rows="rows=2000"):
        lines = read("lee")
        settings = next(s for s in lines[lines["data"] == data]["settings"] if rows in s)
        return metric("lee", method, measure, **where | {"data": data, "settings": settings})

    def tnr(method, unseen):
        return mnist(method, f"baseline {unseen} tnr_at_tpr")

    def toy(figure, measure, **where):
        found = read("lee").query(f"experiment == 'figure {figure}'")
        keys = {"data": found["data"].iloc[0], "method": found["method"].iloc[0]} | where
        method = keys.pop("method")
        return metric("lee", method, measure, experiment=f"figure {figure}", **keys)

    for unseen in ("notmnist", "omniglot"):
        yield claim(
            f"joint GAN refuses more of an unseen set than known outliers do ({unseen})",
            "35.0 against 9.9 % (TinyImageNet)",
            "{:.1p} against {:.1p} %",
            lambda unseen=unseen: [tnr("joint GAN", unseen), tnr("explicit", unseen)],
            lambda joint, explicit: joint > explicit,
        )
    yield claim(
        "joint GAN refuses more than the original GAN, pre-trained and not (notmnist)",
        "joint ahead",
        "{:.1p} against {:.1p} and {:.1p} %",
        lambda: [
            tnr(m, "notmnist")
            for m in ("joint GAN", "original GAN, pre-trained", "original GAN")
        ],
        lambda joint, before, beside: part((joint > before) + (joint > beside), 2),
    )
    yield claim(
        "joint GAN lowers the calibration error",
        "18.5 to 14.6 % (CIFAR-10)",
        "{:.1p} to {:.1p} %",
        lambda: [mnist("cross entropy", "ece"), mnist("joint GAN", "ece")],
        lambda before, after: after < before,
    )
    yield claim(
        "with a temperature the joint GAN's calibration error is the lower one",
        "7.1 to 6.2 % (CIFAR-10)",
        "{:.1p} to {:.1p} %",
        lambda: [mnist(m, "ece, temperature") for m in ("cross entropy", "joint GAN")],
        lambda before, after: after < before,
    )
    yield claim(
        "figure 2: answered with more than .9 (notmnist), cross entropy and known outliers",
        "most against next to none (figure)",
        "{:.1p} against {:.1p} %",
        lambda: [mnist(m, "sure of notmnist") for m in ("cross entropy", "explicit")],
        lambda before, after: after < 0.1 * before,
    )
    for unseen in ("notmnist", "omniglot"):
        yield claim(
            f"figure 2, their simple net on 10,000 rows: answered with more than .9 ({unseen})",
            "most against next to none (figure)",
            "{:.1p} against {:.1p} %",
            lambda unseen=unseen: [
                metric("lee", m, f"sure of {unseen}", experiment="figure 2", settings=SIMPLE)
                for m in ("cross entropy", "explicit")
            ],
            lambda before, after: after < 0.1 * before,
        )
    yield claim(
        "a reject class (K+1) refuses nothing of an unseen set (notmnist)",
        "0.0 %",
        "{:.1p} %",
        lambda: [tnr("K+1", "notmnist")],
        lambda share: share < 0.05,
    )
    yield claim(
        "joint GAN refuses more than cross entropy (notmnist; omniglot)",
        "13.6 to 35.0 % (TinyImageNet)",
        "{:.1p} to {:.1p} %; {:.1p} to {:.1p} %",
        lambda: [
            tnr(m, s) for s in ("notmnist", "omniglot") for m in ("cross entropy", "joint GAN")
        ],
        lambda a, b, c, d: part((b > a) + (d > c), 2),
    )
    tiny = "baseline tinyimagenet tnr_at_tpr"
    yield claim(
        "a tenth of CIFAR-10: joint GAN refuses more than cross entropy (TinyImageNet)",
        "13.6 to 35.0 %",
        "{:.1p} to {:.1p} %",
        lambda: [
            mnist(m, tiny, "cifar10", "rows=5000") for m in ("cross entropy", "joint GAN")
        ],
        lambda before, after: after > before,
    )
    yield claim(
        "known outliers: their own kind is refused (fashion_mnist)",
        "99.8 % (SVHN)",
        "{:.1p} %",
        lambda: [tnr("explicit", "fashion_mnist")],
        lambda share: share > 0.95,
    )
    yield claim(
        "the joint loss costs no accuracy (within one point)",
        "80.1 to 81.4 % (CIFAR-10)",
        "{:.1p} to {:.1p} %",
        lambda: [mnist("cross entropy", "accuracy"), mnist("joint GAN", "accuracy")],
        lambda before, after: after > before - 0.01,
    )
    near, far = "100 outliers of [-20, 20]^2", "100 outliers of [-50, 50]^2"
    yield claim(
        "figure 1: outliers near the data bound the confident region better than far ones "
        "(near box; whole box)",
        "near ones",
        "sure of {:.1p} against {:.1p} %; of {:.1p} against {:.1p} %",
        lambda: [
            toy(1, measure, data=data)
            for measure in ("near box confident", "box confident")
            for data in (near, far)
        ],
        lambda a, b, c, d: part((a < b) + (c < d), 2),
    )
    yield claim(
        "figure 3: the joint GAN's samples line the classes (share in the ring; sectors of 72)",
        "all around",
        "{:.1p} %, original GAN {:.1p} %; {:.0f} sectors",
        lambda: [
            toy(3, "ring", method="joint GAN"),
            toy(3, "ring", method="original GAN"),
            toy(3, "sectors", method="joint GAN"),
        ],
        lambda joint, original, sectors: part((joint > original) + (sectors > 65), 2),
    )
    yield claim("VGG13 on all of CIFAR-10: joint GAN with pull-away term", "44.8 %", "")
