"""MovieLens in each of its forms, and its download."""

import functools
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from cofactor_trainer.data.download import Archive, fetch
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


def flags(*genres):
    return "|".join("1" if genre in genres else "0" for genre in GENRES_100K)


ML_100K = {
    "u.data": "1\t10\t5\t7\n2\t11\t1\t8\n2\t3\t2\t9\n",
    "u.item": f"3|Café, The (2001)|x||x|{flags('Drama')}\n10|GoldenEye (1995)|x||x|{flags('Action', 'Thriller')}\n"
    f"11|GoldenEye (1995)|x||x|{flags('unknown')}\n",
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


def test_20m_and_later_folders(tmp_path):
    dataset = load_folder(write(tmp_path / "ml-25m", CSV))
    assert dataset.name == "MovieLens ml-25m"
    assert described(dataset) == {
        "10": ("GoldenEye (1995)", ("Action", "Thriller"), 1995),
        "3": ("Café, The (2001)", ("Drama",), 2001),
    }
    assert dataset.ratings.tolist() == [4.5, 1.0, 0.5]
    assert (dataset.rating_min, dataset.rating_max) == (0.5, 5.0)


def test_10m_folder(tmp_path):
    dataset = load_folder(write(tmp_path, DAT))
    assert described(dataset)["3"] == ("Café: The Story (2001)", ("Drama",), 2001)
    assert dataset.timestamps.tolist() == [7, 8, 9]
    assert dataset.rating_min == 0.5
    assert dataset.profiles is None


def test_1m_folder_is_latin_1_and_has_profiles(tmp_path):
    dataset = load_folder(write(tmp_path, DAT | USERS_1M, "latin-1"))
    assert described(dataset)["3"] == ("Café: The Story (2001)", ("Drama",), 2001)
    assert dataset.rating_min == 1.0
    assert dataset.profiles.to_dict("list") == {
        "age": [1, 56],
        "gender": ["F", "M"],
        "occupation": ["K-12 student", "self-employed"],
    }


def test_delimiters_of_two_characters_survive_the_edges_of_reads(tmp_path):
    lines = [f"{user}::{item}::{1 + (user + item) % 5}::{user}" for user in range(1, 300) for item in range(1, 300)]
    dataset = load_folder(write(tmp_path, DAT | {"ratings.dat": "\n".join(lines) + "\n"}))
    assert dataset.n_ratings == 299 * 299
    assert (dataset.n_users, dataset.n_items) == (299, 299)


def test_100k_folder_by_item_and_by_title(tmp_path):
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
        ({"u.item": "3|Short line\n"}, r"u.item, line 1: 2 fields where 24 belong"),
        ({"u.user": "1|old|M|technician|1\n"}, r"u.user: an age is no whole number"),
        ({"u.data": "1\t10\t5\t7\n2\t11\tx\t8\n"}, r"u.data, line 2, column rating: 'x' is not a number"),
    ],
)
def test_a_damaged_100k_file_is_named(files, message, tmp_path):
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


@pytest.fixture
def site(tmp_path):
    """A web server on the loopback with ml-100k.zip; its folder and its address."""
    folder = tmp_path / "site"
    write(folder / "ml-100k", ML_100K, "latin-1")
    with zipfile.ZipFile(folder / "ml-100k.zip", "w") as archive:
        for name in ML_100K:
            archive.write(folder / "ml-100k" / name, f"ml-100k/{name}")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_checked_unpacked_and_kept(site, tmp_path):
    folder, address = site
    sha256 = hashlib.sha256((folder / "ml-100k.zip").read_bytes()).hexdigest()
    archive = Archive("ml-100k", f"{address}/ml-100k.zip", sha256)
    unpacked = fetch(archive, tmp_path / "cache")
    assert load_folder(unpacked).n_ratings == 3
    (folder / "ml-100k.zip").unlink()
    assert fetch(archive, tmp_path / "cache") == unpacked
    assert [path.name for path in Path(tmp_path / "cache").iterdir()] == ["ml-100k"]


@pytest.mark.parametrize(
    ("path", "message"), [("ml-100k.zip", "not 00.*damaged or was changed"), ("gone.zip", "could not be downloaded")]
)
def test_a_download_that_is_not_the_archive_leaves_nothing(site, path, message, tmp_path):
    with pytest.raises(InputError, match=message):
        fetch(Archive("ml-100k", f"{site[1]}/{path}", "00"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
