"""Looks at a built site in headless Chromium, as wide as a telephone and as a desktop.

    python docs/screenshots.py docs/_build screenshots

Fails where a page is wider than its window, where something sticks out of its column and
cannot be scrolled, where an image is missing or has no alternative text, where a heading skips
a level, where text has less contrast than WCAG's AA asks for, in the light theme or the dark
one, and where a link within the site, on any page, leads nowhere. The pictures are to look at.
"""

import argparse
import functools
import html
import html.parser
import http.server
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag

PAGES = {
    "home": "index.html",
    "guide": "user_guide.html",
    "example": "auto_examples/plot_10_patients_to_a_report.html",
    "results": "results.html",
    "paper": "results/generative.html",
    "api": "api/generated/sklearn_ood.SelectiveClassifier.html",
}
WIDTHS = (390, 1400)
HEIGHT = 2000
LOOK = """
function channels(color) {
  const parts = (color.match(/[\\d.]+/g) || []).map(Number);
  return parts.length > 3 ? parts : [...parts, 1];
}
function luminance(color) {
  const [red, green, blue] = color.slice(0, 3).map((value) =>
    value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function background(node, style) {
  for (; node; node = node.parentElement) {
    const color = channels(style(node).backgroundColor);
    if (color[3] > 0.5) return color;
  }
  return [255, 255, 255, 1];
}
function faint(frame, theme) {
  const page = frame.contentDocument, faults = new Set();
  const style = (node) => frame.contentWindow.getComputedStyle(node);
  page.documentElement.dataset.theme = theme;
  for (const node of page.querySelectorAll("article *, nav a, footer p")) {
    const text = [...node.childNodes].filter((child) => child.nodeType === 3)
      .map((child) => child.textContent.trim()).join("");
    if (!text || !node.getClientRects().length || node.closest("math, script, style")) continue;
    const own = style(node), size = parseFloat(own.fontSize);
    const large = size >= 24 || (size >= 18.6 && own.fontWeight >= 700);
    const light = [luminance(channels(own.color)), luminance(background(node, style))];
    const contrast = (Math.max(...light) + 0.05) / (Math.min(...light) + 0.05);
    if (contrast < (large ? 3 : 4.5))
      faults.add(`${theme}: contrast ${contrast.toFixed(1)} of ${node.tagName} `
                 + `${node.className}: ${text.slice(0, 30)}`);
  }
  return [...faults].slice(0, 8);
}
function look(frame) {
  const page = frame.contentDocument, wide = page.documentElement.clientWidth, faults = [];
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  if (page.documentElement.scrollWidth > wide)
    faults.push(`page is ${page.documentElement.scrollWidth} wide`);
  const scrolls = (node) => node && node !== page.body &&
    (/auto|scroll/.test(frame.contentWindow.getComputedStyle(node).overflowX) ||
     scrolls(node.parentElement));
  for (const node of page.querySelectorAll("article *"))
    if (node.getBoundingClientRect().right > wide + 1 && !scrolls(node))
      faults.push(`${node.tagName} sticks out: ${node.textContent.trim().slice(0, 60)}`);
  for (const image of page.querySelectorAll("article img")) {
    if (image.complete && !image.naturalWidth) faults.push(`missing image ${image.src}`);
    if (!image.alt.trim() && !image.closest(".sphx-glr-thumbcontainer"))
      faults.push(`no alternative text ${image.src}`);
  }
  let above = 0;
  for (const heading of page.querySelectorAll("article :is(h1, h2, h3, h4)")) {
    const level = Number(heading.tagName[1]);
    if (level > above + 1) faults.push(`heading skips a level: ${heading.textContent}`);
    above = level;
  }
  return faults.concat(faint(frame, "light"), faint(frame, "dark"));
}
onload = () => setTimeout(() => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) found[frame.id] = look(frame);
  const text = document.createElement("pre");
  text.id = "found";
  text.textContent = JSON.stringify(found);
  document.body.append(text);
}, 500);
"""


def frames(name, width):
    """A page in a window of that width; a frame may be narrower than a browser's window."""
    return (
        f'<iframe id="{name} {width}" src="/{PAGES[name]}" width="{width}" height="{HEIGHT}" '
        'style="border:0;display:block"></iframe>'
    )


WRAPPERS = {"/look": "".join(frames(name, width) for name in PAGES for width in WIDTHS)}
WRAPPERS |= {f"/{name}-{width}": frames(name, width) for name in PAGES for width in WIDTHS}


class Site(http.server.SimpleHTTPRequestHandler):
    """The built site, and pages that show others in frames."""

    def do_GET(self):
        """Serve a wrapper or a file."""
        if self.path not in WRAPPERS:
            super().do_GET()
            return
        script = LOOK if self.path == "/look" else ""
        body = f'<body style="margin:0">{WRAPPERS[self.path]}<script>{script}</script>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<!doctype html><meta charset=utf-8>{body}".encode())

    def log_message(self, *_):
        """Stay silent."""


class Page(html.parser.HTMLParser):
    """The places of a page, and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note what can be linked to, and links."""
        attributes = dict(attrs)
        self.places.update(attributes[name] for name in ("id", "name") if attributes.get(name))
        if tag == "a" and attributes.get("href"):
            self.links.add(attributes["href"])


def broken_links(site):
    """Links within a built site that lead to no file, or to no place in it."""
    pages = {path.resolve(): Page(path.read_text()) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in sorted(page.links):
            file, place = map(unquote, urldefrag(link))
            target = (path.parent / file).resolve() if file else path
            if re.match(r"[a-z]+:|//", link) or target.is_dir():
                continue
            lacks = target in pages and place and place not in pages[target].places
            if not target.exists() or lacks:
                yield f"{path.relative_to(site.resolve())}: link to {link}"


def chromium(address, *options):
    """What a headless browser prints."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)))
    with tempfile.TemporaryDirectory() as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [
            f"--user-data-dir={profile}",
            "--virtual-time-budget=20000",
            *options,
        ]
        return subprocess.run(
            [*command, address], capture_output=True, text=True, timeout=300, check=True
        ).stdout


def main():
    """Look, take pictures, and fail where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site", type=Path, help="what sphinx-build wrote")
    parser.add_argument("pictures", type=Path, nargs="?", help="folder for the pictures")
    arguments = parser.parse_args()
    handler = functools.partial(Site, directory=arguments.site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        shown = re.search(
            r'<pre id="found">(.*?)</pre>', chromium(f"{root}/look", "--dump-dom"), re.DOTALL
        )
        found = json.loads(html.unescape(shown.group(1)))
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            for name, width in itertools.product(PAGES, WIDTHS):
                picture = (arguments.pictures / f"{name}-{width}.png").resolve()
                chromium(
                    f"{root}/{name}-{width}",
                    f"--screenshot={picture}",
                    f"--window-size={max(width, 500)},{HEIGHT}",
                )
        server.shutdown()
    faults = [f"{page}: {fault}" for page, each in found.items() for fault in each]
    faults += broken_links(arguments.site)
    raise SystemExit("\n".join(faults) or None)


if __name__ == "__main__":
    main()
