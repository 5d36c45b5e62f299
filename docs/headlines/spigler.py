"""Denoising autoencoders for overgeneralisation, and COOL."""

from records import Number, metric, read

from headlines import best, claim, part

DETECTORS = ("isolation forest", "local outlier factor", "one-class SVM", "k-NN (5)")
DETECTORS += ("PyOD AutoEncoder", "PyOD ECOD")


OUTSIDE = "at 95% of the rings outside accepted"
OF_1000 = "batch_size=64; epochs=20; lr_schedule=cosine; noise=0.3; rows=1000; weight_decay="
CNN, DENSE = "FGN at 0.0001, cnn, tuned alpha", "fooling, mlp, paper alpha"
EARLIER = "fooling, cnn, tuned alpha"


def fooling(method, measure, experiment=CNN):
    return metric("spigler", method, measure, experiment=experiment)


def fooled(method, attack, experiment=CNN):
    return [fooling(method, f"fooled at {level}%, {attack}", experiment) for level in (90, 99)]


def dense(method, attack, level):
    """Share fooled in the dense network, and the updates that were allowed."""
    of_trials = f"at {level}%, {attack}"
    return [fooling(method, f"{what} {of_trials}", DENSE) for what in ("fooled", "allowed")]


def auroc(methods, experiment):
    return best("spigler", "auroc", methods, experiment=experiment)


def of_1000(method, decay):
    where = {"experiment": "L2, one class mnist", "settings": f"{OF_1000}{decay}"}
    return metric("spigler", method, "auroc", **where)


def open_set(data, level):
    """At how many of the open problems the autoencoder is above COOL and softmax."""
    lines = read("spigler").query(f"experiment == 'open set {data}'")
    won = of = 0
    for openness in dict.fromkeys(lines["data"]):
        if float(openness) > 0.3:
            found = lines[lines["data"] == openness].groupby("method")["value"].mean()
            others = [found.get(f"{method} at {level}", 0) for method in ("COOL", "softmax")]
            won += found[f"DAE at {level}"] > max(others)
            of += 1
    return Number([won], lines["seed"].nunique()), of


def headlines():
    yield claim(
        "tied DAE: digits answered rightly at 90 / 99 %, with the paper's alphas",
        "98.1 / 96.8 %",
        "{:.1p} / {:.1p} %",
        lambda: [
            fooling("DAE tied", f"accuracy at {level}% with the paper's alpha")
            for level in (90, 99)
        ],
        lambda at_90, at_99: part((at_90 > 0.98) + (at_99 > 0.968), 2),
    )
    yield claim(
        "tied DAE: digits answered rightly at 90 / 99 %, with alphas from held-out rows",
        "98.1 / 96.8 %",
        "{:.1p} / {:.1p} %",
        lambda: [fooling("DAE tied", f"accuracy at {level}%") for level in (90, 99)],
        lambda at_90, at_99: part((at_90 > 0.98) + (at_99 > 0.968), 2),
    )
    yield claim(
        "softmax: fooled at 90 / 99 %",
        "100 / 99 %",
        "{:.1p} / {:.1p} %",
        lambda: fooled("softmax", "unscaled"),
        lambda at_90, at_99: part((at_90 > 0.95) + (at_99 > 0.95), 2),
    )
    yield claim(
        "dense tied DAE: test digits that pass at the paper's alphas, 20 at 90 %, 3 at 99 %",
        "goal: 95 % at 90 %",
        "{:.1p} / {:.1p} %",
        lambda: [fooling("DAE tied", f"passes at {level}%", DENSE) for level in (90, 99)],
        lambda at_90, at_99: at_90 >= 0.95,
    )
    yield claim(
        "dense tied DAE: digits answered rightly at 90 / 99 %, with the paper's alphas",
        "98.1 / 96.8 % (other network)",
        "{:.1p} / {:.1p} %",
        lambda: [fooling("DAE tied", f"accuracy at {level}%", DENSE) for level in (90, 99)],
        lambda at_90, at_99: part((at_90 > 0.98) + (at_99 > 0.968), 2),
    )
    for attack, level, goal in (
        ("unscaled", 90, 0),
        ("unscaled", 99, 0),
        ("scaled", 90, 0.05),
        ("scaled", 99, 0.05),
    ):
        yield claim(
            f"dense tied DAE, the paper's alpha: fooled at {level} %, {attack} output",
            f"goal: {goal:.0%}".replace("%", " %"),
            "{:.1p} % in {:,.0f} updates",
            lambda attack=attack, level=level: dense("DAE tied", attack, level),
            lambda share, allowed, goal=goal: share <= goal and (allowed >= 10000 or "part"),
        )
    for name, experiment in (("dense COOL", DENSE), ("COOL", CNN)):
        for attack, what, said in (
            ("unscaled", "through the probability of the class", "34.5 / 4.5 %"),
            ("scaled", "through the agreement of its units", "– / 0 %"),
        ):
            yield claim(
                f"{name}: fooled at 90 / 99 %, {what}",
                f"{said}{' (CNN)' * (experiment == DENSE)}",
                "{:.1p} / {:.1p} %",
                lambda attack=attack, where=experiment: fooled("COOL", attack, where),
                lambda at_90, at_99: part((at_90 < 0.4) + (at_99 < 0.1), 2),
            )
    for method, where in (("DAE tied", CNN), ("DAE free", EARLIER)):
        yield claim(
            f"{method}: fooled at 90 / 99 % by an attack that does not see its confidence",
            "0 / 0 %" if method == "DAE tied" else "0 % / –",
            "{:.1p} / {:.1p} %",
            lambda method=method, where=where: fooled(method, "unscaled", where),
            lambda at_90, at_99: part((at_90 == 0) + (at_99 == 0), 2),
        )
        yield claim(
            f"{method}: fooled at 90 % by an attack that sees it",
            "not tried; goal: 0 %",
            "{:.1p} %",
            lambda method=method, where=where: fooled(method, "scaled", where)[:1],
            lambda share: share == 0,
        )
        yield claim(
            f"{method}: fooled at 99 % by an attack that sees it (theirs: 10,000 updates)",
            "1 %" if method == "DAE tied" else "not tried; goal: 1 %",
            "{:.1p} % in {:,.0f} updates",
            lambda method=method, where=where: [
                fooled(method, "scaled", where)[1],
                fooling(method, "allowed at 99%, scaled", where),
            ],
            lambda share, allowed: part((share <= 0.01) + (allowed >= 10000), 2),
        )
    no_limit = {"experiment": "FGN at 0.0001, mlp, answers alpha"}
    yield claim(
        "dense DAE, alpha from the answers alone: fooled at 99 %, not seeing and seeing",
        "0 and 1 % (other network)",
        "{:.1p} and {:.1p} %",
        lambda: [
            metric("spigler", "DAE tied", f"fooled at 99%, {attack}", **no_limit)
            for attack in ("unscaled", "scaled")
        ],
        lambda unseeing, seeing: unseeing == 0 and seeing <= 0.01,
    )
    for noise in ("0.2", "0.6"):
        yield claim(
            f"dense DAE taught with noise {noise}, alpha from held-out rows: fooled at 99 %, "
            "scaled output, by what is no digit; by anything",
            "goal: 5 %",
            "{:.1p}; {:.1p} %",
            lambda noise=noise: [
                metric("spigler", f"noise {noise}", measure, experiment="attack")
                for measure in ("fooled by the strange", "fooled")
            ],
            lambda strange, any_: part((strange <= 0.05) + (any_ <= 0.05), 2),
        )
    for noise in ("0.2", "0.1"):
        yield claim(
            f"rings, noise {noise}{' (theirs)' * (noise == '0.2')}: accepted outside where "
            "95 % inside are; the ideal autoencoder",
            "goal: 3 %",
            "{:.1p} %; {:.1p} %",
            lambda noise=noise: [
                metric("spigler", method, OUTSIDE, data=f"noise {noise}", experiment="rings")
                for method in ("DAE tied", "ideal autoencoder")
            ],
            lambda share, ideal: share <= 0.03,
        )
    yield claim(
        "rings, `DAEConfidence()` on 1,000 / 3,000 rows: accepted outside, the same way",
        "goal: 10 %",
        "{:.1p} / {:.1p} %",
        lambda: [
            metric("spigler", "DAE", OUTSIDE, data=n, experiment="rings, default settings")
            for n in ("1000", "3000")
        ],
        lambda few, more: part((few <= 0.1) + (more <= 0.1), 2),
    )
    for data, goal in (("mnist", "goal: .95"), ("digits", "goal: .95")):
        yield claim(
            f"one class of small images ({data}), default settings, mean AUC: DAE, SVM",
            goal,
            "{:.3f}, {:.3f}",
            lambda data=data: [
                metric("spigler", m, "auroc", data=data, experiment="one class, small images")
                for m in ("default", "one-class SVM")
            ],
            lambda dae, svm: dae > 0.95,
        )
    for data, said in (("mnist", ".964 and .952"), ("fashion_mnist", "goal: above")):
        yield claim(
            f"one class of images, mean AUC, DAE and one-class SVM ({data})",
            said,
            "{:.3f} and {:.3f}",
            lambda data=data: [
                auroc([method], f"one class {data}") for method in ("DAE", "one-class SVM")
            ],
            lambda dae, svm: dae > svm,
        )
    for what, decay in (("COOL last, DAE first", "0.0001"), ("L2 10: the same", "10.0")):
        yield claim(
            f"one class of 1,000 images, mean AUC of COOL, DAE and one-class SVM: {what}",
            ".753, .964 and .952",
            "{:.3f}, {:.3f} and {:.3f}",
            lambda decay=decay: [of_1000(m, decay) for m in ("COOL", "DAE", "one-class SVM")],
            lambda cool, dae, svm: cool < svm < dae,
        )
    for data in ("mnist", "fashion_mnist"):
        yield claim(
            f"open set: DAE above COOL and softmax at openness above .3, 90 and 99 % ({data})",
            "everywhere (figure)",
            "{:.0f} and {:.0f} of {} problems",
            lambda data=data: [
                open_set(data, "0.9")[0],
                open_set(data, "0.99")[0],
                open_set(data, "0.9")[1],
            ],
            lambda at_90, at_99, of: part(at_90 + at_99, 2 * of),
        )
    yield claim(
        "blind spot: digits at half their contrast are refused, without and with typicality",
        "goal: 95 %",
        "accepted {:.1p} and {:.1p} %",
        lambda: [
            metric("spigler", f"{typicality} typicality", "accepted", data="contrast 0.5")
            for typicality in ("without", "with")
        ],
        lambda without, typical: part((without <= 0.05) + (typical <= 0.05), 2),
    )
    for method in ("DAE", "DAE with typicality"):
        yield claim(
            f"anomaly tables, mean AUROC: {method} above the best detector",
            "goal: above",
            "{:.3f}, detector {:.3f}",
            lambda method=method: [auroc([method], "anomalies"), auroc(DETECTORS, "anomalies")],
            lambda ours, peer: ours > peer,
        )
    for method in ("DAE", "random forest and DAE with typicality"):
        yield claim(
            f"tables with classes left out, mean AUROC: {method} above the best peer",
            "goal: above",
            "{:.3f}, peer {:.3f}",
            lambda method=method: [
                auroc([method], "classes left out"),
                auroc((*DETECTORS, "random forest", "softmax"), "classes left out"),
            ],
            lambda ours, peer: ours > peer,
        )
