"""Figures that the documents cite, taken from RESULTS.md, so that each is written down once.

A document says where a table goes: between ``<!-- measured: NAME -->`` and ``<!-- end -->``.
`python benchmarks` writes them anew whenever it has written RESULTS.md.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from _pictures import PICTURES, is_drawn, write_picture

__all__ = ["DOCUMENTS", "RESULTS", "read_rows", "read_sections", "with_figures", "write_figures"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
DOCUMENTS = ["README.md", "docs/guide/embed.md", "docs/guide/which_method.md", "docs/scale.md"]
BLOCK = re.compile(r"(<!-- measured: (\S+) -->\n)(.*?)(<!-- end -->)", flags=re.DOTALL)

Sections = dict[str, str]
Rows = list[list[str]]

# Which rows of RESULTS.md the README shows: the work, beside what, and the row.
SPEED = [
    (
        "500 farthest points of 50,000 x 384",
        "scikit-matter",
        ("selection/speed", "exact farthest point, 50,000 x 384, 500 picks: scikit-matter"),
    ),
    (
        "a map of 100,000 x 384, in a fresh process",
        "umap-learn",
        ("projection/fit", "100,000 x 384, fresh process, seeded"),
    ),
    (
        "near-duplicates of 100,000 x 384",
        "faiss range search",
        ("duplicates/peers", "clusters, 100,000 x 384: faiss range search"),
    ),
    (
        "embedding 12-megapixel JPEGs",
        "a DataLoader loop with Pillow's draft",
        ("extraction/throughput", "12-megapixel JPEGs: a DataLoader loop with draft"),
    ),
    (
        "attention of all layers and heads at 518 pixels, memory beyond the model",
        "transformers, `output_attentions=True`",
        (
            "attention/memory",
            "peak memory, 12 layers at 518 px, batch 8, beyond the loaded model: ours / eager's",
        ),
    ),
]
PIPELINE = "transformers pipeline"
WAYS = {
    "transformers' pipeline": PIPELINE,
    "a DataLoader loop": "a DataLoader loop, batch 32",
    "the same with Pillow's draft": "a DataLoader loop with draft",
}


def read_sections(file: Path) -> Sections:
    """Read the text of each section of a file of results, by its name."""
    if not file.exists():
        return {}
    pieces = re.split(r"^## (\S+/\S+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def write_figures(sections: Sections) -> list[str]:
    """Write tables and pictures into the documents; return the names of those that changed."""
    changed = []
    for name in DOCUMENTS:
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        written = with_figures(text, sections)
        if written != text:
            file.write_text(written, encoding="utf-8")
            changed.append(name)
    for name, section in PICTURES.items():
        rows = read_rows(sections, section)
        if rows and not is_drawn(name, rows):
            write_picture(name, rows)
            changed.append(f"docs/images/{name}")
    return changed


def with_figures(text: str, sections: Sections) -> str:
    """Put the tables between the marks of a document."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]](sections) + found[4], text)


def speed(sections: Sections) -> str:
    rows = []
    for work, peer, (section, title) in SPEED:
        for row in find_rows(sections, section, title):
            rows.append((work, peer, times_as_much(row[1])))
    return table(("work", "beside", "ratio"), rows)


def times_as_much(ratio: str) -> str:
    """Tell a measured ratio in two digits; memory is measured the other way round."""
    value = float(ratio.split()[0])
    return f"{float(f'{1 / value if value < 1 else value:.2g}'):g}"


def throughput(sections: Sections) -> str:
    """Images a second of each way that was measured."""
    rows = []
    for images in ("12-megapixel JPEGs", "small images"):
        measured = {
            peer: row
            for peer, title in WAYS.items()
            for row in find_rows(sections, "extraction/throughput", f"{images}: {title}")
        }
        ours = [row[3] for row in measured.values()][:1]
        peers = [measured[peer][4] if peer in measured else "" for peer in WAYS]
        rates_ = [cell.removesuffix(" img/s") for cell in ours + peers]
        rows.append([images.replace("small", "400-pixel"), *rates_])
    return table(("", "ours", *WAYS), rows)


def forward(sections: Sections) -> str:
    """Compare files to rows with the model alone."""
    rows = [
        (work.replace("small images", "400-pixel images"), times_as_much(ratio), ours, peer)
        for work, ratio, _, ours, peer, _ in read_rows(sections, "extraction/forward")
        if ours.endswith("img/s")
    ]
    return table(("", "ratio", "ours", "that"), rows)


def methods(sections: Sections) -> str:
    """Means over the labelled sets: accuracy by labels a class, and how well ten a class cover."""
    evidence = read_rows(sections, "evidence/labels")
    names = list(dict.fromkeys(row[2] for row in evidence))
    budgets = list(dict.fromkeys(row[1] for row in evidence))
    by_name = {}
    for name in names:
        rows = [row for row in evidence if row[2] == name]
        ours, fps = (
            [mean(row[5]) for row in evidence if row[1:3] == [budgets[-1], method]]
            for method in (name, "fps")
        )
        radius = fmean(own / other for own, other in zip(ours, fps, strict=True))
        last = [row for row in rows if row[1] == budgets[-1]]
        by_name[name] = [
            *(100 * fmean(mean(row[3]) for row in rows if row[1] == n) for n in budgets),
            *(100 * fmean(mean(row[4]) for row in rows if row[1] == n) for n in budgets),
            radius,
            100 * fmean(mean(row[6]) for row in last),
        ]
    columns = list(zip(*by_name.values(), strict=True))
    best = [
        min(column) if i == 2 * len(budgets) else max(column) for i, column in enumerate(columns)
    ]
    cells = []
    for name, values in by_name.items():
        shown = [f"{v:.2f}" if v == values[2 * len(budgets)] else f"{v:.1f}" for v in values]
        marked = (f"**{s}**" if v == b else s for s, v, b in zip(shown, values, best, strict=True))
        cells.append([name, *marked])
    heads = [f"{measure}, {n}" for measure in ("1-NN", "linear") for n in budgets]
    return table(("method", *heads, "radius", "spread"), cells)


def burst_shares(sections: Sections) -> str:
    """Tell the picks that a burst takes and the accuracy left, at ten labels a class."""
    rows = [row for row in read_rows(sections, "evidence/bursts") if row[1] == "10"]
    kinds = list(dict.fromkeys(row[0] for row in rows))
    cells = []
    for name in dict.fromkeys(row[2] for row in rows):
        found = {row[0]: row for row in rows if row[2] == name}
        spent = [f"{100 * mean(found[kind][3]):.1f}%" for kind in kinds[1:]]
        left = [f"{100 * mean(found[kind][4]):.1f}" for kind in (kinds[0], "40%")]
        cells.append([name, *spent, *left])
    return table(("method", *kinds[1:], "1-NN without", "1-NN with 40%"), cells)


def scale(sections: Sections) -> str:
    """Tell time and memory of each method as rows grow, or where it stopped."""
    measured = [
        row
        for section in ("selection/scale", "selection/scale_million")
        for row in read_rows(sections, section)
    ]
    sizes = list(dict.fromkeys(row[0] for row in measured))
    cells = []
    for method in dict.fromkeys(row[2] for row in measured):
        found = {row[0]: row for row in measured if row[2] == method}
        cells.append([method, *(_time_and_memory(found[size]) for size in sizes)])
    return table(("method", *sizes), cells)


def _time_and_memory(row: list[str]) -> str:
    return f"{row[3]}, {row[4]} GB" if row[4] else row[3]


def rates(sections: Sections) -> str:
    """Images a second that the sums of docs/scale.md start from."""
    throughput_, decoding = "extraction/throughput", "ray_extraction/decoding"
    one_core = "decoding alone, one core, JPEGs of"
    wanted = [
        ("embedding, 400-pixel images, two cores", throughput_, f"small images: {PIPELINE}", 3),
        (
            "embedding, 12-megapixel JPEGs, two cores",
            throughput_,
            f"12-megapixel JPEGs: {PIPELINE}",
            3,
        ),
        ("decoding alone, 400-pixel JPEGs, one core", decoding, f"{one_core} 400 x 300", 1),
        ("decoding alone, 12-megapixel JPEGs, one core", decoding, f"{one_core} 4000 x 3000", 1),
    ]
    rows = []
    for figure, section, title, column in wanted:
        for row in find_rows(sections, section, title):
            script, part = section.split("/")
            rows.append((figure, row[column], f"`python benchmarks/{script}.py --part {part}`"))
    return table(("figure", "value", "printed by"), rows)


def mean(cell: str) -> float:
    return float(cell.split(" ± ")[0])


def find_rows(sections: Sections, section: str, title: str) -> Rows:
    """Find the rows with this title: none where that was not measured."""
    return [row for row in read_rows(sections, section) if row[0] == title]


def read_rows(sections: Sections, section: str) -> Rows:
    """Read the rows of the table of a section, without its head."""
    lines = [line for line in sections.get(section, "").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES: dict[str, Callable[[Sections], str]] = {
    "speed": speed,
    "throughput": throughput,
    "forward": forward,
    "methods": methods,
    "bursts": burst_shares,
    "scale": scale,
    "rates": rates,
}
