"""Archives are opened once, servers are asked again, and nobody waits for one that is silent."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn.images import Decoding, ImageDecodeError, ImageRef, list_images, load_image
from dinov2_sklearn.images._remote import file_system


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (4, 3), value).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path, values):
    with zipfile.ZipFile(path, "w") as file:
        for i, value in enumerate(values):
            file.writestr(f"d/{i:05d}.png", png(value))
        file.writestr("__MACOSX/d/._x.png", b"")
        file.writestr("__MACOSX/d/x.png", b"")


def test_an_archive_is_opened_once_for_all_threads_until_it_changes(tmp_path):
    path = tmp_path / "a.zip"
    pack(path, range(200))
    urls = list_images(f"zip://::{path}")
    assert len(urls) == 200
    first = file_system(urls[0])[0]
    with ThreadPoolExecutor(8) as pool:
        values = [image.getpixel((0, 0))[0] for image in pool.map(load_image, urls)]
    assert values == list(range(200))
    assert file_system(urls[-1])[0] is first
    pack(path, range(199, -1, -1))
    os.utime(path, ns=(1, 1))
    assert load_image(urls[0]).getpixel((0, 0)) == (199, 199, 199)


def test_threads_share_a_tar(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for i in range(100):
            info = tarfile.TarInfo(f"{i:03d}.png")
            info.size = len(png(i))
            file.addfile(info, io.BytesIO(png(i)))
    urls = list_images(f"tar://::{path}")
    with ThreadPoolExecutor(8) as pool:
        values = [image.getpixel((0, 0))[0] for image in pool.map(load_image, urls)]
    assert values == list(range(100))


def test_a_large_archive_costs_no_more_than_its_reading(tmp_path):
    pack(tmp_path / "a.zip", [7] * 5000)
    urls = list_images(f"zip://::{tmp_path / 'a.zip'}")
    start = time.perf_counter()
    for url in urls[::10]:
        ImageRef(url).read()
    assert (time.perf_counter() - start) / 500 < 0.005  # the index alone takes some 50 ms


def test_relative_archives_are_told_apart_by_the_folder(tmp_path, monkeypatch):
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        pack(tmp_path / name / "a.zip", [value])
    for name, value in (("one", 1), ("two", 2)):
        monkeypatch.chdir(tmp_path / name)
        ref = ImageRef("zip://d/00000.png::a.zip")
        assert load_image(ref.address).getpixel((0, 0)) == (value,) * 3
        assert ref.absolute == f"zip://d/00000.png::{tmp_path / name / 'a.zip'}"
        assert ImageRef(ref.absolute).absolute == ref.absolute
        assert ref.below("/data") == "zip://d/00000.png::/data/a.zip"
    assert ImageRef("s3://bucket/a.png").below("/data") == "s3://bucket/a.png"


class _Server(BaseHTTPRequestHandler):
    asked: dict = {}

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.asked[path] = self.asked.get(path, 0) + 1
        if path == "/silent.png":
            time.sleep(30)
            return
        if path == "/busy.png" and self.asked[path] < 3:
            self.send_error(503)
        elif path == "/signed.png" and query != "signature=a/b%2Bc":
            self.send_error(403)
        elif path == "/headed.png" and self.headers.get("X-Key") != "open":
            self.send_error(401)
        elif path == "/gone.png":
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(png(9))))
            self.end_headers()
            self.wfile.write(png(9))

    def do_HEAD(self):
        self.send_error(403)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_a_server_that_fails_for_a_moment_is_asked_again(server):
    assert np.asarray(load_image(f"{server}/busy.png")).max() == 9
    assert _Server.asked["/busy.png"] == 3
    with pytest.raises(ImageDecodeError, match="no such file"):
        load_image(f"{server}/gone.png")
    assert _Server.asked["/gone.png"] == 1


def test_signed_addresses_and_headers(server):
    signed = f"{server}/signed.png?signature=a/b%2Bc"
    assert list_images(signed).tolist() == [signed]
    assert np.asarray(load_image(signed)).max() == 9
    assert ImageRef(signed).name == "signed.png"
    with pytest.raises(ImageDecodeError, match="401"):
        load_image(f"{server}/headed.png")
    decoding = Decoding(storage_options={"headers": {"X-Key": "open"}})
    assert np.asarray(load_image(f"{server}/headed.png", decoding=decoding)).max() == 9


@pytest.mark.skipif(os.name == "nt", reason="sends a signal as a terminal does")
def test_control_c_ends_a_run_that_waits_for_a_server(server):
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from dinov2_sklearn.images import Decoding, ImageReader, Preprocessing, map_ahead\n"
        "reader = ImageReader([Preprocessing()], exact_decode=True)\n"
        "print('reading', flush=True)\n"
        "list(map_ahead(reader.pictures, [sys.argv[1]] * 9, num_workers=3, ahead=9))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{server}/silent.png"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"reading\n"
    time.sleep(2)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.perf_counter() - start < 4  # 2 on a machine that does nothing else
    assert b"KeyboardInterrupt" in errors
