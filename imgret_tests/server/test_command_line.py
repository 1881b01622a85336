"""The `imgret` command as a process, over a small home with the model that comes along; the documentation's examples.

Belongs here: stdout's purity, exit codes, closed pipes, odd files, every example of docs/guide/command-line.md. Not
here: what each command finds (its own tests).
"""

import json
import os
import pty
import re
import signal
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from imgret_assets.cli.main import COMMANDS
from imgret_assets.locations import PROJECT
from imgret_tests.support.command_place import WITHIN_S, NewPlace, Place
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures

# Many processes one after another; a machine may be busy with others.
pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

PAGE = PROJECT / "docs/guide/command-line.md"
EXIT_CODES = {"--fail-on-found": 11, "imgret known": 11}
# They stay, download, or change a machine: each has tests of its own.
NOT_RUN = {"setup", "samples", "demo", "app", "dev", "serve"}
ODD = "new \t\n\x1b[2J <b>.png"


def examples() -> list[str]:
    """The commands of the page's `sh` blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def place(new_place: NewPlace, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Twenty pictures in five families and a photo with copies, built; and files to ask with."""
    folder = tmp_path_factory.mktemp("command-line")
    images = folder / "images"
    images.mkdir()
    write_pictures(images, 20)
    write_photos(images)
    photo(1).resize((500, 400)).save(folder / "query.png")
    (folder / "new-pictures").mkdir()
    photo(4).save(folder / "new-pictures" / ODD)
    photo(1).save(os.fsencode(folder / "new-pictures") + b"/invalid \xff.png", "PNG")
    (folder / "new-pictures/no picture.jpg").write_text("only text")
    (folder / "count.cypher").write_text("MATCH (n:Image) RETURN count(n) AS images;")
    place = new_place(folder, IMGRET_IMAGES=str(images))
    built = place.run("run", "--json")
    assert built.returncode == 0, built.stderr.decode()
    assert json.loads(built.stdout)["usable"] == 23
    return place


def read_terminal(handle: int) -> str:
    """All that was written to a terminal whose other end is closed."""
    said = b""
    with open(handle, "rb", buffering=0) as terminal, suppress(OSError):
        while part := terminal.read(4096):
            said += part
    return said.decode()


def paths_in(stdout: bytes) -> list[str]:
    return [hit["path"] for hit in json.loads(stdout)["results"]]


# What each stream gets


def test_json_is_all_there_is_on_stdout_with_bars_on(place: Place) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    done = place.run("query", "query.png", "new-pictures", "--json", stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert done.returncode == 0
    answers = json.loads(done.stdout)
    assert len(answers) == 3
    assert {answer["schema"] for answer in answers} == {1}
    assert "images" in shown
    assert "4/4" in shown


def test_images_together_are_one_query(place: Place) -> None:
    done = place.run("query", "query.png", ORIGINAL, "new-pictures", "--together", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert [part["name"] for part in answer["parts"]][:1] == ["query.png"]
    assert len(answer["parts"]) == 4
    assert ORIGINAL not in [hit["path"] for hit in answer["results"]]
    notes = done.stderr.decode()
    assert "no picture.jpg can't be used as a query: not_an_image" in notes
    assert "imgret: 4 query images in one query; 1 could not be used" in notes
    # One of the folder's files has the same bytes.
    assert f"images of the query are in the graph as {ORIGINAL}, copies/same bytes.png (left out)" in notes
    none = place.run("query", "new-pictures/no picture.jpg", "nowhere.png", "--together")
    assert none.returncode == 2


def test_less_like_an_image_moves_its_kind_down(place: Place) -> None:
    query, avoided = "family1/picture0001.png", "family2/picture0002.png"

    def scores(*options: str) -> dict[str, float]:
        done = place.run("query", query, "-k", "30", "--json", *options)
        assert done.returncode == 0, done.stderr.decode()
        return {hit["path"]: hit["score"] for hit in json.loads(done.stdout)["results"]}

    plain, less = scores(), scores("--less", avoided)
    assert set(plain) - set(less) == {avoided}
    alike = "family2/picture0007.png"
    assert less[alike] < plain[alike]
    for arguments, message in (
        ((query, "--less", query), "is on both sides"),
        ((query, "--less", "new-pictures/no picture.jpg"), "shall not resemble, "),
        ((query, avoided, "--less", "nowhere.png"), "nowhere.png"),
    ):
        done = place.run("query", *arguments)
        assert done.returncode == 2
        assert message in done.stderr.decode()


def test_a_crop_is_searched_with(place: Place) -> None:
    photo(1).resize((500, 400)).crop((100, 50, 400, 350)).save(place.folder / "cut.png")
    cut = place.run("query", "cut.png", "-k", "3", "--json")
    for crop in ("100,50,300,300", "20%,12.5%,60%,75%"):
        done = place.run("query", "query.png", "--crop", crop, "-k", "3", "--json")
        answer = json.loads(done.stdout)
        assert answer["results"] == json.loads(cut.stdout)["results"]
        assert answer["parts"][0]["crop"] == crop
    for crop, message in (("400,0,200,10", "is not inside the image, which has 500 x 400"), ("1,2,3", "x,y,width")):
        done = place.run("query", "query.png", "--crop", crop)
        assert done.returncode == 2
        assert message in done.stderr.decode()


def test_a_query_finds_the_copies(place: Place) -> None:
    done = place.run("query", "query.png", "-k", "3", "--json")
    said = json.loads(done.stdout)
    assert {hit["path"] for hit in said["results"]} == {ORIGINAL, EXACT_COPY, NEAR_COPY}
    assert (said["metric"], said["higher_is_closer"], said["query"]) == ("cosine", True, "query.png")
    inside = place.run("query", ORIGINAL, "-k", "3", "--json")
    assert ORIGINAL not in paths_in(inside.stdout)
    assert f"the query image is in the graph as {ORIGINAL} (left out)" in inside.stderr.decode()


def test_odd_names_and_a_bad_file(place: Place) -> None:
    done = place.run("query", "new-pictures", "-k", "1")
    assert done.returncode == 0
    head, *rows = done.stdout.decode().splitlines()
    assert head.split("\t") == ["score", "path", "label", "query"]
    assert [row.split("\t")[3] for row in rows] == [
        "new-pictures/invalid \\xff.png",
        "new-pictures/new \\t\\n\\x1b[2J <b>.png",
    ]
    complaint, count, _ = done.stderr.decode().splitlines()
    assert complaint.startswith("imgret: new-pictures/no picture.jpg can't be used as a query: not_an_image")
    assert count == "imgret: 2 query images; 1 could not be used"


def test_all_bad_is_a_failure_and_one_bad_wrong_use(place: Place) -> None:
    done = place.run("query", "new-pictures/no picture.jpg", "nowhere.png", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert len(done.stderr.decode().splitlines()) == 4
    alone = place.run("query", "new-pictures/no picture.jpg", "--json")
    assert (alone.returncode, alone.stdout) == (2, b"")
    assert "Traceback" not in alone.stderr.decode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_line(place: Place) -> None:
    hidden = place.folder / "hidden.png"
    photo(1).save(hidden)
    hidden.chmod(0)
    done = place.run("query", "query.png", hidden)
    assert done.returncode == 0
    assert "hidden.png can't be read (Permission denied)" in done.stderr.decode()


def test_paths_by_nul_are_files(place: Place) -> None:
    done = place.run("query", "query.png", "-k", "3", "-0")
    files = [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0")[:-1]]
    assert set(files) == {place.images / path for path in (ORIGINAL, EXACT_COPY, NEAR_COPY)}
    refused = place.run("query", "query.png", "-k", "3", "--format", "paths")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert "use -0 and xargs -0" in refused.stderr.decode()


def test_found_is_11_only_if_asked_for(place: Place) -> None:
    assert place.run("query", "query.png", "--min-score", "0.8").returncode == 0
    assert place.run("query", "query.png", "--min-score", "0.8", "--fail-on-found").returncode == 11
    assert place.run("query", "query.png", "--min-score", "1", "--fail-on-found").returncode == 0
    assert place.run("query", "query.png", "--fail-on-found").returncode == 2


def test_photos_without_date_and_camera_are_no_hits_of_their_filters(place: Place) -> None:
    for options in (("--since", "1900"), ("--until", "2999"), ("--camera", "Canon EOS 5D")):
        done = place.run("query", "query.png", "--json", *options)
        assert (done.returncode, paths_in(done.stdout)) == (0, [])
        by_camera = "no image is by the camera 'Canon EOS 5D'; cameras of the library: none"
        assert (by_camera in done.stderr.decode()) is ("--camera" in options)
        assert ("no image of the library has a date" in done.stderr.decode()) is ("--camera" not in options)
    wrong = place.run("query", "query.png", "--since", "last year")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert "since is 'last year'. Expected: a date" in wrong.stderr.decode()


def test_relations_are_rows_of_their_own(place: Place) -> None:
    args = ("query", "query.png", "-k", "2", "--relations")
    rows = [line.split("\t") for line in place.run(*args).stdout.decode().splitlines()]
    assert rows[0] == ["score", "path", "label", "relation", "of", "query"]
    expected = []
    for hit in json.loads(place.run(*args, "--json").stdout)["results"]:
        expected.append(("", ""))
        directions = {True: "outgoing", False: "incoming"}
        expected += [
            (directions[one["outgoing"]], hit["path"].replace("\t", "\\t").replace("\n", "\\n"))
            for one in hit["relations"]
        ]
    assert [(row[3], row[4]) for row in rows[1:]] == expected
    assert len(expected) > 2


def test_the_answer_is_drawn(place: Place) -> None:
    done = place.run("query", "query.png", "--sheet", "drawn.png", "--json")
    assert json.loads(done.stdout)["results"]
    with Image.open(place.folder / "drawn.png") as sheet:
        assert sheet.format == "PNG"
    for arguments in (["new-pictures", "--sheet", "a.png"], ["query.png", "--sheet", "a.jpg"]):
        assert place.run("query", *arguments).returncode == 2


def test_an_explanation_has_the_graph_s_relationships(place: Place) -> None:
    said = json.loads(place.run("explain", NEAR_COPY, ORIGINAL, "--json").stdout)
    types = {relationship["type"]: relationship for relationship in said["graph"]}
    assert said["kind"] == "near"
    assert types["DUPLICATE_OF"]["source"] == NEAR_COPY
    assert types["SIMILAR_TO"]["properties"]["score"] == pytest.approx(said["cosine"], abs=1e-9)


# Being stopped


def test_who_has_read_enough_hears_no_complaint(place: Place) -> None:
    done = place.shell("set -o pipefail; imgret query query.png -k 20 --relations --format jsonl | true")
    assert done.returncode in (0, 141), "0 where all was written before the reader had gone"
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr


def test_a_run_stopped_by_ctrl_c_goes_on(place: Place) -> None:
    write_pictures(place.images, 10, start=200)
    process = subprocess.Popen(
        [place.program, "run"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if "files listed under" in line:
                break
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out) == (130, "")
    assert said.splitlines()[-1] == "imgret: interrupted; run again to continue where it stopped"
    assert "Stack Trace" not in said
    again = place.run("run", "--json")
    assert again.returncode == 0, again.stderr.decode()
    totals = json.loads(again.stdout)
    assert (totals["usable"], totals["nodes"]) == (33, 33)


# The documentation


def test_the_page_shows_every_command() -> None:
    shown = set(re.findall(r"^(?: {4})?imgret ([a-z]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown >= set(COMMANDS)
    run = {line.split()[1] for line in examples()}
    assert run >= set(COMMANDS) - NOT_RUN


@pytest.mark.parametrize("line", examples())
def test_every_example_does_what_it_says(place: Place, line: str) -> None:
    done = place.shell(line)
    expected = next((code for option, code in EXIT_CODES.items() if option in line), 0)
    assert done.returncode == expected, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    if "--json" in line:
        assert json.loads(done.stdout)


# Files that the library has already


def test_known_files_are_named_with_what_they_are(place: Place) -> None:
    folder = place.folder / "card"
    folder.mkdir()
    (folder / "same.png").write_bytes((place.images / ORIGINAL).read_bytes())
    photo(1).resize((500, 400)).save(folder / "smaller.jpg", quality=80)
    photo(9).save(folder / "new.jpg")
    (folder / "no picture.jpg").write_text("only text")
    done = place.run("known", "card", "--json")
    assert done.returncode == 11, done.stderr.decode()
    document = json.loads(done.stdout)
    kinds = {row["file"]: row["kind"] for row in document["files"]}
    assert kinds == {"card/same.png": "exact", "card/smaller.jpg": "near"}
    assert document["unusable"] == 1
    notes = done.stderr.decode()
    assert "no picture.jpg can't be used" in notes
    assert "imgret: 2 of 3 files are known (1 exact, 1 near); 1 new; 1 could not be used" in notes

    new = place.run("known", "card", "--new", "-0")
    assert new.returncode == 11
    assert new.stdout.decode() == f"{folder / 'new.jpg'}\0"
    only_new = place.run("known", "card/new.jpg")
    assert (only_new.returncode, only_new.stdout.decode().splitlines()) == (0, ["file\tknown_as\tkind\tscore"])
    by_score = place.run("known", "card/new.jpg", "--min-score", "-1", "--json")
    assert by_score.returncode == 11
    assert json.loads(by_score.stdout)["files"][0]["kind"] == "similar"
    assert place.run("known", "card/no picture.jpg").returncode == 1
    assert place.run("known", "card", "--min-score", "2").returncode == 2


def test_a_file_of_the_library_is_not_known_as_itself(place: Place) -> None:
    alone = json.loads(place.run("known", "family1/picture0001.png", "--new", "--json").stdout)
    assert [row["file"].endswith("family1/picture0001.png") for row in alone["files"]] == [True]
    copied = json.loads(place.run("known", ORIGINAL, "--json").stdout)["files"][0]
    assert copied["kind"] == "exact"
    assert copied["known_as"] != ORIGINAL
