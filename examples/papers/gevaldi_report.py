"""What ``gevaldi.py`` has measured, as JSON and as a page beside the paper's numbers."""

import json
from itertools import pairwise
from pathlib import Path

from markdown_grid import grid

FOLDER = Path(__file__).parents[2] / "docs" / "results"
PAPER_TABLE_1 = {"test": (0.938, 0.95, 0.83), "different": (0.653, 0.80, 0.66)}


def write_report(results):
    """Write ``gevaldi.json`` and ``gevaldi.md``.

    Parameters
    ----------
    results : dict
        What each part that has been run returned.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "gevaldi.json").write_text(json.dumps(results, indent=2) + "\n")
    benchmark = FOLDER / "gevaldi_benchmark.json"
    if benchmark.exists():
        results = results | {"benchmark": json.loads(benchmark.read_text())}
    page = as_markdown(results)
    (FOLDER / "gevaldi.md").write_text(page)
    print(page)


def as_markdown(results):
    """The whole page."""
    parts = [
        "# GeValDi: where classifiers differ\n",
        "Written by `examples/papers/gevaldi.py report` from `gevaldi.json`; nothing here was "
        "typed in. All runs on two CPU cores that other work shared.\n",
        "Latents climb in {n_steps} steps of Adam, learning rate {lr}, on tables by evolution "
        "where the classifiers have no gradients. They start and stay among the likeliest "
        "ones, which hold {prior_mass:.0%} of the prior's mass; the prior has the weight "
        "{prior_weight:g} in the objective. Plain gradients are the paper's Algorithm 1, "
        "z + lr * gradient, with lr = {plain:g}.\n".format(
            plain=results["plain"]["lr"], **results["ascent"]
        ),
    ]
    pages = {"pair": pair_page, "ensemble": ensemble_page, "retraining": retraining_page}
    pages |= dict.fromkeys(("letter_recognition", "dry_bean"), table_page)
    for name, page in pages.items():
        if name in results:
            parts += page(name, results)
    if "benchmark" in results:
        parts += benchmark_page(results["benchmark"])
    parts += ["## What was wanted\n", grid(["target", "measured", "holds"], targets(results))]
    return "\n".join(parts).rstrip() + "\n"


def pair_page(name, results):
    """Two CNNs: the paper's figures 2 and 3 in numbers."""
    pair, sizes = results[name], results["rows"]
    runs = {key: value for key, value in pair.items() if key != "accuracy"}
    accuracies = ", ".join(
        f"{key} {100 * value:.2f} %" for key, value in pair["accuracy"].items()
    )
    tenths = [
        [key, *(f"{value:.3g}" for value in run["divergence_at_tenths"]), growth(run)]
        for key, run in runs.items()
    ]
    drifts = [
        [key, *map(percent, run["drift_at_tenths"]), early(run)] for key, run in runs.items()
    ]
    facts = [
        [
            key,
            run["n_samples"],
            drift(run),
            percent(run["start_answers_differ"]),
            percent(run["answers_differ"]),
            percent(run["on_manifold"]["prior_at_the_start"]),
            percent(run["on_manifold"]["prior"]),
            percent(run["on_manifold"]["judge"]),
            percent(run["on_manifold"]["both"]),
            percent(run["on_manifold"]["judge_agrees_at_the_start"]),
            percent(run["on_manifold"]["judge_agrees"]),
        ]
        for key, run in runs.items()
    ]
    distances = [
        [key, n, *(f"{value:.2f}" for value in path)]
        for key, run in runs.items()
        for n, path in zip((1, 3, 5), run["set_distance_at_tenths"], strict=True)
    ]
    compared = [
        [
            key,
            percent(run["comparison"][0]["first_accuracy"]),
            percent(run["comparison"][0]["second_accuracy"]),
            "[{:.1f}, {:.1f}]".format(
                *(100 * run["comparison"][0][e] for e in ("low", "high"))
            ),
            f"{run['comparison'][0]['adjusted_p_value']:.2g}",
        ]
        for key, run in runs.items()
    ]
    steps = [f"{10 * i} %" for i in range(11)]
    return [
        "## Two CNNs on MNIST\n",
        f"Trained on {sizes['cnn']:,} digits, {results['cnn_epochs']} epochs; test "
        f"accuracy: {accuracies} (paper: 98.6 and 98.8 %). The generator is a "
        f"VAE a class on {sizes['vae']:,} digits.\n",
        "Mean divergence in nats at every tenth of the ascent; the target is a rise at each "
        "and an end at 10 times the start:\n",
        grid(["divergence", *steps, "end / start"], tenths),
        "Mean drift |z - z0| / |z| at the same steps (paper: about 25 %), and how far the "
        "divergence has risen at the last step where the drift is at most 25 %:\n",
        grid(["divergence", *steps, "up to 25 %"], drifts),
        "On the manifold are samples "
        "no lower than the 5th percentile of real test digits, in their latents' log prior "
        "(the digits' latents as the encoder gives them) and in the score of a PCA "
        f"`GenerativeClassifier` of {sizes['judge']:,} digits that the VAE did not see; "
        "the target is 80 %. The first is so by construction where the latents' ball is small "
        "enough, and generations are smoother than digits, which the second does not mind; the "
        "last columns say how often that classifier, right for "
        f"{percent(next(iter(runs.values()))['on_manifold']['judge_accuracy'])} of the test "
        "digits, sees the class that was to be generated:\n",
        grid(
            [
                *("divergence", "samples", "drift"),
                *("answers differ at the start", "at the end"),
                *("prior at the start", "prior", "generative score", "both"),
                *("right class at the start", "right class at the end"),
            ],
            facts,
        ),
        "Mean prediction set distance of the n likeliest classes, in a tree learned from the "
        "class means:\n",
        grid(["divergence", "n", *steps], distances),
        "Accuracy there, taking the condition for the label; 95 % bootstrap interval of the "
        "difference (points) and McNemar's test:\n",
        grid(["divergence", "first", "second", "interval", "p"], compared),
    ]


def ensemble_page(name, results):
    """Table 1, regions and retraining."""
    run, sizes = results[name], results["rows"]
    rows = [
        [
            label,
            *(f"{run[key][metric]:.3f}" for metric in ("accuracy", "auc", "f1", "cnn_16")),
            *(PAPER_TABLE_1.get(key) or ("", "", "")),
        ]
        for label, key in (
            ("test digits", "test"),
            ("generated, before the ascent", "start"),
            (f"{run['n_samples']:,} maximally different", "different"),
        )
    ]
    regions = [
        [region["name"], region["size"], f"{region['mean_divergence']:.3f}"]
        for region in run["regions"][:15]
    ]
    return [
        "## A bagging ensemble on MNIST\n",
        f"Five small networks on bootstraps of {sizes['bagging']:,} digits. The drop from "
        f"test digits to maximally different samples has {p_value(run['drop_p_value'])} "
        "(Fisher's exact test of the two accuracies, samples as independent), and "
        f"{p_value(run['drop_p_value_by_class'])} with a class as one observation (Wilcoxon's "
        "signed rank test of the ten classes' recalls).\n",
        grid(
            ["", "accuracy", "AUC", "F1", "cnn_16", "paper: accuracy", "AUC", "F1"],
            rows,
        ),
        "The column cnn_16 is the accuracy of that network of above, which has no part in the "
        "ascent: how many of the samples are what they are generated to be.\n",
        "Along the ascent (consensus accuracy, the condition taken for the label):\n",
        grid(
            ["", *(f"{10 * i} %" for i in range(11))],
            course("", run) + course("plain gradients: ", run["plain"]),
        ),
        f"Divergence: {growth(run)}; drift {drift(run)}, paper about 25 %, up to which ours "
        f"rises {early(run)}. On the manifold {percent(run['on_manifold']['prior'])} by prior "
        f"({percent(run['on_manifold']['prior_at_the_start'])} at the start), "
        f"{percent(run['on_manifold']['judge'])} by score, "
        f"{percent(run['on_manifold']['both'])} by both; the generative classifier sees the "
        f"right class in {percent(run['on_manifold']['judge_agrees'])} "
        f"({percent(run['on_manifold']['judge_agrees_at_the_start'])} at the start). "
        f"{run['seconds']:.0f} s.\n",
        f"Plain gradients ({run['plain']['n_samples']:,} samples): {growth(run['plain'])}; "
        f"drift {drift(run['plain'])}, up to 25 % {early(run['plain'])}.\n",
        "The standard deviation of a class's latents, averaged over classes, goes from {:.2f} "
        "to {:.2f}; samples that run together on a few summits would lower it.\n".format(
            *run["spread"]
        ),
        f"{len(run['regions'])} regions (DBSCAN in the members' probabilities), the largest:\n",
        grid(["confusable classes", "samples", "mean divergence"], regions),
    ]


def retraining_page(name, results):
    """What the samples are worth as training rows."""
    run = results[name]
    rows = [
        [label, percent(run[key]["test"]), percent(run[key]["fresh"])]
        for label, key in (
            ("before", "before"),
            ("retrained with the samples", "with_samples"),
            ("retrained without them", "without_samples"),
        )
    ]
    return [
        f"Accuracy of the consensus before and after retraining; fresh are {run['n_fresh']:,} "
        "other samples that are maximally different for the old members. The members retrained "
        "without the samples see all training digits instead of a bootstrap, as those with "
        "them do:\n",
        grid(["", "test digits", "fresh samples"], rows),
        "On samples that are maximally different for the retrained members themselves the "
        f"consensus is right for {percent(run['on_its_own_different_samples'])}.\n",
    ]


def table_page(name, results):
    """Forest against boosting on one table, and what evolution reaches."""
    run = results[name]
    trees, networks = run["trees"], run["networks"]
    accuracies = ", ".join(
        f"{key} {100 * value:.1f} %" for key, value in trees["accuracy"].items()
    )
    real = [
        [key, n, percent(differ), f"{divergence:.4f}"]
        for key, (n, differ, divergence) in trees["real_rows"].items()
    ]
    reached = [
        [
            run["optimizer"],
            f"{run['evaluations']:,}",
            *(f"{run[column]:.4f}" for column in ("start", "divergence")),
        ]
        for run in networks["runs"]
    ]
    begin, *_, end = trees["divergence_at_tenths"]
    return [
        f"## Random forest against gradient boosting: {name}\n",
        f"{run['rows'][0]:,} rows to train, {run['rows'][1]:,} to test; test accuracy: "
        f"{accuracies}. Evolution takes the mean divergence of {trees['n_samples']} samples "
        f"from {begin:.4f} to {end:.4f} "
        f"({growth(trees)}) in {trees['n_steps']} steps; answers differ for "
        f"{percent(trees['start_answers_differ'])} at the start and "
        f"{percent(trees['answers_differ'])} at the end.\n",
        "Confirmed by real rows: how often the two differ, and by how much, on test rows (the "
        "nearest to any sample, each once); that answers differ more often on those nearest to "
        f"the samples than on the others has p = {trees['real_rows_p_value']:.2g} (Fisher's "
        "exact test, one-sided):\n",
        grid(["test rows", "rows", "answers differ", "mean divergence"], real),
        "Evolution beside gradients on a pair of networks, a Gaussian a class: with 20 times "
        f"the evaluations it reaches {networks['ratio']:.2f} times the divergence of the best "
        "run of gradients from one start, the longer one included (at least 0.9), and "
        f"{networks['ratio_at_equal_evaluations']:.2f} times what gradients reach that spend "
        "as many evaluations on 20 starts. An evaluation with gradients also goes backwards:\n",
        grid(["optimizer", "evaluations of a sample", "start", "divergence"], reached),
    ]


def benchmark_page(run):
    """Batch against a loop."""
    rows = [
        [clock, *(f"{run[clock][key]:.1f}" for key in ("batch", "sample_by_sample", "ratio"))]
        for clock in ("wall", "processor")
    ]
    return [
        "## Speed\n",
        f"{run['samples']:,} samples x {run['steps']} steps in seconds, sample by sample "
        f"extrapolated from {run['timed_alone']}, on {run['threads']} thread (target: 10 times "
        "faster). Printed by `examples/benchmarks/gevaldi.py`.\n",
        grid(["time", "batch", "sample by sample", "times faster"], rows),
    ]


def targets(results):
    """What was wanted, what was measured, and whether that is enough."""
    rows = []

    def add(target, measured, holds):
        rows.append([target, measured, "yes" if holds else "no"])

    if "pair" in results:
        pair = results["pair"]
        low, high = sorted(pair["accuracy"].values())
        add(
            "CNNs of 98.6 and 98.8 %",
            f"{100 * low:.2f} and {100 * high:.2f} %",
            low >= 0.986 and high >= 0.988,
        )
        runs = [run for key, run in pair.items() if key != "accuracy"]
        add(
            "CNNs: divergence rises at every tenth, to 10 times its start",
            "; ".join(map(growth, runs)),
            all(is_rising(run) and ratio(run) >= 10 for run in runs),
        )
        shares = [run["on_manifold"]["both"] for run in runs]
        add("CNNs: 80 % on the manifold", percent(min(shares)), min(shares) >= 0.8)
    if "ensemble" in results:
        run = results["ensemble"]
        add("ensemble: 10,000 samples", f"{run['n_samples']:,}", run["n_samples"] >= 10_000)
        # The cautious one of the two tests.
        largest = max(run["drop_p_value"], run["drop_p_value_by_class"])
        lost = run["test"]["accuracy"] > run["different"]["accuracy"]
        add("ensemble: the drop is significant", p_value(largest), lost and largest < 0.05)
        share = run["on_manifold"]["both"]
        add("ensemble: 80 % on the manifold", percent(share), share >= 0.8)
        add(
            "ensemble: divergence rises at every tenth, to 10 times its start",
            growth(run),
            is_rising(run) and ratio(run) >= 10,
        )
    if "retraining" in results:
        before, after = (results["retraining"][key] for key in ("before", "with_samples"))
        gain, cost = after["fresh"] - before["fresh"], before["test"] - after["test"]
        add("retraining: better on fresh samples", f"{100 * gain:+.1f} points", gain > 0)
        add("retraining: at most .2 points lost", f"{-100 * cost:+.2f} points", cost <= 0.002)
    for name in ("letter_recognition", "dry_bean"):
        if name in results:
            reached = results[name]["networks"]["ratio"]
            add(f"{name}: evolution, 0.9 of gradients", f"{reached:.2f}", reached >= 0.9)
            real = results[name]["trees"]["real_rows"]
            near, base = real["nearest to the samples"][1], real["all"][1]
            add(
                f"{name}: trees differ more on the nearest real rows than on all",
                f"{percent(near)} and {percent(base)}",
                near > base,
            )
    if "benchmark" in results:
        faster = results["benchmark"]["wall"]["ratio"]
        add("batch 10 times faster", f"{faster:.0f} times", faster >= 10)
    return rows


def is_rising(run):
    """Whether the divergence is higher at every tenth."""
    return all(later > earlier for earlier, later in pairwise(run["divergence_at_tenths"]))


def ratio(run):
    """End over start of the divergence."""
    return run["divergence_at_tenths"][-1] / run["divergence_at_tenths"][0]


def growth(run):
    """End over start of the divergence, and whether it rose at every tenth."""
    rising = "rising" if is_rising(run) else "not rising"
    return f"{ratio(run):.1f}x, {rising} throughout"


def course(name, run):
    """Three rows of a table: divergence, drift and accuracy at every tenth."""
    return [
        [f"{name}divergence", *(f"{value:.3g}" for value in run["divergence_at_tenths"])],
        [f"{name}drift", *map(percent, run["drift_at_tenths"])],
        [f"{name}accuracy", *map(percent, run["accuracy_at_tenths"])],
    ]


def p_value(value):
    """A p-value, also one too small for a float."""
    return f"p = {value:.2g}" if value > 1e-300 else "p < 1e-300"


def drift(run):
    """Mean and median drift at the end."""
    return f"{100 * run['drift']:.0f} % (median {100 * run['median_drift']:.0f} %)"


def early(run):
    """How far the divergence has risen at the paper's drift."""
    return "{growth:.1f}x at step {step}".format(**run["at_the_papers_drift"])


def percent(share):
    """A share as per cent."""
    return f"{100 * share:.1f} %"
