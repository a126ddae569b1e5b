import gzip
from collections import Counter
from random import Random

import numpy as np
import pytest

from simulations.errors import BadScenario
from simulations.matrix import Matrix, Square, read_square
from simulations.randomness import Streams

PAIRS = """\
src_city,dst,avg_ms,min_ms,max_ms,mdev_ms,distance_km
Warsaw,"Sydney Australia, Oceania",300.0,290,310,8.0,16090
Sydney,"Warsaw Poland, Eurasia",310.0,290,310,4.0,16090
Warsaw,"Salt Lake City United States, North America",150.5,150,151,0.0,8000
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="matrix"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("gap", ["\t", " ", ",", "  "])
def test_a_square_of_milliseconds_is_read(written, gap):
    rows = [["0", "10", "20"], ["10", "0.5", "31.5"], ["20", "31.5", "0"]]
    square = read_square(written("# measured\n" + "\n".join(gap.join(row) for row in rows) + "\n\n"))
    assert square.names == ("0", "1", "2")
    # On the diagonal stands what was measured there, or else the nearest other row.
    assert list(square.seconds) == pytest.approx([0.01, 0.01, 0.02, 0.01, 0.0005, 0.0315, 0.02, 0.0315, 0.02])
    assert square.unknown == 0 and not square.deviations


def test_what_was_not_measured_is_filled_in_and_counted(written):
    square = read_square(written("0 10 nan 0\n-1 0 20 5\n40 inf 0 0\n0 5 0 0\n"))
    ms = np.array(square.seconds).reshape(4, 4) * 1000
    assert ms[1, 0] == 10, "the other direction"
    assert ms[0, 2] == 40 and ms[2, 1] == 20
    assert ms[0, 3] == ms[3, 0] == ms[2, 3] == ms[3, 2] == 10, "the median where neither was"
    assert square.unknown == 7
    assert (ms > 0).all()


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.csv.gz"])
def test_a_table_of_pairs_is_read_plain_and_packed(written, name):
    square = read_square(written(PAIRS, name))
    assert square.names == ("Sydney", "Warsaw", "Salt Lake City United States, North America")
    ms = np.array(square.seconds).reshape(3, 3) * 1000
    assert (ms[1, 0], ms[0, 1]) == pytest.approx((300.0, 310.0))
    assert ms[1, 2] == ms[2, 1] == pytest.approx(150.5)
    assert square.deviations[1] == pytest.approx(0.004)
    assert square.unknown == 3


def test_hosts_get_rows_by_seed_and_keep_them():
    square = Square(["a", "b", "c", "d"], [0, 10, 20, 30, 10, 0, 40, 50, 20, 40, 0, 60, 30, 50, 60, 0])
    model, same, other = (Matrix(square, Streams(seed)) for seed in (1, 1, 2))
    hosts = [f"11.0.{n >> 8}.{n & 255}" for n in range(4_000)]
    rows = [model.row(ip) for ip in hosts]
    assert rows == [same.row(ip) for ip in reversed(hosts)][::-1]
    assert rows != [other.row(ip) for ip in hosts]
    assert all(abs(count - 1000) < 4 * 750**0.5 for count in Counter(rows).values())
    a, b = hosts[rows.index(0)], hosts[rows.index(3)]
    assert model.delay((a, 1), (b, 1), Random(1)) == 0.015
    index = np.arange(4_000)
    assert set(model.round_trips(index, index[::-1])) <= set(square.seconds)
    assert len(set(model.round_trips(index, index[::-1]))) == len(set(square.seconds))


def test_jitter_has_the_measured_mean_and_deviation():
    square = Square(["a", "b"], [1, 100, 100, 1], [0, 10, 10, 0])
    model = Matrix(square, Streams(1), jitter=True)
    hosts = [f"11.0.0.{n}" for n in range(50)]
    rows = [model.row(ip) for ip in hosts]
    a, b = (hosts[rows.index(0)], 1), (hosts[rows.index(1)], 1)
    rng = Random(1)
    draws = [model.delay(a, b, rng) for _ in range(20_000)]
    assert np.mean(draws) == pytest.approx(0.05, rel=0.01)
    assert np.std(draws) == pytest.approx(0.005, rel=0.05)
    assert min(draws) >= 0.045
    assert model.delay(a, a, rng) == 0.0005
    with pytest.raises(BadScenario, match="no deviations"):
        Matrix(Square(["a", "b"], [0, 1, 1, 0]), Streams(1), jitter=True)


def test_rows_named_after_cities_have_places(written):
    model = Matrix(read_square(written(PAIRS)), Streams(1))
    hosts = [f"11.0.0.{n}" for n in range(50)]
    places = {model.row(ip): model.coordinates(ip) for ip in hosts}
    assert places[1] == (21.01, 52.23)
    assert places[2] is None, "with a country behind it, it is no name of a city here"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "0 rows of 0 values: expected a square"),
        ("0 1\n1 0\n2 2\n", "3 rows of 2 values: expected a square"),
        ("0 1\n1\n", "line 2: 1 values: expected 2"),
        ("0 1\n1 x\n", "line 2: value 2 'x' is no number"),
        ("0 0\n0 0\n", "2 hosts and 0 round trips"),
        ("5\n", "1 hosts and 1 round trips: expected two hosts or more"),
        ("src,ms\na,1\n", "line 1: no column dst or dst_city"),
        ("src,dst,ms\na,b,1\na,b\n", "line 3: 2 columns: expected 3"),
        ("src,dst,ms\na,b,soon\n", "line 2: ms 'soon' is no number"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_what_is_expected(written, text, told):
    path = written(text)
    with pytest.raises(BadScenario, match=told) as caught:
        read_square(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path, written):
    with pytest.raises(BadScenario, match="cannot be read"):
        read_square(tmp_path / "absent")
    broken = written("0 1\n1 0\n", "broken.gz")
    broken.write_bytes(broken.read_bytes()[:12])
    with pytest.raises(BadScenario, match="cannot be read"):
        read_square(broken)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadScenario, match="cannot be read"):
        read_square(binary)
