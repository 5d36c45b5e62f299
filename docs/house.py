"""Draws the rooms of the package and what each may import, as import-linter checks it."""

import importlib
import tomllib
from pathlib import Path

WIDTH, FLOOR, GAP = 840, 64, 14


def floors(pyproject):
    """Rooms by floor, the topmost first."""
    settings = tomllib.loads(Path(pyproject).read_text())["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    return [
        [room.strip().removeprefix("sklearn_ood.") for room in layer.split("|")]
        for layer in layers
    ]


def picture(rows):
    """One box a room, one row of boxes a floor, as SVG."""
    parts = []
    for level, rooms in enumerate(rows):
        width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
        for i, room in enumerate(rooms):
            x, y = GAP + i * (width + GAP), GAP + level * (FLOOR + GAP)
            parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{FLOOR}" rx="8" '
                'fill="#eef3fb" stroke="#3b6ea8"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + FLOOR / 2 + 6}" fill="#1c3a5e" '
                f'text-anchor="middle" font-family="sans-serif" font-size="18">{room}</text>'
            )
    height = GAP + len(rows) * (FLOOR + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        + "".join(parts)
        + "</svg>\n"
    )


def table(rows):
    """Each room, what it is, and what it may import."""
    lines = ["| room | what it is | may import |", "|---|---|---|"]
    for level, rooms in enumerate(rows):
        below = [room for floor in rows[level + 1 :] for room in floor]
        for room in rooms:
            text = importlib.import_module(f"sklearn_ood.{room}").__doc__
            first = text.strip().split("\n\n")[0].replace("\n", " ")
            allowed = ", ".join(f"`{name}`" for name in below) or "nothing"
            lines.append(f"| `{room}` | {first} | {allowed} |")
    return "\n".join(lines) + "\n"


def write_house(folder, pyproject):
    """Write the picture and the table that the page includes."""
    rows = floors(pyproject)
    (folder / "house.svg").write_text(picture(rows))
    (folder / "house_table.md").write_text(table(rows))
