"""Run the benchmarks and write what they measured to RESULTS.md.

    python benchmarks                                # everything, 40 minutes or more
    python benchmarks selection attention/memory     # some scripts, or parts of them
    python benchmarks duplicates/hardest             # a long part: only where it is named
    python benchmarks --quick --output quick.md      # a few minutes: that they run

Each part is a section of the file. A part that is run again replaces its section and leaves the
others; a part that fails keeps the section that it had. The figures that the README and the guides
cite are taken from the file, whenever it is written; `python benchmarks --figures` does that alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from _common import MISSED
from _figures import RESULTS, read_sections, write_figures

HERE = Path(__file__).parent
PARTS = {
    "extraction": ("throughput", "forward", "fidelity", "caching", "memory", "boxes", "exports"),
    "projection": ("fit", "peers", "transform", "held-out", "page"),
    "duplicates": ("exact", "speed", "million", "peers"),
    "selection": ("speed", "coverage", "proof", "coverage_million", "million"),
    "evidence": ("labels", "bursts", "ratio", "order"),
    "rounds": ("accuracy", "quality", "speed"),
    "attention": ("speed", "memory"),
    "ray_extraction": ("overhead", "decoding", "two-levels"),
}
LONG = (
    "projection/large",
    "projection/million",
    "duplicates/hardest",
    "selection/scale",
    "selection/scale_million",
    "rounds/million",
)
HEAD = """# What was measured

Written by `make bench`; each section says when and on what machine. A ratio is how many times as
long the peer took, of the medians of the runs; the range over the runs stands in brackets. Each
section is printed anew by `python benchmarks/<script>.py --part <part>`.

A peer that "differs from pick n" chooses otherwise at a near-tie, by its rounding or its rule; ours
are the picks of a loop in float64, as the tests hold.
"""


def main() -> int:
    usual = [f"{script}/{part}" for script, parts in PARTS.items() for part in parts]
    known = [*usual, *LONG]
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "chosen", nargs="*", help=f"default: all of {', '.join(known)}", metavar="SCRIPT[/PART]"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that they run")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--figures", action="store_true", help="only write what documents cite")
    options = parser.parse_args()
    if options.quick and options.output == RESULTS:
        parser.error("--quick measures nothing: name another file with --output")
    unknown = [name for name in options.chosen if name not in known and name not in PARTS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [n for n in usual if not options.chosen or n.split("/")[0] in options.chosen]
    chosen += [n for n in known if n in options.chosen and n not in chosen]
    chosen = [] if options.figures else chosen
    sections = read_sections(options.output)
    failed = []
    for name in chosen:
        print(f"\n## {name}\n", flush=True)
        printed = run(name, options.quick)
        if printed is None:
            failed.append(name)
            continue
        sections[name] = printed
        ordered = {name: sections[name] for name in known if name in sections}
        options.output.write_text(compose(ordered), encoding="utf-8")
    if options.output == RESULTS:
        for name in write_figures(sections):
            print(f"wrote the figures of {name}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(name: str, quick: bool) -> str | None:
    """Run a part, showing what it prints as it comes; return that, or None if it failed."""
    script, part = name.split("/")
    command = [sys.executable, str(HERE / f"{script}.py"), "--part", part]
    command += ["--quick"] if quick else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines).strip() if process.returncode == 0 else None


def compose(sections: dict[str, str]) -> str:
    """Put the file together; what fell short of its goal comes first."""
    missed = [
        f"- {name}: {' | '.join(cell.strip() for cell in line.strip('| ').split('|')[:3])}"
        for name, text in sections.items()
        for line in text.splitlines()
        if MISSED in line
    ]
    short = "\n".join(missed) or "Nothing."
    pieces = [HEAD, f"## Slower or larger than wished\n\n{short}\n"]
    pieces += [f"## {name}\n\n{text}\n" for name, text in sections.items()]
    return "\n".join(pieces)


if __name__ == "__main__":
    sys.exit(main())
