"""Confident or reject."""

from records import metric

from headlines import claim, part

RUN = "batch_size=128; epochs=60; net={0}-{0}; sigma={1}"
OTHERS = {
    RUN.format(500, 1.0): "sigma 1",
    RUN.format(50, 2.0): "50 units a layer",
    RUN.format(1000, 2.0): "1,000 units a layer",
}


def headlines():
    def run(data, method, measure):
        where = {"experiment": "two Gaussians", "data": data}
        return metric("vernekar", method, measure, **where)

    for method in ("reject", "reject, beta 0.3"):
        yield claim(
            f"taught the ring, {method}: the classes' own rows are kept, worst seed",
            "goal: 97 %",
            "{:.1p} %",
            lambda method=method: [run("ring", method, "kept").min],
            lambda kept: kept >= 0.97,
        )
    yield claim(
        "taught the whole box, the reject net answers no more of it than the confident one",
        "goal: no more",
        "{:.1p} against {:.1p} %",
        lambda: [run("box", "reject", "box answered"), run("box", "confident", "box answered")],
        lambda reject, confident: reject <= confident,
    )
    yield claim(
        "taught the ring: the confident net answers most of a far box, the reject net none",
        "so it is",
        "{:.1p} against {:.1p} %",
        lambda: [
            run("ring", "confident", "box answered"),
            run("ring", "reject", "box answered"),
        ],
        lambda confident, reject: part((confident > 0.5) + (reject < 0.01), 2),
    )
    yield claim(
        "taught the boundary sampler, whose rows reach far out: the confident and the reject "
        "net answer of a far box; probability of the confident net at 10,000",
        "sure again far out",
        "{:.1p} and {:.1p} %; {:.3f}",
        lambda: [
            run("boundary sampler", "confident", "box answered"),
            run("boundary sampler", "reject", "box answered"),
            run("boundary sampler", "confident", "confidence at 10000"),
        ],
        lambda confident, reject, sure: part((reject < 0.01) + (sure > 0.95), 2),
    )
    yield claim(
        "at 10,000 from the data, taught the ring: probability of the confident net; "
        "directions that the reject net refuses",
        "grows to 1; goal: all",
        "{:.3f}; {:.1p} %",
        lambda: [
            run("ring", "confident", "confidence at 10000"),
            run("ring", "reject", "refused at 10000"),
        ],
        lambda sure, refused: part((sure > 0.99) + (refused == 1), 2),
    )
    yield claim(
        "figure 5: a joint GAN misses much of the boundary (sectors of 36; not tuned as "
        "theirs)",
        "misses much",
        "reaches {:.0f}",
        lambda: [run("joint GAN", "confident", "sectors")],
        lambda sectors: sectors < 30,
    )
    yield claim(
        "`BoundaryOutliers` reaches all of it, worst seed",
        "goal: 36",
        "{:.0f}",
        lambda: [run("boundary sampler", "reject", "fewest sectors").min],
        lambda sectors: sectors == 36,
    )
    yield claim(
        "a reject class beside a joint GAN (K + 1 with its samples): the classes' own rows are "
        "kept; far directions refused",
        "samples that miss the boundary do not help",
        "{:.1p} %; {:.1p} %",
        lambda: [
            run("joint GAN", "reject", "kept"),
            run("joint GAN", "reject", "refused at 10000"),
        ],
        lambda kept, refused: kept < 0.9 and refused < 0.9,
    )
    for settings, what in OTHERS.items():
        yield claim(
            f"taught the ring, {what}: probability of the confident net at 10,000; directions "
            "that the reject net refuses",
            "similar results",
            "{:.3f}; {:.1p} %",
            lambda settings=settings: [
                metric("vernekar", method, measure, data="ring", settings=settings)
                for method, measure in (
                    ("confident", "confidence at 10000"),
                    ("reject", "refused at 10000"),
                )
            ],
            lambda sure, refused: part((sure > 0.99) + (refused == 1), 2),
        )
    for dimension in ("2", "3", "10", "20", "50", "200"):
        where = {"experiment": "dimensions", "data": dimension}
        yield claim(
            f"four Gaussians in {dimension} dimensions, the default reject net: fresh rows "
            "refused or named wrongly; rows at twice the radius and at 10,000 refused",
            "goal: at most 5 %; all",
            "{:.1p} %; {:.1p} and {:.1p} %",
            lambda where=where: [
                metric("vernekar", "reject", measure, **where)
                for measure in ("known lost", "refused at 200%", "refused at 1000000%")
            ],
            lambda lost, near, far: part((lost <= 0.05) + (near > 0.99) + (far > 0.99), 3),
        )
