"""Images that are parts of files: boxes, pages, frames and rows."""

import gzip
import io
import json
import shutil
import tarfile
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import ImageTable, list_boxes, list_frames, list_images, list_rows
from dinov2_sklearn.images import (
    Decoding,
    Fragment,
    ImageDecodeError,
    ImageRef,
    check_images,
    image_size,
    load_image,
    map_ahead,
)


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """A picture of noise in the working folder, ``a.png`` of 60 x 40, and its pixels."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    return pixels


def decoded(address):
    return np.asarray(load_image(address))


def test_a_box_is_cut_from_the_picture(noise):
    assert np.array_equal(decoded("a.png#xywh=10,5,20,30"), noise[5:35, 10:30])
    assert np.array_equal(decoded("a.png#xywh=percent:50,25,50,50"), noise[10:30, 30:])
    assert np.array_equal(decoded("a.png#xywh=-5,30,10,99"), noise[30:, :5])
    assert image_size("a.png#xywh=percent:50,25,50,50") == (30, 20)


def test_a_box_is_cut_from_the_upright_picture(noise):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise).save("turned.png", exif=exif)
    upright = np.rot90(noise, -1)
    assert np.array_equal(decoded("turned.png#xywh=3,4,20,30"), upright[4:34, 3:23])


def test_a_file_that_truly_has_such_a_name_is_that_file(noise):
    Image.fromarray(noise[:7]).save("b.png#xywh=1,1,2,2", "PNG")
    ref = ImageRef("b.png#xywh=1,1,2,2")
    assert (ref.is_part, ref.file, load_image(ref.address).size) == (False, ref.address, (60, 7))
    assert [*list_images(["b.png#xywh=1,1,2,2"])] == ["b.png#xywh=1,1,2,2"]
    assert load_image("b.png#xywh=1,1,2,2#xywh=0,0,3,2").size == (3, 2)


def test_an_address_knows_its_file_and_its_part():
    ref = ImageRef("zip://birds/wren.jpg::photos.zip#xywh=1,2,3,4")
    assert (ref.name, ref.extension) == ("wren.jpg", ".jpg")
    assert ref.below("/data") == "zip://birds/wren.jpg::/data/photos.zip#xywh=1,2,3,4"
    assert ImageRef("https://x.org/a.jpg?key=1#t=3").within == "https://x.org/a.jpg"
    assert ImageRef("a#b.jpg").file == "a#b.jpg"


def test_what_a_fragment_says_comes_back_from_its_text():
    text = "page=3&row=2&column=a%26b&t=12.5&xywh=percent:0.5,1,2,3"
    assert str(Fragment.parse(text)) == text


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ("xywh=60,0,5,5", "outside the picture of 60 x 40"),
        ("xywh=1,1,0,5", "no area"),
        ("xywh=percent:120,0,5,5", "percent end at 100"),
        ("xywh=1,2,3", "is no box such as"),
        ("xywh=nan,2,3,4", "is no box such as"),
        ("xywh=inch:1,2,3,4", "the unit 'inch' is not known"),
        ("xywh=1,2,3,4&xywh=1,2,3,4", "stands twice"),
        ("xywh=1,2,3,4&foo=1", "'foo' is none of"),
        ("page=0", "counted from 1"),
        ("page=2", "it has 1 page, and none has the number 2"),
        ("t=-1", "in seconds"),
        ("row=0", "no parquet file"),
    ],
)
def test_what_is_no_part_is_an_error_that_says_why(noise, part, cause):
    with pytest.raises(ImageDecodeError, match=cause) as caught:
        load_image(f"a.png#{part}")
    assert caught.value.source == f"a.png#{part}"


def test_a_file_is_opened_once_for_parts_near_each_other(noise, opened):
    for name in "bcd":
        Image.fromarray(noise).save(f"{name}.png")
    boxes = [f"{name}.png#xywh={x},0,10,10" for name in "abcd" for x in range(20)]
    mixed = [box for pair in zip(boxes[:20], boxes[20:40], strict=True) for box in pair]
    for order, n_threads in ((boxes, 3), (mixed, 3), (boxes, 0)):
        with opened() as counts:
            found = list(map_ahead(load_image, order, num_workers=n_threads, ahead=8))
        files = {ImageRef(box).file for box in order}
        assert {name: n for name, n in counts.items() if name in files} == dict.fromkeys(files, 1)
        for box, image in zip(order, found, strict=True):
            assert np.array_equal(np.asarray(image), decoded(box))


def test_the_digest_tells_parts_and_contents_apart(noise):
    digests = {
        ImageRef(address).read().digest
        for address in ("a.png", "a.png#xywh=0,0,9,9", "a.png#xywh=0,0,9,8", "a.png#page=1")
    }
    assert len(digests) == 4
    before = ImageRef("a.png#xywh=0,0,9,9").read().digest
    Path("copy.png").write_bytes(Path("a.png").read_bytes())
    assert ImageRef("copy.png#xywh=0,0,9,9").read().digest == before
    Image.fromarray(noise[::-1]).save("a.png")
    assert ImageRef("a.png#xywh=0,0,9,9").read().digest != before


def test_pages_are_images_of_their_own(noise):
    colours = [Image.new("RGB", (8, 8), name) for name in ("red", "lime", "blue")]
    colours[0].save("stack.tif", save_all=True, append_images=colours[1:])
    deep = [Image.fromarray(np.full((8, 8), v, dtype=np.uint16)) for v in (0, 30_000)]
    deep[0].save("deep.tif", save_all=True, append_images=deep[1:])
    pages = list_images("stack.tif", pages=True)
    assert [*pages] == [f"stack.tif#page={n}" for n in (1, 2, 3)]
    assert [load_image(page).getpixel((0, 0)) for page in pages] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    ]
    decoding = Decoding(value_range=(0, 75_000))
    values = [load_image(f"deep.tif#page={n}", decoding=decoding).getpixel((0, 0)) for n in (1, 2)]
    assert values == [(0, 0, 0), (102, 102, 102)]
    assert [*list_images(["a.png", "stack.tif"], pages=True)] == ["a.png", *pages]
    with pytest.raises(ImageDecodeError, match="it has 3 pages, and none has the number 4"):
        load_image("stack.tif#page=4")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 6 seconds, of 10 frames a second and a key frame in each 12, by its path.

    The grey of frame i is 4 i.
    """
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 12
        for i in range(60):
            grey = np.full((48, 64, 3), 4 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def number(image):
    """Return which frame of `video` an image is."""
    return round(float(np.asarray(image).mean()) / 4)


def test_the_right_frames_of_a_video_come(video):
    times = {0: 0, 0.05: 0, 0.1: 1, 0.39: 3, 1.2: 12, 2.3: 23, 5.9: 59, 5.99: 59}
    assert {t: number(load_image(f"{video}#t={t}")) for t in times} == times
    frames = list_frames(video, every=0.1)
    assert frames.columns["time"].tolist() == [i / 10 for i in range(60)]
    order = np.random.default_rng(0).permutation(60)
    for places in (range(60), order):
        asked = [frames[i] for i in places]
        found = list(map_ahead(load_image, asked, num_workers=2, ahead=9))
        assert [number(image) for image in found] == list(places)
    box = load_image(f"{video}#t=3&xywh=percent:0,0,50,25")
    assert (box.size, number(box)) == ((32, 12), 30)
    assert [*list_frames(video.parent, every=2.5)] == [f"{video}#t={t}" for t in ("0", "2.5", "5")]


def test_what_a_video_cannot_give_is_an_error(video, tmp_path, noise):
    av = pytest.importorskip("av")
    with pytest.raises(ImageDecodeError, match=r"no frame at 6 s: its last begins at 5\.9 s"):
        load_image(f"{video}#t=6")
    with av.open(str(video)) as container:
        packet = next(p for p in container.demux(video=0) if p.pts and p.time_base * p.pts == 3)
        content = bytearray(video.read_bytes())
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    with pytest.raises(ImageDecodeError, match="the video is damaged near 3 s"):
        load_image(f"{damaged}#t=3")
    assert number(load_image(f"{damaged}#t=4")) == 40
    Path("no.mp4").write_bytes(b"no video")
    with pytest.raises(ImageDecodeError, match="it is no video"):
        list_frames("no.mp4")
    with pytest.raises(ValueError, match="every must be above 0"):
        list_frames(video, every=0)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        list_frames("gone.mp4")
    with pytest.raises(ValueError, match="is a video: list_frames"):
        list_images(video)


def write_json(name, contents):
    Path(name).write_text(json.dumps(contents))
    return name


@pytest.mark.filterwarnings("ignore:In 1 of 2 pictures the detector failed:UserWarning")
def test_boxes_of_megadetector(noise):
    file = write_json(
        "detections.json",
        {
            "detection_categories": {"1": "animal", "2": "person"},
            "images": [
                {
                    "file": "a.png",
                    "detections": [
                        {"category": "1", "conf": 0.9, "bbox": [0.25, 0.5, 0.5, 0.25]},
                        {"category": "2", "conf": 0.3, "bbox": [0, 0, 0.5, 0.5]},
                        {"category": "1", "conf": 0.1, "bbox": [0, 0, 1, 1]},
                    ],
                },
                {"file": "b.png", "failure": "unreadable", "detections": None},
            ],
        },
    )
    with pytest.warns(UserWarning, match=r"they have no boxes. The first is 'b.png' \(unreadable"):
        boxes = list_boxes(file)
    assert [*boxes] == ["a.png#xywh=percent:25,50,50,25", "a.png#xywh=percent:0,0,50,50"]
    assert boxes.columns["label"].tolist() == ["animal", "person"]
    assert boxes.columns["confidence"].tolist() == [0.9, 0.3]
    assert boxes.columns["picture"].tolist() == ["a.png", "a.png"]
    assert np.array_equal(decoded(boxes[0]), noise[20:30, 15:45])
    assert [*list_boxes(file, min_confidence=0.5)] == [boxes[0]]
    assert [*list_boxes(file, categories="person")] == [boxes[1]]
    assert list_boxes(file, square=True)[0] == "a.png#xywh=15,10,30,30"
    assert list_boxes(file, padding=0.1)[0] == "a.png#xywh=percent:20,47.5,60,30"
    with pytest.raises(ValueError, match="categories has 'dog'; the boxes' are 'animal', 'person'"):
        list_boxes(file, categories=["dog"])
    with pytest.raises(ValueError, match="No boxes: 3 in all"):
        list_boxes(file, min_confidence=0.95)


def test_pictures_of_boxes_are_found_by_names_written_elsewhere(noise):
    name = "cam\u00e9ra/a.png"
    Path(name).parent.mkdir()
    shutil.copy("a.png", name)
    box = {"category": "1", "conf": 1.0, "bbox": [0, 0, 1, 1]}
    for written in (name.replace("/", "\\"), unicodedata.normalize("NFD", name)):
        file = write_json("d.json", {"images": [{"file": written, "detections": [box]}]})
        assert list_boxes(file).columns["picture"].tolist() == [name]


def test_boxes_of_coco_that_leave_their_pictures_are_clipped_and_told(noise):
    image = {"id": 7, "file_name": "a.png", "width": 60, "height": 40}
    kinds = [{"id": 3, "name": "cat"}]
    inside, across, outside = [10, 10, 20, 15], [50, 30, 20, 20], [70, 0, 5, 5]
    annotations = [
        {"id": i, "image_id": 7, "category_id": 3, "bbox": box}
        for i, box in enumerate([inside, across, outside, [1, 1, 0, 9]])
    ]
    contents = {"images": [image], "annotations": annotations, "categories": kinds}
    told = "1 of 4 boxes leave .* 1 lie outside and 1 have no area"
    with pytest.warns(UserWarning, match=told):
        boxes = list_boxes(write_json("coco.json", contents))
    assert [*boxes] == ["a.png#xywh=10,10,20,15", "a.png#xywh=50,30,10,10"]
    assert boxes.columns["label"].tolist() == ["cat", "cat"]
    outline = {"id": 9, "image_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5]]}
    contents["annotations"] = [annotations[0] | {"category_id": 4}, outline]
    with pytest.warns(UserWarning, match="1 of 2 annotations have no box"):
        boxes = list_boxes(write_json("coco.json", contents))
    assert boxes.columns["label"].tolist() == ["4"]
    contents["annotations"] = [annotations[0] | {"score": "high"}]
    with pytest.raises(ValueError, match="'a.png' has the confidence 'high', which is no number"):
        list_boxes(write_json("coco.json", contents))
    contents["annotations"] = [{"id": 1, "image_id": 8, "bbox": inside}]
    with pytest.raises(ValueError, match="of the image 8, which the COCO file does not list"):
        list_boxes(write_json("coco.json", contents))
    contents["images"] = [image, image]
    with pytest.raises(ValueError, match="Two images of the COCO file have the same id"):
        list_boxes(write_json("coco.json", contents))


def test_boxes_of_yolo_lie_beside_pictures_or_in_labels(noise, tmp_path):
    for labels, pictures in (("flat", "flat"), ("set/labels", "set/images")):
        Path(labels).mkdir(parents=True)
        Path(pictures).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(Path(pictures, "p.JPG"), "JPEG")
        Path(labels, "p.txt").write_text("0 0.5 0.5 0.5 0.5 0.8\n1 0.1 0.1 0.2 0.2 0.1\n\n")
        Path(labels, "classes.txt").write_text("cat\ndog\n")
        boxes = list_boxes(labels)
        assert [*boxes] == [f"{Path(pictures, 'p.JPG')}#xywh=percent:25,25,50,50"]
        assert boxes.columns["label"].tolist() == ["cat"]
    Path("set/labels/classes.txt").unlink()
    for source in ("set", "set/labels"):
        for names in ("names: [cat, dog]", "names: {0: cat}", "nc: 2"):
            Path("set/data.yaml").write_text(names)
            boxes = list_boxes(source)
            assert [*boxes] == [f"{Path('set/images/p.JPG')}#xywh=percent:25,25,50,50"]
            assert boxes.columns["label"].tolist() == ["0" if names == "nc: 2" else "cat"]
    for text in ("names: 3", "names: [", "cat"):
        Path("set/data.yaml").write_text(text)
        with pytest.raises(ValueError, match="data.yaml' does not say the names of classes"):
            list_boxes("set")
    Path("set/data.yaml").unlink()
    others = list_boxes("set/labels", images="flat")
    assert [*others] == ["flat/p.JPG#xywh=percent:25,25,50,50"]
    for line in ("0 0.5 0.5", "-1 0.5 0.5 1 1", "nan 0.5 0.5 1 1", "0 nan 0.5 1 1"):
        Path("flat/p.txt").write_text(line)
        with pytest.raises(ValueError, match="Line 1 of .* is no box of YOLO"):
            list_boxes("flat")
    Path("flat/q.txt").write_text("0 0.5 0.5 1 1\n")
    Path("flat/p.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no picture for 'flat/q.txt'"):
        list_boxes("flat")


def test_boxes_of_tables_keep_their_columns(noise):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"image_path": ["a.png"], "x": [1], "y": [2], "width": [3], "height": [4], "site": ["N"]}
    )
    table.to_csv("boxes.csv", index=False)
    for source in (table, "boxes.csv", ImageTable(["a.png"], table.drop(columns="image_path"))):
        boxes = list_boxes(source)
        assert [*boxes] == ["a.png#xywh=1,2,3,4"]
        assert boxes.columns["site"].tolist() == ["N"]
    frame = boxes.to_frame()
    assert [*frame.columns] == ["image_path", "site", "picture"]
    with pytest.raises(ValueError, match="no column 'width'"):
        list_boxes(table.drop(columns="width"))
    with pytest.raises(ValueError, match="no box in 'a.png': it has four numbers"):
        list_boxes(table.assign(x=[float("nan")]))
    with pytest.raises(ValueError, match="Row 0 of the boxes names no picture, but None"):
        list_boxes(table.assign(image_path=[None]))
    with pytest.raises(TypeError, match="got an object of type list"):
        list_boxes(["a.png"])
    for padding in (-1, float("nan")):
        with pytest.raises(ValueError, match=f"padding must be finite.*{padding}"):
            list_boxes(table, padding=padding)


@pytest.mark.parametrize("contents", ["{}", "[1]", '{"images": [{"name": 1}]}', "no json"])
def test_a_json_of_neither_kind_is_an_error(noise, contents):
    Path("other.json").write_text(contents)
    with pytest.raises(ValueError, match="holds no boxes .* expected COCO's images"):
        list_boxes("other.json")
    with pytest.raises(FileNotFoundError, match="no boxes at 'gone.json'"):
        list_boxes("gone.json")


@pytest.fixture
def parquet(noise):
    """``rows.parquet`` in groups of two rows, which holds encoded images; the last holds none."""
    pa = pytest.importorskip("pyarrow")
    encoded = []
    for value in range(4):
        file = io.BytesIO()
        Image.new("RGB", (8, 6), (value, 0, 0)).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    table = pa.table({"image": [*encoded, None], "label": ["a", "b", "c", "d", "e"]})
    pa.parquet.write_table(table, "rows.parquet", row_group_size=2)
    return "rows.parquet"


def test_rows_of_a_parquet_file_are_images(parquet):
    rows = list_rows(parquet)
    assert rows[1] == "rows.parquet#row=1&column=image"
    assert rows.columns["label"].tolist() == ["a", "b", "c", "d", "e"]
    found = list(map_ahead(load_image, rows[:4], num_workers=2, ahead=4))
    assert [image.getpixel((0, 0))[0] for image in found] == [0, 1, 2, 3]
    assert load_image("rows.parquet#row=2&xywh=0,0,3,2").size == (3, 2)
    assert ImageRef(rows[0]).read().digest != ImageRef(rows[1]).read().digest
    with pytest.raises(ImageDecodeError, match="row 4 holds no image in 'image', but None"):
        load_image(rows[4])
    with pytest.raises(ImageDecodeError, match="it has 5 rows, from 0, and none has the number 5"):
        load_image("rows.parquet#row=5")
    with pytest.raises(ImageDecodeError, match="that hold images are image"):
        load_image("rows.parquet#row=1&column=label")


def test_tables_of_paths_give_their_columns(noise):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"image_path": ["a.png", "a.png"], "camera": ["N", "S"]})
    table.to_parquet("t.parquet")
    table.to_csv("t.csv", index=False)
    table.to_json("t.jsonl", orient="records", lines=True)
    for source in ("t.parquet", "t.csv", "t.jsonl", table, list_rows("t.csv")):
        rows = list_rows(source)
        assert [*rows] == ["a.png", "a.png"]
        assert rows.columns["camera"].tolist() == ["N", "S"]
    Path("t.jsonl").write_text('{"image_path": "a.png"}\n[1]\n')
    with pytest.raises(ValueError, match="Line 2 of 't.jsonl' is no JSON object"):
        list_rows("t.jsonl")
    Path("t.jsonl").write_text('{"image_path": "a.png"}\n{"other": 1}\n')
    with pytest.raises(ValueError, match="No path in .* at position 1"):
        list_rows("t.jsonl")
    Path("t.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="is no parquet file"):
        list_rows("t.parquet")


def test_a_web_data_set_gives_its_rows(noise):
    def add(archive, name, content):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

    with tarfile.open("shard.tar", "w") as archive:
        for key, camera in (("000", "N"), ("001", "S")):
            add(archive, f"{key}.png", Path("a.png").read_bytes())
            add(archive, f"{key}.json", json.dumps({"camera": camera}).encode())
            add(archive, f"{key}.cls", b"3")
    rows = list_rows("shard.tar")
    assert [*rows] == ["tar://000.png::shard.tar", "tar://001.png::shard.tar"]
    assert rows.columns["camera"].tolist() == ["N", "S"]
    assert rows.columns["cls"].tolist() == ["3", "3"]
    assert np.array_equal(decoded(rows[1]), noise)
    # Step by step backwards, each of which would unpack all before it again.
    for name in ("shard.tar.gz", "shard.tgz"):
        with gzip.open(name, "wb") as packed:
            packed.write(Path("shard.tar").read_bytes())
        images = list_images(name)
        assert [*images] == [f"tar://00{i}.png::{name}" for i in (0, 1)]
        assert all(np.array_equal(decoded(image), noise) for image in images[::-1])
    with tarfile.open("shard.tar", "a") as archive:
        add(archive, "000.png", Path("a.png").read_bytes())
    with pytest.raises(ValueError, match="1 names twice, the first '000.png'"):
        list_rows("shard.tar")
    with tarfile.open("bad.tar", "w") as archive:
        add(archive, "0.png", Path("a.png").read_bytes())
        add(archive, "0.json", b"{")
    with pytest.raises(ValueError, match="'0.json', beside 'tar://0.png::bad.tar', is no JSON"):
        list_rows("bad.tar")
    with pytest.raises(FileNotFoundError, match="no file, folder or glob match at 'gone.tar'"):
        list_rows("gone.tar")


def test_a_data_set_of_hugging_face_is_read_row_by_row(noise):
    datasets = pytest.importorskip("datasets")
    pixels = [noise, noise[::-1], None]
    images = [None if p is None else Image.fromarray(p) for p in pixels]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    data = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 2]}, features=features)
    for given in (data, data["image"]):
        rows = check_images(given, estimator_name="DINOv2Transformer")
        assert all(np.array_equal(decoded(rows[i]), pixels[i]) for i in (0, 1))
        with pytest.raises(ImageDecodeError, match="'row 2': it holds no image, but None"):
            load_image(rows[2])
    with pytest.raises(ValueError, match="Pick one, as dataset\\['column'\\]"):
        check_images(data.remove_columns("image").add_column("n", [1, 2, 3]), estimator_name="X")
    with pytest.raises(TypeError, match="to_parquet"):
        list_images(data)
    splits = datasets.DatasetDict({"train": data})
    with pytest.raises(ValueError, match=r"got the splits 'train'. Pick one"):
        check_images(splits, estimator_name="X")
    streamed = data.to_iterable_dataset()
    for given in (streamed, streamed["image"]):
        with pytest.raises(TypeError, match="without streaming=True"):
            check_images(given, estimator_name="X")


def test_a_table_of_images_is_a_sequence_of_addresses():
    table = ImageTable(["a", "b", "c"], {"n": [1, 2, 3], "s": ["x", None, "z"]})
    assert [*table] == ["a", "b", "c"]
    assert [*table[[2, 0]]] == ["c", "a"]
    assert table[table.columns["n"] > 1].columns["s"].tolist() == [None, "z"]
    assert check_images(table, estimator_name="X") == ["a", "b", "c"]
    with pytest.raises(ValueError, match="n has 1 values for 2 images"):
        ImageTable(["a", "b"], {"n": [1]})
    with pytest.raises(ValueError, match="'n' already. Name another image_col"):
        table.to_frame("n")


def test_boxes_clipped_at_decoding_are_told_once(noise, tiny_dinov2):
    from dinov2_sklearn import DINOv2Transformer

    embed = DINOv2Transformer(tiny_dinov2, num_workers=2, crop_mode="squash")
    boxes = [f"a.png#xywh={x},0,20,20" for x in (0, 30, 50, 55)]
    with pytest.warns(UserWarning, match="Of 2 boxes a part lies outside") as caught:
        rows = embed.fit_transform(boxes)
    assert len([w for w in caught if "boxes" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crops = embed.fit_transform([load_image(box) for box in boxes])
    assert np.allclose(rows, crops, atol=1e-5)


def test_the_cache_tells_boxes_apart_and_knows_them_by_content(noise, tiny_dinov2, opened):
    import os

    from dinov2_sklearn import DINOv2Transformer

    embed = DINOv2Transformer(tiny_dinov2, num_workers=2, embedding_cache="cache")
    boxes = [f"a.png#xywh={x},0,20,20" for x in range(0, 40, 8)]
    os.utime("a.png", (1, 1))
    with opened() as counts:
        rows = embed.fit_transform(boxes)
    assert counts["a.png"] == 1
    assert len(np.unique(rows.round(4), axis=0)) == len(boxes)
    shutil.copy("a.png", "moved.png")
    again = embed.fit_transform([box.replace("a.png", "moved.png") for box in boxes])
    assert np.array_equal(rows, again)
    from dinov2_sklearn import EmbeddingCache

    assert EmbeddingCache("cache").info().n_embeddings == len(boxes)


def test_outlines_of_yolo_become_boxes_and_empty_confidences_are_none(noise):
    Path("a.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0.1 0.2 0.6 0.3 0.4 0.8\n")
    boxes = list_boxes(Path())
    assert [ImageRef(box).fragment.box for box in boxes] == [(40, 30, 20, 40), (10, 20, 50, 60)]
    Path("a.txt").write_text("0 0.5 0.5 0.2 0.4 0.9 0.1 0.2\n")
    with pytest.raises(ValueError, match="Line 1 of 'a.txt' is no box of YOLO"):
        list_boxes(Path())
    Path("b.csv").write_text(
        "image_path,x,y,width,height,confidence\na.png,1,1,9,9,\na.png,2,2,9,9,0.1\n"
    )
    assert [*list_boxes("b.csv")] == ["a.png#xywh=1,1,9,9"]
