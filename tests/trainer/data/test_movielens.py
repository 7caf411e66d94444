"""MovieLens in all its formats, and its download."""

import functools
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from cofactor_trainer.data.download import ARCHIVES, fetch
from cofactor_trainer.data.movielens import GENRES_100K, load_embedded_small, load_folder
from cofactor_trainer.errors import InputError

CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.5,7\n2,10,1.0,8\n2,3,0.5,9\n",
    "movies.csv": 'movieId,title,genres\n3,"Café, The (2001)",Drama\n10,GoldenEye (1995),Action|Thriller\n'
    "11,Unrated (1999),(no genres listed)\n",
}
DAT = {
    "ratings.dat": "1::10::5::7\n2::10::1::8\n2::3::2::9\n",
    "movies.dat": "3::Café: The Story (2001)::Drama\n10::GoldenEye (1995)::Action|Thriller\n",
}
USERS_1M = {"users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n"}


def genre_flags(*genres):
    return "|".join("1" if genre in genres else "0" for genre in GENRES_100K)


ML_100K = {
    "u.data": "1\t10\t5\t7\n2\t11\t1\t8\n2\t3\t2\t9\n",
    "u.item": f"3|Café, The (2001)|x||x|{genre_flags('Drama')}\n"
    f"10|GoldenEye (1995)|x||x|{genre_flags('Action', 'Thriller')}\n"
    f"11|GoldenEye (1995)|x||x|{genre_flags('unknown')}\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
}


def write(folder, files, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding))
    return folder


def described(dataset):
    return {
        item_id: (title, genres, int(year))
        for item_id, title, genres, year in zip(
            dataset.catalogue.item_ids,
            dataset.catalogue.titles,
            dataset.catalogue.genres,
            dataset.catalogue.release_years,
            strict=True,
        )
    }


def test_a_20m_or_later_folder_has_csv_files_with_headers(tmp_path):
    dataset = load_folder(write(tmp_path / "ml-25m", CSV))
    assert dataset.name == "MovieLens ml-25m"
    assert described(dataset) == {
        "10": ("GoldenEye (1995)", ("Action", "Thriller"), 1995),
        "3": ("Café, The (2001)", ("Drama",), 2001),
    }
    assert dataset.ratings.tolist() == [4.5, 1.0, 0.5]
    assert (dataset.rating_min, dataset.rating_max) == (0.5, 5.0)


def test_a_10m_folder_has_half_stars_and_no_profiles(tmp_path):
    dataset = load_folder(write(tmp_path, DAT))
    assert described(dataset)["3"] == ("Café: The Story (2001)", ("Drama",), 2001)
    assert dataset.timestamps.tolist() == [7, 8, 9]
    assert dataset.rating_min == 0.5
    assert dataset.profiles is None


def test_a_1m_folder_is_latin_1_and_has_profiles(tmp_path):
    dataset = load_folder(write(tmp_path, DAT | USERS_1M, "latin-1"))
    assert described(dataset)["3"] == ("Café: The Story (2001)", ("Drama",), 2001)
    assert dataset.rating_min == 1.0
    assert dataset.profiles.to_dict("list") == {
        "age": [1, 56],
        "gender": ["F", "M"],
        "occupation": ["K-12 student", "self-employed"],
    }


def test_a_delimiter_split_between_two_reads_is_recognised(tmp_path):
    lines = [f"{user}::{item}::{1 + (user + item) % 5}::{user}" for user in range(1, 300) for item in range(1, 300)]
    dataset = load_folder(write(tmp_path, DAT | {"ratings.dat": "\n".join(lines) + "\n"}))
    assert dataset.n_ratings == 299 * 299
    assert (dataset.n_users, dataset.n_items) == (299, 299)


def test_a_100k_folder_has_one_item_per_id_or_per_title(tmp_path):
    write(tmp_path, ML_100K, "latin-1")
    dataset = load_folder(tmp_path)
    assert described(dataset) == {
        "10": ("GoldenEye (1995)", ("Action", "Thriller"), 1995),
        "11": ("GoldenEye (1995)", (), 1995),
        "3": ("Café, The (2001)", ("Drama",), 2001),
    }
    assert dataset.profiles.to_dict("list") == {
        "age": [24, 53],
        "gender": ["M", "F"],
        "occupation": ["technician", "other"],
    }
    by_title = load_folder(tmp_path, by_title=True)
    assert by_title.catalogue.item_ids == ["10", "3"]
    assert by_title.item_rows.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"u.item": "3|Short line\n"}, r"u.item, line 1: the line has 2 fields, but it must have 24"),
        ({"u.user": "1|old|M|technician|1\n"}, r"u.user: an age is not a whole number"),
        ({"u.data": "1\t10\t5\t7\n2\t11\tx\t8\n"}, r"u.data, line 2, column rating: 'x' is not a number"),
    ],
)
def test_a_damaged_100k_file_is_located(files, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_folder(write(tmp_path, ML_100K | files, "latin-1"))


def test_the_embedded_small_dataset_is_complete():
    dataset = load_embedded_small()
    assert (dataset.n_ratings, dataset.n_users, dataset.n_items) == (100_004, 671, 9066)
    assert described(dataset)["1"] == (
        "Toy Story",
        ("Adventure", "Animation", "Children", "Comedy", "Fantasy"),
        1995,
    )
    assert dataset.user_ids[:3] == ["1", "10", "100"]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; /short/NAME announces one byte more than it sends."""

    def send_header(self, keyword, value):
        if keyword == "Content-Length" and self.path.startswith("/short/"):
            value = str(int(value) + 1)
        super().send_header(keyword, value)

    def translate_path(self, path):
        return super().translate_path(path.removeprefix("/short"))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Serve ml-100k.zip on the loopback and register its checksum -> the site's folder, its address."""
    folder = tmp_path / "site"
    write(folder / "ml-100k", ML_100K, "latin-1")
    with zipfile.ZipFile(folder / "ml-100k.zip", "w") as archive:
        for name in ML_100K:
            archive.write(folder / "ml-100k" / name, f"ml-100k/{name}")
    monkeypatch.setitem(ARCHIVES, "ml-100k", hashlib.sha256((folder / "ml-100k.zip").read_bytes()).hexdigest())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_checked_unpacked_and_cached(site, tmp_path):
    folder, address = site
    unpacked = fetch("ml-100k", tmp_path / "cache", site=address)
    assert load_folder(unpacked).n_ratings == 3
    (folder / "ml-100k.zip").unlink()
    assert fetch("ml-100k", tmp_path / "cache", site=address) == unpacked
    assert [path.name for path in Path(tmp_path / "cache").iterdir()] == ["ml-100k"]


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("ml-100k", "/short", "could not be downloaded"),
        ("ml-1m", "", "could not be downloaded"),
        ("ml-100k", "/changed", "damaged or was changed"),
    ],
    ids=["cut short", "missing", "changed"],
)
def test_a_failed_download_leaves_nothing_and_names_the_remedy(site, name, path, reason, tmp_path):
    folder, address = site
    (folder / "changed").mkdir()
    (folder / "changed" / "ml-100k.zip").write_bytes((folder / "ml-100k.zip").read_bytes() + b"more")
    with pytest.raises(InputError) as error:
        fetch(name, tmp_path / "cache", site=address + path)
    message = str(error.value)
    assert f"{address}{path}/{name}.zip" in message
    assert reason in message
    assert message.endswith("pass its directory with --dataset")
    assert "\n" not in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_reported(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"could not be downloaded \(.*file.*\): download and unpack it yourself"):
        fetch("ml-100k", tmp_path / "file" / "cache", site=site[1])
