"""Where data files lie, and what to say when one does not."""

import os
from pathlib import Path

from sklearn.datasets import get_data_home

DATA_VARIABLE = "SKLEARN_OOD_DATA"
SPLITS = ("train", "test", "all")


def listed(names):
    return ", ".join(repr(name) for name in names)


def look_up(name, known):
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"Got name={name!r}, but expected one of {listed(known)}.")
    return known[name]


def check_split(split, available, name):
    if split not in SPLITS:
        raise ValueError(f"Got split={split!r}, but expected one of {listed(SPLITS)}.")
    if split != "all" and split not in available:
        offered = (*available, "all")
        raise ValueError(
            f"Got split={split!r}, but {name!r} has no such part. Take split= one of "
            f"{listed(offered)}."
        )


def data_folder(data_home):
    if data_home is not None:
        return Path(data_home).expanduser()
    if os.environ.get(DATA_VARIABLE):
        return Path(os.environ[DATA_VARIABLE]).expanduser()
    return Path(get_data_home())


def missing(loader, name, folder, files, advice=""):
    return FileNotFoundError(
        f"{loader}({name!r}) found no file {' or '.join(files)} in {str(folder)!r}. Put it "
        f"there, pass the folder that has it as data_home, or set ${DATA_VARIABLE} to that "
        f"folder. help({loader}) says what the file holds.{advice}"
    )
