"""Peers run in processes and environments of their own, and give back what they computed."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.slow


@pytest.fixture
def peers(monkeypatch):
    """The module, fresh for each test."""
    spec = importlib.util.spec_from_file_location("_peers", BENCHMARKS / "_peers.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_peers", module)  # a dataclass looks itself up
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec.loader.exec_module(module)
    return module


def test_a_peer_gives_what_a_call_in_this_process_gives(peers):
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    run = peers.run_peer("sklearn", "kmeans", X=X, n_clusters=5, n_runs=2)
    labels, centers = run.result
    model = KMeans(5, random_state=0).fit(X)
    np.testing.assert_array_equal(labels, model.labels_)
    np.testing.assert_allclose(centers, model.cluster_centers_, rtol=1e-5)
    assert len(run.times) == 2
    assert run.peak_memory > 1


def test_a_peer_is_stopped_where_time_or_memory_ends(peers, tmp_path, monkeypatch):
    with pytest.raises(peers.PeerStopped, match="stopped after 0.1 s"):
        peers.run_peer("sklearn", "kmeans", X=np.eye(9), n_clusters=3, limit=0.1)
    (tmp_path / "peers").mkdir()
    for name in ("_run_peer.py", "_common.py"):
        shutil.copy(BENCHMARKS / name, tmp_path)
    text = "import numpy as np\ndef take(n):\n    return np.zeros(int(n))\n"
    (tmp_path / "peers" / "greedy.py").write_text(text)
    monkeypatch.setattr(peers, "HERE", tmp_path)
    assert len(peers.run_peer("greedy", "take", n=3).result) == 3
    with pytest.raises(peers.PeerStopped, match="out of memory"):
        peers.run_peer("greedy", "take", n=1e12)


def test_an_environment_is_made_anew_when_its_pins_change(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "HERE", tmp_path)
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path / "environments")
    (tmp_path / "peers").mkdir()
    pins = tmp_path / "peers" / "bare.txt"
    pins.write_text("# nothing\n")
    assert not peers.have_peer("bare")
    python = peers.make_peer("bare")
    assert python.exists()
    assert peers.have_peer("bare")
    pins.write_text("# another nothing\n")
    assert not peers.have_peer("bare")
