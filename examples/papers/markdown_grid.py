"""Tables in Markdown, for the pages that the papers' scripts write."""


def grid(header, rows):
    """A Markdown table; None is an empty cell."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [["" if cell is None else str(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"
