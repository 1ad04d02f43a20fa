"""The page's modules that need no page, run by node and held to what Python does."""

import csv
import io
import json
import os
import shutil
import subprocess
from urllib.parse import quote

import numpy as np
import pytest

from dinov2_sklearn.pages import bundle

MODULES = ("bytes.js", "files.js", "labels.js", "filters.js", "geometry.js", "raster.js")
NODE = shutil.which("node")
TEXTS = [
    "",
    "plain",
    'a "quoted", one',
    "two\r\nlines\nand\rmore",
    " spaces ",
    "\u00e9 \U0001f4f7 100%?#&",
    os.fsdecode(b"bytes \xff\xe2\x82 that are no text \xed\xa0\x80"),
]


def run(script, given):
    """Return what a script that knows `given` and the modules, each as ``$name``, says."""
    if NODE is None:
        pytest.skip("there is no node on this machine")
    code = "\n".join(
        [
            bundle("dinov2_sklearn.projection", *MODULES),
            f"const given = {json.dumps(given)};",
            f"const answer = (() => {{ {script} }})();",
            "console.log(JSON.stringify(answer));",
        ]
    )
    command = [NODE, "--input-type=module", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_files_are_read_and_written_as_python_does():
    table = [["path", "label"], *([text, str(i)] for i, text in enumerate(TEXTS))]
    stream = io.StringIO()
    csv.writer(stream).writerows(table)
    written, parsed, quoted, content, read = run(
        """
        const { writeCsv, parseCsv } = $files, { quoted, fileBytes, fileText } = $bytes;
        const content = given.texts.map(text => fileBytes(text).flatMap(part => [...part]));
        return [
          writeCsv(given.table[0], given.table.slice(1)), parseCsv(given.csv),
          given.texts.map(quoted), content, content.map(bytes => fileText(Uint8Array.from(bytes))),
        ];
        """,
        {"table": table, "csv": stream.getvalue(), "texts": TEXTS},
    )
    assert written == stream.getvalue()
    assert parsed == table
    assert quoted == [quote(os.fsencode(text)) for text in TEXTS]
    assert [bytes(part) for part in content] == [os.fsencode(text) for text in TEXTS]
    assert read == TEXTS


def test_formats_of_whole_images_refuse_parts():
    refused = run(
        """
        return given.map(path => {
          try { $files.tasksOf($files.recordsOf([0], () => path), "/a"); return false }
          catch { return true }
        });
        """,
        [
            "/a/b#1.jpg",
            "/a/b.jpg#xywh=1,2,3,4",
            "/a/b.mp4#t=2",
            "/a/t=1/b.jpg",
            "/a/b.tif#x=1&page=2",
        ],
    )
    assert refused == [False, True, True, False, True]


def test_labels_have_one_spelling_are_taken_back_and_packed():
    names, packed, undone = run(
        """
        const labels = new $labels.Labels(given.n), again = new $labels.Labels(given.n);
        labels.assign([0, 5, 9999], "Barn  Owl ");
        labels.assign([7], "barn owl");
        labels.assign([5], "");
        const takeBack = labels.assign([0, 1], "wren");
        again.unpack(JSON.parse(JSON.stringify(labels.pack())));
        const rows = [0, 1, 5, 7, 9999];
        const packed = rows.map(row => again.nameOf(row));
        takeBack();
        return [labels.names, packed, rows.map(row => labels.nameOf(row))];
        """,
        {"n": 10_000},
    )
    assert names == ["Barn Owl", "wren"]
    assert packed == ["wren", "wren", None, "Barn Owl", "Barn Owl"]
    assert undone == ["Barn Owl", None, None, "Barn Owl", "Barn Owl"]


def test_a_lasso_encloses_what_it_goes_around():
    rng = np.random.default_rng(0)
    points, outline = rng.uniform(0, 500, (2000, 2)), rng.uniform(50, 450, (9, 2))
    found, boxes = run(
        """
        const [xs, ys] = given.axes, room = new $geometry.Room();
        const shown = new Uint8Array(xs.length).fill(1);
        const boxes = xs.map((x, i) => [x, ys[i], x + 30, ys[i] + 20]).filter(box => {
          const isFree = room.isFree(box);
          if (isFree) room.take(box);
          return isFree;
        });
        return [$geometry.enclosed(xs, ys, shown, given.outline), boxes];
        """,
        {"axes": points.T.tolist(), "outline": outline.tolist()},
    )
    # By even and odd, as a lasso that crosses itself is drawn.
    crossings = np.zeros(len(points), dtype=int)
    for (x, y), (u, v) in zip(outline, np.roll(outline, 1, axis=0), strict=True):
        above = (y > points[:, 1]) != (v > points[:, 1])
        at = (u - x) * (points[:, 1] - y) / (v - y) + x
        crossings += above & (points[:, 0] < at)
    assert found == np.flatnonzero(crossings % 2).tolist()
    boxes = np.array(boxes)
    apart = [
        (boxes[:, None, i] >= boxes[:, i + 2]) | (boxes[:, i] >= boxes[:, None, i + 2])
        for i in (0, 1)
    ]
    assert (apart[0] | apart[1])[~np.eye(len(boxes), dtype=bool)].all()
    assert len(boxes) > 100
